"""Rows as they come, with bounded memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from sillar.consistency import LineOfWork
from sillar.context import current_deadline, within_deadline
from sillar.engines.connection import DriverConnection, RowShape
from sillar.errors import UsageError
from sillar.execution.execution import Execution
from sillar.execution.executor import Executor
from sillar.execution.lanes import stream
from sillar.execution.rows import row_maker

T = TypeVar("T")
_Batches = AsyncGenerator[tuple[RowShape, Sequence[Any]], None]


class RowStream(Generic[T]):
    """The rows of one statement, fetched in batches while they are consumed.

    ``async with`` opens it and gives the connection back; ``async for`` inside yields rows, :meth:`batches` lists of
    rows. What is observed as one execution is the time to the first batch.
    """

    __slots__ = ("_args", "_batch_rows", "_batches", "_executor", "_first", "_into", "_leased", "_line",
                 "_open_connection", "_statement", "_timeout_seconds", "_validate", "_was_opened")  # fmt: skip

    def __init__(
        self,
        executor: Executor,
        open_connection: Callable[[], Awaitable[DriverConnection[Any] | None]],
        statement: Any,
        args: Sequence[Any],
        into: Any,
        validate: bool | None,
        batch_rows: int,
        timeout_seconds: float | None,
        line: LineOfWork | None = None,
    ) -> None:
        if batch_rows < 1:
            raise UsageError(f"batch_rows is at least 1, not {batch_rows}")
        self._executor, self._open_connection = executor, open_connection
        self._statement, self._args = statement, args
        self._into, self._validate = into, validate
        self._batch_rows, self._timeout_seconds = batch_rows, timeout_seconds
        self._line = line
        self._was_opened = False
        self._batches: _Batches | None = None
        self._first: tuple[RowShape, Sequence[Any]] | None = None
        self._leased: DriverConnection[Any] | None = None

    async def __aenter__(self) -> RowStream[T]:
        if self._was_opened:
            raise UsageError("a stream is opened once; ask the session for a new one")
        self._was_opened = True
        self._executor.check_loop()
        connection = await self._open_connection()
        if connection is None:
            connection = self._leased = await self._executor.acquire(
                is_read=bool(self._statement.is_read), line=self._line
            )
        execution = Execution(
            self._executor.name,
            self._first_batch,
            self._statement,
            self._args,
            self._timeout_seconds,
            connection,
            self._batch_rows,
        )
        try:
            async with within_deadline("the statement"):
                self._batches, self._first = await self._executor.execute(execution)
        except BaseException:
            self._release()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        batches, self._batches, self._first = self._batches, None, None
        try:
            if batches is not None:
                await batches.aclose()
        finally:
            self._release()

    async def __aiter__(self) -> AsyncIterator[T]:
        async for batch in self.batches():
            for row in batch:
                yield row

    async def batches(self) -> AsyncIterator[list[T]]:
        """Lists of at most ``batch_rows`` rows.

        Raises:
            UsageError: outside ``async with``.
        """
        while (batch := await self._next()) is not None:
            shape, rows = batch
            yield row_maker(shape, self._into, self._validate).many(rows)

    async def _next(self) -> tuple[RowShape, Sequence[Any]] | None:
        batches = self._batches
        if batches is None:
            raise UsageError(
                "open the stream with `async with session.stream(...) as rows`, and use it inside that block"
            )
        first, self._first = self._first, None
        if first is not None:
            return first
        if current_deadline() is None:
            return await anext(batches, None)
        async with within_deadline("the next batch"):
            return await anext(batches, None)

    def _release(self) -> None:
        connection, self._leased = self._leased, None
        if connection is not None:
            self._executor.source.release_connection(connection)

    async def _first_batch(
        self, connection: DriverConnection[Any], execution: Execution
    ) -> tuple[_Batches, tuple[RowShape, Sequence[Any]] | None]:
        batches = cast(_Batches, stream(self._executor, connection, execution))
        return batches, await anext(batches, None)
