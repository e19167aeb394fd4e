"""What every throwaway cluster can do: start and end as a whole, and have its nodes killed, frozen and restarted."""

from __future__ import annotations

import abc
import asyncio
from typing import ClassVar, Generic, Self, TypeVar

from sillar.errors import UsageError
from sillar.testing.servers.errors import ServerStartError
from sillar.testing.servers.server import Server

START_ATTEMPTS = 2
NodeT = TypeVar("NodeT", bound=Server)


class ServerCluster(abc.ABC, Generic[NodeT]):
    """Several throwaway servers that look after one another; gone when this test run is, however it ends.

    As an async context manager it starts, and at the end its servers are killed and their folders removed.

    Attributes:
        nodes: its data nodes, in a fixed order (empty before start()).
        version: of the software that makes it a cluster.
        how_found: in words: where the binaries are.
    """

    product: ClassVar[str]
    is_external: ClassVar[bool] = False

    def __init__(self) -> None:
        self.nodes: list[NodeT] = []
        self.version = ""
        self.how_found = ""

    @property
    @abc.abstractmethod
    def url(self) -> str:
        """The address for clients."""

    @abc.abstractmethod
    def _look(self) -> tuple[str, str]:
        """Look for all binaries; returns ``version`` and ``how_found``."""

    @abc.abstractmethod
    async def _start(self) -> None:
        """Make and start all servers, and wait until they are one."""

    @abc.abstractmethod
    async def settle(self, *, timeout_seconds: float = 90) -> None:
        """Wait until the nodes that run are one healthy cluster.

        Raises:
            ServerStartError: they were not within that time.
        """

    def _helpers(self) -> list[Server]:
        """Servers beside the nodes."""
        return []

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def locate(self) -> None:
        """Find the binaries without starting anything: ``version`` and ``how_found`` then say what start() would take.

        Raises:
            ServerNotFoundError: something is not on this machine.
        """
        self.version, self.how_found = await asyncio.to_thread(self._look)

    async def start(self) -> None:
        """Start all of it and wait until it is healthy.

        Raises:
            ServerNotFoundError: something is not on this machine.
            ServerStartError: it did not come up; with the tail of a log.
            UsageError: it was started before.
        """
        if self.nodes:
            raise UsageError(f"{self!r} was started before; revive() starts its dead nodes")
        await self.locate()
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                await self._start()
            except BaseException as error:
                await self.close()
                # Somebody took one of the ports that the nodes tell each other.
                if attempt == START_ATTEMPTS or not isinstance(error, ServerStartError) or "in use" not in str(error):
                    raise
            else:
                return

    async def kill(self, node: NodeT) -> None:
        """Kill all processes of a node at once (SIGKILL), as a power cut would."""
        await node.kill()

    async def freeze(self, node: NodeT) -> None:
        """Stop all processes of a node from running (SIGSTOP): connections stay open and nothing answers."""
        await node.freeze()

    async def thaw(self, node: NodeT) -> None:
        """Let a frozen node run on (SIGCONT)."""
        await node.thaw()

    async def restart(self, node: NodeT) -> None:
        """Start a node again, stopping it in good order before if it runs; returns once it is part of the cluster."""
        if node.is_running:
            await node.stop()
        await node.start()

    async def revive(self) -> None:
        """Thaw and start again what a test has left frozen, dead or closed, and wait until the cluster is healthy."""
        if not self.nodes:
            await self.start()
            return
        servers = self._servers()
        await asyncio.gather(*(server.thaw() for server in servers if server.is_running))
        if not self.is_running:
            await asyncio.gather(*(server.revive() for server in servers))
            await self.settle()

    async def close(self) -> None:
        """End it for good and remove its folders. May be called again."""
        servers = self._servers()
        self.nodes = []
        ended = await asyncio.gather(*(server.close() for server in servers), return_exceptions=True)
        failures = [failure for failure in ended if isinstance(failure, Exception)]
        if failures:
            raise ExceptionGroup("servers that could not be ended", failures)

    @property
    def is_running(self) -> bool:
        """Whether the processes of all its servers are there (those of a frozen one are)."""
        return bool(self.nodes) and all(server.is_running for server in self._servers())

    def _servers(self) -> list[Server]:
        servers: list[Server] = list(self._helpers())
        servers += self.nodes
        return servers

    def __repr__(self) -> str:
        version = f" {self.version}" if self.version else ""
        ports = ", ".join(str(node.port) for node in self.nodes)
        return f"<{type(self).__name__}{version}{f' on ports {ports}' if ports else ''}>"
