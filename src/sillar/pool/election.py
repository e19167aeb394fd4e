"""Which node takes the writes: one that is certainly the primary, or none.

Two nodes that both claim to be it never share the writes. The newer term wins; without terms, the one that has all data
of the others; otherwise nobody is written to until a person or the cluster's own manager has decided. A client's choice
is no fencing: other clients, who cannot see the newer node, may still write to the older one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sillar.engines.node import NodeRole, NodeStatus


class Candidate(Protocol):
    """What an election has to know of a node."""

    @property
    def name(self) -> str:
        """Its address."""
        ...

    @property
    def trusted_status(self) -> NodeStatus | None:
        """What it says of itself; None while it is down, unknown or doubted."""
        ...

    @property
    def asked_at(self) -> float:
        """When it was asked for its status (``time.monotonic()``)."""
        ...

    @property
    def answered_at(self) -> float:
        """When it answered."""
        ...

    @property
    def is_deposed(self) -> bool:
        """It was the primary before another one was, and has not followed that one since."""
        ...


@dataclass(frozen=True, slots=True)
class Election:
    """The outcome.

    Attributes:
        primary: the node that takes the writes, or None.
        reason: why, in words for people.
        is_contested: several nodes claim to be the primary, and none is certainly the right one.
    """

    primary: Candidate | None
    reason: str
    is_contested: bool = False


def elect(nodes: Sequence[Candidate], current: Candidate | None, term_max: int | None) -> Election:
    """Decide.

    Args:
        nodes: all of them.
        current: the primary until now.
        term_max: the highest term that was ever seen of a primary.
    """
    claims: list[tuple[Candidate, NodeStatus]] = [
        (node, status)
        for node in nodes
        if (status := node.trusted_status) is not None and status.role is NodeRole.PRIMARY and not status.read_only
    ]
    if not claims:
        return Election(None, "no node that answers is a primary which takes writes")
    terms = [status.term for _, status in claims if status.term is not None]
    if terms:
        newest = max(terms)
        if term_max is not None and newest < term_max:
            return Election(None, f"the only primary that answers is of term {newest}, and term {term_max} was seen")
        claims = [(node, status) for node, status in claims if status.term == newest]
    if all(status.several_primaries for _, status in claims):
        if current is not None and any(node is current for node, _ in claims):
            return Election(current, "it is the primary still; every member of its cluster takes writes")
        return Election(claims[0][0], "the first member of a cluster in which everyone takes writes")
    in_order = [(node, status) for node, status in claims if not node.is_deposed]
    if not in_order:
        names = ", ".join(node.name for node, _ in claims)
        return Election(None, f"{names} was the primary before another one, and has not followed it since")
    if len(in_order) > 1 and (ahead := _ahead_of_all(in_order)) is not None:
        return Election(ahead, "it has everything that the other nodes have which claim to be the primary")
    if len(in_order) > 1:
        names = ", ".join(node.name for node, _ in in_order)
        return Election(None, f"{names} claim to be the primary, and none is certainly newer", is_contested=True)
    return Election(in_order[0][0], "it is the only primary that takes writes")


def _ahead_of_all(claims: Sequence[tuple[Candidate, NodeStatus]]) -> Candidate | None:
    """The one whose data includes that of all others, and is more.

    The others have to be asked after it has answered: what they had before says nothing, for they may have been written
    to since, by us as well.
    """
    for node, status in claims:
        position = status.position
        others = [(each, other.position) for each, other in claims if each is not node]
        if position is not None and all(
            each.asked_at >= node.answered_at
            and other is not None
            and position.covers(other)
            and not other.covers(position)
            for each, other in others
        ):
            return node
    return None
