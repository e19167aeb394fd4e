"""Operands brought to one kind, as PostgreSQL does it, or refused."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import types as sqltypes

from sillar.engines.mongodb.compiler.failures import Failure, failing
from sillar.engines.mongodb.compiler.kinds import NUMBERS, ORDERED, Kind, writer_of
from sillar.engines.mongodb.compiler.refusal import unsupported
from sillar.engines.mongodb.compiler.scope import Expression
from sillar.engines.mongodb.compiler.template import Slot

NULL: Final[Any] = {"$literal": None}
_MILLISECONDS: Final = 1000


def literal(value: Any) -> Any:
    """A constant of ours as an expression."""
    return {"$literal": value}


def settled(given: Expression, other: Expression) -> Expression:
    """A parameter without a type takes the other operand's."""
    if given.slot is None or given.kind is not Kind.UNKNOWN or other.kind is Kind.UNKNOWN:
        return given
    slot = Slot(given.slot.position, writer_of(other.type))
    return given._replace(code={"$literal": slot}, slot=slot, kind=other.kind, type=other.type)


def same_kind(left: Expression, right: Expression, *, ordered: bool) -> tuple[Expression, Expression]:
    """Both operands of a comparison.

    Args:
        ordered: they are asked which is greater, not only whether they are equal.

    Raises:
        UnsupportedCapabilityError: the kinds do not compare in SQL, or MongoDB orders them otherwise.
    """
    left, right = settled(left, right), settled(right, left)
    kinds = {left.kind, right.kind}
    if kinds == {Kind.FLOAT, Kind.DECIMAL}:
        left, right = as_float(left), as_float(right)
    elif kinds == {Kind.DATE, Kind.DATETIME}:
        left, right = as_datetime(left), as_datetime(right)
    elif len(kinds - {Kind.UNKNOWN}) > 1 and not kinds <= NUMBERS and kinds != {Kind.TEXT, Kind.ENUM}:
        names = " with ".join(sorted(kind.value for kind in kinds))
        raise unsupported(f"a comparison of {names}", "cast one side; SQL compares values of one type")
    if ordered:
        for kind in kinds:
            check_order(kind)
    return left, right


def check_order(kind: Kind) -> None:
    """Refuse to order values of a kind that MongoDB orders otherwise, or of which it orders mixed types.

    Raises:
        UnsupportedCapabilityError: it is one of these.
    """
    if kind in ORDERED:
        return
    if kind in (Kind.JSON, Kind.UNKNOWN):
        raise unsupported(
            f"the order of values of {'JSON' if kind is Kind.JSON else 'an unknown type'}, which may be mixed",
            "declare the column's type, cast, or use as_string(), as_integer() and the like on a JSON path",
        )
    raise unsupported(f"the order of values of kind {kind.value}", "order by something else; MongoDB's order differs")


def as_float(given: Expression) -> Expression:
    """A number as a double."""
    if given.kind is Kind.FLOAT:
        return given
    return Expression({"$toDouble": given.code}, Kind.FLOAT, sqltypes.Float(), known=given.known)


def as_decimal(given: Expression) -> Expression:
    """A number as a decimal."""
    if given.kind is Kind.DECIMAL:
        return given
    return Expression({"$toDecimal": given.code}, Kind.DECIMAL, sqltypes.Numeric(), known=given.known)


def as_datetime(given: Expression) -> Expression:
    """A date, which is stored as text, as its midnight."""
    if given.kind is Kind.DATETIME:
        return given
    code = {"$dateFromString": {"dateString": given.code, "format": "%Y-%m-%d", "onNull": None}}
    return Expression(code, Kind.DATETIME, sqltypes.DateTime(timezone=True), known=given.known)


def milliseconds(given: Expression) -> Any:
    """An interval, which is stored in seconds, in milliseconds."""
    return {"$toLong": {"$multiply": [given.code, literal(_MILLISECONDS)]}}


def seconds(milliseconds_code: Any) -> Expression:
    """Milliseconds as an interval."""
    code = {"$divide": [milliseconds_code, literal(float(_MILLISECONDS))]}
    return Expression(code, Kind.INTERVAL, sqltypes.Interval())


def ascii_only(code: Any, then: Any) -> Any:
    """``then``, or an error where the text has letters that MongoDB's function would leave as they are."""
    wide = {"$regexMatch": {"input": code, "regex": literal("[^\\x00-\\x7F]")}}
    return {"$cond": [wide, failing(Failure.LETTERS), then]}
