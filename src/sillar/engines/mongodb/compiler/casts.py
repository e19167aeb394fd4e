"""CAST, and what CASE and COALESCE make of branches of several types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import types as sqltypes

from sillar.engines.mongodb.compiler.alignment import NULL, as_float, literal, settled
from sillar.engines.mongodb.compiler.kinds import NUMBERS, Kind, kind_of
from sillar.engines.mongodb.compiler.refusal import unsupported
from sillar.engines.mongodb.compiler.scope import Expression

if TYPE_CHECKING:
    from sillar.engines.mongodb.compiler.values import ValueVisitor

_REMEDY = "read the column as it is and convert it in Python"


def unified(given: Sequence[Expression | None]) -> list[Expression | None]:
    """Branches of one CASE or COALESCE, of one kind.

    Raises:
        UnsupportedCapabilityError: SQL would not unite their types.
    """
    kinds = {each.kind for each in given if each is not None} - {Kind.UNKNOWN}
    if len(kinds) <= 1:
        return list(given)
    if not kinds <= NUMBERS:
        if kinds == {Kind.TEXT, Kind.ENUM}:
            return list(given)
        names = ", ".join(sorted(kind.value for kind in kinds))
        raise unsupported(f"branches of different types ({names})", "cast them to one type")
    if Kind.FLOAT in kinds:
        return [None if each is None else as_float(each) if each.kind in NUMBERS else each for each in given]
    decimal = sqltypes.Numeric()
    return [
        None if each is None else each._replace(kind=Kind.DECIMAL, type=decimal) if each.kind in NUMBERS else each
        for each in given
    ]


def cast(visitor: ValueVisitor, element: Any) -> Expression:
    """CAST(value AS type).

    Raises:
        UnsupportedCapabilityError: MongoDB converts otherwise.
    """
    target = element.type
    kind = kind_of(target)
    inner = visitor.of(element.clause)
    if inner.kind is Kind.UNKNOWN:
        inner = settled(inner, Expression(NULL, kind, target))
        return _sized(Expression(inner.code, kind, target, None, inner.slot), target)
    return _sized(Expression(converted(inner, kind), kind, target, known=inner.known), target)


def converted(given: Expression, kind: Kind) -> Any:
    """A value of one kind as one of another.

    Raises:
        UnsupportedCapabilityError: MongoDB converts otherwise.
    """
    code = _CASTS.get((given.kind, kind), _refuse)(given)
    if code is None:
        raise unsupported(f"a value of kind {given.kind.value} as {kind.value}", _REMEDY)
    return code


def rounded_half_away(code: Any, digits: Any) -> Any:
    """A decimal rounded as SQL rounds: half away from zero. ``digits`` is a constant or a template of one."""
    half = {
        "$divide": [{"$toDecimal": literal(5)}, {"$pow": [{"$toDecimal": literal(10)}, {"$add": [digits, literal(1)]}]}]
    }
    signed = {"$cond": [{"$lt": [code, literal(0)]}, {"$subtract": [code, half]}, {"$add": [code, half]}]}
    return {"$trunc": [signed, digits]}


def _sized(given: Expression, target: Any) -> Expression:
    """The length or scale that the target type has."""
    scale = getattr(target, "scale", None)
    if given.kind is Kind.DECIMAL and scale is not None:
        return given._replace(code=rounded_half_away({"$toDecimal": given.code}, literal(scale)), slot=None, path=None)
    length = getattr(target, "length", None)
    if given.kind is Kind.TEXT and length is not None:
        cut = {"$substrCP": [given.code, literal(0), literal(length)]}
        return given._replace(code={"$cond": [{"$gt": [given.code, None]}, cut, NULL]}, slot=None, path=None)
    return given


def _refuse(given: Expression) -> Any:
    return None


def _same(given: Expression) -> Any:
    return given.code


def _string(given: Expression) -> Any:
    return {"$toString": given.code}


def _int_of_decimal(given: Expression) -> Any:
    return {"$toLong": rounded_half_away(given.code, literal(0))}


def _int_of_float(given: Expression) -> Any:
    return {"$toLong": {"$round": [given.code, literal(0)]}}  # half to even, as PostgreSQL rounds doubles


def _decimal(given: Expression) -> Any:
    return {"$toDecimal": given.code}


def _float(given: Expression) -> Any:
    return {"$toDouble": given.code}


def _long(given: Expression) -> Any:
    return {"$toLong": given.code}


def _bool_of_int(given: Expression) -> Any:
    return {"$toBool": given.code}


def _date(given: Expression) -> Any:
    return {"$dateToString": {"date": given.code, "format": "%Y-%m-%d", "onNull": None}}


def _midnight(given: Expression) -> Any:
    return {"$dateFromString": {"dateString": given.code, "format": "%Y-%m-%d", "onNull": None}}


_CASTS = {
    **{(kind, kind): _same for kind in Kind},
    (Kind.INT, Kind.TEXT): _string,
    (Kind.BOOL, Kind.TEXT): _string,
    (Kind.UUID, Kind.TEXT): _string,
    (Kind.DATE, Kind.TEXT): _same,
    (Kind.ENUM, Kind.TEXT): _same,
    (Kind.INT, Kind.FLOAT): _float,
    (Kind.INT, Kind.DECIMAL): _decimal,
    (Kind.INT, Kind.BOOL): _bool_of_int,
    (Kind.BOOL, Kind.INT): _long,
    (Kind.FLOAT, Kind.INT): _int_of_float,
    (Kind.DECIMAL, Kind.INT): _int_of_decimal,
    (Kind.DECIMAL, Kind.FLOAT): _float,
    (Kind.TEXT, Kind.INT): _long,
    (Kind.TEXT, Kind.FLOAT): _float,
    (Kind.TEXT, Kind.DECIMAL): _decimal,
    (Kind.DATETIME, Kind.DATE): _date,
    (Kind.DATE, Kind.DATETIME): _midnight,
}
