"""Sort keys: columns with a direction and a place for rows without a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import CompoundSelect
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import ColumnElement, UnaryExpression

from sillar.query.binding import ModelBinding, plain
from sillar.query.parts import clause

Nulls = Literal["first", "last"] | None


def key_of(binding: ModelBinding[Any], given: Any, nulls: Nulls) -> Any:
    """The sort key for a column, an expression, or a name; a name with a minus sign before it is descending.

    Raises:
        UsageError: unknown name, or no expression.
    """
    key: Any
    if isinstance(given, str):
        key = binding.column(given.removeprefix("-"))
        if given.startswith("-"):
            key = key.desc()
    else:
        key = given
    key = clause(key)
    if nulls is not None:
        key = key.nulls_first() if nulls == "first" else key.nulls_last()
    return key


def sorted_by(statement: Any, keys: list[Any]) -> Any:
    """The statement sorted by these keys besides what it is sorted by; what was united is sorted by its own columns."""
    if isinstance(statement, CompoundSelect):
        columns = statement.selected_columns
        keys = [_of_result(key, columns) for key in keys]
    return statement.order_by(*keys)


def _of_result(key: Any, columns: Any) -> Any:
    """The same key with the column of the result in the place of the table's."""
    if isinstance(key, UnaryExpression):
        inner = _of_result(key.element, columns)
        return key if inner is key.element else UnaryExpression(inner, modifier=key.modifier)
    found = columns.get(getattr(plain(key), "key", None))
    return key if found is None else found


@dataclass(frozen=True, slots=True)
class SortKey:
    """A sort key taken apart.

    Attributes:
        column: what is sorted by.
        descending: from the greatest on.
        nulls: where rows without a value stand; None: not said.
    """

    column: ColumnElement[Any]
    descending: bool
    nulls: Nulls

    @classmethod
    def of(cls, key: Any) -> SortKey:
        """Take apart ``column``, ``column.desc()``, ``column.desc().nulls_last()``."""
        descending, nulls = False, None
        while isinstance(key, UnaryExpression) and key.modifier is not None:
            if key.modifier is operators.desc_op:
                descending = True
            elif key.modifier is operators.nulls_first_op:
                nulls = "first"
            elif key.modifier is operators.nulls_last_op:
                nulls = "last"
            key = key.element
        return cls(key, descending, nulls)  # type: ignore[arg-type]

    def expression(self) -> Any:
        """The key put together again."""
        key: Any = self.column.desc() if self.descending else self.column.asc()
        if self.nulls is not None:
            key = key.nulls_first() if self.nulls == "first" else key.nulls_last()
        return key
