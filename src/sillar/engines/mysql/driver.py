"""The names of asyncmy that Sillar needs beyond its documented ones, in one place; a contract test holds them.

Everything here sends one request and reads its whole reply. Whoever calls must not be cancelled in between: see
:mod:`sillar.engines.mysql.exchange`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from asyncmy.connection import Connection
from asyncmy.constants import CLIENT
from asyncmy.cursors import SSCursor
from asyncmy.errors import MySQLError

_COM_RESET_CONNECTION: Final = 0x1F
_FLAGS: Final = CLIENT.FOUND_ROWS | CLIENT.PS_MULTI_RESULTS


def new_raw(arguments: Mapping[str, Any]) -> Any:
    """A connection that is not open yet; ``arguments`` are those of ``asyncmy.connection.Connection``."""
    return Connection(**arguments, client_flag=_FLAGS, autocommit=None)  # type: ignore[no-untyped-call]


async def log_in(raw: Any, *, source_address: str | None) -> None:
    """Open a connection and log in; nothing of the session is set yet.

    Args:
        raw: a new connection.
        source_address: local address to connect from; asyncmy has no argument for it.
    """
    loop = raw._loop
    if source_address is not None:
        raw._loop = _SourceAddressLoop(loop, source_address)
    try:
        await raw.connect()
    finally:
        raw._loop = loop


def offers_tls(raw: Any) -> bool | None:
    """Whether the server said it can do TLS; None if it did not get as far."""
    capabilities = getattr(raw, "server_capabilities", None)
    return None if capabilities is None else bool(capabilities & CLIENT.SSL)


def speaks_tls(raw: Any) -> bool:
    """Whether the bytes of this connection are encrypted by TLS."""
    return raw._transport.get_extra_info("ssl_object") is not None


def is_broken(raw: Any) -> bool:
    """Whether the connection is closed, or the server has ended it. Costs no round trip."""
    return not raw._connected or raw._stream_broken


def abort(raw: Any) -> None:
    """Close at once; what was not sent yet is dropped."""
    transport = raw._transport
    if transport is not None:
        transport.abort()
    raw.close()


async def query(raw: Any, sql: str) -> list[Any]:
    """Run a text of one or several statements; all results."""
    await raw.query(sql)
    results = [raw._result]
    while results[-1].has_next:
        await raw.next_result()
        results.append(raw._result)
    raw._result = None  # it would keep the rows alive until the next statement
    return results


async def query_until_refused(raw: Any, sql: str) -> tuple[list[Any], MySQLError | None]:
    """Run a text of several statements as far as the server lets it: the results until then, and its refusal.

    Raises:
        MySQLError: the first statement was refused already, or the connection broke.
    """
    await raw.query(sql)
    results = [raw._result]
    try:
        while results[-1].has_next:
            await raw.next_result()
            results.append(raw._result)
    except MySQLError as error:
        if is_broken(raw):
            raise
        return results, error
    finally:
        raw._result = None
    return results, None


async def execute(prepared: Any, args: Any) -> Any:
    """Run a prepared statement; its result."""
    result = await prepared.execute(args)
    prepared._connection._result = None
    return result


async def restore(raw: Any, contract: str) -> None:
    """COM_RESET_CONNECTION, then the session contract in one further round trip.

    The reset rolls back, unlocks, drops temporary tables, variables and prepared statements, and puts every setting
    back to the server's; it does not put the current database back.
    """
    await raw._execute_command(_COM_RESET_CONNECTION, b"")
    await raw._read_ok_packet()
    await query(raw, contract)


# --- results that are not buffered ---


async def open_stream(raw: Any, sql: str) -> Any:
    """Run a statement and return a cursor before its rows have come."""
    cursor = SSCursor(raw)
    await cursor.execute(sql)
    raw._transport.pause_reading()
    return cursor


async def next_rows(raw: Any, cursor: Any, rows_max: int) -> list[Any]:
    """The next rows; none at the end.

    Between two calls the socket is not read: asyncmy has no flow control of its own, so its buffer would grow by as
    much as the server sends.
    """
    transport = raw._transport
    if transport is not None:
        transport.resume_reading()
    rows: list[Any] = await cursor.fetchmany(rows_max)
    if len(rows) == rows_max and raw._transport is not None:
        raw._transport.pause_reading()
    return rows


async def skip_rows(raw: Any) -> None:
    """Read the rest of a stream and drop it."""
    if raw._transport is not None:
        raw._transport.resume_reading()
    result = raw._result
    try:
        if result is not None and result.unbuffered_active:
            await result._finish_unbuffered_query()
    finally:
        forget_stream(raw)


def forget_stream(raw: Any) -> None:
    """Drop the result of a stream that has come to its end, by its last row or an error of the server."""
    result, raw._result = raw._result, None
    if result is not None:
        result.unbuffered_active = False  # else its finalizer would close the connection
    if raw._transport is not None:
        raw._transport.resume_reading()


class _SourceAddressLoop:
    """The running loop, except that its TCP connections start from a given local address."""

    def __init__(self, loop: asyncio.AbstractEventLoop, source_address: str) -> None:
        self._loop, self._source_address = loop, source_address

    async def create_connection(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("sock") is None:
            kwargs["local_addr"] = (self._source_address, 0)
        return await self._loop.create_connection(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)
