"""The nodes of one database: who is there, who is the primary, who may be read from.

After MongoDB's "Server Discovery And Monitoring" and libpq's ``target_session_attrs``: a role is learned from the
server and never assumed, an error that contradicts it counts at once, and what is unknown is not written to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

import structlog

from sillar.clock import Random, system_random
from sillar.config import NodeAddress, TopologyConfig
from sillar.engines.connection import DriverConnection
from sillar.engines.node import NodeRole, NodeStatus
from sillar.errors import (
    CommitUnknownError,
    ConnectionLostError,
    DatabaseError,
    NodeUnavailableError,
    ReadOnlyError,
    UsageError,
)
from sillar.pool.breaker import BreakerState
from sillar.pool.election import elect
from sillar.pool.node import Node, NodeState
from sillar.pool.pool import ConnectionPool
from sillar.pool.positions import PositionPoll
from sillar.pool.watch import NodeWatch

_log = structlog.get_logger("sillar.topology")


@dataclass(frozen=True, slots=True)
class TopologyEvent:
    """Something happened to the nodes of a database.

    Attributes:
        database: configured name.
        kind: ``primary_changed``, ``primary_lost``, ``split_brain``, ``node_up``, ``node_down``, ``node_foreign``,
            ``node_alias``, ``node_doubted``, ``node_added``, ``node_removed``, ``breaker_opened``, ``breaker_closed``,
            ``breaker_half_open``.
        node: its address, where one node is concerned.
        detail: why, in words.
    """

    database: str
    kind: str
    node: str | None
    detail: str


class Topology:
    """Watches the nodes and decides what each may be used for.

    Args:
        name: configured name of the database.
        config: how nodes are watched and used.
        make_pool: the pool of a node.
        open_connection: opens a connection to a node.
        read_only: the database is configured read-only, so that it needs no primary.

    Attributes:
        nodes: by address.
        primary: the node that takes the writes, while one is certain.
        readers: the nodes that serve reads besides.
        last_primary: the latest one that was.
        listeners: told of every event.
        why: the reason of the latest decision.
        is_contested: several nodes claim to be the primary, and none is certainly the right one.
        version: another object with each decision.
        takeover: what the primary's ``levelling`` has to cover before it is used, where it took over from another
            member of a cluster in which all take writes; None where there is nothing to wait for.
    """

    def __init__(
        self,
        name: str,
        config: TopologyConfig,
        make_pool: Callable[[NodeAddress], ConnectionPool],
        open_connection: Callable[[NodeAddress], Awaitable[DriverConnection[Any]]],
        *,
        read_only: bool = False,
        random: Random | None = None,
    ) -> None:
        self.name = name
        self.config = config
        self.nodes: dict[NodeAddress, Node] = {}
        self.primary: Node | None = None
        self.last_primary: Node | None = None
        self.readers: tuple[Node, ...] = ()
        self.listeners: list[Callable[[TopologyEvent], None]] = []
        self.why = "no node has been looked at yet"
        self._make_pool = make_pool
        self._open_connection = open_connection
        self._read_only = read_only
        self._random = random or system_random()
        self._by_pool: dict[ConnectionPool, Node] = {}
        self._by_watch: dict[NodeWatch, Node] = {}
        self._history = ""
        self._term_max: int | None = None
        self.is_contested = False
        self.version = object()
        self.takeover: int | None = None
        self._changed = asyncio.Event()

    # --- life -------------------------------------------------------------------------------------------------------

    async def close(self, drain_seconds: float | None = None) -> None:
        """Stop watching and close all pools."""
        nodes = list(self.nodes.values())
        await asyncio.gather(*(node.watch.close() for node in nodes))
        await asyncio.gather(*(node.pool.close(drain_seconds) for node in nodes))
        self.primary, self.readers = None, ()

    async def add_node(self, address: NodeAddress) -> Node:
        """Use one node more, from the moment on at which it has said what it is.

        Raises:
            UsageError: it is there already.
        """
        if address in self.nodes:
            raise UsageError(f"{address} is a node of {self.name!r} already")
        pool = self._make_pool(address)
        watch = NodeWatch(str(address), self.config, lambda: self._open_connection(address), self, self._random)
        node = Node(address, pool, watch)
        self.nodes[address] = self._by_pool[pool] = self._by_watch[watch] = node
        pool.suspend(lambda: self._unavailable(node))
        pool.on_error = self._reported
        pool.breaker.on_change.append(lambda old, new, reason: self._breaker_changed(node, new, reason))
        await pool.open()
        watch.start()
        self._tell("node_added", node, "")
        return node

    async def remove_node(self, address: NodeAddress, drain_seconds: float | None = None) -> None:
        """Use a node no longer; its leases are waited for.

        Raises:
            UsageError: it is not there.
        """
        node = self.nodes.pop(address, None)
        if node is None:
            raise UsageError(f"{address} is no node of {self.name!r}: there are {', '.join(map(str, self.nodes))}")
        node.state, node.reason = NodeState.UNKNOWN, "it was removed"
        node.pool.suspend(lambda: self._unavailable(node))
        del self._by_watch[node.watch]
        self._decide()
        self._tell("node_removed", node, "")
        try:
            await node.watch.close()
        except BaseException:  # the caller does not wait any longer, and leaves nothing behind
            drain_seconds = 0.0
            raise
        finally:
            try:
                await node.pool.close(drain_seconds)
            finally:
                del self._by_pool[node.pool]

    # --- what is known ----------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def node_of(self, connection: DriverConnection[Any]) -> Node | None:
        """The node that a connection leads to; None where it was removed."""
        return self._by_pool.get(connection.pool)

    @property
    def position(self) -> PositionPoll | None:
        """Where the primary stands (the latest one, while there is none)."""
        node = self.primary or self.last_primary
        return None if node is None else node.poll

    def can_read(self, node: Node) -> bool:
        """Whether its data are those of this database, and are kept up to date."""
        status = node.trusted_status
        return status is not None and (
            self._read_only or status.role is NodeRole.REPLICA or status.several_primaries or node is self.primary
        )

    def look_at(self, address: NodeAddress) -> None:
        """Look at a node now: somebody could not connect to it."""
        node = self.nodes.get(address)
        if node is not None:
            node.watch.look_now()

    def describe(self) -> str:
        """All nodes in words, and why the primary is the primary, or why there is none."""
        nodes = "; ".join(node.describe() for node in self)
        return f"{self.why}: {nodes}"

    async def change(self) -> None:
        """Wait until something is decided anew."""
        await self._changed.wait()

    def wake(self) -> None:
        """Wake whoever waits for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    # --- what the watches say ---------------------------------------------------------------------------------------

    def attached(self, watch: NodeWatch) -> None:
        """A node is looked at on a new connection."""
        self.version = object()  # marks that all readers had reached are looked at again

    def caught_up(self) -> None:
        """A node has caught up with its cluster."""
        self.wake()

    def answered(self, watch: NodeWatch, status: NodeStatus, asked_at: float) -> None:
        """A node said what it is."""
        node = self._by_watch.get(watch)
        if node is None:
            return
        if node.is_doubted and asked_at < node.doubted_at:
            node.watch.look_now()
            return  # it was asked before it contradicted itself
        was_up, was_doubted = node.state is NodeState.UP, node.is_doubted
        old, node.status = node.status, status
        node.asked_at, node.answered_at = asked_at, monotonic()
        node.is_doubted, node.refusal = False, None
        if self._history and status.history and status.history != self._history:
            if node.state is not NodeState.FOREIGN:
                self._take_out(node, NodeState.FOREIGN, "it has other data than the rest: another system identifier")
            return
        if (twin := self._twin(node, status)) is not None:
            if node.state is not NodeState.ALIAS:
                self._take_out(node, NodeState.ALIAS, f"it is the same server as {twin.name}")
            return
        node.state, node.reason = NodeState.UP, ""
        if status.role is NodeRole.REPLICA:
            node.is_deposed = False
        if was_up and old is not None and old.role is NodeRole.PRIMARY and status.role is not NodeRole.PRIMARY:
            node.pool.clear(f"{node.name} is not the primary any more")
        node.pool.resume()
        if not was_up or was_doubted or old is None or _differs(old, status) or self.primary is None:
            self._decide()
        if not was_up:
            self._tell("node_up", node, f"a {status.role.value}, {status.version}")

    def _twin(self, node: Node, status: NodeStatus) -> Node | None:
        """The node under whose name this server is used already."""
        others = (other for other in self.nodes.values() if other is not node and other.state is NodeState.UP)
        same = (other for other in others if other.status is not None and other.status.identity == status.identity)
        return next(same, None) if status.identity else None

    def refused(self, watch: NodeWatch, error: DatabaseError) -> None:
        """Nobody is there, or the node lets nobody in. Leases that are out may still come to their end."""
        node = self._by_watch.get(watch)
        if node is not None:
            node.refusal = error
            self._take_out(node, NodeState.DOWN, str(error))

    def silent(self, watch: NodeWatch) -> None:
        """The node is frozen or cut off: whoever waits for it is told now."""
        node = self._by_watch.get(watch)
        if node is not None:
            self._take_out(node, NodeState.DOWN, "it does not answer")
            node.pool.sever(f"{node.name} does not answer")

    def _take_out(self, node: Node, state: NodeState, reason: str) -> None:
        is_news = node.state is not state
        node.state, node.reason = state, reason
        node.pool.suspend(lambda: self._unavailable(node))
        if is_news:
            self._decide()
            self._tell(f"node_{state.value}", node, reason)

    def _reported(self, connection: DriverConnection[Any], error: DatabaseError) -> None:
        """An error that somebody met on a connection: it may say more than the latest look at the node."""
        node = self._by_pool.get(connection.pool)
        if node is None:
            return
        if isinstance(error, (ConnectionLostError, CommitUnknownError)):
            node.watch.look_now()
        elif isinstance(error, ReadOnlyError) and connection.causality is not None and not self._read_only:
            if connection.generation != node.pool.generation or node.is_doubted:
                return  # of a lease from before: that has been dealt with
            node.is_doubted, node.reason, node.doubted_at = True, "it refused a write as read-only", monotonic()
            generation = node.pool.generation
            self._decide()  # which clears the pool of a primary that is none any more
            if node.pool.generation == generation:
                node.pool.clear(f"{node.name} refused a write as read-only")
            self._tell("node_doubted", node, node.reason)
            node.watch.look_now()

    def _breaker_changed(self, node: Node, state: BreakerState, reason: str) -> None:
        self._decide()
        self._tell(_BREAKER_EVENTS[state], node, reason)

    # --- decisions --------------------------------------------------------------------------------------------------

    def _decide(self) -> None:
        """Elect the primary and list the readers anew; wake whoever waits for that."""
        nodes = list(self.nodes.values())
        election = elect(nodes, self.primary or self.last_primary, self._term_max)
        self.why = election.reason
        old, new = self.primary, election.primary
        assert new is None or isinstance(new, Node)
        if new is not old:
            self._change_primary(old, new)
        if election.is_contested and not self.is_contested:
            self._tell("split_brain", None, election.reason)
        self.is_contested = election.is_contested
        if new is not None and new.status is not None:
            self._history = self._history or new.status.history
            if new.status.term is not None:
                self._term_max = max(new.status.term, self._term_max or 0)
        self.readers = tuple(node for node in nodes if self._may_read(node))
        self.version = object()
        self.wake()

    def _change_primary(self, old: Node | None, new: Node | None) -> None:
        self.primary = new
        if old is not None:
            old.pool.clear(f"{old.name} is not the primary any more")
        if new is None:
            assert old is not None
            self._tell("primary_lost", old, self.why)
            return
        before = self.last_primary
        if before is not None and before is not new:
            new.poll.forget_samples()
            before.is_deposed = before.role is not NodeRole.REPLICA
            self.takeover = new.levelling.next_write() if new.is_one_of_several else None
            if self.takeover is not None:
                new.levelling.expect()
            self._tell("primary_changed", new, f"it was {before.name}; {self.why}")
        new.is_deposed = False
        self.last_primary = new

    def _may_read(self, node: Node) -> bool:
        if not (self.can_read(node) and node.pool.breaker.is_passing):
            return False
        return node is not self.primary or self.config.reads_on_primary or self._read_only

    def _unavailable(self, node: Node) -> DatabaseError:
        return NodeUnavailableError(f"{node.describe()}; its connections are not to be had").at(
            database=self.name, node=node.name
        )

    def _tell(self, kind: str, node: Node | None, detail: str) -> None:
        event = TopologyEvent(self.name, kind, None if node is None else node.name, detail)
        _log.info("topology changed", database=self.name, change=kind, node=event.node, detail=detail)
        for listener in tuple(self.listeners):
            try:
                listener(event)
            except Exception as error:  # what was decided stays so, whatever becomes of its announcement
                _log.exception("a listener of topology events failed", kind=kind, error=type(error).__name__)


_BREAKER_EVENTS: Final = {
    BreakerState.OPEN: "breaker_opened",
    BreakerState.FORCED_OPEN: "breaker_opened",
    BreakerState.HALF_OPEN: "breaker_half_open",
    BreakerState.CLOSED: "breaker_closed",
    BreakerState.DISABLED: "breaker_closed",
}


def _differs(old: NodeStatus, new: NodeStatus) -> bool:
    """Whether what matters for decisions has changed. Positions do, where no terms tell two primaries apart."""
    return (old.role, old.read_only, old.term, old.history) != (new.role, new.read_only, new.term, new.history)
