"""What holds at this moment of a scenario: which nodes are down, which of them Sillar knows of, who takes writes."""

from __future__ import annotations

from enum import StrEnum
from time import monotonic


class Phase(StrEnum):
    """What a request found when it began."""

    HEALTHY = "healthy"
    """All nodes are up, and one takes writes."""
    NO_PRIMARY = "no primary"
    """No node that can be reached takes writes."""
    DEGRADED = "degraded"
    """A node takes writes, and another one is down."""
    ALL_DOWN = "all down"


class Outage:
    """A time without a node that takes writes.

    Attributes:
        begun_at, over_at: ``time.monotonic()``; None while it lasts.
    """

    def __init__(self, begun_at: float) -> None:
        self.begun_at = begun_at
        self.over_at: float | None = None


class Situation:
    """The harness's own knowledge, from the faults it injects and from its witness; Sillar is not asked.

    Args:
        nodes: names (``host:port``) of all nodes.

    Attributes:
        down: nodes that the client cannot reach: a fault has said so, or the witness cannot reach them either.
        ejected: of these, the ones that Sillar has taken out of service (its own events say so).
        writable: nodes that take writes, as the witness found.
        demoted: when a node that was the primary lost its role, by ``time.monotonic()``.
        outages: times without a writable primary, in order.
        falls: how often a node went down so far.
    """

    def __init__(self, nodes: tuple[str, ...]) -> None:
        self.nodes = nodes
        self.down: set[str] = set()
        self.ejected: set[str] = set()
        self.writable: set[str] = set()
        self.demoted: dict[str, float] = {}
        self.outages: list[Outage] = []
        self.falls = 0
        self._unreachable: set[str] = set()
        self._faulted: set[str] = set()
        self._begun = False

    def begin(self) -> None:
        """From here on a time without a writable primary counts as an outage."""
        self._begun = True
        self._decide()

    def end(self) -> None:
        """Nobody works any more: what happens now is no outage."""
        self._begun = False

    @property
    def phase(self) -> Phase:
        """What holds now."""
        if len(self.down) == len(self.nodes):
            return Phase.ALL_DOWN
        if self.outages and self.outages[-1].over_at is None:
            return Phase.NO_PRIMARY
        return Phase.DEGRADED if self.down else Phase.HEALTHY

    @property
    def is_settled(self) -> bool:
        """Whether a node lives, and every other one has been taken out of service by Sillar."""
        return len(self.down) < len(self.nodes) and self.down <= self.ejected

    def fell(self, *nodes: str) -> None:
        """A fault takes these nodes away."""
        self._faulted.update(nodes)
        self._decide()

    def rose(self, *nodes: str) -> None:
        """The fault is gone."""
        self._faulted.difference_update(nodes)
        self._decide()

    def seen(self, node: str, *, reachable: bool, writable: bool) -> None:
        """The witness has looked at a node."""
        (self._unreachable.discard if reachable else self._unreachable.add)(node)
        (self.writable.add if writable else self.writable.discard)(node)
        self._decide()

    def lost_role(self, node: str) -> None:
        """That node is no primary any more, whatever it thinks."""
        self.demoted[node] = monotonic()
        self._decide()

    def ejection(self, node: str, *, out: bool) -> None:
        """Sillar has taken a node out of service, or back."""
        (self.ejected.add if out else self.ejected.discard)(node)

    @property
    def primaries(self) -> set[str]:
        """Nodes that take writes, can be reached, and have not lost their role."""
        return self.writable - self.down - self.demoted.keys()

    def _decide(self) -> None:
        down = self._unreachable | self._faulted
        if down - self.down:
            self.falls += 1
        self.down = down
        if not self._begun:
            return
        current = self.outages[-1] if self.outages else None
        in_outage = current is not None and current.over_at is None
        if self.primaries and in_outage and current is not None:
            current.over_at = monotonic()
        elif not self.primaries and not in_outage:
            self.outages.append(Outage(monotonic()))
