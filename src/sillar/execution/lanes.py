"""The slow lane: how executions run whose statements SQLAlchemy itself has to run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from sqlalchemy.sql.elements import ClauseElement

from sillar.engines.adapter import DatabaseAdapter
from sillar.engines.connection import DriverConnection, Reply, RowShape
from sillar.errors import ParameterError, UsageError
from sillar.execution import execution as operations
from sillar.execution.execution import Execution, Operation
from sillar.query.composed import Composed
from sillar.query.lane import Lane
from sillar.query.statement import Parameters

if TYPE_CHECKING:
    from sillar.execution.executor import Executor

_NO_COLUMNS: Final = RowShape(())


class SlowLane(Protocol):
    """Who runs statements of SQLAlchemy on a leased connection: ``sillar.integrations.sqlalchemy.lane``."""

    def run_statement(
        self,
        executor: Executor,
        connection: DriverConnection[Any],
        statement: Any,
        params: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
        timeout_seconds: float | None,
    ) -> Awaitable[Reply]:
        """Run one, in the transaction that is open or by itself; a list of parameter sets runs it once for each, all or
        nothing."""
        ...

    def stream_statement(
        self,
        executor: Executor,
        connection: DriverConnection[Any],
        statement: Any,
        params: Mapping[str, Any] | None,
        batch_rows: int,
        timeout_seconds: float | None,
    ) -> AsyncIterator[tuple[RowShape, Sequence[Any]]]:
        """Run one and yield its rows in batches."""
        ...


def operation_for(executor: Executor, operation: Operation, bound: Any) -> Operation:
    """The operation for a statement of SQLAlchemy: as it is in the fast lane, its sister in the slow one."""
    if getattr(bound, "lane", None) is not Lane.SLOW:
        return operation
    sister = _SISTERS.get(operation)
    if sister is None:
        raise UsageError(f"a statement in the slow lane ({bound.lane_reason}) cannot be run this way")
    return partial(sister, executor)


async def _reply(executor: Executor, connection: DriverConnection[Any], execution: Execution) -> Reply:
    bound = execution.statement
    return await executor.slow_lane.run_statement(
        executor, connection, bound.statement, bound.params, execution.timeout_seconds
    )


async def _rows(executor: Executor, connection: DriverConnection[Any], execution: Execution) -> Any:
    reply = await _reply(executor, connection, execution)
    return reply.shape or _NO_COLUMNS, reply.rows


async def _row(executor: Executor, connection: DriverConnection[Any], execution: Execution) -> Any:
    reply = await _reply(executor, connection, execution)
    return reply.shape or _NO_COLUMNS, reply.rows[0] if reply.rows else None


async def _many(executor: Executor, connection: DriverConnection[Any], execution: Execution) -> int:
    reply = await executor.slow_lane.run_statement(
        executor, connection, execution.statement.statement, list(execution.payload), execution.timeout_seconds
    )
    return reply.rows_affected


def stream(
    executor: Executor, connection: DriverConnection[Any], execution: Execution
) -> AsyncIterator[tuple[RowShape, Sequence[Any]]]:
    """The rows of the execution's statement in batches, in the lane that it takes."""
    bound = execution.statement
    if getattr(bound, "lane", None) is not Lane.SLOW:
        return connection.stream(bound, execution.args, execution.payload, execution.timeout_seconds)
    return executor.slow_lane.stream_statement(
        executor, connection, bound.statement, bound.params, execution.payload, execution.timeout_seconds
    )


class LanedBatch(list[tuple[Any, Sequence[Any]]]):
    """The statements of a batch of which some take the slow lane; run by ``execution.run_batch``."""

    def __init__(self, executor: Executor, statements: Sequence[tuple[Any, Sequence[Any]]]) -> None:
        super().__init__(statements)
        self._executor = executor

    async def run(self, connection: DriverConnection[Any], timeout_seconds: float | None) -> list[Reply]:
        """Run them in order, each in its lane."""
        replies = []
        for bound, args in self:
            if bound.lane is Lane.SLOW:
                reply = await self._executor.slow_lane.run_statement(
                    self._executor, connection, bound.statement, bound.params, timeout_seconds
                )
            else:
                reply = await connection.run(bound, args, timeout_seconds)
            replies.append(reply)
        return replies


def batch_of(executor: Executor, statements: list[tuple[Any, Sequence[Any]]]) -> list[tuple[Any, Sequence[Any]]]:
    """The payload for ``execution.run_batch``."""
    if any(getattr(bound, "lane", None) is Lane.SLOW for bound, _ in statements):
        return LanedBatch(executor, statements)
    return statements


def bound_sets(
    adapter: DatabaseAdapter, statement: ClauseElement | Composed, params: Iterable[Parameters]
) -> tuple[Any, list[Any]]:
    """A statement of SQLAlchemy and many parameter sets, as the operation ``run_many`` takes them.

    In the fast lane these are the bound statement and its arguments per set; in the slow one the sets themselves, for
    SQLAlchemy.

    Raises:
        ParameterError: a set does not fit, or has other names than the first one; the message has its number.
    """
    bound: Any = None
    sets: list[Any] = []
    plan: Any = None
    binds: Sequence[Any] = ()
    first: frozenset[str] | None = None
    for number, each in enumerate(params, 1):
        try:
            if each is not None and not isinstance(each, Mapping):
                raise ParameterError("a parameter set of a statement of SQLAlchemy is a mapping")
            given: Mapping[str, Any] = each or {}
            if first is None:
                first = frozenset(map(str, given))
                plan, binds, bound = adapter.plans.many(statement, given)
            elif given.keys() != first:
                raise ParameterError(
                    f"the parameter sets have different names: ({', '.join(sorted(first))}) and"
                    f" ({', '.join(sorted(map(str, given)))})"
                )
            values = plan.values(binds, given)
            if plan.lane is Lane.SLOW:
                sets.append(given)
                continue
            found, args = plan.bound(values)
            if found is not bound and sets:
                raise ParameterError("lists of different lengths in IN cannot be run as one statement; run them apart")
            bound = found
            sets.append(args)
        except Exception as error:
            error.add_note(f"in parameter set {number}")
            raise
    return bound, sets


_SISTERS: Final[dict[Operation, Callable[..., Awaitable[Any]]]] = {
    operations.rows: _rows,
    operations.row: _row,
    operations.run: _reply,
    operations.run_many: _many,
}
