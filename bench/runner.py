"""Runs a case: the contenders in turn, round by round, so that a drift of the machine hits all of them alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from bench.case import SILLAR, TARGET, Case, Contest
from bench.servers import Servers

_UNITS = {"µs": 1e6, "ms": 1e3, "s": 1.0}


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the report: a case against one opponent.

    Attributes:
        ratio: how many times faster Sillar is; against ``target``, figure of the specification / median.
        noise: relative spread (half the interquartile range) of the ratio over the rounds.
        cpu_us: microseconds of this process's CPU time per operation, of Sillar and of the opponent.
        memory_mib: growth of the resident memory over the rounds of Sillar.
    """

    case: str
    versus: str
    unit: str
    sillar_median: float
    versus_median: float
    ratio: float
    goal: float
    met: bool
    noise: float
    cpu_us: float
    versus_cpu_us: float | None
    round_trips: float | None
    memory_mib: float
    notes: dict[str, float | str] = field(default_factory=dict)


@dataclass(slots=True)
class _Series:
    """What the rounds of one contender gave, per operation."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    grown_bytes: int = 0


async def run(case: Case, servers: Servers, progress: Callable[[], None]) -> list[Result]:
    """All results of one case."""
    process = psutil.Process()
    async with case.set_up(servers) as contest:
        series = {name: _Series() for name in contest.contenders}
        for number in range(case.rounds + 1):
            for name, work in contest.contenders.items():
                gc.collect()
                before = process.memory_info().rss
                cpu, wall = time.process_time(), time.perf_counter()
                await work()
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                if number == 0:
                    for taken in contest.measured.values():
                        taken.clear()  # the first round warms up
                    continue
                series[name].seconds.append(wall / contest.operations)
                series[name].cpu_seconds.append(cpu / contest.operations)
                series[name].grown_bytes = max(series[name].grown_bytes, process.memory_info().rss - before)
            progress()
        return [_result(case, contest, series, versus, goal) for versus, goal in case.goals.items()]


def _result(case: Case, contest: Contest, series: dict[str, _Series], versus: str, goal: float) -> Result:
    ours = series[SILLAR]
    scale = _UNITS.get(case.unit, 1.0)
    mine = contest.measured.get(SILLAR) or [each * scale for each in ours.seconds]
    median = statistics.median(mine)
    if versus == TARGET:
        other, ratios, other_cpu = goal, [goal / each if each else float("inf") for each in mine], None
    else:
        theirs = contest.measured.get(versus) or [each * scale for each in series[versus].seconds]
        other = statistics.median(theirs)
        ratios = [their / my for my, their in zip(mine, theirs, strict=True)]
        other_cpu = statistics.median(series[versus].cpu_seconds) * 1e6
    ratio = other / median if median else float("inf")
    wanted = 1.0 if versus == TARGET else goal
    return Result(
        case=case.name,
        versus=versus,
        unit=case.unit,
        sillar_median=median,
        versus_median=other,
        ratio=ratio,
        goal=wanted,
        met=ratio >= wanted,
        noise=_spread(ratios) / ratio if ratio else 0.0,
        cpu_us=statistics.median(ours.cpu_seconds) * 1e6,
        versus_cpu_us=other_cpu,
        round_trips=contest.round_trips,
        memory_mib=ours.grown_bytes / 2**20,
        notes=dict(contest.notes),
    )


def _spread(values: list[float]) -> float:
    if len(values) < 4:
        return max(values) - min(values)
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / 2
