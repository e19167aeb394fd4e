"""The statement verbs that sessions and transactions share."""

from __future__ import annotations

from abc import abstractmethod
from asyncio import get_running_loop
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar, overload

from sqlalchemy.sql import Executable
from sqlalchemy.sql.elements import ClauseElement

from sillar.capabilities import Capabilities, Capability
from sillar.consistency import LineOfWork
from sillar.context import current_deadline, time_left
from sillar.engines.connection import DriverConnection
from sillar.errors import ResultError
from sillar.execution import execution as operations
from sillar.execution.bulk import BulkVerbs
from sillar.execution.documents import DocumentCollection
from sillar.execution.execution import Execution, Operation
from sillar.execution.executor import Executor
from sillar.execution.inspection import InspectionVerbs
from sillar.execution.lanes import batch_of, bound_sets, operation_for
from sillar.execution.result import QueryResult
from sillar.execution.rows import row_maker
from sillar.execution.stream import RowStream
from sillar.query.composed import Composed
from sillar.query.document import DocumentCommand
from sillar.query.lane import Lane
from sillar.query.statement import Parameters

if TYPE_CHECKING:
    from sillar.execution.transaction import Transaction

T = TypeVar("T")
Statement = str | DocumentCommand | ClauseElement | Executable | Composed


class Statements(BulkVerbs, InspectionVerbs):
    """Statements with ``:name`` parameters from a mapping, or with the engine's own placeholders from a list or tuple.

    Results come as dicts, or ``into=`` a dataclass, msgspec Struct, pydantic model, NamedTuple or scalar type. With
    ``validate=True`` the type of every value is checked; pydantic models are always validated unless
    ``validate=False``. ``timeout_seconds`` cancels the statement on the server; the deadline of the context holds
    besides.

    All verbs raise errors of :mod:`sillar.errors`: ``ParameterError`` before anything is sent, ``StatementError`` for
    what the server refuses, ``UnavailableError`` for what cannot be served now, ``ResultError`` for rows that do not
    fit.
    """

    __slots__ = ()

    _executor: Executor
    _connection: DriverConnection[Any] | None
    """The connection of the open transaction."""
    _line: LineOfWork | None
    """How fresh reads have to be, and what was written: where the database has several nodes."""
    _unready: bool
    """Whether :meth:`_open_connection` has to be asked first: it may begin a transaction, or refuse."""

    @abstractmethod
    async def _open_connection(self) -> DriverConnection[Any] | None:
        """The connection of the open transaction, or None outside of one."""

    @property
    def database_name(self) -> str:
        """Configured name of the database."""
        return self._executor.name

    @property
    @abstractmethod
    def owning_transaction(self) -> Transaction | None:
        """The innermost transaction that is open here, or None: what an ORM joins."""

    async def begin_if_due(self) -> None:
        """Begin the transaction that the first statement would begin."""

    @property
    def capabilities(self) -> Capabilities:
        """What this database can do."""
        return self._executor.capabilities

    def _run(
        self, operation: Operation, statement: Any, params: Parameters, timeout_seconds: float | None
    ) -> Awaitable[Any]:
        bound, args = self._executor.adapter.bind(statement, params)
        if type(statement) is not str:
            operation = operation_for(self._executor, operation, bound)
        return self._run_bound(operation, bound, args, timeout_seconds)

    def _run_planned(
        self, operation: Operation, plan: Any, values: Sequence[Any], timeout_seconds: float | None
    ) -> Awaitable[Any]:
        """As :meth:`_run`, for a plan of ``adapter.plan`` and the values of its parameters in order."""
        bound, args = plan.bound(values)
        return self._run_bound(operation_for(self._executor, operation, bound), bound, args, timeout_seconds)

    def _run_bound(
        self,
        operation: Operation,
        bound: Any,
        args: Sequence[Any],
        timeout_seconds: float | None,
        payload: Any = None,
    ) -> Awaitable[Any]:
        """Hand an execution to the pipeline. Not a coroutine itself: a layer less for every statement."""
        executor = self._executor
        if executor.loop is not get_running_loop():
            executor.check_loop()
        if current_deadline() is not None:
            timeout_seconds = time_left(timeout_seconds)
        execution = Execution(
            executor.name, operation, bound, args, timeout_seconds, self._connection, payload, self._line
        )
        return self._opened_first(execution) if self._unready else executor.execute(execution)

    async def _opened_first(self, execution: Execution) -> Any:
        execution.connection = await self._open_connection()
        return await self._executor.execute(execution)

    def rendered(self, statement: Statement, params: Parameters = None) -> str:
        """What would be sent: SQL with the driver's placeholders, or a command of a document database. Nothing is."""
        adapter = self._executor.adapter
        return adapter.rendered(*adapter.bind(statement, params))

    async def execute(
        self, statement: Statement, params: Parameters = None, *, timeout_seconds: float | None = None
    ) -> QueryResult:
        """Run a statement; rows and counts."""
        started = perf_counter()
        executor = self._executor
        bound, args = executor.adapter.bind(statement, params)
        if type(statement) is str:
            reply = await self._run_bound(operations.run, bound, args, timeout_seconds)
            return QueryResult(reply, database=executor.name, duration_seconds=perf_counter() - started)
        operation = operation_for(executor, operations.run, bound)
        reply = await self._run_bound(operation, bound, args, timeout_seconds)
        return self._result(reply, bound, perf_counter() - started)

    def _result(self, reply: Any, bound: Any, seconds: float) -> QueryResult:
        lane = getattr(bound, "lane", None)
        reason = bound.lane_reason if lane is Lane.SLOW else None
        return QueryResult(reply, database=self._executor.name, duration_seconds=seconds, lane=lane, lane_reason=reason)

    @overload
    async def fetch_all(
        self, statement: Statement, params: Parameters = None, *, timeout_seconds: float | None = None
    ) -> list[dict[str, Any]]: ...
    @overload
    async def fetch_all(
        self,
        statement: Statement,
        params: Parameters = None,
        *,
        into: type[T],
        validate: bool | None = None,
        timeout_seconds: float | None = None,
    ) -> list[T]: ...
    async def fetch_all(
        self,
        statement: Statement,
        params: Parameters = None,
        *,
        into: Any = None,
        validate: bool | None = None,
        timeout_seconds: float | None = None,
    ) -> list[Any]:
        """Run a statement; all its rows."""
        shape, rows = await self._run(operations.rows, statement, params, timeout_seconds)
        return row_maker(shape, into, validate).many(rows)

    @overload
    async def fetch_one(
        self, statement: Statement, params: Parameters = None, *, timeout_seconds: float | None = None
    ) -> dict[str, Any] | None: ...
    @overload
    async def fetch_one(
        self,
        statement: Statement,
        params: Parameters = None,
        *,
        into: type[T],
        validate: bool | None = None,
        timeout_seconds: float | None = None,
    ) -> T | None: ...
    async def fetch_one(
        self,
        statement: Statement,
        params: Parameters = None,
        *,
        into: Any = None,
        validate: bool | None = None,
        timeout_seconds: float | None = None,
    ) -> Any:
        """Run a statement; its first row, or None."""
        shape, row = await self._run(operations.row, statement, params, timeout_seconds)
        return None if row is None else row_maker(shape, into, validate).one(row)

    @overload
    async def fetch_value(
        self, statement: Statement, params: Parameters = None, *, timeout_seconds: float | None = None
    ) -> Any: ...
    @overload
    async def fetch_value(
        self,
        statement: Statement,
        params: Parameters = None,
        *,
        into: type[T],
        validate: bool | None = None,
        timeout_seconds: float | None = None,
    ) -> T | None: ...
    async def fetch_value(
        self,
        statement: Statement,
        params: Parameters = None,
        *,
        into: Any = None,
        validate: bool | None = None,
        timeout_seconds: float | None = None,
    ) -> Any:
        """Run a statement; the first column of its first row, or None without a row.

        Raises:
            ResultError: the statement returns no columns.
        """
        shape, row = await self._run(operations.row, statement, params, timeout_seconds)
        if row is None:
            return None
        if not shape.columns:
            raise ResultError("a value was asked for, and the statement returns no columns")
        return row[0] if into is None else row_maker(shape, into, validate).one(row)

    @overload
    def stream(
        self,
        statement: Statement,
        params: Parameters = None,
        *,
        batch_rows: int = 1000,
        timeout_seconds: float | None = None,
    ) -> RowStream[dict[str, Any]]: ...
    @overload
    def stream(
        self,
        statement: Statement,
        params: Parameters = None,
        *,
        into: type[T],
        validate: bool | None = None,
        batch_rows: int = 1000,
        timeout_seconds: float | None = None,
    ) -> RowStream[T]: ...
    def stream(
        self,
        statement: Statement,
        params: Parameters = None,
        *,
        into: Any = None,
        validate: bool | None = None,
        batch_rows: int = 1000,
        timeout_seconds: float | None = None,
    ) -> RowStream[Any]:
        """Run a statement and yield its rows as they come; memory is bounded by ``batch_rows``.

        Use it as ``async with session.stream(...) as rows: async for row in rows``. Its connection is held until the
        block ends. ``timeout_seconds`` bounds each batch. Outside a transaction, a statement that writes commits when
        its last row was fetched; left before, it may be rolled back.
        """
        executor = self._executor
        executor.check_loop()
        bound, args = executor.adapter.bind(statement, params)
        return RowStream(
            executor, self._open_connection, bound, args, into, validate, batch_rows, timeout_seconds, self._line
        )

    async def execute_many(
        self, statement: Statement, params: Iterable[Parameters], *, timeout_seconds: float | None = None
    ) -> int:
        """Run a statement once per parameter set, all or nothing.

        Returns:
            the rows affected.

        Raises:
            ParameterError: a set does not fit; the message has its number, and nothing was sent.
        """
        if isinstance(statement, (ClauseElement, Composed)):
            return await self._execute_many_planned(statement, params, timeout_seconds)
        bind = self._executor.adapter.bind
        sets = []
        bound: Any = None
        for number, each in enumerate(params, 1):
            try:
                bound, args = bind(statement, each)
            except Exception as error:
                error.add_note(f"in parameter set {number}")
                raise
            sets.append(args)
        if not sets:
            return 0
        affected: int = await self._run_bound(operations.run_many, bound, (), timeout_seconds, sets)
        return affected

    async def _execute_many_planned(
        self, statement: ClauseElement | Composed, params: Iterable[Parameters], timeout_seconds: float | None
    ) -> int:
        executor = self._executor
        bound, sets = bound_sets(executor.adapter, statement, params)
        if not sets:
            return 0
        operation = operation_for(executor, operations.run_many, bound)
        affected: int = await self._run_bound(operation, bound, (), timeout_seconds, sets)
        return affected

    async def execute_batch(
        self, statements: Sequence[tuple[Statement, Parameters]], *, timeout_seconds: float | None = None
    ) -> list[QueryResult]:
        """Run several statements in order on one connection, and return their results.

        Outside a transaction each commits by itself, so those before a failing one stay.
        """
        if not statements:
            return []
        started = perf_counter()
        bound = [self._executor.adapter.bind(statement, params) for statement, params in statements]
        payload = batch_of(self._executor, bound)
        replies = await self._run_bound(operations.run_batch, bound[0][0], (), timeout_seconds, payload)
        seconds = perf_counter() - started
        return [self._result(reply, each, seconds) for reply, (each, _) in zip(replies, bound, strict=True)]

    def documents(self, collection: str) -> DocumentCollection:
        """The document verbs on one collection.

        Raises:
            UnsupportedCapabilityError: the engine has none.
        """
        self.capabilities.require(Capability.DOCUMENTS, remedy="send SQL text with execute() and its sisters")
        return DocumentCollection(self, collection)

    async def copy_out(
        self, query: str, write: Callable[[bytes], Awaitable[None]], *, timeout_seconds: float | None = None
    ) -> int:
        """Stream the result of a query in the server's COPY text format, as it comes.

        Args:
            query: SQL text without parameters.
            write: awaited with each piece of bytes.

        Returns:
            the rows copied.

        Raises:
            UnsupportedCapabilityError: the engine has no COPY; use :meth:`stream`.
        """
        self.capabilities.require(Capability.COPY, remedy="use stream()")
        copied: int = await self._run_bound(operations.copy_out, None, (), timeout_seconds, (query, write))
        return copied

    async def copy_in(
        self,
        table: str,
        columns: Sequence[str],
        source: AsyncIterable[bytes],
        *,
        timeout_seconds: float | None = None,
    ) -> int:
        """Stream bytes in the server's COPY text format into a table, all or nothing.

        Args:
            table: name of the table, possibly qualified; quoted here.
            columns: names of the columns; quoted here.
            source: pieces of bytes, cut anywhere.

        Returns:
            the rows copied.

        Raises:
            UnsupportedCapabilityError: the engine has no COPY; use :meth:`bulk_insert`.
        """
        self.capabilities.require(Capability.COPY, remedy="use bulk_insert()")
        payload = (table, tuple(columns), source)
        copied: int = await self._run_bound(operations.copy_in, None, (), timeout_seconds, payload)
        return copied
