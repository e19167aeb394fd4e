"""A condition by name, as a value: for filters that come from outside, or from a place that has no model at hand."""

from __future__ import annotations

import operator as op
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from sqlalchemy.sql.elements import ColumnElement

from sillar.errors import ParameterError, UsageError
from sillar.query.column import bound

_COMPARISONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "==": op.eq,
    "!=": op.ne,
    "<": op.lt,
    "<=": op.le,
    ">": op.gt,
    ">=": op.ge,
    "like": lambda column, value: column.like(value, escape="\\"),
    "starts with": lambda column, value: column.startswith(value, autoescape=True),
    "ends with": lambda column, value: column.endswith(value, autoescape=True),
    "contains": lambda column, value: column.contains(value, autoescape=True),
}
_LISTS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "in": lambda column, values: column.in_(values),
    "not in": lambda column, values: column.not_in(values),
    "between": lambda column, values: column.between(*values),
}
_ALONE: Final[dict[str, Callable[[Any], Any]]] = {
    "is null": lambda column: column.is_(None),
    "is not null": lambda column: column.is_not(None),
}
OPERATORS: Final = (*_COMPARISONS, *_LISTS, *_ALONE)


@dataclass(frozen=True, slots=True)
class Condition:
    """``Condition("qty", ">", 3)``: a comparison of one column by its name.

    Names and operators are held against the model and a fixed list, values are always bound, so all three may come from
    a request. Combine several with :func:`sqlalchemy.and_` and :func:`sqlalchemy.or_` after :meth:`on`.

    Args:
        field: attribute of the model.
        operator: ``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``like``, ``starts with``, ``ends with``, ``contains``,
            ``in``, ``not in``, ``between``, ``is null``, ``is not null``.
        value: to compare with; a list for ``in`` and ``not in``, a pair for ``between``.
    """

    field: str
    operator: str
    value: Any = None

    def on(self, model: Any) -> ColumnElement[bool]:
        """The condition on a model.

        Raises:
            UsageError: the model has no such column, or there is no such operator.
            ParameterError: a list was needed, or the value cannot be compared so.
        """
        column = bound(model).column(self.field)
        if self.operator in _ALONE:
            found: ColumnElement[bool] = _ALONE[self.operator](column)
            return found
        if self.operator in _LISTS:
            if isinstance(self.value, (str, bytes)) or not isinstance(self.value, Sequence):
                raise ParameterError(f"{self.operator!r} takes a list of values, not {type(self.value).__name__}")
            if self.operator == "between" and len(self.value) != 2:
                raise ParameterError(f"'between' takes two values, not {len(self.value)}")
            of_list: ColumnElement[bool] = _LISTS[self.operator](column, list(self.value))
            return of_list
        compare = _COMPARISONS.get(self.operator)
        if compare is None:
            near = get_close_matches(str(self.operator), OPERATORS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(OPERATORS)}"
            raise UsageError(f"there is no operator {str(self.operator)[:40]!r}; {hint}")
        if isinstance(self.value, (dict, list, tuple, set)):
            raise ParameterError(f"{self.operator!r} takes one value, not a {type(self.value).__name__}")
        compared: ColumnElement[bool] = compare(column, self.value)
        return compared
