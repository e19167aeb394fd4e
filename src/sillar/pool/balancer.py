"""Which of several nodes that will do is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from sillar.clock import Random, system_random
from sillar.errors import UsageError

if TYPE_CHECKING:
    from sillar.pool.node import Node

Strategy = Callable[[Sequence["Node"]], "Node"]


class LoadBalancer:
    """Picks a node for a read.

    Args:
        strategy: ``round_robin``: each in turn. ``least_leased``: the one with the fewest connections out (equal ones
            in turn). ``latency``: of two at random the one that would be done first, by its smoothed latency and
            how many callers it has already ("The Power of Two Choices in Randomized Load Balancing", Mitzenmacher,
            2001; Finagle's peak EWMA). ``weighted``: each in proportion to its weight (smooth weighted round robin, as
            in nginx). ``zone``: the nodes of ``zone`` while there are any, by least leased.
        zone: where this process runs.
        random: where chance comes from.

    Raises:
        UsageError: there is no such strategy.
    """

    def __init__(
        self, strategy: str = "least_leased", *, zone: str | None = None, random: Random | None = None
    ) -> None:
        strategies: dict[str, Strategy] = {
            "round_robin": self._round_robin,
            "least_leased": self._least_leased,
            "latency": self._latency,
            "weighted": self._weighted,
            "zone": self._zone,
        }
        if strategy not in strategies:
            raise UsageError(f"there is no load balancing {strategy!r}: use one of {', '.join(strategies)}")
        self.strategy = strategy
        self.zone = zone
        self._random = random or system_random()
        self._pick = strategies[strategy]
        self._turn = 0
        self._credit: WeakKeyDictionary[Node, float] = WeakKeyDictionary()

    def pick(self, nodes: Sequence[Node]) -> Node:
        """One of the nodes, of which there is at least one."""
        return nodes[0] if len(nodes) == 1 else self._pick(nodes)

    def _round_robin(self, nodes: Sequence[Node]) -> Node:
        self._turn += 1
        return nodes[self._turn % len(nodes)]

    def _least_leased(self, nodes: Sequence[Node]) -> Node:
        self._turn = turn = self._turn + 1
        count = len(nodes)
        best = nodes[turn % count]
        fewest = best.pool.leased_count
        for offset in range(1, count):
            node = nodes[(turn + offset) % count]
            leased = node.pool.leased_count
            if leased < fewest:
                best, fewest = node, leased
        return best

    def _latency(self, nodes: Sequence[Node]) -> Node:
        count = len(nodes)
        first = min(int(self._random.uniform(0, count)), count - 1)
        second = (first + 1 + min(int(self._random.uniform(0, count - 1)), count - 2)) % count
        one, other = nodes[first], nodes[second]
        return one if _expected(one) <= _expected(other) else other

    def _weighted(self, nodes: Sequence[Node]) -> Node:
        total = 0.0
        best = nodes[0]
        highest = float("-inf")
        for node in nodes:
            credit = self._credit.get(node, 0.0) + node.address.weight
            self._credit[node] = credit
            total += node.address.weight
            if credit > highest:
                best, highest = node, credit
        self._credit[best] -= total
        return best

    def _zone(self, nodes: Sequence[Node]) -> Node:
        near = [node for node in nodes if node.address.zone == self.zone]
        return self._least_leased(near or nodes)


_LEAST_SECONDS: Final = 1e-6


def _expected(node: Node) -> float:
    return max(node.pool.latency_seconds, _LEAST_SECONDS) * (node.pool.leased_count + 1)
