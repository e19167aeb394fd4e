"""A TCP proxy that misbehaves on demand: put it between a client and a real server and switch faults on and off."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from sillar.testing.faults.handshake import Direction, Handshake

_CHUNK_BYTES = 65_536
_QUEUE_CHUNKS = 64
_LINGER_RESET = struct.pack("ii", 1, 0)
_PORT_FIRST, _PORT_LAST = 15_000, 32_767

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Settings:
    """The faults of one direction."""

    def __init__(self) -> None:
        self.delay_seconds = 0.0
        self.jitter_seconds = 0.0
        self.black_hole = False
        self.cut_bytes: int | None = None


class FaultProxy:
    """Relays TCP between clients and ``target_host:target_port`` and injects network faults while it runs.

    ::

        async with FaultProxy("127.0.0.1", 5432) as proxy:
            connection = await asyncpg.connect(host=proxy.host, port=proxy.port, ...)
            proxy.delay(0.2, jitter_seconds=0.05)           # slow network
            proxy.cut_after(100, Direction.TO_CLIENT)       # the reply breaks off after 100 bytes
            proxy.reset()                                   # RST on every open connection
            proxy.partition()                               # connections are taken, and nothing ever answers
            await proxy.refuse()                            # nobody listens
            await proxy.heal()                              # all faults off

    Faults are switchable at any time and combine. Delay, cut and black hole take a ``Direction``; ``None`` means both.

    Attributes:
        host, port: where clients connect; a free loopback port below 32768 unless ``port`` was given.
        connections_accepted: connections taken from clients since the start (those closed at once included).
        accepted_at: when each of them was taken, in seconds of ``time.monotonic()``.
        handshakes_in_flight_max: the most handshakes that were under way at one moment, since the start or the last
            ``count_anew()``. One is under way from the moment its connection is taken until the server is ready for the
            first command, or the connection is closed; see ``Handshake`` for where that is in each protocol.
        bytes_to_server, bytes_to_client: bytes delivered since the start; swallowed ones do not count.
    """

    def __init__(
        self, target_host: str, target_port: int, *, host: str = "127.0.0.1", port: int = 0, seed: int | None = None
    ) -> None:
        self.target_host, self.target_port = target_host, target_port
        self.host, self.port = host, port
        self.connections_accepted = 0
        self.accepted_at: list[float] = []
        self.handshakes_in_flight_max = 0
        self._handshakes: set[Handshake] = set()
        self._is_partitioned = False
        self._held: set[asyncio.StreamWriter] = set()
        self._delivered = dict.fromkeys(Direction, 0)
        self._random = random.Random(seed)
        self._settings = {direction: _Settings() for direction in Direction}
        self._close_accepted = False
        self._server: asyncio.Server | None = None
        self._reserved: socket.socket | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen. Raises ``OSError`` if the given port is taken or no free one is found."""
        self._reserved = self._bind()
        self.port = self._reserved.getsockname()[1]
        await self._listen()

    async def close(self) -> None:
        """Stop listening, close every connection, wait for the proxy's own tasks. May be called twice."""
        await self._stop_listening()
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None
        for link in list(self._links):
            link.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- counters -----------------------------------------------------------------------------------------------------

    @property
    def connections_open(self) -> int:
        """Connections relayed at this moment, those in a black hole or held in a partition included."""
        return len(self._links) + len(self._held)

    @property
    def bytes_to_server(self) -> int:
        return self._delivered[Direction.TO_SERVER]

    @property
    def bytes_to_client(self) -> int:
        return self._delivered[Direction.TO_CLIENT]

    @property
    def handshakes_in_flight(self) -> int:
        """Handshakes that are under way at this moment."""
        return len(self._handshakes)

    def count_anew(self) -> None:
        """Forget ``accepted_at`` and ``handshakes_in_flight_max``: what follows is counted from here."""
        self.accepted_at.clear()
        self.handshakes_in_flight_max = len(self._handshakes)

    # --- faults -------------------------------------------------------------------------------------------------------

    def delay(self, seconds: float, *, jitter_seconds: float = 0.0, direction: Direction | None = None) -> None:
        """Deliver every chunk ``seconds`` later, plus a uniform random share of ``jitter_seconds``; order is kept.

        It is latency, not a rate limit: chunks travel one behind the other. Zero switches it off.
        """
        if seconds < 0 or jitter_seconds < 0:
            raise ValueError(f"delay {seconds} s and jitter {jitter_seconds} s must not be negative")
        for settings in self._chosen(direction):
            settings.delay_seconds, settings.jitter_seconds = seconds, jitter_seconds

    def cut_after(self, count: int, direction: Direction | None = None) -> None:
        """Close a connection, both sides, once ``count`` further bytes went through it in that direction.

        Each open connection counts from now, each new one from its start; the first ``count`` bytes are delivered.
        """
        if count < 0:
            raise ValueError(f"cannot cut after {count} bytes: the count must not be negative")
        for settings in self._chosen(direction):
            settings.cut_bytes = count
        for link in self._links:
            link.arm(direction, count)

    def black_hole(self, direction: Direction | None = None) -> None:
        """Keep connections open and accept bytes, but deliver nothing, not even the end of the stream."""
        for settings in self._chosen(direction):
            settings.black_hole = True

    def partition(self) -> None:
        """Cut the network in two: nothing passes in either direction, and neither side hears of it.

        Open connections stay open. New ones are taken, as a full backlog or a gateway takes them, and nobody ever
        answers; the server does not see them.
        """
        self.black_hole()
        self._is_partitioned = True

    def reset(self) -> int:
        """Break every open connection with an RST towards both sides (SO_LINGER 0). Returns how many there were."""
        links, held = list(self._links), list(self._held)
        for link in links:
            link.reset()
        for writer in held:
            _reset(writer)
        return len(links) + len(held)

    def accept_then_close(self) -> None:
        """Accept each new connection and close it before a byte is read; open ones go on."""
        self._close_accepted = True

    async def refuse(self) -> None:
        """Stop listening: new connections are refused; open ones go on. The port stays reserved for ``heal``."""
        if self._server is not None:
            await self._stop_listening()
            await asyncio.sleep(0)  # the loop closes the listening socket in its next turn
            self._reserved = self._bind()

    async def heal(self) -> None:
        """Switch every fault off and listen again.

        A connection that lost bytes in a black hole is reset: what it missed can no longer be delivered.
        """
        self._settings = {direction: _Settings() for direction in Direction}
        self._close_accepted = self._is_partitioned = False
        for writer in self._held:
            _reset(writer)
        for link in list(self._links):
            link.arm(None, None)
            if link.swallowed:
                link.reset()
        if self._reserved is not None:
            await self._listen()

    # --- inside -------------------------------------------------------------------------------------------------------

    def _chosen(self, direction: Direction | None) -> Iterable[_Settings]:
        return self._settings.values() if direction is None else (self._settings[direction],)

    def _bind(self) -> socket.socket:
        """A socket that holds the port without listening, so that connecting to it is refused."""
        ports = [self.port] if self.port else self._random.sample(range(_PORT_FIRST, _PORT_LAST + 1), 200)
        for number, port in enumerate(ports, 1):
            reserved = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET, socket.SOCK_STREAM)
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                reserved.bind((self.host, port))
            except OSError:
                reserved.close()
                if number == len(ports):
                    raise
            else:
                return reserved
        raise AssertionError("unreachable: the last port either binds or raises")

    async def _listen(self) -> None:
        assert self._reserved is not None
        self._server = await asyncio.start_server(self._accept, sock=self._reserved)
        self._reserved = None

    async def _stop_listening(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        for listening in server.sockets:
            asyncio.get_running_loop().remove_reader(listening)
        for _ in range(3):  # what was taken just now comes to `_accept` some turns later, if it is open then
            await asyncio.sleep(0)
        server.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections_accepted += 1
        self.accepted_at.append(time.monotonic())
        if self._close_accepted:
            writer.close()
            return
        task = asyncio.ensure_future(self._connect(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.close())  # it may be cancelled before it has begun

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handshake = Handshake()
        self._handshakes.add(handshake)
        self.handshakes_in_flight_max = max(self.handshakes_in_flight_max, len(self._handshakes))
        try:
            if self._is_partitioned:
                await self._hold(reader, writer)
                return
            try:
                target = await asyncio.open_connection(self.target_host, self.target_port)
            except OSError:
                _reset(writer)
            else:
                await self._relay(_Link((reader, writer), target, self._settings, handshake))
        finally:
            self._handshakes.discard(handshake)

    async def _hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Keep a client waiting until it leaves, or until somebody resets it."""
        self._held.add(writer)
        try:
            while await reader.read(_CHUNK_BYTES):
                pass
        except ConnectionError:
            pass  # its own reset, or ours
        finally:
            self._held.discard(writer)
            writer.close()

    async def _relay(self, link: _Link) -> None:
        self._links.add(link)
        pumps = [asyncio.ensure_future(self._pump(link, direction)) for direction in Direction]
        try:
            await link.closed.wait()
        finally:
            link.close()
            self._links.discard(link)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, link: _Link, direction: Direction) -> None:
        queue: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue(_QUEUE_CHUNKS)
        reading = asyncio.ensure_future(self._read(link, direction, queue))
        now = asyncio.get_running_loop().time
        try:
            while True:
                due, data = await queue.get()
                if (wait := due - now()) > 0:
                    await asyncio.sleep(wait)
                if self._settings[direction].black_hole:
                    link.swallowed = True
                elif data is None:
                    link.reset()
                else:
                    count = await link.deliver(direction, data)  # not within the sum: others count meanwhile
                    self._delivered[direction] += count
                if not data:
                    return
        except ConnectionError:
            link.reset()
        finally:
            reading.cancel()

    async def _read(self, link: _Link, direction: Direction, queue: asyncio.Queue[tuple[float, bytes | None]]) -> None:
        """Queue what arrives with the time at which it is due: ``b""`` is the end of the stream, ``None`` a reset."""
        due, now = 0.0, asyncio.get_running_loop().time
        data: bytes | None = b"x"
        while data:
            try:
                data = await link.source(direction).read(_CHUNK_BYTES)
            except ConnectionError:
                data = None
            link.handshake.saw(direction, data or b"")
            if link.handshake.is_over or (not data and direction is Direction.TO_SERVER):
                self._handshakes.discard(link.handshake)
            settings = self._settings[direction]
            jitter = self._random.uniform(0, settings.jitter_seconds)
            due = max(due, now() + settings.delay_seconds + jitter)
            await queue.put((due, data))


class _Link:
    """One client's connection and its counterpart at the target."""

    def __init__(
        self, client: _Streams, server: _Streams, settings: dict[Direction, _Settings], handshake: Handshake
    ) -> None:
        self.handshake = handshake
        self._sources = {Direction.TO_SERVER: client[0], Direction.TO_CLIENT: server[0]}
        self._sinks = {Direction.TO_SERVER: server[1], Direction.TO_CLIENT: client[1]}
        self._left = {direction: settings[direction].cut_bytes for direction in Direction}
        self._ended: set[Direction] = set()
        self.swallowed = False
        self.closed = asyncio.Event()

    def source(self, direction: Direction) -> asyncio.StreamReader:
        return self._sources[direction]

    def arm(self, direction: Direction | None, count: int | None) -> None:
        for each in Direction if direction is None else (direction,):
            self._left[each] = count

    async def deliver(self, direction: Direction, data: bytes) -> int:
        """Pass on ``data`` (empty: the end of the stream) as far as the cut allows. Returns the bytes delivered."""
        sink, left = self._sinks[direction], self._left[direction]
        if not data:
            self._ended.add(direction)
            if len(self._ended) == len(Direction):
                self.close()
            elif sink.can_write_eof():
                sink.write_eof()
            return 0
        if left is not None:
            data = data[:left]
            self._left[direction] = left - len(data)
        sink.write(data)
        await sink.drain()
        if left is not None and left <= len(data):
            self.close()
        return len(data)

    def close(self) -> None:
        for sink in self._sinks.values():
            sink.close()
        self.closed.set()

    def reset(self) -> None:
        for sink in self._sinks.values():
            _reset(sink)
        self.closed.set()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with an RST instead of a FIN; unsent bytes are dropped."""
    connection = writer.get_extra_info("socket")
    if connection.fileno() != -1:  # closed already: there is nothing left to reset
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    writer.transport.abort()
