"""The slow lane: statements that SQLAlchemy itself runs, on a connection that is leased already."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn, TypeVar

from sqlalchemy import exc
from sqlalchemy.engine import Connection, CursorResult
from sqlalchemy.sql import Executable, Insert

from sillar.engines.connection import DriverConnection, Reply, RowShape
from sillar.errors import ConnectionLostError, DatabaseError, StatementTimeoutError
from sillar.execution import Executor
from sillar.integrations.sqlalchemy.bridge import Bridge
from sillar.integrations.sqlalchemy.engine import shared_engine
from sillar.integrations.sqlalchemy.errors import translated_by
from sillar.integrations.sqlalchemy.lent import Lent
from sillar.integrations.sqlalchemy.private import greenlet_spawn, has_rows

T = TypeVar("T")
Params = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None

_NATIVE: Final[frozenset[type]] = frozenset(
    {bool, int, float, str, bytes, list, dict, tuple, uuid.UUID, decimal.Decimal}
    | {datetime.datetime, datetime.date, datetime.time, datetime.timedelta}
)  # SQLAlchemy's column types convert


async def run_statement(
    executor: Executor,
    connection: DriverConnection[Any],
    statement: Executable,
    params: Params = None,
    timeout_seconds: float | None = None,
) -> Reply:
    """Run a statement of SQLAlchemy: in the transaction that is open on the connection, else it commits by itself.

    A select of entities gives their columns; entities themselves come only from an ``AsyncSession``.

    Args:
        executor: the path of the database.
        connection: leased by the caller.
        statement: Core or ORM: select, insert, update, delete, text, DDL.
        params: values by name; a list runs it once per element, all or nothing.
        timeout_seconds: after which it is cancelled on the server.

    Raises:
        errors of :mod:`sillar.errors`, as from the direct path.
    """
    many = isinstance(params, list) and len(params) > 1
    async with _lent(executor, connection, alone=many) as (borrowed, lent, bridge):
        try:
            async with asyncio.timeout(timeout_seconds):
                return await greenlet_spawn(_run, borrowed, statement, params)
        except BaseException as error:
            _raise(error, bridge, connection, lent, timeout_seconds)


async def stream_statement(
    executor: Executor,
    connection: DriverConnection[Any],
    statement: Executable,
    params: Params = None,
    batch_rows: int = 1000,
    timeout_seconds: float | None = None,
) -> AsyncIterator[tuple[RowShape, Sequence[Any]]]:
    """Run a statement of SQLAlchemy and yield its rows in batches; memory is bounded by ``batch_rows``.

    Args:
        executor, connection, statement, params: as for :func:`run_statement`.
        batch_rows: rows in a batch.
        timeout_seconds: bounds each batch.
    """
    async with _lent(executor, connection, alone=bridge_streams_in_transaction(executor)) as (borrowed, lent, bridge):
        result: CursorResult[Any] | None = None
        try:
            async with asyncio.timeout(timeout_seconds):
                result, shape = await greenlet_spawn(_open, borrowed, statement, params, batch_rows)
            while shape is not None:
                async with asyncio.timeout(timeout_seconds):
                    rows = await greenlet_spawn(_more, result, batch_rows)
                if not rows:
                    break
                yield shape, [tuple(row) for row in rows]
        except GeneratorExit:
            raise
        except BaseException as error:
            result = None
            _raise(error, bridge, connection, lent, timeout_seconds)
        finally:
            if result is not None:
                await greenlet_spawn(result.close)


def bridge_streams_in_transaction(executor: Executor) -> bool:
    """Whether the rows of a stream come from a cursor that lives in a transaction."""
    return shared_engine(executor).bridge.streams_in_transaction


@asynccontextmanager
async def _lent(
    executor: Executor, connection: DriverConnection[Any], *, alone: bool
) -> AsyncIterator[tuple[Connection, Lent, Bridge]]:
    """The connection as SQLAlchemy sees it: in its transaction, in one of this statement alone, or in autocommit."""
    shared = shared_engine(executor)
    bridge = shared.bridge
    own = alone and not connection.in_transaction
    if own:
        await connection.begin()
    try:
        borrowed, lent = await greenlet_spawn(shared.connection, connection)
        before = lent.attached, lent.unobserved
        lent.unobserved = True  # the pipeline observes the execution that this is part of
        if not connection.in_transaction:
            bridge.in_autocommit(lent, True)
        elif not lent.attached:
            lent.attach()
        try:
            yield borrowed, lent, bridge
        finally:
            lent.unobserved = before[1]
            if not connection.in_transaction:
                bridge.in_autocommit(lent, False)
            elif not before[0]:
                lent.detach()
    except BaseException as error:
        if own and connection.in_transaction:
            try:
                await connection.rollback()
            except DatabaseError as failure:
                error.add_note(f"the rollback failed, too: {failure}")
        raise
    if own:
        await connection.commit_undisturbed()


def _run(connection: Connection, statement: Executable, params: Any) -> Reply:
    if isinstance(params, list) and len(params) > 1 and not connection.dialect.supports_sane_multi_rowcount:
        if _inserts_each(statement):
            return _run_once(connection, statement, params)._replace(rows_affected=len(params))
        replies = [_run_once(connection, statement, each) for each in params]
        rows = [row for reply in replies for row in reply.rows]
        return Reply(replies[-1].shape, rows, sum(reply.rows_affected for reply in replies))
    return _run_once(connection, statement, params)


def _run_once(connection: Connection, statement: Executable, params: Any) -> Reply:
    with connection.execute(statement, params) as result:
        if has_rows(result):
            shape = RowShape(tuple(result.keys()), _NATIVE)
            rows = [tuple(row) for row in result]
            return Reply(shape, rows, len(rows), None)
        return Reply(None, (), max(result.rowcount, 0), _generated_key(result))


def _inserts_each(statement: Executable) -> bool:
    """Whether each parameter set certainly inserts one row."""
    return (
        isinstance(statement, Insert)
        and statement.select is None
        and getattr(statement, "_post_values_clause", None) is None  # ON CONFLICT
        and not statement._returning
    )


def _open(
    connection: Connection, statement: Executable, params: Any, batch_rows: int
) -> tuple[CursorResult[Any], RowShape | None]:
    options = {"stream_results": True, "max_row_buffer": batch_rows}
    result = connection.execute(statement, params, execution_options=options)
    return result, RowShape(tuple(result.keys()), _NATIVE) if result.returns_rows else None


def _more(result: CursorResult[Any] | None, batch_rows: int) -> Sequence[Any]:
    return () if result is None else result.fetchmany(batch_rows)


def _generated_key(result: CursorResult[Any]) -> Any:
    """The key of the one row that was inserted."""
    context: Any = result.context
    if context.executemany:
        return None
    if not result.is_insert:  # a text: what the driver says
        return getattr(context.cursor, "lastrowid", None) or None
    try:
        key = result.inserted_primary_key
    except exc.InvalidRequestError:  # several rows in one VALUES
        return None
    return key[0] if key is not None and len(key) == 1 else None


def _raise(
    error: BaseException, bridge: Bridge, connection: DriverConnection[Any], lent: Lent, timeout_seconds: float | None
) -> NoReturn:
    """Raise in Sillar's terms, and note what state the connection is in."""
    if isinstance(error, DatabaseError):
        raise error
    if isinstance(error, (asyncio.CancelledError, TimeoutError)):
        connection.dirty = True  # its reply may be outstanding; the reset waits for it
        if isinstance(error, TimeoutError) and timeout_seconds is not None:
            raise StatementTimeoutError(
                f"the statement ran longer than {timeout_seconds:.3g} s and was cancelled; raise the limit or look at"
                " its plan"
            ).at(node=connection.address) from error
        raise error
    text = lent.last_text
    safe = connection.loses_nothing(text is not None and text.is_read)
    found = translated_by(error, bridge, connection, safe_to_retry=safe)
    if found is None:
        connection.dirty = True
        raise error
    if isinstance(found, ConnectionLostError):
        connection.terminate()
    raise found from found.__cause__
