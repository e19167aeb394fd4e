"""The values in a condition, held against the types of the columns before anything is sent."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import types
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, ExpressionClauseList, Grouping, UnaryExpression

from sillar.errors import ParameterError

_COMPARISONS: Final = frozenset({operators.eq, operators.ne, operators.lt, operators.le, operators.gt, operators.ge})
_NUMBERS: Final = (int, float, Decimal)
_ACCEPTED: Final[tuple[tuple[type[types.TypeEngine[Any]], tuple[type, ...]], ...]] = (
    (types.Enum, ()),
    (types.Boolean, (bool, int)),
    (types.Integer, (int,)),
    (types.Float, _NUMBERS),
    (types.Numeric, _NUMBERS),
    (types.String, (str,)),
    (types.DateTime, (dt.datetime,)),
    (types.Date, (dt.date,)),
    (types.Time, (dt.time,)),
    (types.Interval, (dt.timedelta,)),
    (types.LargeBinary, (bytes, bytearray, memoryview)),
    (types.Uuid, (UUID, str)),
)
_by_type: dict[type[Any], tuple[type, ...]] = {}
"""Registry: SQLAlchemy type → Python types; empty where everything passes. Filled as types are met."""


def check_operands(binds: Iterable[BindParameter[Any]]) -> None:
    """Return if every value has a type that its column takes.

    Args:
        binds: the parameters of an expression.

    Raises:
        ParameterError: one has not; the message names both types, never the value.
    """
    for bind in binds:
        value = bind.value
        if value is None:
            continue
        accepted = _by_type.get(type(bind.type))
        if accepted is None:
            accepted = _accepted(bind.type)
        if not accepted:
            continue
        if bind.expanding:
            for each in value:
                if each is not None and not isinstance(each, accepted) and not isinstance(each, tuple):
                    raise ParameterError(_mismatch(bind, each, accepted))
        elif not isinstance(value, accepted) or (accepted == (dt.date,) and isinstance(value, dt.datetime)):
            raise ParameterError(_mismatch(bind, value, accepted))


def check_condition(expression: Any) -> None:
    """Return if what the condition compares its columns with has types that they take.

    SQLAlchemy gives a value of another kind than the column's a type of its own; the engine would then compare a number
    with a text, and say so, or worse, not.

    Raises:
        ParameterError: a comparison of two kinds; the message names the column and both types, never the value.
    """
    if isinstance(expression, BinaryExpression):
        left, right = expression.left, expression.right
        if expression.operator in _COMPARISONS:
            if isinstance(right, BindParameter):
                _check_pair(left, right)
            elif isinstance(left, BindParameter):
                _check_pair(right, left)
    elif isinstance(expression, ExpressionClauseList):
        for each in expression.clauses:
            check_condition(each)
    elif isinstance(expression, (Grouping, UnaryExpression)):
        check_condition(expression.element)


def _check_pair(compared: Any, bind: BindParameter[Any]) -> None:
    value, kind = bind.value, compared.type
    if value is None or bind.type is kind or kind._isnull or bind.type._type_affinity is kind._type_affinity:
        return
    accepted = _by_type.get(type(kind))
    if accepted is None:
        accepted = _accepted(kind)
    if not accepted or isinstance(value, accepted) or (int in accepted and isinstance(value, _NUMBERS)):
        return
    name = getattr(compared, "name", None) or "an expression"
    names = " or ".join(each.__name__ for each in accepted)
    raise ParameterError(f"{name} is compared with a value of type {type(value).__name__}, and takes {names}")


def _accepted(kind: types.TypeEngine[Any]) -> tuple[type, ...]:
    found: tuple[type, ...] = ()
    if not isinstance(kind, types.TypeDecorator):
        found = next((accepted for base, accepted in _ACCEPTED if isinstance(kind, base)), ())
    _by_type[type(kind)] = found
    return found


def _mismatch(bind: BindParameter[Any], value: Any, accepted: tuple[type, ...]) -> str:
    names = " or ".join(each.__name__ for each in accepted)
    column = f"the column {bind._orig_key} " if bind._orig_key else "an operand "
    hint = "; give its .value" if isinstance(value, Enum) else ""
    return f"{column}takes {names}, and was given a value of type {type(value).__name__}{hint}"
