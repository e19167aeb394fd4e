"""Aggregates: what ``$group`` and ``$setWindowFields`` accumulate, and what SQL makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import types as sqltypes
from sqlalchemy.sql import operators

from sillar.engines.mongodb.compiler.alignment import NULL, check_order, literal
from sillar.engines.mongodb.compiler.kinds import NUMBERS, Kind
from sillar.engines.mongodb.compiler.refusal import unsupported
from sillar.engines.mongodb.compiler.scope import Expression

if TYPE_CHECKING:
    from sillar.engines.mongodb.compiler.expressions import Expressions

_LONG: Final = sqltypes.BigInteger()
_DECIMAL: Final = sqltypes.Numeric()


@dataclass(frozen=True, slots=True)
class Accumulation:
    """One aggregate.

    Attributes:
        parts: accumulators, each with what it comes to without a row.
        finish: makes the aggregate's value of the fields that the parts stand in.
        kind, type: of the value.
    """

    parts: tuple[tuple[Any, Any], ...]
    finish: Callable[..., Any]
    kind: Kind
    type: Any


def accumulation(expressions: Expressions, element: Any, criterion: Any) -> Accumulation:
    """What an aggregate function is made of.

    Args:
        expressions: the rows that are aggregated.
        element: the function.
        criterion: of FILTER (WHERE …), or None.

    Raises:
        UnsupportedCapabilityError: it has no faithful translation.
    """
    name = element.name.lower()
    arguments = list(element.clauses)
    kept = None if criterion is None else expressions.true(criterion)
    if name == "count" and (not arguments or getattr(arguments[0], "is_literal", False)):
        return Accumulation((({"$sum": 1 if kept is None else _flag(kept)}, 0),), _itself, Kind.INT, _LONG)
    if len(arguments) != 1 or name not in _MADE:
        raise unsupported(f"the aggregate {name}()", "select the rows and aggregate them in Python")
    argument, distinct = arguments[0], False
    while getattr(argument, "__visit_name__", "") == "grouping":
        argument = argument.element
    if getattr(argument, "operator", None) is operators.distinct_op:
        argument, distinct = argument.element, True
    given = expressions.value(argument)
    if kept is not None:
        given = given._replace(code={"$cond": [kept, given.code, NULL]})
    return _MADE[name](given, distinct)


def _itself(field: Any) -> Any:
    return field


def _flag(condition: Any) -> Any:
    return {"$cond": [condition, 1, 0]}


def _number_of_known(given: Expression) -> tuple[Any, Any]:
    return {"$sum": _flag({"$gt": [given.code, None]})}, 0


def _set(given: Expression) -> tuple[Any, Any]:
    return {"$addToSet": {"$ifNull": [given.code, None]}}, []


def _without_null(values: Any) -> Any:
    return {"$setDifference": [values, literal([None])]}


def _count(given: Expression, distinct: bool) -> Accumulation:
    if distinct:
        return Accumulation((_set(given),), lambda values: {"$size": _without_null(values)}, Kind.INT, _LONG)
    return Accumulation((_number_of_known(given),), _itself, Kind.INT, _LONG)


def _numeric(given: Expression, name: str, *, intervals: bool = False) -> Expression:
    if given.kind in NUMBERS or (intervals and given.kind is Kind.INTERVAL):
        return given
    raise unsupported(f"{name}() of {given.kind.value}", "cast it to a number")


def _sum(given: Expression, distinct: bool) -> Accumulation:
    kind = _numeric(given, "sum", intervals=True).kind
    of = _LONG if kind is Kind.INT else given.type
    if distinct:

        def total(values: Any) -> Any:
            only = _without_null(values)
            return {"$cond": [{"$gt": [{"$size": only}, 0]}, {"$sum": only}, NULL]}

        return Accumulation((_set(given),), total, kind, of)
    return Accumulation((({"$sum": given.code}, 0), _number_of_known(given)), _unless_empty, kind, of)


def _unless_empty(total: Any, number: Any) -> Any:
    return {"$cond": [{"$gt": [number, 0]}, total, NULL]}


def _average(given: Expression, distinct: bool) -> Accumulation:
    """Of integers and decimals a decimal, exact to 34 digits; of floats a float."""
    is_float = _numeric(given, "avg").kind is Kind.FLOAT

    def quotient(total: Any, number: Any) -> Any:
        return _unless_empty({"$divide": [total if is_float else {"$toDecimal": total}, _nonzero(number)]}, number)

    kind, of = (Kind.FLOAT, sqltypes.Float()) if is_float else (Kind.DECIMAL, _DECIMAL)
    if distinct:

        def of_set(values: Any) -> Any:
            only = _without_null(values)
            return quotient({"$sum": only}, {"$size": only})

        return Accumulation((_set(given),), of_set, kind, of)
    return Accumulation((({"$sum": given.code}, 0), _number_of_known(given)), quotient, kind, of)


def _nonzero(number: Any) -> Any:
    return {"$max": [number, 1]}


def _extreme(operator: str) -> Callable[[Expression, bool], Accumulation]:
    def extreme(given: Expression, distinct: bool) -> Accumulation:
        check_order(given.kind)
        return Accumulation((({operator: given.code}, None),), _itself, given.kind, given.type)

    return extreme


def _of_booleans(operator: str) -> Callable[[Expression, bool], Accumulation]:
    def boolean(given: Expression, distinct: bool) -> Accumulation:
        if given.kind is not Kind.BOOL:
            raise unsupported(f"bool_and() or bool_or() of {given.kind.value}", "give it a condition")
        return Accumulation((({operator: given.code}, None),), _itself, Kind.BOOL, given.type)

    return boolean


_MADE: Final[dict[str, Callable[[Expression, bool], Accumulation]]] = {
    "count": _count,
    "sum": _sum,
    "avg": _average,
    "min": _extreme("$min"),
    "max": _extreme("$max"),
    "bool_and": _of_booleans("$min"),
    "every": _of_booleans("$min"),
    "bool_or": _of_booleans("$max"),
}
