"""PostgreSQL and MongoDB with the same rows, and their answers in a form that compares."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from sillar import DatabaseSession
from sillar.errors import DatabaseError

Sides = tuple[DatabaseSession, DatabaseSession]
CONCURRENT = 8


def plain(value: Any) -> Any:
    """A value in the form in which both sides are compared: numbers by value to 9 digits, whatever their type."""
    if isinstance(value, bool) or value is None:
        return (str(type(value)), value)
    if isinstance(value, (int, float, Decimal)):
        return ("number", float(f"{float(value):.9g}") + 0.0)
    if isinstance(value, dt.datetime):
        return ("time", value.replace(tzinfo=None))
    if isinstance(value, (list, tuple)):
        return ("list", tuple(plain(each) for each in value))
    if isinstance(value, dict):
        return ("document", tuple(sorted((key, plain(each)) for key, each in value.items())))
    return (type(value).__name__, value)


async def rows_of(session: DatabaseSession, statement: Any) -> Any:
    """The rows, or the error."""
    try:
        rows = await session.fetch_all(statement, into=tuple)
    except DatabaseError as error:
        return error
    return [tuple(plain(value) for value in row) for row in rows]
