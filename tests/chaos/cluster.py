"""Clusters of throwaway servers for scenarios, brought back into order between two of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from asyncpg import PostgresError

from sillar import DatabaseConfig, DatabaseManager
from sillar.testing.chaos import HandshakeProxy, Report, Run, Scenario
from sillar.testing.servers import MariaDBServer, PostgreSQLServer, ServerStartError

READY = b"Z\x00\x00\x00\x05I"
ALL_PATHS = ("direct", "sqlalchemy", "tortoise")
WORKERS = {"direct": 6, "sqlalchemy": 2, "tortoise": 3}
HANGS_SECONDS = 180
POOL = {"max_connections": 8, "min_connections": 1}


def name_of(server: Any) -> str:
    """As Sillar and the harness call it."""
    return f"{server.host}:{server.port}"


class Cluster:
    """A primary and its replicas, committing synchronously.

    Attributes:
        primary, replicas: of this moment; a test that promotes says so by `promoted`.
    """

    def __init__(self, primary: PostgreSQLServer | MariaDBServer, replicas: Sequence[Any]) -> None:
        self.servers: list[Any] = [primary, *replicas]
        self.primary: Any = primary

    @property
    def replicas(self) -> list[Any]:
        return [server for server in self.servers if server is not self.primary]

    def url(self, addresses: Sequence[tuple[str, int]] | None = None) -> str:
        first = self.servers[0]
        if len(self.servers) == 1:
            return str(first.url)
        places = addresses or [(server.host, server.port) for server in self.servers]
        hosts = ",".join(f"{host}:{port}" for host, port in places)
        return f"{first.scheme}://{first.user}:{first.password}@{hosts}/{first.database}"

    def config(self, addresses: Sequence[tuple[str, int]] | None = None, **overrides: Any) -> DatabaseConfig:
        return DatabaseConfig.from_url(self.url(addresses), overrides={"connection_pools": POOL, **overrides})

    async def promote_furthest(self, *, others_stay: bool = False) -> None:
        """Make the replica that has received most the primary, as whoever manages a cluster does.

        Args:
            others_stay: the others go on following the old primary, for which commits succeed then. Else they leave it
                first: what it still writes cannot get them ahead of the new one.
        """
        running = [replica for replica in self.replicas if replica.is_running]
        if not others_stay:
            await asyncio.gather(*(replica.stop_receiving() for replica in running))
        positions = [await replica.received_position() for replica in running]
        chosen = running[positions.index(max(positions))]
        await chosen.promote()
        self.primary = chosen

    async def let_others_follow(self) -> None:
        """Have the other replicas that run follow the new primary, and commits wait for one of them."""
        following = [replica for replica in self.replicas if replica.is_running and replica._primary is not None]
        for replica in following:
            await replica.follow(self.primary)
        await self.primary.set_synchronous(*following)

    async def put_in_order(self) -> None:
        """One primary, everybody else follows it, commits are synchronous."""
        primary = self.primary
        for server in self.servers:
            if server.is_running:
                await server.thaw()
        if not primary.is_running:
            await primary.start()
        await primary.set_writable()
        await primary.set_synchronous()
        for replica in self.replicas:
            if not replica.is_running or replica._primary is not primary:
                await self._copy_anew(replica)
        try:
            for replica in self.replicas:
                await replica.resume_replay()
            await primary.set_synchronous(*self.replicas)
        except (ServerStartError, PostgresError):  # after a test that failed halfway: not all follow who seem to
            await primary.set_synchronous()
            for replica in self.replicas:
                await self._copy_anew(replica)
            await primary.set_synchronous(*self.replicas)

    async def _copy_anew(self, replica: Any) -> None:
        if replica.is_running:  # it may have what its new primary lacks: only a fresh copy is certain to follow
            await replica.kill()
        await replica.follow(self.primary)

    @asynccontextmanager
    async def proxied(self) -> AsyncIterator[list[HandshakeProxy]]:
        """A proxy before each server, in their order."""
        async with AsyncExitStack() as stack:
            proxies = [HandshakeProxy(server.host, server.port, ready_mark=READY) for server in self.servers]
            for proxy in proxies:
                await stack.enter_async_context(proxy)
            yield proxies

    async def run(self, scenario: Scenario, proxies: Sequence[HandshakeProxy] = (), **overrides: Any) -> Report:
        """Run a scenario on a manager of its own."""
        places = [(proxy.host, proxy.port) for proxy in proxies] or None
        async with DatabaseManager(self.config(places, **overrides)) as manager:
            nodes = self.config().connection() if proxies else None
            async with asyncio.timeout(HANGS_SECONDS):
                return await Run(scenario, manager, nodes=nodes, proxies=proxies).run()
