"""A fault proxy that counts connections in the middle of being opened."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from sillar.testing.faults import Direction, FaultProxy


class HandshakeProxy(FaultProxy):
    """A :class:`FaultProxy` that knows when a session is ready, by a mark in what the server sends.

    A connection is a handshake in flight from the moment it is taken until the mark has come or it is closed; requests
    to cancel a statement count, too.

    Args:
        target_host, target_port: the server.
        ready_mark: bytes that the server sends when a session is ready (PostgreSQL's ReadyForQuery, idle:
            ``b"Z\\0\\0\\0\\5I"``), within one chunk.

    Attributes:
        in_flight_max: most handshakes in flight at once since :meth:`forget`.
        begun_at: when each connection was taken, by ``time.monotonic()``, since :meth:`forget`.
    """

    def __init__(self, target_host: str, target_port: int, *, ready_mark: bytes) -> None:
        super().__init__(target_host, target_port)
        self._ready_mark = ready_mark
        self._in_flight: set[asyncio.Task[Any]] = set()
        self._relaying: dict[Any, asyncio.Task[Any]] = {}
        self.in_flight_max = 0
        self.begun_at: list[float] = []

    def forget(self) -> None:
        """Count anew from here."""
        self.in_flight_max = len(self._in_flight)
        self.begun_at.clear()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # each connection has one
        self._in_flight.add(task)
        self.in_flight_max = max(self.in_flight_max, len(self._in_flight))
        self.begun_at.append(monotonic())
        try:
            await super()._connect(reader, writer)
        finally:
            self._in_flight.discard(task)

    async def _relay(self, link: Any) -> None:
        task, deliver = asyncio.current_task(), link.deliver
        assert task is not None  # each connection has one

        async def watched(direction: Direction, data: bytes) -> int:
            if direction is Direction.TO_CLIENT and self._ready_mark in data:
                self._in_flight.discard(task)
                link.deliver = deliver
            count: int = await deliver(direction, data)
            return count

        link.deliver = watched
        self._relaying[link] = task
        try:
            await super()._relay(link)
        finally:
            del self._relaying[link]

    async def _read(self, link: Any, direction: Direction, queue: asyncio.Queue[tuple[float, bytes | None]]) -> None:
        await super()._read(link, direction, queue)
        if direction is Direction.TO_SERVER and link in self._relaying:  # the client has left: a black hole hides that
            self._in_flight.discard(self._relaying[link])
