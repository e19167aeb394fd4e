"""Many parameter sets and many rows: counted, and told apart from what their source does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import asyncpg

from sillar import errors
from sillar.engines.connection import DriverConnection
from sillar.engines.postgresql.values import plain_parameters
from sillar.query.text import StatementText

_NOT_ONE_ROW: Final = re.compile(r"\b(?:select|conflict)\b", re.IGNORECASE)
_PLAIN_TYPES: Final = frozenset(
    {type(None), bool, int, float, str, bytes, Decimal, datetime, date, time, timedelta, UUID, list, dict}
)


class CopyRecords:
    """Rows on their way into a COPY, with enums and :class:`Json` unwrapped.

    Attributes:
        count: rows given out so far; the last of them is the one that an encoder refuses.
        failure: what the source of the rows itself raised, if it did.
    """

    __slots__ = ("_rows", "count", "failure")

    def __init__(self, rows: Iterable[Sequence[Any]]) -> None:
        self._rows = rows
        self.count = 0
        self.failure: BaseException | None = None

    def __iter__(self) -> Iterator[Sequence[Any]]:
        plain = _PLAIN_TYPES.issuperset
        try:
            for row in self._rows:
                self.count += 1
                yield row if plain(map(type, row)) else plain_parameters(row) or row
        except GeneratorExit:
            raise
        except BaseException as error:
            self.failure = error
            raise

    def is_to_blame(self, error: BaseException) -> bool:
        """Whether asyncpg could not encode a value: in a COPY its encoders' own exceptions come through."""
        return (
            error is not self.failure
            and isinstance(error, (TypeError, ValueError, ArithmeticError, AttributeError, LookupError))
            and not isinstance(error, asyncpg.PostgresError)
        )

    def refusal(self, table: str) -> errors.ParameterError:
        """The error for it, without the value that the driver's message may quote."""
        error = errors.ParameterError(
            f"row {self.count} has a value that the type of its column in {table} does not take; nothing was inserted"
        )
        error.row_number = self.count
        return error


def plain_column(values: Sequence[Any]) -> list[Any]:
    """The values of one column, with enums and :class:`Json` unwrapped."""
    if _PLAIN_TYPES.issuperset(map(type, values)):
        return list(values)
    return plain_parameters(values) or list(values)


def inserts_one_row_per_set(statement: StatementText) -> bool:
    """Whether the rows affected are as many as the parameter sets: asyncpg's ``executemany`` does not tell."""
    return statement.verb == "insert" and _NOT_ONE_ROW.search(statement.sql) is None


async def run_each(
    connection: DriverConnection[StatementText],
    statement: StatementText,
    rows: Sequence[Sequence[Any]],
    timeout_seconds: float | None,
) -> int:
    """Run a statement once per set in one transaction, each within the timeout; returns the rows affected."""
    own = not connection.in_transaction
    if own:
        await connection.begin()
    try:
        affected = 0
        for row in rows:
            affected += (await connection.run(statement, row, timeout_seconds)).rows_affected
    except BaseException:
        if own and not connection.is_closed():
            await connection.rollback()
        raise
    if own:
        await connection.commit_undisturbed()
    return affected
