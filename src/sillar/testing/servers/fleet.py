"""All servers of a test run, each started when it is first asked for, and at most once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

from sillar.errors import UsageError
from sillar.testing.servers.cluster import ServerCluster
from sillar.testing.servers.galera import GaleraCluster
from sillar.testing.servers.mariadb import MariaDBServer
from sillar.testing.servers.mongodb import MongoDBServer
from sillar.testing.servers.mysql import MySQLServer
from sillar.testing.servers.patroni import PatroniCluster
from sillar.testing.servers.pgbouncer import PgBouncerServer
from sillar.testing.servers.postgresql import PostgreSQLServer
from sillar.testing.servers.redis import RedisServer
from sillar.testing.servers.redis_sentinel import RedisSentinelCluster
from sillar.testing.servers.server import Server

ServerT = TypeVar("ServerT", bound=Server)
SERVERS: Mapping[str, Callable[[], Server]] = {
    "postgresql": PostgreSQLServer,
    "postgresql18": lambda: PostgreSQLServer(18),
    "mariadb": MariaDBServer,
    "mysql": MySQLServer,
    "redis": RedisServer,
    "mongodb": MongoDBServer,
    "pgbouncer": PgBouncerServer,
}
"""The servers by name; ``postgresql`` is whichever version PATH or the distribution has."""
CLUSTERS: Mapping[str, Callable[[], ServerCluster[Any]]] = {
    "patroni": PatroniCluster,
    "galera": GaleraCluster,
    "redis_sentinel": RedisSentinelCluster,
}
"""The clusters by name."""


class ServerFleet:
    """The shared servers of one test run, on one event loop.

    A server that a test left frozen, stopped, killed or crashed is there again for the next one that asks. One that
    could not start fails again at once, without another attempt. As an async context manager it ends them all. Should
    the run itself be killed, the servers end with it.
    """

    def __init__(self) -> None:
        self._servers: dict[str, Server | ServerCluster[Any]] = {}
        self._failures: dict[str, Exception] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def get(self, name: str) -> Server:
        """The running server of that name, one of `SERVERS`.

        Raises:
            ServerNotFoundError: no binaries on this machine.
            ServerStartError: it did not come up.
            UsageError: there is no server of that name.
        """
        if name not in SERVERS:
            raise UsageError(f"no server is named {name!r}; there are {', '.join(SERVERS)}")
        server = await self._obtain(name, SERVERS[name])
        assert isinstance(server, Server)
        return server

    async def get_cluster(self, name: str) -> ServerCluster[Any]:
        """The healthy cluster of that name, one of `CLUSTERS`; raises as get() does."""
        if name not in CLUSTERS:
            raise UsageError(f"no cluster is named {name!r}; there are {', '.join(CLUSTERS)}")
        cluster = await self._obtain(name, CLUSTERS[name])
        assert isinstance(cluster, ServerCluster)
        return cluster

    async def _obtain(self, name: str, kind: Callable[[], Server | ServerCluster[Any]]) -> Server | ServerCluster[Any]:
        async with self._locks.setdefault(name, asyncio.Lock()):
            if failure := self._failures.get(name):
                raise failure
            server = self._servers.get(name)
            if server is not None:
                await server.revive()
                return server
            server = kind()
            try:
                await server.start()
            except Exception as error:
                self._failures[name] = error
                raise
            self._servers[name] = server
            return server

    async def postgresql(self) -> PostgreSQLServer:
        """PostgreSQL of whichever version PATH or the distribution has; raises as get() does."""
        return await self._get("postgresql", PostgreSQLServer)

    async def postgresql18(self) -> PostgreSQLServer:
        """PostgreSQL 18; raises as get() does."""
        return await self._get("postgresql18", PostgreSQLServer)

    async def mariadb(self) -> MariaDBServer:
        """MariaDB; raises as get() does."""
        return await self._get("mariadb", MariaDBServer)

    async def mysql(self) -> MySQLServer:
        """MySQL; raises as get() does."""
        return await self._get("mysql", MySQLServer)

    async def redis(self) -> RedisServer:
        """Redis; raises as get() does."""
        return await self._get("redis", RedisServer)

    async def mongodb(self) -> MongoDBServer:
        """MongoDB or its stand-in; raises as get() does."""
        return await self._get("mongodb", MongoDBServer)

    async def pgbouncer(self) -> PgBouncerServer:
        """PgBouncer in front of a PostgreSQL of its own; raises as get() does."""
        return await self._get("pgbouncer", PgBouncerServer)

    async def patroni(self) -> PatroniCluster:
        """Three PostgreSQL servers under Patroni; raises as get() does."""
        cluster = await self.get_cluster("patroni")
        assert isinstance(cluster, PatroniCluster)
        return cluster

    async def galera(self) -> GaleraCluster:
        """Three MariaDB servers that commit together; raises as get() does."""
        cluster = await self.get_cluster("galera")
        assert isinstance(cluster, GaleraCluster)
        return cluster

    async def redis_sentinel(self) -> RedisSentinelCluster:
        """A Redis primary with two replicas under three sentinels; raises as get() does."""
        cluster = await self.get_cluster("redis_sentinel")
        assert isinstance(cluster, RedisSentinelCluster)
        return cluster

    async def close(self) -> None:
        """End all of them at once. May be called again."""
        servers = list(self._servers.values())
        self._servers.clear()
        ended = await asyncio.gather(*(server.close() for server in servers), return_exceptions=True)
        failures = [failure for failure in ended if isinstance(failure, Exception)]
        if failures:
            raise ExceptionGroup("servers that could not be ended", failures)

    async def _get(self, name: str, kind: type[ServerT]) -> ServerT:
        server = await self.get(name)
        assert isinstance(server, kind)
        return server
