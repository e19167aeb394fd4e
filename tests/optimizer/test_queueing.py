"""The queue on paper: against theory, and by hand."""

from __future__ import annotations

import random

import pytest
from tests.optimizer.traffic import heavy_tailed, poisson, steady

from sillar.pool.queueing import correlation, quantile, replay, servers_at_most, variation

FOREVER = 1e9


def erlang_c(servers: int, load: float) -> float:
    """The share of callers that wait in an M/M/c queue (A. K. Erlang, 1917), from the recursion of the B formula."""
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = load * blocked / (number + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


@pytest.mark.parametrize(("servers", "rate"), [(1, 50.0), (4, 300.0), (10, 850.0)])
async def test_poisson_callers_wait_as_erlang_says(servers: int, rate: float) -> None:
    callers = steady(rate, 0.010, 100_000 / rate, seed=servers)
    again = await replay(callers, [(0.0, servers)], FOREVER)
    expected = erlang_c(servers, rate * 0.010)
    mean = expected / (servers / 0.010 - rate)
    assert sum(wait > 0 for wait in again.waits) / len(again.waits) == pytest.approx(expected, rel=0.1)
    assert sum(again.waits) / len(again.waits) == pytest.approx(mean, rel=0.15)
    assert again.busy_seconds == pytest.approx(sum(seconds for _, seconds in callers))


async def test_one_server_with_a_heavy_tail_waits_as_pollaczek_and_khinchine_say() -> None:
    chance = random.Random(7)
    callers = [(at, heavy_tailed(0.010, 2.0, chance)) for at in poisson(60.0, 4000.0, chance)]
    again = await replay(callers, [(0.0, 1)], FOREVER)
    expected = 0.6 * 0.010 * (1 + 4.0) / (2 * (1 - 0.6))
    assert sum(again.waits) / len(again.waits) == pytest.approx(expected, rel=0.2)


async def test_by_hand() -> None:
    callers = [(0.0, 3.0), (0.0, 1.0), (0.5, 1.0), (0.6, 5.0), (9.0, 1.0)]
    again = await replay(callers, [(0.0, 2)], FOREVER)
    assert again.waits == [0.0, 0.0, 0.5, 1.4, 0.0]


async def test_more_servers_come_at_their_instant_and_fewer_go_as_they_come_free() -> None:
    callers = [(float(number), 10.0) for number in range(6)]
    again = await replay(callers, [(0.0, 1), (5.0, 3), (14.0, 2)], FOREVER)
    # Two more from 5 on; of these one is gone when it comes free at 15, so that the last caller waits until 20.
    assert again.waits == [0.0, 4.0, 3.0, 7.0, 11.0, 15.0]


async def test_who_has_no_patience_leaves_the_server_to_others() -> None:
    callers = [(0.0, 10.0), (1.0, 10.0), (9.5, 1.0)]
    again = await replay(callers, [(0.0, 1)], 2.0)
    assert (again.waits, again.left, again.busy_seconds) == ([0.0, 2.0, 0.5], 1, 11.0)


async def test_most_at_once() -> None:
    assert await servers_at_most([(0.0, 2.0), (1.0, 2.0), (1.5, 0.1), (2.5, 9.0)]) == 3
    assert await servers_at_most([(float(number), 2.5) for number in range(2500)]) == 3
    assert await servers_at_most([]) == 1


def test_figures() -> None:
    assert quantile([], 0.5) == 0.0
    assert quantile([1.0, 2.0, 4.0], 0.75) == 3.0
    assert quantile([1.0, 2.0], 1.0) == 2.0
    assert variation([1.0]) == variation([0.0, 0.0]) == 0.0
    assert variation([1.0, 3.0]) == pytest.approx(2**0.5 / 2)
    assert correlation([1.0], [1.0]) == correlation([1.0, 1.0], [1.0, 2.0]) == 0.0
    assert correlation([1.0, 2.0, 3.0], [6.0, 4.0, 2.0]) == pytest.approx(-1.0)
