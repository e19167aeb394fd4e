"""Faults on a time line under a workload, and what has to hold."""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from sillar.config import DatabaseConnectionConfig
from sillar.errors import DatabaseError, UsageError
from sillar.manager import DatabaseManager
from sillar.testing.chaos.faults import Fault
from sillar.testing.chaos.handshakes import HandshakeProxy
from sillar.testing.chaos.paths import PROBE_SUFFIX, SCRATCH_TABLE, open_paths
from sillar.testing.chaos.report import Expectations, Report
from sillar.testing.chaos.situation import Situation
from sillar.testing.chaos.witness import Witness
from sillar.testing.chaos.workload import Workload, Write

EXPECTATIONS: Final = Expectations()
_TABLE_NAME: Final = re.compile("[a-z_][a-z0-9_]{0,39}")
_APPLIED_SECONDS: Final = 3.0
_DROP_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Step:
    """One fault on the time line.

    Attributes:
        at_seconds: when it is injected, from the start of the workload.
        fault: what happens.
        heal_at_seconds: when it is healed; None: at the end, before the nodes are looked into.
        down: nodes (``host:port``, the real ones) that the client cannot reach from then on until it is healed.
        demotes: the node that is no primary any more once the fault is injected, whatever it thinks.
    """

    at_seconds: float
    fault: Fault
    heal_at_seconds: float | None = None
    down: tuple[str, ...] = ()
    demotes: str | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is tried.

    Attributes:
        name: of the table's row.
        steps: the time line.
        duration_seconds: of the workload; it goes on until every task has written after the last outage, and there
            are ``expected.requests_min``, for ``duration_seconds_max`` at most.
        expected: what has to hold.
        paths: which of ``direct``, ``sqlalchemy``, ``tortoise`` the workload takes.
        workers: tasks of each path by its name; others have four.
        rounds_per_second: of all tasks at most.
    """

    name: str
    steps: tuple[Step, ...]
    duration_seconds: float
    expected: Expectations = EXPECTATIONS
    paths: tuple[str, ...] = ("direct",)
    workers: Mapping[str, int] | None = None
    rounds_per_second: float | None = None
    duration_seconds_max: float = 120.0


class Run:
    """One run of a scenario on one database.

    Args:
        scenario: what is tried.
        manager: open; its nodes may be proxies before the real ones.
        database: configured name; None is the default one.
        nodes: the database with its real nodes, in the order of the manager's, and those that it does not know after
            them; None: the manager has the real ones.
        proxies: that count handshakes.
        table: the scratch table. It and ``<table>_probe`` are made and dropped here, and nothing else is touched.
        progress: told in words what happens.

    Attributes:
        situation: what holds now.
        primary_seconds: how long to wait, once all is healed, for a node that takes writes.
    """

    def __init__(
        self,
        scenario: Scenario,
        manager: DatabaseManager,
        database: str | None = None,
        *,
        nodes: DatabaseConnectionConfig | None = None,
        proxies: Sequence[HandshakeProxy] = (),
        table: str = SCRATCH_TABLE,
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.scenario = scenario
        self._manager, self._database = manager, database
        own = manager.config.connection(database)
        self._nodes = nodes or own
        self._real = {str(a): str(b) for a, b in zip(own.addresses, self._nodes.addresses, strict=False)}
        self._proxies = proxies
        self._table, self._probe_table = table, table + PROBE_SUFFIX
        if not _TABLE_NAME.fullmatch(table):
            raise UsageError(f"{table!r} is no name for the scratch table: small letters, digits and _, 40 at most")
        self._progress = progress
        self.primary_seconds = 15.0
        self._made: list[str] = []
        self._handshakes = 0
        self._counts_handshakes = False
        self.situation = Situation(tuple(self._real.values()))
        self._witness = Witness(self._nodes, self.situation, self._probe_table)

    async def run(self) -> Report:
        """Make the table, let the workload and the faults run, heal, look into the nodes, drop the table.

        Raises:
            DatabaseError: the table cannot be made; UsageError: it is there already, or a command has failed.
        """
        manager = self._manager
        source: Any = manager.pools[self._database or manager.config.default_database]
        listeners = source.topology.listeners if hasattr(source, "topology") else []
        await self._make_tables()
        listeners.append(self._changed)
        try:
            await self._witness.look()
            paths = await open_paths(self.scenario.paths, manager, self._database, self._table)
            workload = Workload(
                paths,
                self.situation,
                self._witness.look,
                workers=self.scenario.workers,
                rounds_per_second=self.scenario.rounds_per_second,
            )
            self.situation.begin()
            self._witness.start()
            began = monotonic()
            await self._work(workload)
            ended = monotonic()
            await self._await_primary()
            return await self._report(workload, began, ended)
        finally:
            listeners.remove(self._changed)
            await self._witness.close()
            await self._drop_tables()

    # --- the time line ------------------------------------------------------------------------------------------------

    async def _work(self, workload: Workload) -> None:
        scenario = self.scenario
        began = monotonic()
        moments: list[tuple[float, Step, bool]] = []
        for step in scenario.steps:
            moments.append((step.at_seconds, step, True))
            if step.heal_at_seconds is not None:
                moments.append((step.heal_at_seconds, step, False))
        injected: list[Step] = []
        workload.start()
        try:
            for moment, step, is_injection in sorted(moments, key=lambda each: each[0]):
                await asyncio.sleep(max(0.0, began + moment - monotonic()))
                self._count_handshakes(until=is_injection and bool(step.down))
                if is_injection:
                    injected.append(step)
                    await self._inject(step)
                else:
                    injected.remove(step)
                    await self._heal(step)
            await asyncio.sleep(max(0.0, began + scenario.duration_seconds - monotonic()))
            longest = began + max(scenario.duration_seconds, scenario.duration_seconds_max)
            while monotonic() < longest and not self._has_seen_enough(workload):  # noqa: ASYNC110 - nothing to wait on
                await asyncio.sleep(0.05)
            self.situation.end()
            self._count_handshakes(until=True)
            await workload.stop()
        finally:
            workload.cancel()
            async with AsyncExitStack() as healing:  # the last one first, and each of them even if another fails
                for step in injected:
                    healing.push_async_callback(self._heal, step)

    def _count_handshakes(self, *, until: bool) -> None:
        """Count them after an outage: from the moment on at which something gets better until the next fall.

        Args:
            until: nodes go down now.
        """
        if self._counts_handshakes:
            self._handshakes = max([self._handshakes, *(proxy.in_flight_max for proxy in self._proxies)])
        self._counts_handshakes = not until
        if not until:
            for proxy in self._proxies:
                proxy.forget()

    def _has_seen_enough(self, workload: Workload) -> bool:
        """Whether there were enough requests, and every task has written since the last outage."""
        if workload.requests_total < self.scenario.expected.requests_min:
            return False
        if not self.situation.outages:
            return True
        over = self.situation.outages[-1].over_at
        return over is not None and all(ledger.first_acknowledged_after(over) < math.inf for ledger in workload.ledgers)

    async def _inject(self, step: Step) -> None:
        self._progress(f"injecting: {step.fault.name}")
        self.situation.fell(*step.down)
        await step.fault.inject()
        if step.demotes is not None:
            self.situation.lost_role(step.demotes)

    async def _heal(self, step: Step) -> None:
        self._progress(f"healing: {step.fault.name}")
        await step.fault.heal()
        self.situation.rose(*step.down)

    def _changed(self, event: Any) -> None:
        node = self._real.get(event.node or "")
        if node is not None and event.kind in ("node_down", "node_up"):
            self.situation.ejection(node, out=event.kind == "node_down")

    # --- the nodes themselves -----------------------------------------------------------------------------------------

    async def _make_tables(self) -> None:
        session = self._manager.session(self._database)
        try:
            for table, columns in (
                (self._table, "token bigint not null, worker integer not null"),
                (self._probe_table, "token bigint not null"),
            ):
                await session.execute(f"create table {table} ({columns})")
                self._made.append(table)
            await session.execute(f"create index {self._table}_token on {self._table} (token)")
        except DatabaseError:
            await self._drop_tables()
            raise

    async def _drop_tables(self) -> None:
        """Drop what was made here; where nobody takes writes any more, say so and go on."""
        session = self._manager.session(self._database)
        while self._made:
            table = self._made.pop()
            try:
                await session.execute(f"drop table {table}", timeout_seconds=_DROP_SECONDS)
            except DatabaseError as error:
                self._progress(f"the table {table} is left behind, drop it by hand: {error}")

    async def _await_primary(self) -> None:
        """Wait until a node takes writes again after the last fault was healed."""
        due = monotonic() + self.primary_seconds
        while not self.situation.primaries and monotonic() < due:  # noqa: ASYNC110 - nothing to wait on
            await asyncio.sleep(0.05)

    async def _tokens(self, node: str) -> Counter[int]:
        rows = await self._witness.nodes[node].run(f"select token from {self._table}", seconds=30)  # noqa: S608
        return Counter(int(row[0]) for row in rows)

    async def _report(self, workload: Workload, began: float, ended: float) -> Report:
        situation, scenario = self.situation, self.scenario
        writes: list[Write] = [write for ledger in workload.ledgers for write in ledger.writes]
        acknowledged = {write.token for write in writes if write.acknowledged_at is not None}
        primary = sorted(situation.primaries)
        by_second = Counter(int(at - began) for write in writes if (at := write.acknowledged_at) is not None)
        found: Counter[int] = Counter()
        missing, due = len(acknowledged), monotonic() + _APPLIED_SECONDS
        while primary:
            found = await self._tokens(primary[0])
            before, missing = missing, len(acknowledged - found.keys())
            if missing < before:  # a member of a group may still have to apply what all have agreed upon
                due = monotonic() + _APPLIED_SECONDS
            if not missing or monotonic() > due:
                break
            await asyncio.sleep(0.1)
        lost = sorted(acknowledged - found.keys())
        demoted = 0
        for node, instant in situation.demoted.items():
            begun_later = {write.token for write in writes if write.begun_at > instant}
            demoted += len(begun_later & ((await self._tokens(node)).keys() - found.keys()))
        recoveries = [
            math.inf if outage.over_at is None else ledger.first_acknowledged_after(outage.over_at) - outage.over_at
            for outage in situation.outages
            for ledger in workload.ledgers
        ]
        return Report(
            scenario=scenario.name,
            faults=[step.fault.name for step in scenario.steps],
            seconds=ended - began,
            requests=dict(workload.requests),
            acknowledged=len(acknowledged),
            failures=workload.failures,
            reads_failed_settled=workload.reads_failed_settled,
            lost=len(lost),
            lost_tokens=lost[:20],
            stale=workload.stale,
            duplicates=sum(count - 1 for count in found.values()),
            demoted=demoted,
            unsure=len({write.token for write in writes if write.acknowledged_at is None} & found.keys()),
            hanging=workload.hanging,
            outages=[(outage.over_at or monotonic()) - outage.begun_at for outage in situation.outages],
            recoveries=recoveries,
            handshakes=self._handshakes if self._proxies else None,
            acknowledged_by_second=[by_second[second] for second in range(math.ceil(ended - began))],
            examples=workload.examples,
            expected=scenario.expected,
        )
