"""Arithmetic and concatenation."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import types as sqltypes
from sqlalchemy.sql import operators

from sillar.engines.mongodb.compiler.alignment import as_decimal, as_float, literal, milliseconds, seconds, settled
from sillar.engines.mongodb.compiler.kinds import NUMBERS, Kind
from sillar.engines.mongodb.compiler.refusal import unsupported
from sillar.engines.mongodb.compiler.scope import Expression

_PLAIN: Final[dict[Any, str]] = {operators.add: "$add", operators.sub: "$subtract", operators.mul: "$multiply"}
_TYPES: Final[dict[Kind, Any]] = {
    Kind.INT: sqltypes.BigInteger(),
    Kind.FLOAT: sqltypes.Float(),
    Kind.DECIMAL: sqltypes.Numeric(),
}
_INTERVALS: Final = frozenset({Kind.INTERVAL})


def binary(operator: Any, left: Expression, right: Expression, *, floored: bool = True) -> Expression:
    """A binary operator that gives a value.

    Args:
        floored: SQLAlchemy puts FLOOR around this ``//``.

    Raises:
        UnsupportedCapabilityError: the operator has no translation for operands of these kinds.
    """
    left, right = settled(left, right), settled(right, left)
    kinds = {left.kind, right.kind}
    if operator is operators.concat_op:
        return _concatenated(left, right)
    if kinds & {Kind.DATETIME, Kind.INTERVAL}:
        return _of_times(operator, left, right)
    if not kinds <= NUMBERS:
        names = " and ".join(sorted(kind.value for kind in kinds))
        raise unsupported(f"the operator {_name(operator)} on {names}", "cast the operands, or compute it in Python")
    left, right, kind = numbers(left, right)
    if operator in _PLAIN:
        return _made(_joined(_PLAIN[operator], left.code, right.code, flat=kind is Kind.INT), kind)
    if operator is operators.mod and kind is not Kind.FLOAT:
        return _made({"$mod": [left.code, right.code]}, kind)
    if operator is operators.truediv:
        return true_division(left, right, kind)
    if operator is operators.floordiv:
        return _floor_division(left, right, kind, floored=floored)
    raise unsupported(f"the operator {_name(operator)} on {kind.value}", "compute it in Python")


def numbers(left: Expression, right: Expression) -> tuple[Expression, Expression, Kind]:
    """Two numbers of one kind: a float makes both floats, a decimal makes both decimals."""
    if left.kind is right.kind:
        return left, right, left.kind
    kinds = {left.kind, right.kind}
    if Kind.FLOAT in kinds:
        return as_float(left), as_float(right), Kind.FLOAT
    return left, right, Kind.DECIMAL  # MongoDB computes an integer with a decimal as a decimal


def true_division(left: Expression, right: Expression, kind: Kind) -> Expression:
    """``/``: of integers it gives a decimal, as SQLAlchemy has it on PostgreSQL."""
    if kind is Kind.FLOAT:
        return _made({"$divide": [left.code, right.code]}, kind)
    return _made({"$divide": [as_decimal(left).code, as_decimal(right).code]}, Kind.DECIMAL)


def _floor_division(left: Expression, right: Expression, kind: Kind, *, floored: bool) -> Expression:
    """``//``: what PostgreSQL's ``/`` gives, which truncates integers; in FLOOR() where SQLAlchemy puts it."""
    divided = true_division(left, right, kind)
    if kind is Kind.INT:  # by way of decimals, which are exact for 64 bits
        return _made({"$toLong": {"$trunc": [divided.code]}}, kind)
    return _made({"$floor": divided.code}, kind) if floored else divided


def negative(given: Expression) -> Expression:
    """Minus."""
    if given.kind not in NUMBERS | _INTERVALS:
        raise unsupported(f"minus a value of kind {given.kind.value}", "cast it to a number")
    return Expression({"$multiply": [given.code, literal(-1)]}, given.kind, _TYPES.get(given.kind, given.type))


def _made(code: Any, kind: Kind) -> Expression:
    return Expression(code, kind, _TYPES[kind])


def _concatenated(left: Expression, right: Expression) -> Expression:
    return Expression(_joined("$concat", as_text(left), as_text(right), flat=True), Kind.TEXT, sqltypes.Text())


def _joined(name: str, left: Any, right: Any, *, flat: bool) -> Any:
    """One operator on both; ``a + b + c`` is one of three, lest a long sum is nested deeper than MongoDB takes."""
    if flat and name != "$subtract" and isinstance(left, dict) and list(left) == [name]:
        return {name: [*left[name], right]}
    return {name: [left, right]}


def as_text(given: Expression) -> Any:
    """A value as SQL writes it in ``||``.

    Raises:
        UnsupportedCapabilityError: MongoDB writes it otherwise.
    """
    if given.kind in (Kind.TEXT, Kind.ENUM, Kind.UNKNOWN, Kind.DATE):
        return given.code
    if given.kind in (Kind.INT, Kind.BOOL, Kind.UUID):
        return {"$toString": given.code}
    raise unsupported(f"a value of kind {given.kind.value} as text", "write it in Python; MongoDB spells it otherwise")


def _of_times(operator: Any, left: Expression, right: Expression) -> Expression:
    kinds = (left.kind, right.kind)
    if operator is operators.sub and kinds == (Kind.DATETIME, Kind.DATETIME):
        return seconds({"$subtract": [left.code, right.code]})
    if operator in (operators.add, operators.sub) and kinds == (Kind.DATETIME, Kind.INTERVAL):
        return Expression({_PLAIN[operator]: [left.code, milliseconds(right)]}, Kind.DATETIME, left.type)
    if operator is operators.add and kinds == (Kind.INTERVAL, Kind.DATETIME):
        return Expression({"$add": [right.code, milliseconds(left)]}, Kind.DATETIME, right.type)
    if operator in (operators.add, operators.sub) and kinds == (Kind.INTERVAL, Kind.INTERVAL):
        return Expression({_PLAIN[operator]: [left.code, right.code]}, Kind.INTERVAL, left.type)
    names = " and ".join(sorted(kind.value for kind in set(kinds)))
    raise unsupported(
        f"the operator {_name(operator)} on {names}", "compute the bound in Python and give it as a value"
    )


def _name(operator: Any) -> str:
    return str(getattr(operator, "opstring", None) or getattr(operator, "__name__", operator))
