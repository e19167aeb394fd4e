"""Finds nodes that nobody has configured, and lets those go that are gone."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Sequence
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final
from urllib.request import urlopen

import structlog

from sillar.config import NodeAddress, TopologyConfig
from sillar.errors import ConnectError, DatabaseError, UsageError
from sillar.pool.node import NodeState

if TYPE_CHECKING:
    from sillar.pool.topology import Topology

_log = structlog.get_logger("sillar.topology")
_HTTP_SECONDS: Final = 2.0
_ABSENT_MAX: Final = 2

Search = Callable[[], Awaitable[Sequence[NodeAddress]]]
"""One look for nodes; raises :class:`ConnectError` when nobody can be asked."""


class Discovery:
    """Looks for nodes every ``discovery_interval``, adds those that are new, and removes those that it had added and
    that were absent twice in a row.

    A node that answers is not removed: it may only have been forgotten by whoever keeps the list. Nodes of the
    configuration stay.

    Args:
        topology: gets the nodes.
        config: where to look, how often.
        configured: the addresses of the configuration.
    """

    def __init__(self, topology: Topology, config: TopologyConfig, configured: Sequence[NodeAddress]) -> None:
        self._topology = topology
        self._interval = config.discovery_interval
        self._configured = tuple(configured)
        self._absent: dict[NodeAddress, int] = {}
        searches: dict[str, Search] = {
            "servers": self._ask_primary,
            "dns": self._resolve,
            "patroni": lambda: patroni_members(config.patroni_urls),
        }
        self._search = searches[config.discovery]
        self._replaces_configured = config.discovery == "dns"
        self._task: asyncio.Task[None] | None = None

    async def first_nodes(self) -> Sequence[NodeAddress]:
        """The nodes to begin with: those of the configuration, or what its names stand for.

        Raises:
            ConnectError: a name cannot be resolved.
        """
        return await self._search() if self._replaces_configured else self._configured

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def look(self) -> None:
        """Look once. Whoever cannot be asked is asked again the next time."""
        try:
            found = list(await self._search())
        except (DatabaseError, TimeoutError) as error:
            _log.warning("no nodes could be looked for", database=self._topology.name, error=str(error))
            return
        kept = set(found) | (set() if self._replaces_configured else set(self._configured))
        for address in found:
            if address not in self._topology.nodes:
                await self._topology.add_node(address)
        for address, node in list(self._topology.nodes.items()):
            if address in kept or node.state is NodeState.UP:
                self._absent.pop(address, None)
                continue
            self._absent[address] = self._absent.get(address, 0) + 1
            if self._absent[address] >= _ABSENT_MAX:
                del self._absent[address]
                await self._topology.remove_node(address)

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except UsageError as error:  # somebody has added or removed the same node by hand meanwhile
                _log.info("a node was changed by hand", database=self._topology.name, error=str(error))
            except Exception as error:  # it looks again: else nodes would never come or go any more
                _log.exception("no nodes could be looked for", database=self._topology.name, error=type(error).__name__)
            await asyncio.sleep(self._interval)

    async def _ask_primary(self) -> Sequence[NodeAddress]:
        primary = self._topology.primary
        if primary is None:
            raise ConnectError("there is no primary that could be asked for its replicas")
        return [NodeAddress(host, port) for host, port in await primary.watch.members()]

    async def _resolve(self) -> Sequence[NodeAddress]:
        """What all names stand for. One that stands for nothing just now (its machine is being replaced) takes none of
        the others out."""
        loop = asyncio.get_running_loop()
        found: dict[NodeAddress, None] = {}
        failure: tuple[str, OSError] | None = None
        for each in self._configured:
            try:
                infos = await loop.getaddrinfo(each.host, each.port, type=socket.SOCK_STREAM)
            except OSError as error:
                failure = each.host, error
                _log.warning("name not resolved", database=self._topology.name, name=each.host, error=str(error))
                continue
            for info in infos:
                found[NodeAddress(str(info[4][0]), each.port, each.role, each.weight, each.zone)] = None
        if not found and failure is not None:
            name, reason = failure
            raise ConnectError(f"the name {name!r} cannot be resolved: {reason.strerror or reason}") from reason
        return list(found)


async def patroni_members(urls: Sequence[str]) -> Sequence[NodeAddress]:
    """The members that run, as the first of Patroni's REST interfaces that answers lists them.

    Source: Patroni documentation, "REST API", ``GET /cluster``.

    Raises:
        ConnectError: none answers.
    """
    failures: list[str] = []
    for url in urls:
        try:
            return _running(await asyncio.to_thread(_get, f"{url.rstrip('/')}/cluster"))
        except (OSError, HTTPException, ValueError, TypeError) as error:  # refused, too late, broken off; no JSON
            failures.append(f"{url}: {error}")
    raise ConnectError(f"no Patroni answers ({'; '.join(failures)}); look at topology.patroni_urls")


def _running(cluster: Any) -> Sequence[NodeAddress]:
    members = cluster.get("members") if isinstance(cluster, dict) else None
    if not isinstance(members, list) or not all(isinstance(each, dict) for each in members):
        raise TypeError("its answer has no list of members")
    return [
        NodeAddress(str(each["host"]), int(each["port"]))
        for each in members
        if each.get("state") in ("running", "streaming") and "host" in each and "port" in each
    ]


def _get(url: str) -> Any:
    with urlopen(url, timeout=_HTTP_SECONDS) as response:  # noqa: S310 - http or https, as the configuration checks
        return json.load(response)
