"""Throwaway Redis servers under sentinels, which promote a replica when the primary is gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sillar.testing.servers.cluster import ServerCluster
from sillar.testing.servers.errors import ServerCommandError, ServerStartError
from sillar.testing.servers.installation import find_redis
from sillar.testing.servers.redis import RedisServer
from sillar.testing.servers.server import Server

SERVICE_NAME = "sillar"


class RedisNode(RedisServer):
    """A Redis server whose role the sentinels write down in its own file. Made by `RedisSentinelCluster`."""

    def __init__(self, settings: Mapping[str, str], primary: RedisServer | None) -> None:
        super().__init__(settings=settings, own=True)
        self._primary = primary

    async def role(self) -> str:
        """``master`` or ``slave``, in Redis' words.

        Raises:
            OSError: it does not answer.
        """
        return str((await self.execute("ROLE"))[0])

    @property
    def _file(self) -> Path:
        return self._path / "data" / "redis.conf"

    async def _create(self) -> None:
        await super()._create()
        self._file.write_text("" if self._primary is None else f"replicaof {self._primary.host} {self._primary.port}\n")
        self._identity.give(self._file)

    def _command(self) -> list[str]:
        program, *options = super()._command()
        return [program, str(self._file), *options]


class SentinelServer(RedisServer):
    """One sentinel. Made by `RedisSentinelCluster`."""

    product = "Redis Sentinel"

    def __init__(self, primary: RedisServer, quorum: int) -> None:
        super().__init__(own=True)
        self._primary, self._quorum = primary, quorum

    async def watched(self) -> dict[str, str]:
        """What it knows of the primary (``SENTINEL MASTER``): address, flags, how many replicas and other sentinels.

        Raises:
            OSError: it does not answer.
        """
        words = await self.execute("SENTINEL", "MASTER", SERVICE_NAME)
        return dict(zip(words[::2], words[1::2], strict=True))

    def _command(self) -> list[str]:
        file = self._path / "data" / "sentinel.conf"
        if not file.exists():  # from then on it writes there itself
            rules = {
                "monitor": f"{self._primary.host} {self._primary.port} {self._quorum}",
                "down-after-milliseconds": "1000",
                "failover-timeout": "5000",
                "parallel-syncs": "2",
            }
            file.write_text("".join(f"sentinel {name} {SERVICE_NAME} {value}\n" for name, value in rules.items()))
            self._identity.give(file)
        own = ["--port", str(self.port), "--bind", self.host, "--dir", str(self._path / "data")]
        return [self._binaries.binary("redis-server"), str(file), "--sentinel", *own]


class RedisSentinelCluster(ServerCluster[RedisNode]):
    """A Redis primary with two replicas, and three sentinels that promote a replica some 2 s after the primary is gone.

    Args:
        settings: entries of ``redis.conf`` for the nodes.

    Attributes:
        nodes: the Redis servers; the first one is the primary at the beginning.
        sentinels: the three sentinels, each with ``host`` and ``port``.
        service_name: what the sentinels call the whole.
        version: Redis'.

    The other attributes are those of `ServerCluster`.
    """

    product = "Redis Sentinel"
    service_name = SERVICE_NAME

    def __init__(self, *, settings: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._settings = dict(settings or {})
        self.sentinels: list[SentinelServer] = []

    @property
    def url(self) -> str:
        """``redis+sentinel://host:port,host:port,host:port/sillar/0``: the sentinels, the service, the database."""
        hosts = ",".join(f"{sentinel.host}:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE_NAME}/0"

    async def primary(self, *, other_than: RedisNode | None = None, timeout_seconds: float = 60) -> RedisNode:
        """The node that the sentinels name and that takes writes; waits until there is one.

        Args:
            other_than: this one does not count: wait until another has taken over.

        Raises:
            ServerStartError: there was none within that time.
        """
        deadline = time.monotonic() + timeout_seconds
        seen: Any = None
        while time.monotonic() < deadline:
            for sentinel in self.sentinels:
                try:
                    seen = await sentinel.execute("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE_NAME)
                    for node in self.nodes:
                        is_named = [node.host, str(node.port)] == seen and node is not other_than
                        if is_named and await node.role() == "master":
                            return node
                except (OSError, ServerCommandError) as error:
                    seen = error
            await asyncio.sleep(0.05)
        raise ServerStartError(f"{self!r} has had no primary for {timeout_seconds:g} s; the sentinels say {seen}")

    async def settle(self, *, timeout_seconds: float = 90) -> None:
        """Wait until all nodes that run follow one primary, and all sentinels that run know them and one another."""
        deadline = time.monotonic() + timeout_seconds
        seen: Any = None
        while time.monotonic() < deadline:
            primary = await self.primary(timeout_seconds=deadline - time.monotonic())
            running = [node for node in self.nodes if node.is_running]
            sentinels = [sentinel for sentinel in self.sentinels if sentinel.is_running]
            try:
                role = await primary.execute("ROLE")
                links = [await node.execute("INFO", "replication") for node in running if node is not primary]
                known = [await sentinel.watched() for sentinel in sentinels]
            except (OSError, ServerCommandError) as error:
                seen = error
            else:
                others = len(self.sentinels) - 1
                seen = len(role[2]), [text.count("master_link_status:up") for text in links]
                seen += ([(int(each["num-slaves"]), int(each["num-other-sentinels"])) for each in known],)
                whole = [(len(self.nodes) - 1, others)] * len(sentinels)
                if seen == (len(running) - 1, [1] * len(links), whole):
                    return
            await asyncio.sleep(0.05)
        raise ServerStartError(f"{self!r} is not whole after {timeout_seconds:g} s: {seen}")

    async def close(self) -> None:
        """End it for good and remove its folders."""
        await super().close()
        self.sentinels = []

    def _look(self) -> tuple[str, str]:
        found = find_redis()
        return found.version, found.how_found

    def _helpers(self) -> list[Server]:
        return list(self.sentinels)

    async def _start(self) -> None:
        first = RedisNode(self._settings, None)
        self.nodes = [first]
        await first.start()
        self.nodes += [RedisNode(self._settings, first) for _ in range(2)]
        await asyncio.gather(*(node.start() for node in self.nodes[1:]))
        # The sentinels ask the primary for its replicas when they start, and then every 10 s.
        async with asyncio.timeout(60):
            while len((await first.execute("ROLE"))[2]) < 2:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)
        self.sentinels = [SentinelServer(first, 2) for _ in range(3)]
        await asyncio.gather(*(sentinel.start() for sentinel in self.sentinels))
        await self.settle()
