"""SQL that callers write, and the text of it that is kept."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import TextClause, bindparam, literal, literal_column, text
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ClauseElement
from sqlalchemy.types import TypeEngine

from sillar.errors import UsageError

SQL = str | ClauseElement
"""SQL text as it is (no ``:parameters`` in it), or an expression of SQLAlchemy's."""


def sql_text(sql: str) -> TextClause:
    """SQL text in which a colon is a colon."""
    return text(sql.replace(":", "\\:"))


def condition(sql: SQL | None) -> Any:
    """A condition to be put beside others."""
    if sql is None:
        return None
    if isinstance(sql, str):
        if not sql.strip():
            raise UsageError("an empty condition picks nothing and everything; leave it out for all rows")
        return sql_text(f"({sql})")
    return sql


def value_expression(value: Any, kind: TypeEngine[Any] | None = None) -> Any:
    """What a column is set to: text is SQL, everything else that is no expression is a value of the column's type."""
    if isinstance(value, str):
        return literal_column(f"({value})")
    if isinstance(value, ClauseElement):
        return value
    return literal(value, kind) if kind is not None else bindparam(None, value)


def kept_text(expression: Any, dialect: Dialect) -> str:
    """The SQL text of an expression, to be kept and compared: values stand in it.

    Raises:
        UsageError: a value cannot be written as text.
    """
    if isinstance(expression, str):
        return expression
    element: ClauseElement = expression if isinstance(expression, ClauseElement) else literal(expression)
    plain = cast(Any, type(dialect))(paramstyle="named")  # which doubles no percent signs
    try:
        compiled = element.compile(dialect=plain, compile_kwargs={"literal_binds": True})
    except Exception as error:
        raise UsageError(
            f"{type(expression).__name__} cannot be written as SQL text, which the journal keeps: give a string of SQL"
        ) from error
    return str(compiled)


__all__ = ["SQL", "condition", "kept_text", "sql_text", "value_expression"]
