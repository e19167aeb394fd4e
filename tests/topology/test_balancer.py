"""Which of several nodes that will do is taken."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import pytest

from sillar import LoadBalancer, Node
from sillar.config import NodeAddress
from sillar.errors import UsageError


class StandInPool:
    """The two figures of a pool that a balancer looks at."""

    def __init__(self, leased: int = 0, latency: float = 0.0) -> None:
        self.leased_count, self.latency_seconds = leased, latency


class StandInNode:
    """A node that nobody connects to."""

    def __init__(self, name: str, *, weight: float = 1.0, zone: str | None = None, **pool: Any) -> None:
        self.address = NodeAddress(name, 1, weight=weight, zone=zone)
        self.pool = StandInPool(**pool)


class Sequence:
    """Chance that comes in order: each of the fractions in turn."""

    def __init__(self, *fractions: float) -> None:
        self._fractions, self._turn = fractions, 0

    def uniform(self, a: float, b: float) -> float:
        self._turn += 1
        return a + (b - a) * self._fractions[self._turn % len(self._fractions)]


def picks(balancer: LoadBalancer, nodes: list[StandInNode], count: int) -> list[str]:
    return [balancer.pick(cast("list[Node]", nodes)).address.host for _ in range(count)]


def test_each_in_turn() -> None:
    nodes = [StandInNode(name) for name in "abc"]
    assert Counter(picks(LoadBalancer("round_robin"), nodes, 30)) == {"a": 10, "b": 10, "c": 10}


def test_the_one_with_the_fewest_leases() -> None:
    nodes = [StandInNode("a", leased=3), StandInNode("b", leased=1), StandInNode("c", leased=2)]
    assert set(picks(LoadBalancer(), nodes, 5)) == {"b"}
    nodes = [StandInNode("a", leased=1), StandInNode("b", leased=1), StandInNode("c", leased=2)]
    assert Counter(picks(LoadBalancer(), nodes, 30))["c"] == 0
    assert min(Counter(picks(LoadBalancer(), nodes, 30)).values()) >= 10  # equal ones in turn


def test_by_weight_and_evenly_in_time() -> None:
    nodes = [StandInNode("a", weight=5), StandInNode("b", weight=1), StandInNode("c", weight=1)]
    balancer = LoadBalancer("weighted")
    assert picks(balancer, nodes, 7) == ["a", "a", "b", "a", "c", "a", "a"]  # as in nginx
    nodes.pop()
    assert Counter(picks(balancer, nodes, 12)) == {"a": 10, "b": 2}
    assert len(balancer._credit) == 2  # of a node that was removed nothing is kept


def test_of_two_the_one_that_would_be_done_first() -> None:
    slow, fast = StandInNode("slow", latency=0.05), StandInNode("fast", latency=0.001)
    assert set(picks(LoadBalancer("latency"), [slow, fast], 20)) == {"fast"}
    fast.pool.leased_count = 99  # the faster one, and so busy that the other is done before
    assert set(picks(LoadBalancer("latency"), [slow, fast], 20)) == {"slow"}
    third = StandInNode("third", latency=0.9)
    seen = Counter(picks(LoadBalancer("latency"), [slow, fast, third], 600))
    assert seen["third"] == 0  # of two, it is never the faster one
    assert picks(LoadBalancer("latency", random=Sequence(0.999999)), [slow, fast, third], 3)  # never past the end


def test_the_nodes_of_the_own_zone_first() -> None:
    nodes = [StandInNode("a", zone="x"), StandInNode("b", zone="y"), StandInNode("c", zone="y", leased=9)]
    assert set(picks(LoadBalancer("zone", zone="y"), nodes, 10)) == {"b"}
    assert set(picks(LoadBalancer("zone", zone="z"), nodes, 10)) == {"a", "b"}


def test_there_is_no_such_strategy() -> None:
    with pytest.raises(UsageError, match="least_leased"):
        LoadBalancer("fastest")
