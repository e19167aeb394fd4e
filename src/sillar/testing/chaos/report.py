"""What a scenario has shown, and the table of several."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sillar.testing.chaos.situation import Phase


@dataclass(frozen=True, slots=True)
class Expectations:
    """What has to hold for a scenario to have succeeded.

    Attributes:
        lost_max: acknowledged writes that are not there at the end; None: not asked (asynchronous replication).
        stale_max: reads that did not see the own write before them.
        duplicates_max: rows that are there more than once.
        demoted_max: writes that a node took after it had lost its role.
        reads_failed_settled_max: reads that failed although a node lived and the dead ones were out of service.
        recovery_p99_seconds_max: from a writable primary to the first acknowledged write of each task.
        handshakes_max: connections in the middle of being opened, at one node at once; None: not counted.
        requests_min: without so many requests the scenario shows nothing.
        outage: whether there has to have been a time without a primary; None: either.
    """

    lost_max: int | None = 0
    stale_max: int = 0
    duplicates_max: int = 0
    demoted_max: int = 0
    reads_failed_settled_max: int = 0
    recovery_p99_seconds_max: float = 5.0
    handshakes_max: int | None = 2
    requests_min: int = 0
    outage: bool | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of one scenario.

    Attributes:
        scenario: its name.
        faults: what was injected, in order.
        seconds: how long it ran.
        requests: by path.
        acknowledged: writes.
        failures: by phase in which the request began, and type of error.
        reads_failed_settled: see :class:`Expectations`; so, too, ``lost``, ``stale``, ``duplicates``, ``demoted``.
        lost_tokens: some of the lost ones.
        unsure: writes that had failed and are there.
        hanging: requests without an answer after 30 s.
        outages: seconds that each time without a writable primary took.
        recoveries: seconds from each return of a writable primary to the first acknowledged write of each task;
            infinite for a task that never wrote again.
        handshakes: most of them in flight at one node at once, after the first fault; None: not counted.
        acknowledged_by_second: how many writes were acknowledged in each second of the run.
        examples: texts of the first error of each type.
        expected: what had to hold.
    """

    scenario: str
    faults: Sequence[str]
    seconds: float
    requests: Mapping[str, int]
    acknowledged: int
    failures: Counter[tuple[Phase, str]]
    reads_failed_settled: int
    lost: int
    lost_tokens: Sequence[int]
    stale: int
    duplicates: int
    demoted: int
    unsure: int
    hanging: int
    outages: Sequence[float]
    recoveries: Sequence[float]
    handshakes: int | None
    acknowledged_by_second: Sequence[int]
    examples: Mapping[str, str]
    expected: Expectations = field(default_factory=Expectations)

    @property
    def requests_total(self) -> int:
        """Of all paths."""
        return sum(self.requests.values())

    def failed_in(self, *phases: Phase) -> int:
        """Failed requests that began in these phases (in any, without one)."""
        return sum(count for (phase, _), count in self.failures.items() if not phases or phase in phases)

    def recovery(self, share: float) -> float | None:
        """The quantile of the recovery times (0.99: all but one in a hundred were as fast); None without an outage."""
        if not self.recoveries:
            return None
        ordered = sorted(self.recoveries)
        return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]

    def broken(self) -> list[str]:
        """What did not hold, in words; empty if all did."""
        expected = self.expected
        counts: list[tuple[str, int | None, int | None]] = [
            ("acknowledged writes lost", self.lost, expected.lost_max),
            ("stale own-reads", self.stale, expected.stale_max),
            ("writes applied twice", self.duplicates, expected.duplicates_max),
            ("writes accepted by a demoted node", self.demoted, expected.demoted_max),
            ("reads failed while a node lived", self.reads_failed_settled, expected.reads_failed_settled_max),
            ("requests without an answer", self.hanging, 0),
            ("handshakes in flight at one node", self.handshakes, expected.handshakes_max),
        ]
        found = [
            f"{what}: {count}, {most} at most"
            for what, count, most in counts
            if count is not None and most is not None and count > most
        ]
        slowest = self.recovery(0.99)
        if slowest is not None and slowest > expected.recovery_p99_seconds_max:
            found.append(f"recovery p99: {slowest:.2f} s, {expected.recovery_p99_seconds_max:g} s at most")
        if self.requests_total < expected.requests_min:
            found.append(f"requests: {self.requests_total}, {expected.requests_min} at least")
        if expected.outage is not None and bool(self.outages) is not expected.outage:
            found.append("there was no time without a primary" if expected.outage else "there was no primary meanwhile")
        return found

    @property
    def held(self) -> bool:
        """Whether all expectations held."""
        return not self.broken()

    def describe(self) -> str:
        """Everything in words and numbers, for a failed test."""
        lines = [f"{self.scenario}: {', '.join(self.faults)}; {self.seconds:.1f} s"]
        lines += [f"  BROKEN {what}" for what in self.broken()]
        lines.append("  requests " + ", ".join(f"{path} {count}" for path, count in self.requests.items()))
        lines.append(f"  acknowledged writes {self.acknowledged}; failed, and applied all the same {self.unsure}")
        lines.append("  acknowledged in each second: " + " ".join(map(str, self.acknowledged_by_second)))
        lines += [f"  failed in phase {phase.value}: {kind} {count}" for (phase, kind), count in self.failures.items()]
        lines.append("  without a primary for " + (", ".join(f"{each:.2f} s" for each in self.outages) or "no time"))
        lines += [f"  e.g. {kind}: {text[:600]}" for kind, text in self.examples.items()]
        if self.lost_tokens:
            lines.append(f"  lost: {list(self.lost_tokens)[:20]}")
        return "\n".join(lines)


COLUMNS: Final = (
    "scenario", "faults", "requests", "failed", "no primary", "lost", "stale", "twice", "demoted", "reads failed",
    "outage", "recovery p50", "p99", "handshakes", "held",
)  # fmt: skip
"""Of the table. ``failed``: all; ``no primary``: those of them that began while none existed; ``demoted``: writes taken
by a demoted node; ``reads failed``: while a node lived, after the dead ones were out of service."""


def table_row(report: Report) -> tuple[str, ...]:
    """The cells of one scenario, as :data:`COLUMNS` names them."""

    def seconds(value: float | None) -> str:
        return "-" if value is None else "never" if math.isinf(value) else f"{value:.2f} s"

    return (
        report.scenario,
        ", ".join(report.faults),
        " + ".join(f"{count} {path}" for path, count in report.requests.items()),
        str(report.failed_in()),
        str(report.failed_in(Phase.NO_PRIMARY, Phase.ALL_DOWN)),
        str(report.lost),
        str(report.stale),
        str(report.duplicates),
        str(report.demoted),
        str(report.reads_failed_settled),
        seconds(sum(report.outages) if report.outages else None),
        seconds(report.recovery(0.5)),
        seconds(report.recovery(0.99)),
        "-" if report.handshakes is None else str(report.handshakes),
        "yes" if report.held else "NO",
    )


def table_text(reports: Sequence[Report]) -> str:
    """The table as plain text."""
    rows = [COLUMNS, *map(table_row, reports)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(COLUMNS))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
