"""Connections to several nodes: what may write goes to the primary, reads to a replica that is fresh enough."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, ClassVar

from sillar.clock import Random
from sillar.config import ConnectionPoolConfig, DatabaseConnectionConfig, NodeAddress
from sillar.consistency import CausalContext, Consistency, ConsistencyLevel, Need, current_causality, current_line
from sillar.engines.adapter import DatabaseAdapter
from sillar.engines.connection import DriverConnection
from sillar.engines.health import PoolHealth
from sillar.errors import (
    BreakerOpenError,
    ConnectError,
    DatabaseError,
    NodeUnavailableError,
    OverloadedError,
    PoolClosedError,
    PoolExhaustedError,
    TooManyConnectionsError,
)
from sillar.pool import messages
from sillar.pool.balancer import LoadBalancer
from sillar.pool.discovery import Discovery
from sillar.pool.freshness import Freshness
from sillar.pool.lease import DatabaseConnection
from sillar.pool.leasing import Leasing
from sillar.pool.node import Node, NodeState
from sillar.pool.pool import ConnectionPool
from sillar.pool.positions import WriteMark
from sillar.pool.routed_health import figures
from sillar.pool.topology import Topology

_ELSEWHERE = (NodeUnavailableError, BreakerOpenError, ConnectError, TooManyConnectionsError)
"""After these another node is asked."""
_FULL = (PoolExhaustedError, OverloadedError)
"""After these, too, where several nodes will do."""
_LOOK_AGAIN_SECONDS = 0.1
_ANYTHING = Need(CausalContext({}), Consistency.EVENTUAL, is_read=True)


class RoutedPool(Leasing):
    """One pool per node, and the choice between them.

    Args:
        name: configured name of the database.
        config: the database, with everything decided.
        adapter: opens the connections.
        open_connection: opens a connection to a node with the credentials of that moment.

    Attributes:
        topology: the nodes, their roles, and who is told of changes.
        balancer: chooses between nodes that will do.
    """

    is_routed: ClassVar[bool] = True

    def __init__(
        self,
        name: str,
        config: DatabaseConnectionConfig,
        adapter: DatabaseAdapter,
        open_connection: Callable[[NodeAddress], Awaitable[DriverConnection[Any]]],
        *,
        random: Random | None = None,
    ) -> None:
        assert config.pool is not None  # decided by DatabaseConfig.connection
        self.name = name
        self.config: ConnectionPoolConfig = config.pool
        self.adapter = adapter
        self.connection_timeout = config.pool.connection_timeout
        self._read_only = config.read_only
        self._addresses = config.addresses
        self._default = Consistency(ConsistencyLevel(config.topology.consistency))
        self.balancer = LoadBalancer(config.topology.load_balancing, zone=config.topology.zone, random=random)

        def make_pool(address: NodeAddress) -> ConnectionPool:
            async def connect() -> DriverConnection[Any]:
                try:
                    return await open_connection(address)
                except ConnectError:
                    self.topology.look_at(address)
                    raise

            return ConnectionPool(self.config, adapter, name=f"{name} at {address}", open_connection=connect)

        self.topology = Topology(
            name, config.topology, make_pool, open_connection, read_only=config.read_only, random=random
        )
        self._freshness = Freshness(name, self.topology)
        self._discovery: Discovery | None = None
        if config.topology.discovery != "none":
            self._discovery = Discovery(self.topology, config.topology, config.addresses)
        checks = config.topology
        self._settled_seconds = checks.check_interval + 3 * checks.check_timeout
        """What is known of a node's data holds for as long as its server runs: one that is restarted may come back with
        less. A new connection to it may be there before its watch has noticed; one that is older than this is not."""
        self._is_open = self._closing = False
        self._waiting = self._refused = 0
        self._picked: Node | None = None  # by try_acquire, for the acquire_connection that follows at once

    # --- life -------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Look at every node once.

        With ``on_unavailable="fail"`` there has to be a primary (a node, for a read-only database); with ``"wait"``
        whatever comes up is used when it does.

        Raises:
            ConnectError: or one of its kinds, for a reason that time does not heal; NoPrimaryError; NoNodeError.
        """
        self._is_open = True
        addresses = self._addresses if self._discovery is None else await self._discovery.first_nodes()
        nodes = [await self.topology.add_node(address) for address in addresses]
        await asyncio.gather(*(node.watch.first_look() for node in nodes))
        if self.topology.is_contested:  # a second look may tell which of them is ahead of the others
            await asyncio.gather(*(node.watch.look_again() for node in nodes))
        if self.config.on_unavailable == "fail" and not self.can_serve():
            refusals = [node.refusal for node in nodes if node.refusal is not None]
            if len(refusals) == len(nodes):
                raise refusals[0]
            raise messages.nobody_error(self.topology, is_read=self._read_only)
        if self._discovery is not None:
            self._discovery.start()

    async def close(self, drain_seconds: float | None = None) -> None:
        """Refuse new callers, wait for leases, close everything."""
        self._closing = True
        self.topology.wake()
        if self._discovery is not None:
            await self._discovery.close()
        await self.topology.close(drain_seconds)

    # --- leases -----------------------------------------------------------------------------------------------------

    def try_acquire(self, read: Need | None = None) -> DriverConnection[Any] | None:
        """A connection to the node of choice if one can be had at once, else None."""
        is_settled = read is not None and read.settled is self.topology.version
        if is_settled or self._read_only or (read is not None and read.is_read):
            need = read or _ANYTHING
            readers = self.topology.readers
            node: Node | None
            if is_settled:  # what mostly happens
                node = readers[0] if len(readers) == 1 else self.balancer.pick(readers)
            else:
                node = self._reader(need)
            self._picked = node
            connection = None if node is None else node.pool.try_acquire()
            if connection is None or connection.borrowed_at - connection.created_at > self._settled_seconds:
                return connection
            if self.still_serves(connection, need):
                return connection
            self.release_connection(connection)
            self._picked = None
            return None
        node = self._freshness.writer(read)
        if node is None:
            return None
        connection = node.pool.try_acquire()
        if connection is not None and read is not None:
            connection.causality = read.causality
        return connection

    async def acquire_connection(
        self, timeout_seconds: float | None = None, read: Need | None = None
    ) -> DriverConnection[Any]:
        """A connection to a node that will do; waits for one to come up, and goes elsewhere when a node goes down.

        Raises:
            NoPrimaryError: none is known within the time; NoNodeError: none serves reads within the time.
            PoolTimeoutError, PoolExhaustedError, PoolClosedError, OverloadedError, BreakerOpenError, ConnectError: of
                the node.
        """
        is_read = self._read_only or (read is not None and read.is_read)
        picked, self._picked = self._picked, None
        node = picked if is_read else self._freshness.writer(read)
        if node is None or self._closing:
            return await self._acquire_anywhere(timeout_seconds, read, is_read=is_read)
        began, failed = monotonic(), None
        try:  # what mostly happens: the node of choice has one soon
            connection = await node.pool.acquire_connection(timeout_seconds)
        except (*_ELSEWHERE, *_FULL) as error:
            if not is_read and isinstance(error, _FULL):
                raise
            failed = (node, error)
        else:
            if is_read:
                if connection.borrowed_at - connection.created_at > self._settled_seconds:
                    return connection
            elif node is self.topology.primary and self.topology.takeover is None:
                if read is not None:
                    connection.causality = read.causality
                return connection
            if self._will_do(connection, node, read, is_read=is_read):
                return connection
            node.pool.release_connection(connection)
        limit = self.connection_timeout if timeout_seconds is None else min(timeout_seconds, self.connection_timeout)
        left = max(0.001, limit - (monotonic() - began))  # all waits together stay within the limit
        return await self._acquire_anywhere(left, read, is_read=is_read, failed=failed)

    async def _acquire_anywhere(
        self,
        timeout_seconds: float | None,
        read: Need | None,
        *,
        is_read: bool,
        failed: tuple[Node, DatabaseError] | None = None,
    ) -> DriverConnection[Any]:
        """Try one node after the other, and wait for one to come up, until the time is over."""
        loop = asyncio.get_running_loop()
        timeout = self.connection_timeout
        if timeout_seconds is not None and timeout_seconds < timeout:
            timeout = timeout_seconds
        due = loop.time() + timeout
        avoided: set[Node] = set()
        last: DatabaseError | None = None
        if failed is not None:
            avoided.add(failed[0])
            last = failed[1]
        while True:
            if self._closing or not self._is_open:
                raise PoolClosedError(f"the pools of {self.name!r} are closed").at(database=self.name)
            node = self._reader(read or _ANYTHING, avoided) if is_read else self._freshness.writer(read)
            if node is None or node in avoided:
                if last is not None and not isinstance(last, NodeUnavailableError):
                    raise last
                await self._wait_for_change(due, is_read=is_read)
                avoided.clear()
                last = None
                continue
            try:
                connection = await node.pool.acquire_connection(max(0.001, due - loop.time()))
            except (*_ELSEWHERE, *_FULL) as error:
                if not is_read and isinstance(error, _FULL):
                    raise
                avoided.add(node)
                last = error
                continue
            if self._will_do(connection, node, read, is_read=is_read):
                return connection
            node.pool.release_connection(connection)
            avoided.add(node)
            last = None

    def _will_do(self, connection: DriverConnection[Any], node: Node, read: Need | None, *, is_read: bool) -> bool:
        """Whether the node of a connection that was waited for is still the one to go to."""
        if is_read:
            return self.still_serves(connection, read or _ANYTHING)
        if self._freshness.writer(read) is not node:
            return False  # it has lost its role meanwhile
        if read is not None:
            connection.causality = read.causality
        return True

    def release_connection(self, connection: DriverConnection[Any]) -> None:
        """Give a connection back to its node; what a write has left is noted in its line of work."""
        causality = connection.causality
        if causality is not None:
            connection.causality = None
            node = self.topology.primary
            if node is None or node.pool is not connection.pool:
                node = self.topology.node_of(connection)
            if node is not None:  # else it was removed, and its lease ended only now
                self._freshness.note_write(causality, node)
        connection.pool.release_connection(connection)

    def leads_to_primary(self, connection: DriverConnection[Any]) -> bool:
        """Whether a connection that somebody has kept for long leads to the node that takes the writes now."""
        primary = self.topology.primary
        return primary is not None and connection.pool is primary.pool

    def still_serves(self, connection: DriverConnection[Any], need: Need) -> bool:
        """Whether a connection that somebody has kept for long would do for a read now."""
        node = self.topology.node_of(connection)
        if node is None:
            return False
        if node is self.topology.primary:
            return self._freshness.writer(need) is node
        if not self.topology.can_read(node):
            return False
        level = (need.consistency or self._default).level
        if level is ConsistencyLevel.STRONG and not self._read_only:
            return False
        if level is ConsistencyLevel.BOUNDED:
            assert need.consistency is not None  # the default is never bounded
            return bool(self._freshness.recent((node,), need.consistency.lag_seconds or 0.0))
        mark = need.causality.marks.get(self.name)
        if mark is None or level is not ConsistencyLevel.READ_YOUR_WRITES:
            return True
        return bool(self._freshness.fresh((node,), mark, need.causality))

    def need_of_lease(self) -> Need:
        return current_line().need(is_read=False)

    # --- causality --------------------------------------------------------------------------------------------------

    def note_write(self, connection: DriverConnection[Any], other: CausalContext | None = None) -> None:
        """Note a commit on a connection that stays leased: in the line of work that leased it, in that of the running
        task, which may be another one, and in one more."""
        causality = connection.causality
        if causality is not None and connection.leased:
            node = self.topology.node_of(connection)
            if node is None:
                return  # it was removed
            self._freshness.note_write(causality, node)
            for line in (current_causality(), other):
                if line is not None:
                    line.note(self.name, causality.marks[self.name])

    async def token_position(self, causality: CausalContext) -> str | None:
        """The position that a reader elsewhere has to wait for; None where nothing was written.

        Raises:
            NodeUnavailableError: the primary does not say it now.
        """
        mark: WriteMark | None = causality.marks.get(self.name)
        if mark is None:
            return None
        if mark.position is None:
            assert mark.poll is not None  # a mark without one has its position
            await mark.poll.wait_for(mark.number)
        assert mark.position is not None
        return mark.position.encode()

    def accept_position(self, causality: CausalContext, text: str) -> None:
        """Have a line of work read what somebody else has written.

        Raises:
            UsageError: it is no position of this engine.
        """
        position = self.adapter.position_from(text)
        mark: WriteMark | None = causality.marks.get(self.name)
        if mark is not None:
            known = mark.position
            if known is None:  # an own write whose position is not known yet, and may turn out to be the earlier one
                node = self.topology.primary
                if node is not None and node.is_one_of_several:
                    self._freshness.catch_up(causality, node)
                else:
                    received = position if mark.received is None else mark.received.merged(position)
                    causality.note(self.name, WriteMark(mark.poll, mark.number, received=received))
                return
            position = known.merged(position)
        causality.note(self.name, WriteMark(None, 0, position))

    # --- the choice -------------------------------------------------------------------------------------------------

    def _reader(self, need: Need, avoided: Sequence[Node] | set[Node] = ()) -> Node | None:
        topology = self.topology
        level = (need.consistency or self._default).level
        if level is ConsistencyLevel.STRONG and not self._read_only:
            return self._freshness.writer(need)
        readers: Sequence[Node] = topology.readers
        if level is ConsistencyLevel.READ_YOUR_WRITES:
            mark = need.causality.marks.get(self.name)
            if mark is not None and mark.reached is not topology.version:  # else all of them have it
                readers = self._freshness.fresh(readers, mark, need.causality)
                if len(readers) == len(topology.readers):
                    mark.reached = topology.version
            line = need.causality.line
            if line is not None and need is line.read and readers and len(readers) == len(topology.readers):
                need.settled = topology.version  # until something is noted in its line of work
        elif level is ConsistencyLevel.BOUNDED:
            assert need.consistency is not None  # the default is never bounded
            readers = self._freshness.recent(readers, need.consistency.lag_seconds or 0.0)
        if avoided:
            readers = [node for node in readers if node not in avoided]
        if not readers:
            anything = level is ConsistencyLevel.EVENTUAL
            primary = topology.primary if anything else self._freshness.writer(need)
            return None if primary in avoided else primary
        return readers[0] if len(readers) == 1 else self.balancer.pick(readers)

    async def _wait_for_change(self, due: float, *, is_read: bool) -> None:
        if self._waiting >= self.config.waiting_max:
            self._refused += 1
            raise messages.no_room_error(self.topology, self._waiting)
        now = asyncio.get_running_loop().time()
        # A node that comes as far as is needed is no change of the topology: it is looked at now and then.
        is_there = is_read or self.topology.primary is not None
        limit = min(due, now + _LOOK_AGAIN_SECONDS) if is_there else due
        self._waiting += 1
        try:
            async with asyncio.timeout_at(limit):
                await self.topology.change()
        except TimeoutError:
            if limit >= due:
                raise messages.nobody_error(self.topology, is_read=is_read) from None
        finally:
            self._waiting -= 1

    def can_serve(self) -> bool:
        """Whether there is a node for whoever wants a connection now."""
        return self.topology.primary is not None or self._can_only_read()

    def _can_only_read(self) -> bool:
        return self._read_only and any(node.state is NodeState.UP for node in self.topology)

    # --- figures ----------------------------------------------------------------------------------------------------

    def stats(self) -> PoolHealth:
        """The figures of all nodes together, and by node."""
        return figures(self)

    async def health_check(self) -> PoolHealth:
        """As :meth:`stats`: the watches look at every node all the time, so nothing is asked and nothing queues."""
        return figures(self)

    @asynccontextmanager
    async def dedicated(self) -> AsyncIterator[DatabaseConnection]:
        """A new connection to the primary outside the pool, as ``ConnectionPool.dedicated``; it does not follow a
        failover. What it has written is noted when it is given back.

        Raises:
            NoPrimaryError: none is known.
        """
        primary = self.topology.primary
        if primary is None:
            raise messages.nobody_error(self.topology, is_read=False)
        async with primary.pool.dedicated() as lease:
            lease.connection.causality = causality = current_causality()
            try:
                yield lease
            finally:
                self._freshness.note_write(causality, primary)

    def clear(self, reason: str) -> None:
        """Begin a new generation of connections on every node."""
        for node in self.topology:
            node.pool.clear(reason)

    def abandon(self) -> None:
        """Forget everything without touching a socket: for a forked child."""
        self._closing = True
        for node in self.topology:
            node.pool.abandon()

    def __repr__(self) -> str:
        return f"<RoutedPool {self.name!r}: {self.topology.describe()}>"
