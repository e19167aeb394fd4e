"""Throwaway clusters of PostgreSQL servers under Patroni, which fails over by itself."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sillar.testing.servers import rest
from sillar.testing.servers.cluster import ServerCluster
from sillar.testing.servers.errors import ServerCommandError, ServerStartError
from sillar.testing.servers.etcd import EtcdServer
from sillar.testing.servers.installation import find_etcd, find_patroni, find_postgresql
from sillar.testing.servers.port import HOST, PortReservation
from sillar.testing.servers.postgresql import DEFAULT_SETTINGS, PostgreSQLServer
from sillar.testing.servers.server import Server

SCOPE = "sillar"
# pg_rewind, by which a former leader comes back, needs whole pages in the log.
PARAMETERS = {name: value for name, value in DEFAULT_SETTINGS.items() if name != "full_page_writes"}


class PatroniNode(PostgreSQLServer):
    """One PostgreSQL server and the Patroni that keeps it. Made by `PatroniCluster`.

    It is promoted, demoted and made to follow by the cluster, not by hand.

    Attributes:
        name: what Patroni calls it.
        rest_port: where Patroni's REST interface listens.

    The other attributes are those of `PostgreSQLServer`.
    """

    product = "Patroni"
    stop_signal = signal.SIGTERM
    # Patroni then shuts PostgreSQL down, which leaves nothing behind.
    end_signal = signal.SIGTERM
    start_timeout_seconds = 120
    poll_seconds = 0.25

    def __init__(self, cluster: PatroniCluster, name: str) -> None:
        super().__init__(own=True)
        self.name = name
        self.rest_port = 0
        self._cluster = cluster
        self._rest: PortReservation | None = None
        self.user, self.password, self.database = cluster.user, cluster.password, cluster.database
        self.superuser_password = cluster.superuser_password

    @property
    def rest_url(self) -> str:
        """The address of Patroni's REST interface."""
        return f"http://{self.host}:{self.rest_port}"

    async def ask(
        self, path: str, *, body: dict[str, Any] | None = None, timeout_seconds: float = 1
    ) -> tuple[int, Any]:
        """Ask Patroni's REST interface, such as ``/cluster``; returns the status and the answer.

        Raises:
            OSError: it does not answer within that time.
        """
        return await rest.ask(self.host, self.rest_port, path, body=body, timeout_seconds=timeout_seconds)

    async def freeze_agent(self) -> None:
        """Stop Patroni alone (SIGSTOP): its PostgreSQL goes on taking writes when another node leads long since.

        This is the split brain that nothing but a watchdog prevents. `thaw` ends it, and Patroni then demotes the node.
        """
        await self._require_process("freeze_agent").signal(signal.SIGSTOP)

    async def close(self) -> None:
        """End it for good and remove its folder."""
        if self.is_running:
            # Patroni would take its time to shut PostgreSQL down in good order.
            await self.kill()
        await super().close()
        if self._rest is not None:
            self._rest.release()
            self._rest = None

    @property
    def _data(self) -> Path:
        # Patroni removes and remakes it, so its parent has to be its user's, too.
        return self._path / "node" / "data"

    def _reserve_port(self) -> None:
        super()._reserve_port()
        if self._rest is not None:
            self._rest.release()
        self._rest = PortReservation()
        self.rest_port = self._rest.port

    async def _create(self) -> None:
        self._make_folder("socket")
        self._make_folder("node")

    def _command(self) -> list[str]:
        configuration = self._path / "patroni.yml"
        # JSON is YAML.
        configuration.write_text(json.dumps(self._configuration()))
        self._identity.give(configuration)
        return [find_patroni().binary("patroni"), str(configuration)]

    def _configuration(self) -> dict[str, Any]:
        cluster = self._cluster
        return {
            "scope": SCOPE,
            "name": self.name,
            "restapi": {
                "listen": f"{self.host}:{self.rest_port}",
                "connect_address": f"{self.host}:{self.rest_port}",
            },
            "etcd3": {"host": f"{cluster.etcd.host}:{cluster.etcd.port}"},
            "watchdog": {"mode": "off"},
            "bootstrap": {
                "dcs": cluster.rules,
                "initdb": [
                    {"encoding": "UTF8"},
                    {"locale": "C.UTF-8"},
                    {"auth-local": "trust"},
                    {"auth-host": "scram-sha-256"},
                    "no-sync",
                ],
            },
            "postgresql": {
                "listen": f"{self.host}:{self.port}",
                "connect_address": f"{self.host}:{self.port}",
                "data_dir": str(self._data),
                "bin_dir": self._binaries.binaries,
                "pgpass": str(self._path / "node" / "pgpass"),
                "use_unix_socket": True,
                "authentication": {
                    user: {"username": name, "password": cluster.superuser_password}
                    for user, name in (
                        ("superuser", self.superuser),
                        ("replication", "replicator"),
                        ("rewind", "rewinder"),
                    )
                },
                "pg_hba": [
                    "local all all trust",
                    f"host all all {HOST}/32 scram-sha-256",
                    f"host replication replicator {HOST}/32 scram-sha-256",
                ],
                "basebackup": [{"checkpoint": "fast"}, "no-sync"],
                "parameters": {"unix_socket_directories": str(self.socket_folder)},
                "remove_data_directory_on_rewind_failure": True,
                "remove_data_directory_on_diverged_timelines": True,
            },
        }

    async def _populate(self) -> None:
        """The cluster does that, on whichever node leads."""

    async def _ask_version(self) -> str:
        status, answer = await self.ask("/health")
        if status != 200 or answer["patroni"]["scope"] != SCOPE:
            raise ConnectionError(f"{self.name} is not up yet: {status} {answer}")
        return self._binaries.version


class PatroniCluster(ServerCluster[PatroniNode]):
    """Three PostgreSQL servers under Patroni, with one etcd.

    When the leader dies, another node takes writes after some 6 s: the leader's lock has to run out first.

    Args:
        synchronous: Patroni's ``synchronous_mode``: commits wait for one replica, and only that one can be promoted.
        settings: entries of ``postgresql.conf``.
        ttl_seconds: how long the leader's lock holds; Patroni looks at it every second.
        nodes: how many.

    Attributes:
        nodes: each a `PatroniNode`, with ``host``, ``port``, ``url`` and ``rest_url``.
        etcd: the server in which Patroni keeps who leads. While it is down, Patroni demotes the leader.
        user, password, database, superuser, superuser_password: the same on every node.
        version: Patroni's.

    The other attributes are those of `ServerCluster`.
    """

    product = "Patroni"

    def __init__(
        self,
        *,
        synchronous: bool = False,
        settings: Mapping[str, str] | None = None,
        ttl_seconds: int = 6,
        nodes: int = 3,
    ) -> None:
        super().__init__()
        self.user, self.password, self.database = "sillar", secrets.token_hex(12), "sillar"
        self.superuser, self.superuser_password = "postgres", secrets.token_hex(12)
        self.etcd = EtcdServer()
        self._size = nodes
        self._is_synchronous = synchronous
        self.rules: dict[str, Any] = {
            "ttl": ttl_seconds,
            "loop_wait": 1,
            # Patroni's manual: loop_wait + 2 * retry_timeout <= ttl, or two nodes might lead for a moment.
            "retry_timeout": max(1, (ttl_seconds - 1) // 2),
            "maximum_lag_on_failover": 1 << 20,
            "synchronous_mode": synchronous,
            "postgresql": {
                "use_pg_rewind": True,
                "use_slots": True,
                "parameters": {**PARAMETERS, **(settings or {})},
            },
        }

    @property
    def url(self) -> str:
        """One URL with all nodes, of the plain user: ``postgresql://user:password@host:port,host:port,host:port/database``."""
        hosts = ",".join(f"{node.host}:{node.port}" for node in self.nodes)
        return f"postgresql://{self.user}:{quote(self.password, safe='')}@{hosts}/{self.database}"

    async def leader(self, *, other_than: PatroniNode | None = None, timeout_seconds: float = 60) -> PatroniNode:
        """The node that has the leader's lock and takes writes; waits until there is one.

        Args:
            other_than: this one does not count: wait until another has taken over.

        Raises:
            ServerStartError: there was none within that time.
        """
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            candidates = [node for node in self.nodes if node.is_running and node is not other_than]
            timelines = await asyncio.gather(*(self._led_timeline(node) for node in candidates))
            # Of two, the one with the newer timeline: the other does not know yet.
            leading = [pair for pair in zip(timelines, candidates, strict=True) if pair[0]]
            if leading:
                return max(leading, key=lambda pair: pair[0])[1]
            await asyncio.sleep(0.1)
        raise ServerStartError(f"{self!r} has had no leader for {timeout_seconds:g} s:\n{self._tails()}")

    async def synchronous_replica(self) -> PatroniNode:
        """The one node that has every acknowledged commit and may be promoted, with ``synchronous``.

        Raises:
            ServerStartError: there is none at the moment: `settle` waits for it.
        """
        leader = await self.leader()
        for node in self.nodes:
            if node.name in await self._synchronous_names(leader):
                return node
        raise ServerStartError(f"{self!r} has no synchronous replica: {leader.name} leads alone")

    async def switchover(self, to: PatroniNode) -> None:
        """Make another node the leader in good order; returns once it takes writes.

        Raises:
            ServerCommandError: Patroni refuses: with ``synchronous`` all but the `synchronous_replica`.
        """
        leader = await self.leader()
        if leader is to:
            return
        body = {"leader": leader.name, "candidate": to.name}
        deadline = time.monotonic() + 15
        while (answered := await leader.ask("/switchover", body=body, timeout_seconds=30))[0] != 200:
            # The candidate may not be healthy enough yet.
            if time.monotonic() > deadline:
                raise ServerCommandError(f"no switchover from {leader.name} to {to.name}: {answered}")
            await asyncio.sleep(0.2)
        await self.leader(other_than=leader)

    async def settle(self, *, timeout_seconds: float = 90) -> None:
        """Wait until one node leads and all others that run stream from it (with ``synchronous``, one as such)."""
        from asyncpg import InterfaceError, PostgresError

        deadline = time.monotonic() + timeout_seconds
        question = (
            "select application_name from pg_stat_replication where state = 'streaming' and application_name ~ '^node'"
        )
        remake_at = time.monotonic() + timeout_seconds / 3
        seen: object = None
        while time.monotonic() < deadline:
            try:
                leader = await self.leader(timeout_seconds=deadline - time.monotonic())
                streaming = [name for (name,) in await leader.execute_as_superuser(question)]
                seen = sorted(streaming), len(await self._synchronous_names(leader))
                followers = sorted(node.name for node in self.nodes if node.is_running and node is not leader)
                if seen == (followers, int(self._is_synchronous and bool(followers))):
                    return
                if time.monotonic() > remake_at:
                    remake_at = deadline
                    await self._remake(set(followers) - set(streaming))
            except (OSError, PostgresError, InterfaceError) as error:  # a leader that is about to be none
                seen = error
            await asyncio.sleep(0.2)
        raise ServerStartError(f"{self!r} is not whole after {timeout_seconds:g} s: {seen}\n{self._tails()}")

    def _look(self) -> tuple[str, str]:
        patroni, etcd, postgresql = find_patroni(), find_etcd(), find_postgresql(None, variable=None)
        how = f"{patroni.how_found}, with PostgreSQL {postgresql.version} and etcd {etcd.version}"
        return patroni.version, how

    def _helpers(self) -> list[Server]:
        return [self.etcd]

    async def _start(self) -> None:
        self.nodes = [PatroniNode(self, f"node{number}") for number in range(1, self._size + 1)]
        await self.etcd.start()
        # One of them makes the database, the others wait for that and copy it.
        await asyncio.gather(*(node.start() for node in self.nodes))
        leader = await self.leader()
        await leader.execute_as_superuser(f"create role {self.user} login password '{self.password}'")
        await leader.execute_as_superuser(f"create database {self.database} owner {self.user}")
        await self.settle()

    async def _remake(self, names: set[str]) -> None:
        """Have nodes copied anew that Patroni leaves behind (it overlooks one that was promoted without the lock)."""
        for node in self.nodes:
            if node.name in names:
                await node.ask("/reinitialize", body={"force": True}, timeout_seconds=10)

    async def _synchronous_names(self, leader: PatroniNode) -> list[str]:
        """The replica that may be promoted, as etcd has it: PostgreSQL knows a moment earlier."""
        _, cluster = await leader.ask("/cluster", timeout_seconds=10)
        return [member["name"] for member in cluster["members"] if member["role"] == "sync_standby"]

    async def _led_timeline(self, node: PatroniNode) -> int:
        """The timeline that the node leads on; 0 when it does not lead."""
        from asyncpg import InterfaceError, PostgresError

        try:
            status, answer = await node.ask("/primary")
            # With the lock in its hands it answers 200 while it still leaves recovery.
            if status != 200 or await node.execute_as_superuser("select pg_is_in_recovery()") == [(True,)]:
                return 0
        except (OSError, PostgresError, InterfaceError):
            return 0
        return int(answer["timeline"])

    def _tails(self) -> str:
        return "\n".join(f"--- {node.name}\n{node.log_tail()[-1500:]}" for node in self.nodes)
