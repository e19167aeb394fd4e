"""The servers that the cases share, and a relay that counts round trips."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sillar.testing.servers import MongoDBServer, PostgreSQLServer, Server, ServerFleet, SQLServer


class Servers:
    """Starts each server when the first case asks for it."""

    def __init__(self, fleet: ServerFleet) -> None:
        self._fleet = fleet

    async def postgresql(self) -> PostgreSQLServer:
        return await self._fleet.postgresql()

    async def mongodb(self) -> MongoDBServer:
        return await self._fleet.mongodb()

    async def sql(self, name: str) -> SQLServer:
        server: Server = await self._fleet.get(name)
        assert isinstance(server, SQLServer)
        return server


class RoundTrips:
    """Relays one connection and counts how often the client had to wait for the server."""

    def __init__(self) -> None:
        self.count = 0
        self._asking = False

    @asynccontextmanager
    async def relay(self, host: str, port: int) -> AsyncIterator[int]:
        """Listen on a free port and relay to the server; yields the port."""
        tasks: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            server_reader, server_writer = await asyncio.open_connection(host, port)
            try:
                await asyncio.gather(
                    self._pump(reader, server_writer, asking=True), self._pump(server_reader, writer, asking=False)
                )
            finally:
                writer.close()
                server_writer.close()
                tasks.discard(task)

        listener = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            yield listener.sockets[0].getsockname()[1]
        finally:
            listener.close()
            for task in tasks:
                task.cancel()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, asking: bool) -> None:
        try:
            while data := await reader.read(65536):
                if asking and not self._asking:
                    self.count += 1
                self._asking = asking
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
