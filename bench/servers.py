"""The servers that the cases share, and a relay that counts round trips."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sillar.testing.servers import MongoDBServer, PostgreSQLServer, Server, ServerFleet, SQLServer


class Replicated:
    """A PostgreSQL primary and two replicas."""

    def __init__(self, primary: PostgreSQLServer, replicas: list[PostgreSQLServer]) -> None:
        self.primary, self.replicas = primary, replicas

    def url(self, *nodes: PostgreSQLServer) -> str:
        """For some of the nodes."""
        hosts = ",".join(f"{node.host}:{node.port}" for node in nodes)
        return f"postgresql://{self.primary.user}:{self.primary.password}@{hosts}/{self.primary.database}"

    async def caught_up(self) -> None:
        """Wait until the replicas have everything."""
        [(lsn,)] = await self.primary.execute_as_superuser("select pg_current_wal_insert_lsn()::text")
        for replica in self.replicas:
            while await replica.execute_as_superuser(f"select pg_last_wal_replay_lsn() >= '{lsn}'") != [(True,)]:
                await asyncio.sleep(0.02)


class Servers:
    """Starts each server when the first case asks for it."""

    def __init__(self, fleet: ServerFleet) -> None:
        self._fleet = fleet
        self._replicated: Replicated | None = None

    async def replicated(self) -> Replicated:
        if self._replicated is None:
            primary = PostgreSQLServer(own=True)
            await primary.start()
            self._replicated = Replicated(primary, [await primary.add_replica(), await primary.add_replica()])
        return self._replicated

    async def close(self) -> None:
        """End those that the fleet does not know."""
        if self._replicated is not None:
            await self._replicated.primary.close()

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
