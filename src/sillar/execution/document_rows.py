"""Documents into objects: fields by name, where a result of documents has no columns.

The rule: a field takes the value of its own name (of a Struct's ``rename``, of a pydantic alias), and a field ``id``
takes ``_id`` where the document has no ``id``. Fields with a default may be missing from a document, others may not;
what the document has besides is left out. A scalar type takes the only field of the document, ``_id`` aside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import msgspec
import pydantic

from sillar.engines.connection import DocumentShape
from sillar.errors import ResultError
from sillar.execution.rows import RowMaker, _converter, _fields, _is_scalar, _name
from sillar.query.annotations import without_none

_MISSING: Any = object()


def document_maker(shape: DocumentShape, into: Any, validate: bool | None) -> RowMaker:
    """The constructor of ``into`` from documents; None gives the documents as they are.

    Raises:
        ResultError: the type cannot be made from documents.
    """
    if into is None:
        return RowMaker(lambda row: row[0], shape.dicts)
    make = _make(shape, into, validate)
    return RowMaker(lambda row: make(row[0]), lambda rows: [make(row[0]) for row in rows])


def _make(shape: DocumentShape, into: Any, validate: bool | None) -> Callable[[Mapping[str, Any]], Any]:
    if isinstance(into, type) and issubclass(into, pydantic.BaseModel):
        arrange = _pydantic_values(shape, into)
        if validate is False:
            return lambda document: into.model_construct(**arrange(document))
        return lambda document: into.model_validate(arrange(document))
    sources = _sources(shape, into)
    if sources is None:
        return _scalar(shape, into, validate)
    if validate:
        checked = [_Source(each.encoded, each.keys, each.engine_convert, each.required) for each in sources]
        return lambda document: msgspec.convert(_values(document, checked, into), into, strict=False)
    return lambda document: into(**_values(document, sources, into))


@dataclass(slots=True)
class _Source:
    """Where the value of one field comes from.

    Attributes:
        name: of the constructor's argument.
        keys: fields of the document, the first that is there counts.
        convert: None where the engine's value is right as it is.
        encoded: the name that msgspec knows the field by.
        engine_convert: the engine's own conversion alone.
    """

    name: str
    keys: tuple[str, ...]
    convert: Callable[[Any], Any] | None
    required: bool
    encoded: str = ""
    engine_convert: Callable[[Any], Any] | None = None


def _sources(shape: DocumentShape, into: Any) -> list[_Source] | None:
    fields = _fields(into)
    if fields is None:
        return None
    encoded = {}
    if issubclass(into, msgspec.Struct):
        encoded = {field.name: field.encode_name for field in msgspec.structs.fields(into)}
    sources = []
    for field in fields:
        name = encoded.get(field.name, field.name)
        engine = _engine_converter(shape, field.annotation)
        convert = engine or _converter(field.annotation, shape.native)
        sources.append(_Source(field.name, _keys(name), convert, field.required, name, engine))
    return sources


def _keys(name: str) -> tuple[str, ...]:
    return ("id", "_id") if name == "id" else (name,)


def _engine_converter(shape: DocumentShape, annotation: Any) -> Callable[[Any], Any] | None:
    kind = without_none(annotation)
    return shape.converters.get(kind) if isinstance(kind, type) else None


def _values(document: Mapping[str, Any], sources: list[_Source], into: Any) -> dict[str, Any]:
    values = {}
    for source in sources:
        for key in source.keys:
            value = document.get(key, _MISSING)
            if value is not _MISSING:
                values[source.name] = value if source.convert is None else source.convert(value)
                break
        else:
            if source.required:
                raise ResultError(_absent(source, document, into))
    return values


def _absent(source: _Source, document: Mapping[str, Any], into: Any) -> str:
    near = get_close_matches(source.keys[0], list(document), 1)
    hint = f"did you mean its field {near[0]!r}?" if near else "give the field a default, or the document the field"
    return (
        f"{_name(into)} needs the field {' or '.join(map(repr, source.keys))}, which a document lacks; {hint}"
        f" (it has {', '.join(sorted(document)) or 'no fields'})"
    )


def _pydantic_values(
    shape: DocumentShape, model: type[pydantic.BaseModel]
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Puts ``_id`` under the name that the model has for it, and applies the engine's conversions."""
    known: set[str] = set()
    converts: list[tuple[str, Callable[[Any], Any]]] = []
    for name, field in model.model_fields.items():
        names = {name, *(alias for alias in (field.alias, field.validation_alias) if isinstance(alias, str))}
        if isinstance(field.validation_alias, pydantic.AliasChoices):
            names.update(choice for choice in field.validation_alias.choices if isinstance(choice, str))
        known |= names
        convert = _engine_converter(shape, field.annotation)
        if convert is not None:
            converts.extend((each, convert) for each in names)
    takes_key = "_id" in known
    takes_id = "id" in known

    def arrange(document: Mapping[str, Any]) -> dict[str, Any]:
        values = dict(document)
        if not takes_key and "_id" in values:
            key = values.pop("_id")
            if takes_id:
                values.setdefault("id", key)
        for name, convert in converts:
            if name in values:
                values[name] = convert(values[name])
        return values

    return arrange


def _scalar(shape: DocumentShape, into: Any, validate: bool | None) -> Callable[[Mapping[str, Any]], Any]:
    if into is dict or (into is not Any and getattr(into, "__origin__", None) is dict):
        return dict
    if not _is_scalar(into):
        raise ResultError(
            f"documents cannot be made into {_name(into)};"
            " use a dataclass, msgspec Struct, pydantic model, NamedTuple or scalar type"
        )
    convert = _engine_converter(shape, into)
    if convert is None and not validate:
        convert = _converter(into, shape.native)

    def make(document: Mapping[str, Any]) -> Any:
        value = _only(document, into)
        if convert is not None:
            value = convert(value)
        return msgspec.convert(value, into, strict=False) if validate else value

    return make


def _only(document: Mapping[str, Any], into: Any) -> Any:
    names = [name for name in document if name != "_id"] or list(document)
    if len(names) != 1:
        raise ResultError(
            f"one value of type {_name(into)} was asked for, and a document has {len(names)} fields"
            f" ({', '.join(names)}); project the one that is meant"
        )
    return document[names[0]]
