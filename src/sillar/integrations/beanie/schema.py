"""The ``$jsonSchema`` of what Beanie stores for a document: by the types that its encoder gives to values.

Pydantic's own JSON schema describes the JSON of a model, where a time, a decimal and an ObjectId are all strings. What
MongoDB compares is BSON; so this goes by the annotations. Where the stored form cannot be known (a type with an encoder
of its own, ``Any``), nothing is asked of the value: a validator that refuses a document which Beanie writes would be
worse than one that lets something pass.

Source: MongoDB manual, "$jsonSchema" (JSON Schema draft 4 with ``bsonType``); ``beanie.odm.utils.encoder``.
"""

from __future__ import annotations

import collections.abc
import datetime
import decimal
import enum
import ipaddress
import pathlib
import re
import types
import typing
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final

import annotated_types
import bson
import pydantic
from beanie import Document, Link
from pydantic.fields import FieldInfo

from sillar.integrations.beanie.private import VIRTUAL, has_revision, settings_of

Schema = dict[str, Any]

_NUMBERS: Final = ("double", "int", "long")
_SCALARS: Final[tuple[tuple[Any, Any], ...]] = (
    (bool, "bool"),
    (enum.Enum, None),  # its values say it
    (int, ["int", "long"]),
    (float, list(_NUMBERS)),  # a whole number that was written by somebody else is one, too
    ((str, pydantic.SecretStr, pathlib.PurePath, pydantic.AnyUrl), "string"),
    ((ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Interface, ipaddress.IPv6Interface), "string"),
    ((ipaddress.IPv4Network, ipaddress.IPv6Network), "string"),
    ((bytes, pydantic.SecretBytes, uuid.UUID), "binData"),
    (decimal.Decimal, "decimal"),
    ((datetime.datetime, datetime.date), "date"),
    (datetime.timedelta, list(_NUMBERS)),
    (bson.ObjectId, "objectId"),
    (re.Pattern, "regex"),
)
_LISTS: Final = (list, set, frozenset, collections.deque, collections.abc.Sequence, collections.abc.Set,
                 collections.abc.MutableSequence, collections.abc.MutableSet)  # fmt: skip
_BOUNDS: Final = (
    (annotated_types.Ge, "ge", "minimum", False),
    (annotated_types.Gt, "gt", "minimum", True),
    (annotated_types.Le, "le", "maximum", False),
    (annotated_types.Lt, "lt", "maximum", True),
)
_DEPTH_MAX: Final = 12


def document_schema(document: type[Document]) -> Schema:
    """The ``$jsonSchema`` of one document class, without its discriminator."""
    settings = settings_of(document)
    writer = _Writer(tuple(settings.bson_encoders), settings.keep_nulls)
    return writer.model(document, has_revision=has_revision(document))


class _Writer:
    """Writes schemas.

    Args:
        encoded: types with encoders of their own.
        keep_nulls: None is stored as null; else left out.
    """

    def __init__(self, encoded: tuple[Any, ...], keep_nulls: bool) -> None:
        self._encoded = encoded
        self._keep_nulls = keep_nulls
        self._open: list[Any] = []

    def model(self, model: type[pydantic.BaseModel], *, has_revision: bool = False) -> Schema:
        """A model as an embedded document, or a document as the root."""
        if model in self._open or len(self._open) > _DEPTH_MAX:  # it contains itself: there are no references
            return {"bsonType": "object"}
        self._open.append(model)
        try:
            return self._model(model, has_revision)
        finally:
            self._open.pop()

    def _model(self, model: type[pydantic.BaseModel], has_revision: bool) -> Schema:
        model.model_rebuild(raise_errors=False)
        is_document = issubclass(model, Document)
        properties: Schema = {}
        required = []
        for name, field in model.model_fields.items():
            revision = is_document and name == "revision_id"
            if _is_virtual(field.annotation) or (revision and not has_revision):
                continue
            if field.exclude is True and not revision:
                continue
            is_key = is_document and name == "id"
            stored = "_id" if is_key else field.alias or name
            found = self.field(field)
            properties[stored] = _without_null(found) if is_key else found
            if not is_key and field.is_required() and (self._keep_nulls or not _takes_null(found)):
                required.append(stored)
        schema: Schema = {"bsonType": "object"}
        if required:
            schema["required"] = required
        if properties:
            schema["properties"] = {name: each for name, each in properties.items() if each}
        if model.model_config.get("extra") == "forbid":
            schema["properties"] = properties  # also those of which nothing is known
            schema["additionalProperties"] = False
        return schema

    def field(self, field: FieldInfo) -> Schema:
        """A field with its constraints."""
        return _constrained(self.of(field.annotation), field.metadata)

    def of(self, annotation: Any) -> Schema:
        """A type; ``{}`` where nothing is known of how it is stored."""
        named = getattr(annotation, "__value__", None) or getattr(annotation, "__supertype__", None)
        if named is not None and not isinstance(annotation, type):  # an alias, or NewType
            return self.of(named)
        if annotation is None or annotation is type(None):
            return {"bsonType": "null"}
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is typing.Annotated:
            return _constrained(self.of(arguments[0]), arguments[1:])
        if origin in (typing.Union, types.UnionType):
            return _any_of(self.of(each) for each in arguments)
        if origin is typing.Literal:
            return _values(arguments)
        if isinstance(origin or annotation, type):
            return self._class(origin or annotation, arguments)
        return {}

    def _class(self, kind: type[Any], arguments: tuple[Any, ...]) -> Schema:
        if any(isinstance(each, type) and issubclass(kind, each) for each in self._encoded):
            return {}
        if issubclass(kind, Link):
            return {"bsonType": "object"}  # a DBRef
        if issubclass(kind, enum.Enum):
            return _values([each.value for each in kind])
        for known, bson_type in _SCALARS:
            if issubclass(kind, known):
                return {"bsonType": bson_type}
        if issubclass(kind, pydantic.RootModel):
            return self.field(kind.model_fields["root"])
        if issubclass(kind, pydantic.BaseModel):
            return self.model(kind)
        if hasattr(kind, "__required_keys__"):  # a TypedDict, of typing or typing_extensions
            return self._typed_dict(kind)
        if issubclass(kind, tuple):
            return self._tuple(arguments)
        if issubclass(kind, (dict, collections.abc.Mapping)):
            values = self.of(arguments[1]) if len(arguments) == 2 else {}
            return {"bsonType": "object", **({"additionalProperties": values} if values else {})}
        if issubclass(kind, _LISTS):
            items = self.of(arguments[0]) if arguments else {}
            return {"bsonType": "array", **({"items": items} if items else {})}
        return {}

    def _tuple(self, arguments: tuple[Any, ...]) -> Schema:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            items = self.of(arguments[0])
            return {"bsonType": "array", **({"items": items} if items else {})}
        if not arguments:
            return {"bsonType": "array"}
        number = len(arguments)
        return {
            "bsonType": "array",
            "items": [self.of(each) for each in arguments],
            "minItems": number,
            "maxItems": number,
        }

    def _typed_dict(self, kind: Any) -> Schema:
        hints = typing.get_type_hints(kind, include_extras=True)
        properties = {name: self.of(_bare(hint)) for name, hint in hints.items()}
        schema: Schema = {"bsonType": "object"}
        if kind.__required_keys__:
            schema["required"] = sorted(kind.__required_keys__)
        if any(properties.values()):
            schema["properties"] = {name: each for name, each in properties.items() if each}
        return schema


def _bare(hint: Any) -> Any:
    """A type of a field without ``Required`` and ``NotRequired``."""
    if typing.get_origin(hint) in (typing.Required, typing.NotRequired):
        return typing.get_args(hint)[0]
    return hint


def _values(values: Iterable[Any]) -> Schema:
    plain = [each.value if isinstance(each, enum.Enum) else each for each in values]
    scalars = (str, int, float, bool, type(None))
    return {"enum": plain} if all(isinstance(each, scalars) for each in plain) else {}


def _any_of(schemas: Iterable[Schema]) -> Schema:
    """Any of several; types without further conditions are put together, and null into a set of values."""
    given = list(schemas)
    found = [each for index, each in enumerate(given) if each not in given[:index]]
    if not all(found):
        return {}
    plain = [name for each in found if set(each) == {"bsonType"} for name in _names(each)]
    others = [each for each in found if set(each) != {"bsonType"}]
    if not others:
        return {"bsonType": _joined(plain)}
    if len(others) == 1 and plain in ([], ["null"]):
        return _with_null(others[0]) if plain else others[0]
    return {"anyOf": [*({"bsonType": _joined(plain)} for _ in plain[:1]), *others]}


def _with_null(schema: Schema) -> Schema:
    if set(schema) == {"enum"}:
        return {"enum": schema["enum"] if None in schema["enum"] else [*schema["enum"], None]}
    if "anyOf" in schema or "bsonType" not in schema:
        return {"anyOf": [{"bsonType": "null"}, schema]}
    return {**schema, "bsonType": _joined([*_names(schema), "null"])}


def _without_null(schema: Schema) -> Schema:
    names = [each for each in _names(schema) if each != "null"]
    return {**schema, "bsonType": _joined(names)} if names else schema


def _takes_null(schema: Schema) -> bool:
    return not schema or "null" in _names(schema) or None in schema.get("enum", ()) or any(
        _takes_null(each) for each in schema.get("anyOf", ())
    )  # fmt: skip


def _names(schema: Mapping[str, Any]) -> list[str]:
    given = schema.get("bsonType", [])
    return [given] if isinstance(given, str) else list(given)


def _joined(names: list[str]) -> Any:
    found = list(dict.fromkeys(names))
    return found[0] if len(found) == 1 else found


def _constrained(schema: Schema, metadata: Iterable[Any]) -> Schema:
    """A schema with what pydantic asks of the value besides. A condition on another type asks nothing of a null."""
    found = dict(schema)
    names = set(_names(schema)) - {"null"}
    for each in metadata:
        if isinstance(each, annotated_types.GroupedMetadata):
            found = _constrained(found, list(each))
        elif names and names <= {*_NUMBERS, "decimal"}:
            _bound(found, each)
        elif names in ({"string"}, {"array"}):
            what = "Length" if names == {"string"} else "Items"
            if isinstance(each, annotated_types.MinLen) and each.min_length:
                found[f"min{what}"] = each.min_length
            elif isinstance(each, annotated_types.MaxLen):
                found[f"max{what}"] = each.max_length
            elif names == {"string"} and isinstance(getattr(each, "pattern", None), str):
                found["pattern"] = each.pattern
    return found


def _bound(schema: Schema, constraint: Any) -> None:
    """The bound of a number; draft 4 says with a flag that it is exclusive."""
    for kind, attribute, keyword, exclusive in _BOUNDS:
        if isinstance(constraint, kind):
            value = getattr(constraint, attribute)
            if isinstance(value, (int, float, decimal.Decimal)):
                schema[keyword] = value
                if exclusive:
                    schema[f"exclusive{keyword.capitalize()}"] = True


def _is_virtual(annotation: Any) -> bool:
    """Whether it is a link from the other side, which is not stored."""
    if (typing.get_origin(annotation) or annotation) is VIRTUAL:
        return True
    return any(_is_virtual(each) for each in typing.get_args(annotation))
