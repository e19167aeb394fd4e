"""Which nodes have what a line of work has written, and whose data is recent enough.

Where one node takes the writes, that node has them all: a replica that is promoted has replayed all that it received
before. Where every member of a cluster takes writes (Galera, group replication), a write is acknowledged when all
members have *received* it; they apply it a little later. So a member that takes over, or that is asked for what was
written on another one, first has to catch up: it is asked, on a connection of its own, to wait until everything is
there that the cluster had committed when it was asked (``wsrep_sync_wait``, ``group_replication_consistency``).
"""

from __future__ import annotations

from collections.abc import Sequence

from sillar.consistency import CausalContext, Need, Position
from sillar.pool.node import Node
from sillar.pool.positions import WriteMark
from sillar.pool.topology import Topology


class Freshness:
    """What routing knows of writes.

    Args:
        name: configured name of the database, under which a line of work keeps its mark.
        topology: the nodes.
    """

    __slots__ = ("_name", "_topology")

    def __init__(self, name: str, topology: Topology) -> None:
        self._name = name
        self._topology = topology

    def note_write(self, causality: CausalContext, node: Node) -> None:
        """A line of work has written on a node."""
        poll = node.poll
        causality.marks[self._name] = WriteMark(poll, poll.note_write())  # as causality.note(), without a call more
        line = causality.line
        if line is not None:
            line.read.settled = None

    def writer(self, need: Need | None) -> Node | None:
        """The primary, once it certainly has what was committed before it took over, and what this line has written."""
        topology = self._topology
        node = topology.primary
        if node is None or not node.is_one_of_several:
            return node
        if topology.takeover is not None:
            if not node.levelling.covers_write(topology.takeover):
                node.levelling.expect()
                return None
            topology.takeover = None
        mark = None if need is None else need.causality.marks.get(self._name)
        if need is None or mark is None or _holds(node, mark):
            return node
        self.catch_up(need.causality, node)
        return None

    def catch_up(self, causality: CausalContext, node: Node) -> None:
        """Have a node catch up with its cluster, for a line of work that may have written on another member."""
        mark: WriteMark | None = causality.marks.get(self._name)
        if mark is None or mark.poll is not node.levelling:
            causality.note(self._name, WriteMark(node.levelling, node.levelling.next_write()))
        node.levelling.expect()

    def fresh(self, readers: Sequence[Node], mark: WriteMark, causality: CausalContext) -> Sequence[Node]:
        """The nodes that have what was written."""
        primary = self._topology.primary
        position = mark.position
        if position is None:
            assert mark.poll is not None
            if primary is None or mark.poll is primary.poll:
                mark.poll.request()
            elif not primary.is_one_of_several:
                self.note_write(causality, primary)  # its node is gone; the primary of today has what is left of it
            return ()
        fresh = []
        for node in readers:
            if _holds(node, mark) if node is primary else _covers(node, position):
                fresh.append(node)
            else:
                node.poll.request()
        if not fresh and primary is not None and mark.poll is not primary.poll:
            known = primary.poll.position
            if known is not None and not known.covers(position) and not position.covers(known):
                self.note_write(causality, primary)  # of another timeline: no replica will ever cover it
        return fresh

    def recent(self, readers: Sequence[Node], lag_seconds: float) -> Sequence[Node]:
        """The nodes whose data is at most so old."""
        poll = self._topology.position
        if poll is None:
            return ()
        recent = []
        for node in readers:
            behind = poll.seconds_behind(node.position)
            if node is self._topology.primary or (behind is not None and behind <= lag_seconds):
                recent.append(node)
            else:
                node.poll.request()
        if len(recent) < len(readers):
            poll.request()
        return recent


def _holds(primary: Node, mark: WriteMark) -> bool:
    """Whether the node that takes the writes certainly has what was written."""
    if not primary.is_one_of_several or (mark.poll is primary.poll and mark.received is None):
        return True
    if mark.poll is primary.levelling and primary.levelling.covers_write(mark.number):
        return True
    position = mark.position
    return position is not None and _covers(primary, position)


def _covers(node: Node, position: Position) -> bool:
    reached = node.position
    return reached is not None and reached.covers(position)
