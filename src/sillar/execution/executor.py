"""Runs executions on connections: the innermost step of the pipeline."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from time import perf_counter
from typing import Any

from sillar.capabilities import Capabilities
from sillar.consistency import LineOfWork, Need, asked_for, current_line
from sillar.context import Priority, current_deadline, current_priority, priority, remaining_seconds, time_left
from sillar.engines.adapter import ConnectionSource, DatabaseAdapter
from sillar.engines.connection import DEFAULT_TRANSACTION, DriverConnection
from sillar.errors import DatabaseError, UsageError
from sillar.execution.execution import Execution, keyed_rows, run_batch
from sillar.execution.known import known_executors
from sillar.execution.lanes import SlowLane
from sillar.execution.pipeline import Interceptor, Observer, compose, observer_failed


class Executor:
    """One database: its adapter, its connections, its pipeline.

    Args:
        name: configured name of the database.
        adapter: binds statements.
        source: gives connections.
        interceptors: composed once, here.
        observers: told of every transaction (executions reach them through the interceptor at OBSERVE).
    """

    def __init__(
        self,
        name: str,
        adapter: DatabaseAdapter,
        source: ConnectionSource,
        interceptors: Iterable[Interceptor] = (),
        observers: Iterable[Observer] = (),
    ) -> None:
        self.name = name
        self.adapter = adapter
        self.source = source
        self.capabilities: Capabilities = adapter.capabilities
        self.execute = compose(interceptors, self._execute)
        """Runs an execution through the whole pipeline."""
        self.observers = list(observers)
        """Told of every transaction, and of statements that SQLAlchemy sends by itself."""
        self.loop: asyncio.AbstractEventLoop | None = None
        self._closed_reason = f"database {name!r} is not open: use `async with manager`, or await manager.initialize()"
        self._tasks: set[asyncio.Task[Any]] = set()
        self._on_close: list[Callable[[], Awaitable[None]]] = []
        self.load_slow_lane: Callable[[], SlowLane] = _no_slow_lane
        """Gives who runs statements of SQLAlchemy that the fast lane does not take; called when the first one comes."""
        self._slow_lane: SlowLane | None = None
        self.integrations: dict[str, Any] = {}
        """What ORMs keep with this database, by their own key."""
        self.translators: dict[Any, Callable[[BaseException], DatabaseError | None]] = {}
        """Of ORMs, by their own key: each gives the error of Sillar's that stands for one of theirs, or None."""
        known_executors.add(self)

    @property
    def slow_lane(self) -> SlowLane:
        """Who runs statements of SQLAlchemy that the fast lane does not take.

        Raises:
            UsageError: there is nobody.
        """
        if self._slow_lane is None:
            self._slow_lane = self.load_slow_lane()
        return self._slow_lane

    def on_close(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Have something awaited before the connections of this database are closed."""
        self._on_close.append(callback)

    async def run_on_close(self) -> None:
        """Await what :meth:`on_close` was given, the last first."""
        while self._on_close:
            await self._on_close.pop()()
        self.integrations.clear()
        self.translators.clear()

    def bind_to_loop(self) -> None:
        """Belong to the running event loop from now on."""
        self.loop = asyncio.get_running_loop()
        self._owner = _loop_name(self.loop)

    def check_loop(self) -> None:
        """Raise if this is another event loop than the one that opened the manager.

        Raises:
            UsageError: another loop or thread, or a forked child; the message names both.
        """
        loop = self.loop
        running = asyncio.get_running_loop()
        if loop is not running:
            if loop is None:
                raise UsageError(self._closed_reason)
            raise UsageError(
                f"database {self.name!r} belongs to {self._owner}, which opened it, and was called from"
                f" {_loop_name(running)}; open one manager per loop, or call through a Portal"
            )

    def release_loop(self) -> None:
        """Belong to no loop: closed."""
        self.loop = None

    def abandon(self, reason: str) -> None:
        """Refuse everything from now on: this is a forked child, and the connections are its parent's."""
        self.loop, self._closed_reason = None, reason

    def observe_transaction(self, outcome: str, duration_seconds: float) -> None:
        """Tell the observers that a transaction ended."""
        for observer in self.observers:
            try:
                observer.transaction_ended(self.name, outcome, duration_seconds)
            except Exception as error:
                observer_failed(observer, error)

    def need(self, *, is_read: bool, line: LineOfWork | None = None) -> Need | None:
        """What to ask the source for: None where it does not choose between nodes.

        Args:
            is_read: what is done with the connection certainly does not write.
            line: the session's; None is that of the context (an ORM's).
        """
        if not self.source.is_routed:
            return None
        return (line or current_line()).need(is_read)

    async def acquire(self, *, is_read: bool = False, line: LineOfWork | None = None) -> DriverConnection[Any]:
        """A connection from the source, within the deadline of the context.

        Args:
            is_read: what is done with it certainly does not write: then a replica will do.
            line: the session's; None is that of the context.

        Raises:
            StatementTimeoutError: the deadline has passed.
        """
        if current_deadline() is not None:
            time_left(None)
        need = self.need(is_read=is_read, line=line)
        connection = self.source.try_acquire(need)
        if connection is None:
            connection = await self.source.acquire_connection(remaining_seconds(), need)
        return connection

    def translated(self, error: BaseException) -> DatabaseError | None:
        """The error of Sillar's that stands for one of an ORM's; None for any other."""
        translators = self.translators.values()
        return next((found for translate in translators if (found := translate(error)) is not None), None)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something that a caller may leave but that must come to its end."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def settle(self) -> None:
        """Wait for everything that callers have left behind."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def _execute(self, execution: Execution) -> Any:
        connection = execution.connection
        companions = bool(execution.before or execution.after)
        try:
            if connection is not None:
                execution.address = connection.address
                if companions:
                    return await self._with_companions(connection, execution)
                return await execution.operation(connection, execution)
            source = self.source
            need = None
            if source.is_routed:
                statement = execution.statement  # as execution.reads_only says, without a call more
                is_read = not companions and statement is not None and statement.is_read
                is_read = is_read and execution.operation is not run_batch
                line = execution.line or current_line()
                need = (line.read if is_read else line.write) if asked_for() is None else line.need(is_read)
            connection = source.try_acquire(need)
            waited = connection is None
            if connection is None:
                began = perf_counter()
                try:
                    if execution.operation is keyed_rows and current_priority() is None:
                        with priority(Priority.HIGH):
                            connection = await source.acquire_connection(remaining_seconds(), need)
                    else:
                        connection = await source.acquire_connection(remaining_seconds(), need)
                finally:
                    execution.waited_seconds += perf_counter() - began
            execution.address = connection.address
            try:
                if waited:  # which took its share of the deadline
                    execution.timeout_seconds = time_left(execution.timeout_seconds)
                if companions:
                    return await self._with_companions(connection, execution)
                return await execution.operation(connection, execution)
            finally:
                source.release_connection(connection)
        except DatabaseError as error:
            error.at(database=self.name)
            raise

    async def _with_companions(self, connection: DriverConnection[Any], execution: Execution) -> Any:
        """The main statement and its companions in one transaction: all of them, or none."""
        own = not connection.in_transaction
        if own:
            await connection.begin(DEFAULT_TRANSACTION)
        try:
            if execution.before:
                await connection.run_batch(execution.before, execution.timeout_seconds)
            result = await execution.operation(connection, execution)
            if execution.after:
                await connection.run_batch(execution.after, execution.timeout_seconds)
        except BaseException as error:
            if own:
                try:
                    await connection.rollback()
                except DatabaseError as failure:
                    error.add_note(f"the rollback failed, too: {failure}")
            raise
        if own:
            await connection.commit_undisturbed()
        return result


def _no_slow_lane() -> SlowLane:
    raise UsageError("this executor has no slow lane for statements of SQLAlchemy: get it from a DatabaseManager")


def _loop_name(loop: asyncio.AbstractEventLoop) -> str:
    """Which event loop, in which thread; called in the thread that runs it."""
    return f"the event loop {type(loop).__name__} at {id(loop):#x} in thread {threading.current_thread().name}"
