"""Asks the nodes themselves, past Sillar's pools and routing: who answers, who takes writes, which rows are there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from sillar.config import DatabaseConnectionConfig, DatabaseCredentials, NodeAddress
from sillar.engines import DatabaseAdapter, DriverConnection, open_adapter
from sillar.errors import ConnectionError, DatabaseError, UnavailableError
from sillar.testing.chaos.situation import Situation

_BETWEEN_LOOKS_SECONDS: Final = 0.05
_ANSWER_SECONDS: Final = 2.0


class NodeWitness:
    """One connection of its own to one node, opened when it is needed.

    Args:
        adapter: of the database; its configuration names the real nodes, not the proxies before them.
        address: the node.
        credentials: who logs in; None: as configured.
    """

    def __init__(
        self, adapter: DatabaseAdapter, address: NodeAddress, credentials: DatabaseCredentials | None = None
    ) -> None:
        self.name = str(address)
        self._adapter, self._address, self._credentials = adapter, address, credentials
        self._connection: DriverConnection[Any] | None = None
        self._in_use = asyncio.Lock()

    async def run(self, statement: str, *, seconds: float = _ANSWER_SECONDS) -> Sequence[Any]:
        """Run one statement of text on this node and return its rows.

        Raises:
            TimeoutError: no answer in time.
            DatabaseError: the node refuses, or is not there.
        """
        bound, args = self._adapter.bind(statement, None)
        try:
            async with self._in_use, asyncio.timeout(seconds):
                if self._connection is None or self._connection.is_closed():
                    self._connection = await self._adapter.open_connection(self._credentials, self._address)
                return (await self._connection.run(bound, args)).rows
        except (TimeoutError, asyncio.CancelledError, UnavailableError):
            self.close()
            raise

    async def look(self, probe_table: str) -> tuple[bool, bool]:
        """Whether the node answers, and whether it takes a write now (tried by writing)."""
        try:
            await self.run(f"insert into {probe_table} (token) values (1)")  # noqa: S608 - a checked name
        except (TimeoutError, ConnectionError):
            return False, False
        except DatabaseError:  # it refuses: read-only, a replica
            return True, False
        return True, True

    def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


class Witness:
    """Looks at every node all the time and writes down in the situation what it sees.

    Args:
        config: the database with its real nodes.
        situation: where it is written down.
        probe_table: the table that it writes into.
        credentials: as for :class:`NodeWitness`.

    Attributes:
        nodes: by ``host:port``.
    """

    def __init__(
        self,
        config: DatabaseConnectionConfig,
        situation: Situation,
        probe_table: str,
        credentials: DatabaseCredentials | None = None,
    ) -> None:
        self._situation, self._probe_table = situation, probe_table
        self._adapter = open_adapter(config)
        self.nodes = {str(at): NodeWitness(self._adapter, at, credentials) for at in config.addresses}
        self._tasks: list[asyncio.Task[None]] = []

    async def look(self) -> None:
        """Look at every node once."""
        await asyncio.gather(*(self._look_at(node) for node in self.nodes.values()))

    def start(self) -> None:
        """Look all the time from now on."""
        self._tasks = [asyncio.get_running_loop().create_task(self._watch(node)) for node in self.nodes.values()]

    async def close(self) -> None:
        """Stop looking and let go of all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for node in self.nodes.values():
            node.close()
        await self._adapter.close()

    async def _watch(self, node: NodeWitness) -> None:
        while True:
            await self._look_at(node)
            await asyncio.sleep(_BETWEEN_LOOKS_SECONDS)

    async def _look_at(self, node: NodeWitness) -> None:
        reachable, writable = await node.look(self._probe_table)
        self._situation.seen(node.name, reachable=reachable, writable=writable)
