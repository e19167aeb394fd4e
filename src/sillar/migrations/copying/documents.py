"""Tables as collections: which field has which type, which value which form."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sillar.engines.mongodb.extended_json import from_text, to_text
from sillar.migrations.copying import fit
from sillar.migrations.copying.canonical import CanonicalJSON, decimal_text, plain_json, written_json
from sillar.migrations.copying.model import Column, ColumnType, Kind, Table
from sillar.migrations.copying.side import Field, Usage
from sillar.migrations.copying.values import Convert, UnfitError, as_kind, parsed_json, written
from sillar.migrations.copying.values import decimal as as_decimal

_DOCUMENT_BYTES_MAX: Final = 16 << 20
DIGITS_MAX: Final = 34
"""Of a Decimal128."""
JSON_NULL: Final = object()
"""A field of JSON that is there, and null."""
_HINT: Final = "sillar "
_INT64: Final = 2**63
_BSON: Final[dict[str, Any]] = {
    "bool": "bool", "int": ["int", "long"], "double": "double", "decimal": "decimal", "string": "string",
    "binData": "binData", "date": "date", "any": None,
}  # fmt: skip
_EXACT: Final[dict[Kind, type]] = {
    Kind.BOOLEAN: bool, Kind.INTEGER: int, Kind.FLOAT: float, Kind.TEXT: str, Kind.ENUM: str, Kind.BYTES: bytes,
}  # fmt: skip
"""The types whose values need no conversion."""
_PLAIN: Final = (str, int, float, Decimal, list, dict, bool, type(None))


# --- types: to documents ----------------------------------------------------------------------------------------------


def storage(column: Column, usage: Usage) -> ColumnType:
    """The type of a field that takes the values of a column. ``native`` is what ``$jsonSchema`` calls it."""
    given, facts = column.type, usage.facts
    match given.kind:
        case Kind.BOOLEAN:
            return ColumnType(Kind.BOOLEAN, "bool")
        case Kind.INTEGER if given.unsigned and given.bits >= 64 and not usage.is_small:
            return ColumnType(Kind.DECIMAL, "decimal", precision=DIGITS_MAX, scale=0)
        case Kind.INTEGER:
            return ColumnType(Kind.INTEGER, "int", bits=64)
        case Kind.DECIMAL:
            digits = given.precision
            if digits is None and facts is not None:
                digits = facts.whole + facts.fraction
            if digits is not None and digits > DIGITS_MAX:
                return ColumnType(Kind.TEXT, "string")
            return ColumnType(Kind.DECIMAL, "decimal")
        case Kind.FLOAT | Kind.FLOAT32:
            return ColumnType(given.kind, "double")
        case Kind.MOMENT | Kind.INSTANT:
            if facts is not None and (facts.fine or facts.distant):
                return ColumnType(Kind.TEXT, "string")
            return ColumnType(given.kind, "date", precision=3)
        case Kind.UUID | Kind.BYTES:
            return ColumnType(given.kind, "binData")
        case Kind.JSON:
            return ColumnType(Kind.JSON, "any")
        case Kind.ENUM:
            return ColumnType(Kind.ENUM, "string", values=given.values)
        case Kind.DATE | Kind.TIME:
            return ColumnType(given.kind, "string")
    return ColumnType(Kind.TEXT, "string")


def losses(column: Column, stored: ColumnType) -> Iterator[tuple[str, str]]:
    """What is not carried into a field."""
    given = column.type
    if given.kind in (Kind.DATE, Kind.TIME):
        yield "MongoDB has no dates and times of day: they become ISO 8601 text", "compare them as text"
    if given.kind in (Kind.MOMENT, Kind.INSTANT) and stored.kind is Kind.TEXT:
        yield (
            "some values are finer than MongoDB's milliseconds, or beyond its years: the field is ISO 8601 text",
            "they are exact, and dates' operators do not work on them",
        )
    if given.kind is Kind.MOMENT and stored.kind is Kind.MOMENT:
        yield "MongoDB's dates are points in time: what has no zone counts as UTC", "read them as UTC"
    if given.kind is Kind.DECIMAL and stored.kind is Kind.TEXT:
        yield f"decimals of more than {DIGITS_MAX} digits become text", "they sort and compare as text"
    if given.kind is Kind.INTEGER and stored.kind is Kind.DECIMAL:
        yield "unsigned integers of 64 bits become decimals", "nothing is lost"
    if given.kind is Kind.TEXT and given.length is not None:
        yield f"the limit of {given.length} characters is not kept", "longer texts are taken"
    if given.kind is Kind.FLOAT32:
        yield "32-bit numbers become doubles", "nothing is lost"
    if given.kind is Kind.JSON:
        yield "JSON becomes a document: of duplicate keys the last stays", "query it by paths"
    if given.insensitive:
        yield (
            "its collation takes letters of different case or accent for equal, MongoDB does not by default",
            "give queries and indexes a collation",
        )


def validator(table: Table) -> dict[str, Any]:
    """The ``$jsonSchema`` of a collection. Descriptions keep the types, for a copy back."""
    properties: dict[str, Any] = {}
    for column in table.columns:
        name = "_id" if table.key == (column.name,) else column.name
        meant = replace(column.origin or column.type, native=column.type.native)
        if meant.kind is Kind.NATIVE:
            meant = column.type
        hint = {"name": column.name, "type": meant.to_json()}
        rule: dict[str, Any] = {"description": _HINT + json.dumps(hint, ensure_ascii=False)}
        known = _BSON[column.type.native]
        if known is not None:
            rule["bsonType"] = known
        if column.type.kind is Kind.ENUM and column.type.values:
            rule["enum"] = list(column.type.values)
        properties[name] = rule
    required = [
        "_id" if table.key == (column.name,) else column.name for column in table.columns if not column.nullable
    ]
    schema: dict[str, Any] = {"bsonType": "object", "properties": properties}
    if required:
        schema["required"] = required
    if len(table.key) > 1:
        hint = {"key": list(table.key)}
        properties["_id"] = {"bsonType": "object", "description": _HINT + json.dumps(hint, ensure_ascii=False)}
    return {"$jsonSchema": schema}


# --- types: from documents --------------------------------------------------------------------------------------------


def columns_of(
    found: Mapping[str, set[str]], schema: Mapping[str, Any], uuids: set[str]
) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """The columns and the key of a collection.

    Args:
        found: of each field, the names of the BSON types of its values.
        schema: its ``$jsonSchema``; empty without one.
        uuids: the fields whose binary values are UUIDs.
    """
    hints = {name: _hint(rule) for name, rule in schema.get("properties", {}).items()}
    whole = hints.get("_id") or {}
    composite = tuple(whole.get("key", ()))
    required = set(schema.get("required", ()))
    columns = []
    key = composite
    for field in [*hints, *(name for name in found if name not in hints)]:
        if field == "_id" and composite:
            continue
        hint = hints.get(field)
        name = field if hint is None else hint["name"]
        if field == "_id" and hint is None:
            name = "id" if "id" not in found else "_id"
        kind = inferred(found.get(field, set()), is_uuid=field in uuids)
        if hint is not None:
            kind = _hinted(ColumnType.from_json(hint["type"]), kind, empty=not found.get(field))
        if field == "_id":
            key = (name,)
        columns.append(Column(name, kind, nullable=field != "_id" and name not in composite and field not in required))
    if not any(name == "_id" or name in key for name in (column.name for column in columns)) and not composite:
        key = ()
    return tuple(columns), key


def _hint(rule: Any) -> dict[str, Any] | None:
    return _read_hint(rule.get("description")) if isinstance(rule, Mapping) else None


def _read_hint(text: Any) -> dict[str, Any] | None:
    if not isinstance(text, str) or not text.startswith(_HINT):
        return None
    try:
        found: dict[str, Any] = json.loads(text.removeprefix(_HINT))
    except ValueError:
        return None
    return found


def _hinted(hint: ColumnType, kind: ColumnType, *, empty: bool) -> ColumnType:
    """The type that a copy has noted, if the values are still of that type."""
    same = _FAMILIES.get(hint.native, ())
    return hint if empty or kind.native in same or hint.native == "any" else kind


_FAMILIES: Final[dict[str, tuple[str, ...]]] = {
    "bool": ("bool",), "int": ("int", "long"), "double": ("double",), "decimal": ("decimal",),
    "string": ("string",), "binData": ("binData",), "date": ("date",),
}  # fmt: skip


def inferred(types: set[str], *, is_uuid: bool) -> ColumnType:
    """The type of a field whose values have these BSON types."""
    given = types - {"null", "undefined", "missing"}
    if len(given) == 1:
        (only,) = given
        if only == "binData":
            return ColumnType(Kind.UUID if is_uuid else Kind.BYTES, only)
        if only in _SINGLE:
            return _SINGLE[only]
    if given and given <= {"int", "long"}:
        return ColumnType(Kind.INTEGER, "long", bits=64)
    if given and given <= {"int", "long", "double"}:
        return ColumnType(Kind.FLOAT, "double")
    if given and given <= {"int", "long", "double", "decimal"}:
        return ColumnType(Kind.DECIMAL, "decimal")
    if not given:
        return ColumnType(Kind.TEXT, "string")
    return ColumnType(Kind.JSON, "any")


_SINGLE: Final = {
    "bool": ColumnType(Kind.BOOLEAN, "bool"),
    "int": ColumnType(Kind.INTEGER, "int", bits=64),
    "long": ColumnType(Kind.INTEGER, "long", bits=64),
    "double": ColumnType(Kind.FLOAT, "double"),
    "decimal": ColumnType(Kind.DECIMAL, "decimal"),
    "string": ColumnType(Kind.TEXT, "string"),
    "objectId": ColumnType(Kind.TEXT, "objectId", length=24),
    "date": ColumnType(Kind.INSTANT, "date", precision=3),
}


# --- values -----------------------------------------------------------------------------------------------------------


def encoder(field: Field) -> Convert | None:
    """From the form of the agreed kind to a value of BSON."""
    stored, agreed = field.stored, field.agreed
    own = _ENCODERS.get(stored.kind)
    if stored.native == "objectId":
        own = _object_id
    if stored.kind in (Kind.MOMENT, Kind.INSTANT) and stored.native != "date":
        own = None
    limits = fit.within(agreed, stored, trusted=field.trusted) if stored.kind is Kind.INTEGER else None
    other = as_kind(stored) if stored.kind is not agreed.kind else None
    if stored.kind is Kind.TEXT and agreed.kind is Kind.DECIMAL:
        other = decimal_text
    long = _not_too_long if stored.kind in (Kind.TEXT, Kind.BYTES, Kind.JSON, Kind.NATIVE) else None
    return fit.chained(other, long, limits, own)


def decoder(field: Field) -> Convert:
    """From a value of BSON to the form of the agreed kind."""
    agreed = field.agreed
    if agreed.kind is Kind.JSON:
        return to_json
    if agreed.kind is Kind.NATIVE:
        return to_text if field.stored.kind is Kind.NATIVE else as_kind(agreed)
    into, exact = as_kind(agreed), _EXACT.get(agreed.kind)

    def decode(value: Any) -> Any:
        if type(value) is exact:
            return value
        if isinstance(value, datetime):
            return into(written(value.astimezone(UTC)))
        if isinstance(value, bool) and agreed.kind is not Kind.BOOLEAN:
            raise UnfitError("is true or false among other values", "correct it in the source")
        if type(value) not in _PLAIN and not isinstance(value, (bytes, UUID, int, float)):
            if type(value).__name__ == "ObjectId":
                return into(str(value))
            raise UnfitError(f"is a {type(value).__name__} of BSON", "convert it in the source")
        return into(value)

    return decode


def to_json(value: Any) -> str:
    """A value of BSON as JSON text: types that JSON lacks in relaxed Extended JSON."""
    if value is JSON_NULL:
        return "null"
    found = plain_json(value)
    return CanonicalJSON(written_json(_jsonable(value)) if found is None else found)


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _jsonable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_jsonable(inner) for inner in value]
    if isinstance(value, float) and value - value != 0:
        return json.loads(to_text(value, relaxed=True))
    return value if isinstance(value, _PLAIN) else json.loads(to_text(value, relaxed=True))


def _not_too_long(value: str | bytes) -> Any:
    if len(value) > _DOCUMENT_BYTES_MAX:
        raise UnfitError("alone is longer than the 16 MiB of a document", "leave it out, or store it outside")
    return value


def _date(value: str) -> datetime:
    fit.common_moment(value)
    if len(value) > len("2026-11-26 23:59:59.123"):
        raise UnfitError("is finer than MongoDB's milliseconds", "let the survey choose text for the column")
    return datetime.fromisoformat(value).replace(tzinfo=UTC)


def _decimal(value: Decimal) -> Decimal:
    if value.is_finite() and len(value.as_tuple().digits) > DIGITS_MAX:
        raise UnfitError(f"has more than {DIGITS_MAX} digits", "let the survey choose text for the column")
    return value


def _document(value: str) -> Any:
    if not fit.has_doubtful_escape(value):
        try:
            return _parse_document(fit.well_formed(value))
        except UnfitError:
            raise
        except (ValueError, RecursionError):
            pass  # what comes says what is wrong
    return _valued(parsed_json(value))


def _integer(text: str) -> Any:
    value = int(text)
    return value if -_INT64 <= value < _INT64 else _decimal(Decimal(value))


def _number(text: str) -> Any:
    number = float(text)
    if repr(number) == text:
        return number
    value = as_decimal(text)
    return number if Decimal(repr(number)) == value else _decimal(value)


_parse_document: Final = json.JSONDecoder(
    parse_float=_number, parse_int=_integer, parse_constant=lambda _: parsed_json("")
).decode


def _valued(value: Any) -> Any:
    if isinstance(value, dict):
        for name in value:
            if "\0" in name:
                raise UnfitError("has a NUL character in a key of its JSON", "correct it in the source")
        return {fit.well_formed(name): _valued(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_valued(inner) for inner in value]
    if isinstance(value, str):
        return fit.well_formed(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if -_INT64 <= value < _INT64 else _decimal(Decimal(value))
    number = float(value)
    return number if Decimal(repr(number)) == value else _decimal(value)


def _object_id(value: str) -> Any:
    return from_text(json.dumps({"$oid": value}))


_ENCODERS: Final[dict[Kind, Callable[[Any], Any]]] = {
    Kind.DECIMAL: _decimal,
    Kind.MOMENT: _date,
    Kind.INSTANT: _date,
    Kind.UUID: UUID,
    Kind.JSON: _document,
    Kind.TEXT: fit.well_formed,
    Kind.ENUM: fit.well_formed,
    Kind.NATIVE: from_text,
}


def names_of(fields: Sequence[Field], key: Sequence[str]) -> list[str]:
    """The names in a document: a key of one column is ``_id``."""
    return ["_id" if list(key) == [each.name] else each.name for each in fields]
