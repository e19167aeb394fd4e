"""FaultProxy between real sockets: each fault is switched on, seen by a client of an echo server, and healed."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from sillar.testing.faults import Direction, FaultProxy

pytestmark = pytest.mark.asyncio

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[FaultProxy], Awaitable[Connection]]


class EchoServer:
    """Sends back what it gets, and remembers what that was."""

    def __init__(self) -> None:
        self.received = b""
        self.ended = asyncio.Event()
        self.resets = 0
        self.server: asyncio.Server

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                self.received += data
                writer.write(data)
                await writer.drain()
        except ConnectionResetError:
            self.resets += 1
        finally:
            self.ended.set()
            writer.close()


@pytest_asyncio.fixture
async def echo() -> AsyncIterator[EchoServer]:
    echo = EchoServer()
    echo.server = await asyncio.start_server(echo.handle, "127.0.0.1", 0)
    async with echo.server:
        yield echo


@pytest_asyncio.fixture
async def proxy(echo: EchoServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy("127.0.0.1", echo.server.sockets[0].getsockname()[1], seed=7) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def connect() -> AsyncIterator[Connect]:
    """Opens connections through a proxy, and closes them all after the test."""
    opened: list[asyncio.StreamWriter] = []

    async def connect(proxy: FaultProxy) -> Connection:
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        opened.append(writer)
        return reader, writer

    yield connect
    for writer in opened:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)  # many were reset by their test


async def echoed(connection: Connection, data: bytes) -> bytes:
    reader, writer = connection
    writer.write(data)
    return await asyncio.wait_for(reader.readexactly(len(data)), 5)


async def silent(reader: asyncio.StreamReader, seconds: float = 0.2) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), seconds)


async def until_open(proxy: FaultProxy, count: int) -> None:
    async with asyncio.timeout(5):
        while proxy.connections_open != count:
            await asyncio.sleep(0.01)


async def test_relays_large_data_unchanged_and_counts(connect: Connect, proxy: FaultProxy, echo: EchoServer) -> None:
    data = bytes(range(256)) * 8192  # 2 MiB: many chunks each way
    connection = await connect(proxy)
    assert await echoed(connection, data) == data
    assert echo.received == data
    assert proxy.port < 32_768
    assert (proxy.bytes_to_server, proxy.bytes_to_client) == (len(data), len(data))
    assert (proxy.connections_accepted, proxy.connections_open) == (1, 1)
    connection[1].close()
    await until_open(proxy, 0)
    assert proxy.connections_accepted == 1


async def test_half_close_reaches_the_server_and_the_reply_still_arrives(connect: Connect, proxy: FaultProxy) -> None:
    reader, writer = await connect(proxy)
    writer.write(b"last words")
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(-1), 5) == b"last words"


async def test_delay_holds_back_each_direction_and_keeps_order(connect: Connect, proxy: FaultProxy) -> None:
    connection = await connect(proxy)
    await echoed(connection, b"warm")
    proxy.delay(0.15, direction=Direction.TO_SERVER)
    started = time.monotonic()
    await echoed(connection, b"one way")
    assert time.monotonic() - started >= 0.14
    proxy.delay(0.1, jitter_seconds=0.05)
    started = time.monotonic()
    for number in range(50):
        connection[1].write(b"%03d" % number)
        await asyncio.sleep(0.001)
    reply = await asyncio.wait_for(connection[0].readexactly(150), 5)
    assert reply == b"".join(b"%03d" % number for number in range(50))
    elapsed = time.monotonic() - started
    assert 0.19 <= elapsed < 3, "both ways are delayed once, not once for each chunk"
    proxy.delay(0)
    took = []
    for _ in range(5):
        started = time.monotonic()
        await echoed(connection, b"fast")
        took.append(time.monotonic() - started)
    assert min(took) < 0.1


@pytest.mark.parametrize("reply_bytes", [0, 1, 5])
async def test_cut_towards_the_client_delivers_the_first_bytes_only(
    connect: Connect, proxy: FaultProxy, reply_bytes: int
) -> None:
    old = await connect(proxy)
    await echoed(old, b"before the cut was armed")
    proxy.cut_after(reply_bytes, Direction.TO_CLIENT)
    for connection in (old, await connect(proxy)):
        connection[1].write(b"0123456789")
        assert await asyncio.wait_for(connection[0].read(-1), 5) == b"0123456789"[:reply_bytes]
    await proxy.heal()
    assert await echoed(await connect(proxy), b"whole again") == b"whole again"


async def test_cut_towards_the_server(connect: Connect, proxy: FaultProxy, echo: EchoServer) -> None:
    proxy.cut_after(4, Direction.TO_SERVER)
    _, writer = await connect(proxy)
    writer.write(b"0123456789")
    await asyncio.wait_for(echo.ended.wait(), 5)
    assert echo.received == b"0123"
    await until_open(proxy, 0)


async def test_black_hole_swallows_requests(connect: Connect, proxy: FaultProxy, echo: EchoServer) -> None:
    connection = await connect(proxy)
    await echoed(connection, b"hello")
    proxy.black_hole()
    connection[1].write(b"lost")
    await silent(connection[0])
    assert echo.received == b"hello"
    connection[1].close()
    await asyncio.sleep(0.1)
    assert not echo.ended.is_set(), "a black hole does not even tell that the client has gone"
    assert proxy.connections_open == 1
    await proxy.heal()
    await asyncio.wait_for(echo.ended.wait(), 5)


async def test_black_hole_swallows_replies_only(connect: Connect, proxy: FaultProxy, echo: EchoServer) -> None:
    reader, writer = await connect(proxy)
    proxy.black_hole(Direction.TO_CLIENT)
    writer.write(b"done but not told")
    async with asyncio.timeout(5):
        while proxy.bytes_to_server < 17:
            await asyncio.sleep(0.01)
    await silent(reader)
    assert echo.received == b"done but not told"
    assert (proxy.bytes_to_server, proxy.bytes_to_client) == (17, 0)
    await proxy.heal()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(1), 5)
    assert await echoed(await connect(proxy), b"again") == b"again"


async def test_reset_breaks_both_sides(connect: Connect, proxy: FaultProxy, echo: EchoServer) -> None:
    connections = [await connect(proxy) for _ in range(3)]
    for connection in connections:
        await echoed(connection, b"up")
    assert proxy.reset() == 3
    for reader, _ in connections:
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(1), 5)
    async with asyncio.timeout(5):
        while echo.resets < 3:
            await asyncio.sleep(0.01)
    await until_open(proxy, 0)
    assert await echoed(await connect(proxy), b"new ones work") == b"new ones work"


async def test_accept_then_close(connect: Connect, proxy: FaultProxy) -> None:
    old = await connect(proxy)
    await echoed(old, b"old")
    proxy.accept_then_close()
    reader, _ = await connect(proxy)
    assert await asyncio.wait_for(reader.read(-1), 5) == b""
    assert proxy.connections_accepted == 2
    assert await echoed(old, b"open ones go on") == b"open ones go on"
    await proxy.heal()
    assert await echoed(await connect(proxy), b"back") == b"back"


async def test_refuse_and_heal_on_the_same_port(connect: Connect, proxy: FaultProxy) -> None:
    old, port = await connect(proxy), proxy.port
    await echoed(old, b"old")
    for _ in range(2):
        await proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await connect(proxy)
        assert await echoed(old, b"open ones go on") == b"open ones go on"
        await proxy.heal()
        assert proxy.port == port
        assert await echoed(await connect(proxy), b"back") == b"back"


async def test_a_target_that_is_down_resets_the_client(connect: Connect, proxy: FaultProxy, echo: EchoServer) -> None:
    echo.server.close()
    await echo.server.wait_closed()
    reader, _ = await connect(proxy)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(1), 5)


async def test_a_client_that_resets_is_reset_at_the_server(
    connect: Connect, proxy: FaultProxy, echo: EchoServer
) -> None:
    async with FaultProxy(proxy.host, proxy.port) as front:  # a proxy in front of the proxy: its RST is the client's
        await echoed(await connect(front), b"hello")
        front.reset()
        async with asyncio.timeout(5):
            while not echo.resets:
                await asyncio.sleep(0.01)


async def test_close_ends_connections_and_tasks(connect: Connect, echo: EchoServer) -> None:
    before = asyncio.all_tasks()
    proxy = FaultProxy("127.0.0.1", echo.server.sockets[0].getsockname()[1])
    await proxy.start()
    reader, writer = await connect(proxy)
    await echoed((reader, writer), b"up")
    await proxy.close()
    await proxy.close()
    assert await asyncio.wait_for(reader.read(-1), 5) == b""
    with pytest.raises(ConnectionRefusedError):
        await connect(proxy)
    await asyncio.wait_for(echo.ended.wait(), 5)
    writer.close()
    async with asyncio.timeout(5):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.01)


async def test_who_comes_just_as_it_closes_is_closed(echo: EchoServer) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for turns in range(8):
            proxy = FaultProxy("127.0.0.1", echo.server.sockets[0].getsockname()[1])
            await proxy.start()
            with socket.socket() as client:
                client.setblocking(False)
                client.connect_ex((proxy.host, proxy.port))
                for _ in range(turns):
                    await asyncio.sleep(0)
                await proxy.close()
            gc.collect()
    assert not [str(each.message) for each in caught]


async def test_wrong_arguments_are_refused(proxy: FaultProxy) -> None:
    with pytest.raises(ValueError, match=r"-1\.0 s"):
        proxy.delay(-1.0)
    with pytest.raises(ValueError, match="-5 bytes"):
        proxy.cut_after(-5)
    with pytest.raises(OSError, match="in use"):
        await FaultProxy("127.0.0.1", 1, port=proxy.port).start()
