"""A case: what is measured, against what, with which goal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from bench.servers import Servers

SILLAR = "sillar"
TARGET = "target"
"""The opponent of a case that is measured against a figure of the specification."""

Work: TypeAlias = Callable[[], Awaitable[None]]
"""One round of one contender: ``Contest.operations`` operations."""


@dataclass(slots=True)
class Contest:
    """The contenders of a case, set up and ready to run.

    Attributes:
        operations: how many operations one round of any contender makes.
        contenders: name → work. ``sillar`` is one of them; the others are what it is compared with.
        probe: one operation of Sillar's alone, for counting round trips; None where there is no wire.
        measured: figures that a contender took itself, in the case's unit, instead of the time of its rounds.
        notes: what should be read beside the figures.
    """

    operations: int
    contenders: Mapping[str, Work]
    measured: dict[str, list[float]] = field(default_factory=dict)
    round_trips: float | None = None
    notes: dict[str, float | str] = field(default_factory=dict)


SetUp: TypeAlias = Callable[["Servers"], AbstractAsyncContextManager[Contest]]


@dataclass(frozen=True, slots=True)
class Case:
    """One case.

    Attributes:
        name: such as ``postgresql.get.50tasks``.
        goals: opponent → ratio to reach (how many times faster Sillar is); for ``target`` the figure itself, in
            ``unit``.
        unit: of the medians.
        set_up: async context manager that yields the contest.
        rounds: how often each contender runs, in turn.
    """

    name: str
    goals: Mapping[str, float]
    set_up: SetUp
    unit: str = "µs"
    rounds: int = 7


def all_cases() -> list[Case]:
    """Every case, in the order of the report."""
    from bench.macro import codeatlas, http
    from bench.micro import (
        beanie,
        builder,
        bulk,
        copying,
        migrations,
        mysql,
        pool,
        postgresql,
        routing,
        sqlalchemy,
        sqlite,
        target,
        tortoise,
    )

    found: list[Case] = []
    drivers = (postgresql, bulk, builder, sqlite, mysql, pool, routing)
    for module in (*drivers, tortoise, target, sqlalchemy, beanie, http, codeatlas, migrations, copying):
        found.extend(module.CASES)
    return found


__all__ = ["SILLAR", "TARGET", "AsyncIterator", "Case", "Contest", "SetUp", "Work", "all_cases"]
