"""Throwaway Galera clusters of MariaDB servers: every node takes writes."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from sillar.testing.servers.cluster import ServerCluster
from sillar.testing.servers.errors import ServerStartError
from sillar.testing.servers.installation import find_galera, find_mariadb
from sillar.testing.servers.mariadb import MariaDBServer
from sillar.testing.servers.port import HOST, PortReservation
from sillar.testing.servers.process import run_command
from sillar.testing.servers.template import copy_folder

PROVIDER_OPTIONS = {
    # How soon a node that does not answer is left out.
    "evs.keepalive_period": "PT0.3S",
    "evs.suspect_timeout": "PT2S",
    "evs.inactive_timeout": "PT4S",
    "evs.inactive_check_period": "PT0.2S",
    "gcache.size": "32M",
}
NODE_SETTINGS = {
    **{name: value for name, value in MariaDBServer.default_settings.items() if name != "gtid-strict-mode"},
    "innodb-autoinc-lock-mode": "2",
}
STATE = """# GALERA saved state
version: 2.1
uuid:    {history}
seqno:   {number}
safe_to_bootstrap: {is_first}
"""
RECOVERED = re.compile(r"Recovered position:? ([0-9a-f-]{36}):(-?\d+)")


class GaleraNode(MariaDBServer):
    """One MariaDB server of a cluster, made by `GaleraCluster`. It is ready once it is in step with the others.

    Attributes:
        name: what the cluster calls it.

    The other attributes are those of `MariaDBServer`.
    """

    product = "Galera"
    default_settings: ClassVar[Mapping[str, str]] = NODE_SETTINGS
    start_timeout_seconds = 120
    poll_seconds = 0.1

    def __init__(self, cluster: GaleraCluster, name: str) -> None:
        super().__init__(settings=cluster.settings, own=True)
        self.name = name
        self.user, self.password, self.database = cluster.user, cluster.password, cluster.database
        self.superuser_password = cluster.superuser_password
        self.begins = False
        self._cluster = cluster
        self._is_populated = True
        # For the talk of the group, for whole copies, for increments.
        self._further = [PortReservation() for _ in range(3)]

    @property
    def group_address(self) -> str:
        """Where the other nodes reach it."""
        return f"{HOST}:{self._further[0].port}"

    async def position(self) -> tuple[int, str]:
        """How far its data has come, while it does not run: the number of the last transaction, and its history."""
        printed = await run_command([*self._command(), "--wsrep-recover"], identity=self._identity)
        if (found := RECOVERED.search(printed)) is None:
            raise ServerStartError(f"{self!r} does not say how far it has come:\n{printed[-1500:]}")
        return int(found[2]), found[1]

    def note_state(self, history: str, number: int, *, is_first: bool) -> None:
        """Write down how far its data has come, and whether a cluster may begin with it."""
        file = self._data / "grastate.dat"
        file.write_text(STATE.format(history=history, number=number, is_first=int(is_first)))
        self._identity.give(file)

    async def close(self) -> None:
        """End it for good and remove its folder."""
        await super().close()
        for reservation in self._further:
            reservation.release()

    async def _create(self) -> None:
        self._make_folder("socket")
        await asyncio.to_thread(copy_folder, self._cluster.seed_data, self._make_folder("data"))

    async def _populate(self) -> None:
        """The data that it begins with has it all."""

    def _command(self) -> list[str]:
        _, copies, increments = self._further
        provider = {
            **PROVIDER_OPTIONS,
            "gmcast.listen_addr": f"tcp://{self.group_address}",
            "ist.recv_addr": f"{HOST}:{increments.port}",
        }
        options = {
            "wsrep-on": "ON",
            "wsrep-provider": str(find_galera()),
            "wsrep-cluster-name": "sillar",
            "wsrep-cluster-address": f"gcomm://{','.join(node.group_address for node in self._cluster.nodes)}",
            "wsrep-node-name": self.name,
            "wsrep-node-address": self.group_address,
            "wsrep-node-incoming-address": f"{self.host}:{self.port}",
            "wsrep-sst-method": "rsync",
            "wsrep-sst-receive-address": f"{HOST}:{copies.port}",
            "wsrep-provider-options": ";".join(f"{name}={value}" for name, value in provider.items()),
        }
        command = [*super()._command(), *(f"--{name}={value}" for name, value in options.items())]
        return [*command, "--wsrep-new-cluster"] if self.begins else command

    async def _ask_version(self) -> str:
        state = await self.execute_as_superuser("show status like 'wsrep_local_state_comment'")
        if state != [("wsrep_local_state_comment", "Synced")]:
            raise ConnectionError(f"{self.name} is not in step with its cluster: {state}")
        return await super()._ask_version()


class GaleraCluster(ServerCluster[GaleraNode]):
    """Three MariaDB servers that commit together. When one is killed, the others take writes again after some 2 s.

    Args:
        settings: server options of every node.

    Attributes:
        nodes: each a `GaleraNode`, with ``host``, ``port`` and ``url``; all take writes.
        user, password, database, superuser, superuser_password: the same on every node.
        version: MariaDB's.

    The other attributes are those of `ServerCluster`.
    """

    product = "Galera"

    def __init__(self, *, settings: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.user, self.password, self.database = "sillar", secrets.token_hex(12), "sillar"
        self.superuser, self.superuser_password = "root", secrets.token_hex(12)
        self.settings = dict(settings or {})
        self.seed_data = Path()

    @property
    def url(self) -> str:
        """One URL with all nodes, of the plain user: ``mariadb://user:password@host:port,…/database``."""
        hosts = ",".join(f"{node.host}:{node.port}" for node in self.nodes)
        return f"mariadb://{self.user}:{quote(self.password, safe='')}@{hosts}/{self.database}"

    async def settle(self, *, timeout_seconds: float = 90) -> None:
        """Wait until all nodes that run are one group, in step, and take writes."""
        running = [node for node in self.nodes if node.is_running]
        question = "select concat_ws(' ', variable_name, variable_value) from information_schema.global_status "
        question += "where variable_name in ('wsrep_cluster_size', 'wsrep_ready', 'wsrep_local_state_comment')"
        wanted = sorted([f"WSREP_CLUSTER_SIZE {len(running)}", "WSREP_READY ON", "WSREP_LOCAL_STATE_COMMENT Synced"])
        deadline = time.monotonic() + timeout_seconds
        while True:
            asked = [asyncio.wait_for(node.execute_as_superuser(question), 10) for node in running]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            if all(
                not isinstance(rows, BaseException) and sorted(row[0] for row in rows) == wanted for rows in answers
            ):
                return
            if time.monotonic() > deadline:
                raise ServerStartError(f"{self!r} is not whole after {timeout_seconds:g} s: {answers}")
            await asyncio.sleep(0.1)

    async def revive(self) -> None:
        """As ever; when all nodes are dead, the one that has come furthest begins and the others follow it."""
        if self.nodes and not any(node.is_running for node in self.nodes):
            positions = await asyncio.gather(*(node.position() for node in self.nodes))
            (number, history), index = max((position, index) for index, position in enumerate(positions))
            self.nodes[index].note_state(history, number, is_first=True)
            await self._begin_with(self.nodes[index])
        await super().revive()

    def _look(self) -> tuple[str, str]:
        library, mariadb = find_galera(), find_mariadb()
        return mariadb.version, f"{mariadb.how_found}, with {library}"

    async def _start(self) -> None:
        seed = MariaDBServer(settings={**NODE_SETTINGS, **self.settings}, own=True)
        seed.user, seed.password, seed.database = self.user, self.password, self.database
        seed.superuser_password = self.superuser_password
        async with seed:
            await seed.stop()
            self.seed_data = seed._data
            self.nodes = [GaleraNode(self, f"node{number}") for number in (1, 2, 3)]
            await self._begin_with(self.nodes[0])
            # With nearly the same data as the first, they have little to copy from it.
            await asyncio.gather(*(node.start() for node in self.nodes[1:]))
        await self.settle()

    async def _begin_with(self, node: GaleraNode) -> None:
        node.begins = True
        try:
            await node.start()
        finally:
            node.begins = False
