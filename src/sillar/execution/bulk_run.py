"""How a bulk write runs: in batches, all of them or one by one, and with the row that is to blame named."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from sillar.capabilities import Capability
from sillar.errors import (
    DatabaseError,
    DataError,
    IntegrityError,
    ParameterError,
    StatementTimeoutError,
    UnknownStatementError,
    UsageError,
)
from sillar.execution import execution as operations
from sillar.query.bulk import BulkVerb, BulkWrite

if TYPE_CHECKING:
    from sillar.execution.session import DatabaseSession
    from sillar.execution.statements import Statements

Progress: TypeAlias = Callable[[int], Awaitable[None] | None]
"""Called with the number of rows done after each batch."""

Rows: TypeAlias = Iterable[Sequence[Any]] | AsyncIterable[Sequence[Any]]

BATCH_ROWS: Final = 10_000
_OF_A_ROW: Final = (IntegrityError, DataError, ParameterError)
_RAISED_BY_TRIGGERS: Final = frozenset({"P0001", 1644})


@dataclass(frozen=True, slots=True)
class BulkReport:
    """What a bulk write did.

    Attributes:
        rows_seen: rows taken from the input.
        rows_written: rows of the input that are settled: all of them, or after an error those of the batches before it
            (none, where all or nothing was asked for).
        rows_affected: rows inserted, found by an update (changed or not), or deleted.
        batches_written: batches that hold these rows.
        duration_seconds: from the call to the end.
    """

    rows_seen: int
    rows_written: int
    rows_affected: int
    batches_written: int
    duration_seconds: float


class _Batch:
    """Some rows on their way, and where in the input they stood."""

    __slots__ = ("_indexes", "first", "rows", "seen")

    def __init__(self, first: int, rows: list[Sequence[Any]]) -> None:
        self.first, self.rows, self.seen = first, rows, len(rows)
        self._indexes: Sequence[int] = range(len(rows))

    def keep(self, indexes: Sequence[int]) -> None:
        """Drop all other rows."""
        self._indexes = indexes
        self.rows = [self.rows[index] for index in indexes]

    def number(self, index: int) -> int:
        """The number in the input, from 1, of a row of this batch."""
        return self.first + self._indexes[index]


class BulkRun:
    """One bulk write.

    Args:
        statements: the session or transaction that it belongs to.
        write: what is done; its names are checked.
        rows: consumed once.
        batch_rows: rows at a time.
        progress: told after each batch.
        atomic: all or nothing; else each batch commits by itself (inside a transaction: is kept by itself).
        timeout_seconds: for all of it.
    """

    def __init__(
        self,
        statements: Statements,
        write: BulkWrite,
        rows: Rows,
        *,
        batch_rows: int | None,
        progress: Progress | None,
        atomic: bool,
        timeout_seconds: float | None,
    ) -> None:
        if batch_rows is not None and batch_rows < 1:
            raise UsageError(f"batch_rows is at least 1, not {batch_rows}")
        self._statements, self._write = statements, write
        self._rows, self._batch_rows = rows, batch_rows or BATCH_ROWS
        self._progress, self._atomic = progress, atomic
        self._timeout_seconds = timeout_seconds
        places = [write.columns.index(name) for name in write.key]
        self._key_of = itemgetter(*places) if places else None
        self._first_wins = write.verb is BulkVerb.UPSERT and not write.update
        self._nests = statements.capabilities.has(Capability.SAVEPOINTS)
        self._started = perf_counter()
        self._seen = self._written = self._affected = self._batches = 0

    async def run(self) -> BulkReport:
        """Do it.

        Raises:
            DatabaseError: as the server or the engine refuses a batch; ``row_number`` and ``bulk_report`` say more.
        """
        statements = self._statements
        statements._executor.check_loop()
        if self._atomic:
            statements.capabilities.require(
                Capability.TRANSACTIONS, remedy="pass atomic=False: each batch is then written by itself"
            )
        await statements._open_connection()  # begins what is due, refuses what has ended
        outer = statements.owning_transaction
        session = cast("DatabaseSession", statements) if outer is None else outer._session
        try:
            async with aclosing(self._in_batches()) as batches:
                if self._atomic:
                    await self._all(session, batches)
                else:
                    async for batch in batches:
                        await self._one(session, batch)
        except Exception as error:
            self._tell(error)
            raise
        return self._report()

    # --- the input --------------------------------------------------------------------------------------------------

    async def _in_batches(self) -> AsyncGenerator[_Batch, None]:
        size = self._batch_rows
        if isinstance(self._rows, AsyncIterable):
            chunk: list[Sequence[Any]] = []
            async for row in self._rows:
                chunk.append(row)
                if len(chunk) == size:
                    yield self._checked(chunk)
                    chunk = []
            if chunk:
                yield self._checked(chunk)
            return
        rows = iter(self._rows)
        while chunk := list(islice(rows, size)):
            yield self._checked(chunk)

    def _checked(self, rows: list[Sequence[Any]]) -> _Batch:
        """A batch whose rows have all values, and each key once.

        Raises:
            ParameterError: a row has more or fewer values than there are columns, or a key that finds no row.
        """
        batch = _Batch(self._seen + 1, rows)
        self._seen += len(rows)
        count = len(self._write.columns)
        if set(map(len, rows)) != {count}:
            index = next(index for index, row in enumerate(rows) if len(row) != count)
            number = batch.number(index)
            error = ParameterError(f"row {number} has {len(rows[index])} values for {count} columns")
            error.row_number = number
            raise error
        if self._key_of is not None:
            self._keep_each_key_once(batch)
        return batch

    def _keep_each_key_once(self, batch: _Batch) -> None:
        """The last row with a key stays, since it would overwrite the others; the first, where nothing overwrites."""
        assert self._key_of is not None
        keys = list(map(self._key_of, batch.rows))
        try:
            unique = set(keys)
        except TypeError:
            index = next(index for index, key in enumerate(keys) if not _is_hashable(key))
            raise self._blamed(
                ParameterError("a key is a list, a dict or the like, which cannot be compared"), batch.number(index)
            ) from None
        single = len(self._write.key) == 1
        if (None in unique) if single else any(None in key for key in unique):
            index = next(index for index, key in enumerate(keys) if (key is None if single else None in key))
            raise self._blamed(ParameterError("a key is None, and NULL finds no row"), batch.number(index))
        if len(unique) == len(keys):
            return
        kept: dict[Any, int] = {}
        for index, key in enumerate(keys):
            if key not in kept or not self._first_wins:
                kept[key] = index
        batch.keep(sorted(kept.values()))

    # --- the writing ------------------------------------------------------------------------------------------------

    async def _all(self, session: DatabaseSession, batches: AsyncIterator[_Batch]) -> None:
        """All or nothing. What is one batch outside a transaction needs none: a batch by itself is all or nothing."""
        ahead = [batch for _ in range(2) if (batch := await anext(batches, None)) is not None]
        if len(ahead) < 2 and not session.in_transaction:
            for batch in ahead:
                await self._one(session, batch)
        elif session.in_transaction and not self._nests:
            await self._each(session, ahead, batches)
        elif ahead:
            async with session.transaction():
                await self._each(session, ahead, batches)

    async def _each(self, session: DatabaseSession, ahead: list[_Batch], batches: AsyncIterator[_Batch]) -> None:
        while ahead:
            await self._one(session, ahead.pop(0))
        async for batch in batches:
            await self._one(session, batch)

    async def _one(self, session: DatabaseSession, batch: _Batch) -> None:
        try:
            if session.in_transaction and self._nests:
                async with session.transaction():  # so that the rows can be looked at after a refusal
                    affected = await self._send(session, batch.rows)
            else:
                affected = await self._send(session, batch.rows)
        except DatabaseError as error:
            await self._blame(session, batch, error)
            raise
        self._affected += affected
        self._written += batch.seen
        self._batches += 1
        if self._progress is not None:
            told = self._progress(self._written)
            if inspect.isawaitable(told):
                await told

    async def _send(self, session: DatabaseSession, rows: Sequence[Sequence[Any]]) -> int:
        affected: int = await session._run_bound(operations.write_batch, self._write, (), self._left(), rows)
        return affected

    def _left(self) -> float | None:
        if self._timeout_seconds is None:
            return None
        left = self._timeout_seconds - (perf_counter() - self._started)
        if left <= 0:
            raise StatementTimeoutError(
                f"the bulk write did not come to its end within its {self._timeout_seconds:g} s; {self._seen} rows were"
                " taken from the input"
            )
        return left

    # --- the blame --------------------------------------------------------------------------------------------------

    async def _blame(self, session: DatabaseSession, batch: _Batch, error: DatabaseError) -> None:
        """Name the row that the server refuses, if it is the fault of one."""
        index: int | None = None
        if error.row_number is not None:
            index = error.row_number - 1
        elif _is_of_a_row(error) and (self._nests or len(batch.rows) == 1):
            try:
                index = await self._found(session, batch.rows)
            except DatabaseError as failure:
                error.add_note(f"the row to blame was not found: {failure}")
        if index is not None:
            self._blamed(error, batch.number(index))

    def _blamed(self, error: DatabaseError, number: int) -> DatabaseError:
        key = f" (key: {', '.join(self._write.key)})" if self._write.key else ""
        error.row_number = number
        error.args = (f"{error.args[0]}; it is row {number} of the input{key}", *error.args[1:])
        return error

    async def _found(self, session: DatabaseSession, rows: Sequence[Sequence[Any]]) -> int | None:
        """The first row that is refused, by halves, in a transaction or savepoint that is rolled back; None: now none
        is."""
        if len(rows) == 1:
            return 0
        attempt = await session.transaction().begin()
        try:
            low, high = 0, len(rows)
            while high - low > 1:
                middle = (low + high) // 2
                if await self._passes(session, rows[low:middle]):
                    low = middle
                else:
                    high = middle
            return None if await self._passes(session, rows[low:high]) else low
        finally:
            await attempt.rollback()

    async def _passes(self, session: DatabaseSession, rows: Sequence[Sequence[Any]]) -> bool:
        try:
            async with session.transaction():
                await self._send(session, rows)
        except DatabaseError as error:
            if not _is_of_a_row(error):
                raise
            return False
        return True

    # --- the report -------------------------------------------------------------------------------------------------

    def _report(self) -> BulkReport:
        return BulkReport(self._seen, self._written, self._affected, self._batches, perf_counter() - self._started)

    def _tell(self, error: Exception) -> None:
        """Leave what was done until then with the error."""
        if self._atomic:
            self._written = self._affected = self._batches = 0
        if isinstance(error, DatabaseError):
            error.bulk_report = self._report()
            if self._written or not isinstance(self._rows, Sequence):  # or the rows are consumed
                error.safe_to_retry = False
        elif self._written:
            error.add_note(f"{self._written} rows in {self._batches} batches were written before, and stay")


def _is_of_a_row(error: DatabaseError) -> bool:
    return isinstance(error, _OF_A_ROW) or (
        isinstance(error, UnknownStatementError) and error.code in _RAISED_BY_TRIGGERS
    )


def _is_hashable(key: Any) -> bool:
    try:
        hash(key)
    except TypeError:
        return False
    return True
