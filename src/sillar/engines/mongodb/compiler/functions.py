"""Functions that give one value for one row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import types as sqltypes
from sqlalchemy.sql import operators

from sillar.engines.mongodb.compiler import casts
from sillar.engines.mongodb.compiler.alignment import (
    NULL,
    as_datetime,
    as_decimal,
    as_float,
    ascii_only,
    literal,
    same_kind,
    settled,
)
from sillar.engines.mongodb.compiler.arithmetic import as_text, binary
from sillar.engines.mongodb.compiler.kinds import NUMBERS, Kind
from sillar.engines.mongodb.compiler.refusal import unsupported
from sillar.engines.mongodb.compiler.scope import UNTYPED, Expression

if TYPE_CHECKING:
    from sillar.engines.mongodb.compiler.values import ValueVisitor

AGGREGATES: Final = frozenset(
    {
        "count",
        "sum",
        "avg",
        "min",
        "max",
        "bool_and",
        "bool_or",
        "every",
        "array_agg",
        "string_agg",
        "aggregate_strings",
    }
)
_TEXT: Final = sqltypes.Text()
_LONG: Final = sqltypes.BigInteger()
_DOUBLE: Final = sqltypes.Float()
_REMEDY: Final = "compute it in Python, or write the pipeline yourself"
Arguments = Sequence[Expression]


def call(visitor: ValueVisitor, element: Any) -> Expression:
    """A function call.

    Raises:
        UnsupportedCapabilityError: the function, or this number or kind of arguments, has no translation.
    """
    name = element.name.lower()
    if name in AGGREGATES:
        return visitor.expressions.aggregate(element, None)
    make = _FUNCTIONS.get(name)
    if make is None or getattr(element, "packagenames", None):
        raise unsupported(f"the function {name}()", _REMEDY)
    arguments = [visitor.of(argument) for argument in element.clauses]
    if name == "nullif" and len(arguments) == 2:
        first, second = element.clauses
        equal = visitor.expressions.true(first == second)
        return arguments[0]._replace(code={"$cond": [equal, NULL, arguments[0].code]}, path=None, known=False)
    if name == "date_trunc" and arguments and arguments[0].slot is not None:
        unit = next(iter(element.clauses))
        return _date_trunc(str(unit.effective_value), *arguments[1:])
    try:
        return make(*arguments)
    except TypeError:
        raise unsupported(f"{name}() with {len(arguments)} arguments", _REMEDY) from None


def _known(given: Expression) -> Any:
    return {"$gt": [given.code, None]}


def _guarded(given: Expression, then: Any) -> Any:
    return {"$cond": [_known(given), then, NULL]}


def _text(given: Expression, name: str) -> Expression:
    if given.kind not in (Kind.TEXT, Kind.UNKNOWN, Kind.ENUM):
        raise unsupported(f"{name}() of {given.kind.value}", "cast it to text")
    return given


def _number(given: Expression, name: str) -> Expression:
    if given.kind not in NUMBERS:
        raise unsupported(f"{name}() of {given.kind.value}", "cast it to a number")
    return given


def _coalesce(*given: Expression) -> Expression:
    if not given:
        raise TypeError
    united = [each for each in casts.unified(given) if each is not None]
    of = next((each for each in united if each.kind is not Kind.UNKNOWN), united[0])
    codes = [settled(each, of).code for each in united]
    return Expression({"$ifNull": [*codes, None]}, of.kind, of.type, known=any(each.known for each in united))


def _lower(given: Expression) -> Expression:
    code = _text(given, "lower").code
    return Expression(_guarded(given, ascii_only(code, {"$toLower": code})), Kind.TEXT, _TEXT)


def _upper(given: Expression) -> Expression:
    code = _text(given, "upper").code
    return Expression(_guarded(given, ascii_only(code, {"$toUpper": code})), Kind.TEXT, _TEXT)


def _length(given: Expression) -> Expression:
    return Expression(_guarded(given, {"$strLenCP": _text(given, "length").code}), Kind.INT, _LONG)


def _substring(given: Expression, start: Expression, length: Expression | None = None) -> Expression:
    """1-based; what lies before the first character is cut off the length, as in SQL."""
    code = _text(given, "substr").code
    first = {"$max": [start.code, literal(1)]}
    if length is None:
        count: Any = {"$strLenCP": code}
    else:
        count = {"$max": [{"$subtract": [{"$add": [start.code, length.code]}, first]}, literal(0)]}
    made = {"$substrCP": [code, {"$subtract": [first, literal(1)]}, count]}
    guards = [_known(each) for each in (given, start, *((length,) if length is not None else ()))]
    return Expression({"$cond": [{"$and": guards}, made, NULL]}, Kind.TEXT, _TEXT)


def _trim(operator: str) -> Callable[..., Expression]:
    def trim(given: Expression, characters: Expression | None = None) -> Expression:
        chars = literal(" ") if characters is None else settled(characters, given).code
        code = {operator: {"input": _text(given, operator[1:]).code, "chars": chars}}
        return Expression(code, Kind.TEXT, _TEXT)

    return trim


def _concat(*given: Expression) -> Expression:
    codes = [{"$ifNull": [as_text(each), ""]} for each in given]
    return Expression({"$concat": codes}, Kind.TEXT, _TEXT, known=True)


def _replace(given: Expression, find: Expression, by: Expression) -> Expression:
    code = {"$replaceAll": {"input": _text(given, "replace").code, "find": find.code, "replacement": by.code}}
    unchanged = {"$and": [{"$eq": [find.code, ""]}, _known(by)]}
    return Expression({"$cond": [unchanged, given.code, code]}, Kind.TEXT, _TEXT)


def _position(given: Expression, part: Expression) -> Expression:
    code = {"$add": [{"$indexOfCP": [_text(given, "strpos").code, part.code]}, literal(1)]}
    guard = {"$and": [_known(given), _known(part)]}
    return Expression({"$cond": [guard, code, NULL]}, Kind.INT, _LONG)


def _absolute(given: Expression) -> Expression:
    return Expression({"$abs": _number(given, "abs").code}, given.kind, given.type)


def _round(given: Expression, digits: Expression | None = None) -> Expression:
    kind = _number(given, "round").kind
    if kind is Kind.DECIMAL or (kind is Kind.INT and digits is not None):
        places = literal(0) if digits is None else digits.code
        decimal = as_decimal(given)
        return Expression(casts.rounded_half_away(decimal.code, places), Kind.DECIMAL, sqltypes.Numeric())
    if digits is not None:
        raise unsupported("round() of a float to digits", "cast it to Numeric, as PostgreSQL asks for")
    return Expression({"$round": [as_float(given).code, literal(0)]}, Kind.FLOAT, _DOUBLE)


def _whole(operator: str) -> Callable[[Expression], Expression]:
    def whole(given: Expression) -> Expression:
        number = _number(given, operator[1:])
        if number.kind is Kind.INT:
            number = as_float(number)
        return Expression({operator: number.code}, number.kind, number.type)

    return whole


def _mod(left: Expression, right: Expression) -> Expression:
    return binary(operators.mod, left, right)


def _sqrt(given: Expression) -> Expression:
    if _number(given, "sqrt").kind is Kind.DECIMAL:
        raise unsupported("sqrt() of a decimal", "cast it to Float")
    return Expression({"$sqrt": as_float(given).code}, Kind.FLOAT, _DOUBLE)


def _extreme(operator: str) -> Callable[..., Expression]:
    def extreme(*given: Expression) -> Expression:
        first, *others = given
        for other in others:
            same_kind(first, other, ordered=True)
        united = [each for each in casts.unified(given) if each is not None]
        of = next((each for each in united if each.kind is not Kind.UNKNOWN), united[0])
        return Expression({operator: [settled(each, of).code for each in united]}, of.kind, of.type)

    return extreme


def _now() -> Expression:
    return Expression("$$NOW", Kind.DATETIME, sqltypes.DateTime(timezone=True), known=True)


def _today() -> Expression:
    code = {"$dateToString": {"date": "$$NOW", "format": "%Y-%m-%d"}}
    return Expression(code, Kind.DATE, sqltypes.Date(), known=True)


def _cardinality(given: Expression) -> Expression:
    if given.kind is not Kind.ARRAY:
        raise unsupported(f"cardinality() of {given.kind.value}", "use a column of an ARRAY type")
    return Expression({"$cond": [{"$isArray": [given.code]}, {"$size": given.code}, NULL]}, Kind.INT, _LONG)


def _array_length(given: Expression, dimension: Expression) -> Expression:
    """Of the first dimension; NULL for an empty array, as PostgreSQL has it."""
    size = _cardinality(given)
    code = {"$cond": [{"$and": [{"$eq": [dimension.code, 1]}, {"$gt": [size.code, 0]}]}, size.code, NULL]}
    return size._replace(code=code)


_PARTS: Final[dict[str, Any]] = {
    "year": lambda date: {"$year": date},
    "month": lambda date: {"$month": date},
    "day": lambda date: {"$dayOfMonth": date},
    "hour": lambda date: {"$hour": date},
    "minute": lambda date: {"$minute": date},
    "quarter": lambda date: {"$toLong": {"$ceil": {"$divide": [{"$month": date}, literal(3)]}}},
    "dow": lambda date: {"$subtract": [{"$dayOfWeek": date}, literal(1)]},
    "isodow": lambda date: {"$isoDayOfWeek": date},
    "doy": lambda date: {"$dayOfYear": date},
    "week": lambda date: {"$isoWeek": date},
    "isoyear": lambda date: {"$isoWeekYear": date},
}
_FRACTIONS: Final[dict[str, Any]] = {
    "second": lambda date: {"$add": [{"$multiply": [{"$second": date}, literal(1000)]}, {"$millisecond": date}]},
    "epoch": lambda date: {"$toLong": date},
}


def extract(part: str, given: Expression) -> Expression:
    """EXTRACT(part FROM date or timestamp), in UTC.

    Raises:
        UnsupportedCapabilityError: the part or the operand has no translation.
    """
    part = part.lower()
    if given.kind not in (Kind.DATE, Kind.DATETIME):
        raise unsupported(f"extract() from {given.kind.value}", _REMEDY)
    date = as_datetime(given).code
    if part in _PARTS:
        return Expression({"$toDecimal": _PARTS[part](date)}, Kind.DECIMAL, sqltypes.Numeric())
    if part in _FRACTIONS:
        code = {"$divide": [{"$toDecimal": _FRACTIONS[part](date)}, literal(1000)]}
        return Expression(code, Kind.DECIMAL, sqltypes.Numeric())
    raise unsupported(f"extract({part})", f"use one of {', '.join([*_PARTS, *_FRACTIONS])}")


_UNITS: Final = ("year", "month", "day", "hour", "minute", "second", "week", "quarter")


def _date_trunc(unit: str, given: Expression | None = None) -> Expression:
    if given is None or unit not in _UNITS or given.kind is not Kind.DATETIME:
        raise unsupported("date_trunc() like this", f"use a timestamp and one of {', '.join(_UNITS)}")
    # Put together from parts, and not by $dateTrunc, which DocumentDB rounds.
    date = given.code
    parts: dict[str, Any] = {"year": {"$year": date}, "month": {"$month": date}, "day": {"$dayOfMonth": date}}
    if unit == "week":
        parts["day"] = {"$subtract": [parts["day"], {"$subtract": [{"$isoDayOfWeek": date}, literal(1)]}]}
    elif unit == "quarter":
        past = {"$mod": [{"$subtract": [parts["month"], literal(1)]}, literal(3)]}
        parts = {"year": parts["year"], "month": {"$subtract": [parts["month"], past]}}
    else:
        parts |= {"hour": {"$hour": date}, "minute": {"$minute": date}, "second": {"$second": date}}
        parts = dict(list(parts.items())[: _UNITS.index(unit) + 1])
    return Expression({"$dateFromParts": parts}, Kind.DATETIME, given.type)


def _untyped(*given: Expression) -> Expression:
    return Expression(NULL, Kind.UNKNOWN, UNTYPED)


_FUNCTIONS: Final[dict[str, Callable[..., Expression]]] = {
    "coalesce": _coalesce,
    "nullif": _untyped,
    "lower": _lower,
    "upper": _upper,
    "length": _length,
    "char_length": _length,
    "character_length": _length,
    "substr": _substring,
    "substring": _substring,
    "trim": _trim("$trim"),
    "btrim": _trim("$trim"),
    "ltrim": _trim("$ltrim"),
    "rtrim": _trim("$rtrim"),
    "concat": _concat,
    "replace": _replace,
    "strpos": _position,
    "abs": _absolute,
    "round": _round,
    "ceil": _whole("$ceil"),
    "ceiling": _whole("$ceil"),
    "floor": _whole("$floor"),
    "mod": _mod,
    "sqrt": _sqrt,
    "greatest": _extreme("$max"),
    "least": _extreme("$min"),
    "now": _now,
    "current_timestamp": _now,
    "current_date": _today,
    "date_trunc": _date_trunc,
    "cardinality": _cardinality,
    "array_length": _array_length,
}
