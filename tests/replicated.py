"""A PostgreSQL primary with two replicas, shared by whoever leaves it as it was."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sillar.testing.servers import PostgreSQLServer


@dataclass
class Replicated:
    """The servers, and how they are reached together."""

    primary: PostgreSQLServer
    replicas: tuple[PostgreSQLServer, PostgreSQLServer]

    @property
    def url(self) -> str:
        hosts = ",".join(f"{each.host}:{each.port}" for each in (*self.replicas, self.primary))
        return f"postgresql://{self.primary.user}:{self.primary.password}@{hosts}/{self.primary.database}"

    @property
    def names(self) -> list[str]:
        """Addresses, the primary's first."""
        return [f"{each.host}:{each.port}" for each in (self.primary, *self.replicas)]

    async def put_in_order(self) -> None:
        """Undo what a test that failed has left: servers that are down or frozen, replicas that show nothing new."""
        for server in (self.primary, *self.replicas):
            await server.revive()
        for replica in self.replicas:
            await replica.resume_replay()

    async def caught_up(self) -> None:
        """Wait until both replicas have everything."""
        [(lsn,)] = await self.primary.execute_as_superuser("select pg_current_wal_insert_lsn()::text")
        for replica in self.replicas:
            for _ in range(1000):
                [(reached,)] = await replica.execute_as_superuser(f"select pg_last_wal_replay_lsn() >= '{lsn}'")
                if reached:
                    break
                await asyncio.sleep(0.01)
            else:
                raise AssertionError(f"{replica!r} does not catch up")


async def replicate(primary: PostgreSQLServer) -> Replicated:
    """Give a primary two replicas and a table."""
    replicas = (await primary.add_replica(), await primary.add_replica())
    await primary.execute_as_superuser("create table note (id int primary key, text text)", database="sillar")
    await primary.execute_as_superuser("grant all on note to public", database="sillar")
    replicated = Replicated(primary, replicas)
    await replicated.caught_up()
    return replicated


class ReplicatedFleet:
    """The shared one of a test run, started when it is first asked for."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._server: PostgreSQLServer | None = None
        self._replicated: Replicated | None = None

    async def get(self) -> Replicated:
        """The running servers, in order."""
        async with self._lock:
            if self._replicated is not None:
                await self._replicated.put_in_order()
            else:
                self._server = PostgreSQLServer(own=True)
                await self._server.start()
                self._replicated = await replicate(self._server)
            return self._replicated

    async def close(self) -> None:
        """End them."""
        if self._server is not None:
            await self._server.close()
