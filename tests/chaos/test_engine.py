"""The harness counts what it says it counts: each figure is shown to rise when there is something to count."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from sillar import DatabaseConfig, DatabaseManager
from sillar.errors import NoPrimaryError, UsageError
from sillar.testing.chaos import (
    Act,
    CommandFault,
    DirectPath,
    Expectations,
    Fault,
    Phase,
    Report,
    Run,
    Scenario,
    Situation,
    Step,
    Together,
    open_paths,
    proxied,
    table_text,
)
from sillar.testing.chaos import paths as chaos_paths
from sillar.testing.faults import FaultProxy
from sillar.testing.servers import PostgreSQLServer


def report(**figures: Any) -> Report:
    given: dict[str, Any] = {
        "scenario": "a", "faults": ["kill"], "seconds": 1.0, "requests": {"direct": 5}, "acknowledged": 2,
        "failures": Counter(), "reads_failed_settled": 0, "lost": 0, "lost_tokens": [], "stale": 0, "duplicates": 0,
        "demoted": 0, "unsure": 0, "hanging": 0, "outages": [], "recoveries": [], "handshakes": None,
        "acknowledged_by_second": [2], "examples": {},
    }  # fmt: skip
    return Report(**{**given, **figures})


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"lost": 1, "lost_tokens": [7]}, "acknowledged writes lost: 1, 0 at most"),
        ({"stale": 2}, "stale own-reads: 2"),
        ({"duplicates": 1}, "writes applied twice: 1"),
        ({"demoted": 1}, "writes accepted by a demoted node: 1"),
        ({"reads_failed_settled": 1}, "reads failed while a node lived: 1"),
        ({"hanging": 1}, "requests without an answer: 1"),
        ({"handshakes": 3}, "handshakes in flight at one node: 3, 2 at most"),
        ({"recoveries": [1.0] * 98 + [5.1, 5.1]}, "recovery p99: 5.10 s, 5 s at most"),
        ({"recoveries": [1.0, math.inf]}, "recovery p99: inf s"),
        ({"expected": Expectations(requests_min=6)}, "requests: 5, 6 at least"),
        ({"expected": Expectations(outage=True)}, "there was no time without a primary"),
        ({"outages": [1.0], "expected": Expectations(outage=False)}, "there was no primary meanwhile"),
    ],
)
def test_what_does_not_hold_is_named(figures: dict[str, Any], words: str) -> None:
    shown = report(**figures)
    assert [words in broken for broken in shown.broken()] == [True]
    assert not shown.held
    assert words in shown.describe()
    assert table_text([shown]).splitlines()[1].endswith("NO")


def test_what_holds_is_no_news() -> None:
    shown = report(
        lost=1,
        expected=Expectations(lost_max=None),
        handshakes=2,
        recoveries=[4.0] + [1.0] * 199,
        failures=Counter({(Phase.NO_PRIMARY, "NoPrimaryError"): 3, (Phase.HEALTHY, "ConnectionLostError"): 1}),
    )
    assert shown.held
    assert (shown.failed_in(), shown.failed_in(Phase.NO_PRIMARY)) == (4, 3)
    assert (shown.recovery(0.5), shown.recovery(1.0)) == (1.0, 4.0)
    head, line = table_text([shown]).splitlines()
    assert head.split()[:3] == ["scenario", "faults", "requests"]
    assert "1.00 s" in line
    assert line.endswith("yes")
    assert "failed in phase no primary: NoPrimaryError 3" in shown.describe()


def test_a_situation_knows_phases_and_outages() -> None:
    situation = Situation(("a:1", "b:1"))
    situation.seen("a:1", reachable=True, writable=True)
    situation.seen("b:1", reachable=True, writable=False)
    situation.begin()
    assert (situation.phase, situation.is_settled, situation.outages) == (Phase.HEALTHY, True, [])
    situation.fell("a:1")
    assert (situation.phase, situation.is_settled, situation.falls) == (Phase.NO_PRIMARY, False, 1)
    situation.ejection("a:1", out=True)
    assert situation.is_settled
    situation.lost_role("a:1")
    situation.seen("b:1", reachable=True, writable=True)
    assert situation.phase is Phase.DEGRADED
    situation.rose("a:1")
    situation.ejection("a:1", out=False)
    assert situation.primaries == {"b:1"}  # the other one takes writes, too, and has lost its role
    [outage] = situation.outages
    assert outage.over_at is not None
    situation.seen("a:1", reachable=False, writable=False)
    situation.seen("b:1", reachable=False, writable=False)
    assert (situation.phase, situation.is_settled, len(situation.outages)) == (Phase.ALL_DOWN, False, 2)
    situation.end()
    situation.seen("b:1", reachable=True, writable=True)
    assert situation.outages[1].over_at is None


GOES_ON = Step(1.0, Act("goes on", partial(asyncio.sleep, 0.5)))
"""The workload goes on for a while after the step before, however long that took."""


# --- a path that misbehaves ------------------------------------------------------------------------------------------


class Misbehaving(DirectPath):
    """Loses, repeats, hides and refuses some of what goes through it."""

    async def write(self, token: int, worker: int) -> None:
        if token % 10 == 3:
            return  # acknowledged, and not done
        await super().write(token, worker)
        if token % 10 == 5:
            await super().write(token, worker)
        if token % 10 == 7:
            raise NoPrimaryError("for a test")

    async def read(self, token: int) -> bool:
        if token % 10 == 9:
            raise NoPrimaryError("for a test")
        return await super().read(token)


@pytest.fixture
async def manager(postgresql: PostgreSQLServer) -> AsyncIterator[DatabaseManager]:
    async with DatabaseManager.from_url(postgresql.url) as opened:
        yield opened


async def test_everything_is_counted(manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(chaos_paths.PATHS, "direct", Misbehaving)
    scenario = Scenario(
        "counting", (), 0.5, Expectations(requests_min=200), workers={"direct": 2}, rounds_per_second=400
    )
    shown = await Run(scenario, manager).run()
    writes = shown.acknowledged + shown.failed_in()
    assert shown.acknowledged > 50
    tenth = pytest.approx(writes / 10, rel=0.5)
    assert shown.lost == tenth
    assert shown.stale == shown.lost
    assert shown.duplicates == tenth
    assert shown.unsure == tenth
    assert shown.reads_failed_settled == tenth
    assert shown.failures.keys() == {(Phase.HEALTHY, "NoPrimaryError")}
    assert shown.failed_in() >= shown.unsure + shown.reads_failed_settled
    assert sum(shown.acknowledged_by_second) == shown.acknowledged
    assert [broken.partition(":")[0] for broken in shown.broken()] == [
        "acknowledged writes lost",
        "stale own-reads",
        "writes applied twice",
        "reads failed while a node lived",
    ]


async def test_a_write_that_reaches_a_demoted_node_is_counted(postgresql: PostgreSQLServer) -> None:
    """Sillar is led to believe, by a configuration of one node, that nothing has changed."""
    async with PostgreSQLServer(own=True) as server:
        replica = await server.add_replica()
        both = f"postgresql://{server.user}:{server.password}@{server.host}:{server.port},{replica.host}:{replica.port}"
        nodes = DatabaseConfig.from_url(f"{both}/{server.database}").connection()
        misled = DatabaseConfig.from_url(f"{both}/{server.database}")
        only = misled.connection().model_copy(update={"nodes": (), "host": server.host, "port": server.port})
        async with DatabaseManager(misled.model_copy(update={"databases": {"default": only}})) as manager:
            run = Run(
                Scenario(
                    "misled",
                    (
                        Step(0.2, Act("promote", replica.promote), demotes=f"{server.host}:{server.port}"),
                        GOES_ON,
                    ),
                    1.0,
                    duration_seconds_max=1.0,
                ),
                manager,
                nodes=nodes,
            )
            shown = await run.run()
    assert shown.demoted > 0
    assert shown.lost > 0


async def test_no_node_takes_writes_in_the_end() -> None:
    said: list[str] = []
    async with PostgreSQLServer(own=True) as server:
        async with DatabaseManager.from_url(
            server.url, overrides={"connection_pools": {"connection_timeout": 0.5}}
        ) as manager:
            step = Step(1.0, Act("read-only", server.set_read_only, None))
            scenario = Scenario("read-only", (step, GOES_ON), 1.0, duration_seconds_max=1.5)
            run = Run(scenario, manager, progress=said.append)
            run.primary_seconds = 0.2
            shown = await run.run()
    assert shown.lost == shown.acknowledged > 0
    assert shown.recovery(0.5) == math.inf
    assert any("sillar_chaos_probe is left behind" in text for text in said)


async def test_wrong_names_and_missing_packages(manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no name for the scratch table"):
        Run(Scenario("a", (), 1.0), manager, table='x"; drop table y')
    with pytest.raises(UsageError, match="no path 'django'; there are direct, sqlalchemy, tortoise"):
        await open_paths(["django"], manager)
    monkeypatch.setitem(__import__("sys").modules, "sillar.integrations.tortoise", None)
    with pytest.raises(UsageError, match=r"pip install 'sillar\[tortoise\]'"):
        await open_paths(["tortoise"], manager)


# --- faults ----------------------------------------------------------------------------------------------------------


async def test_several_faults_at_once() -> None:
    done: list[str] = []

    def act(name: str) -> Act:
        async def inject() -> None:
            done.append(f"{name} in")

        async def heal() -> None:
            done.append(f"{name} out")

        return Act(name, inject, heal)

    both = Together("both", [act("a"), act("b")])
    assert isinstance(both, Fault)
    await both.inject()
    await both.heal()
    assert done == ["a in", "b in", "a out", "b out"]


async def test_a_command_that_hangs_is_ended() -> None:
    with pytest.raises(UsageError, match=r"did not end within 0\.2 s"):
        await CommandFault("sleep 60", None, timeout_seconds=0.2).inject()
    await CommandFault(None, None).heal()


async def test_what_no_proxy_can_stand_before(tmp_path: Any) -> None:
    async with FaultProxy("127.0.0.1", 9) as proxy:
        for url in (f"sqlite:///{tmp_path}/a.db", "postgresql://u:p@/db?host=/tmp"):
            with pytest.raises(UsageError, match="not reached by TCP"):
                proxied(DatabaseConfig.from_url(url), "default", [proxy])
        several = DatabaseConfig.from_url("postgresql://u:p@db1.example,db2.example/db")
        with pytest.raises(UsageError, match="checks the names of 2 hosts"):
            proxied(several, "default", [proxy, proxy])
        one = proxied(DatabaseConfig.from_url("postgresql://u:p@db1.example/db"), "default", [proxy]).connection()
        assert one.ssl_config is not None
        assert (one.ssl_config.mode, one.ssl_config.server_hostname) == ("verify-full", "db1.example")
        assert [str(address) for address in one.addresses] == [f"127.0.0.1:{proxy.port}"]
        local = proxied(DatabaseConfig.from_url("postgresql://u:p@127.0.0.1/db"), "default", [proxy]).connection()
        assert local.tls.mode == "disable"


async def test_a_cancelled_run_heals_and_cleans_up(manager: DatabaseManager) -> None:
    healed = asyncio.Event()
    injected = asyncio.Event()

    async def inject() -> None:
        injected.set()

    async def heal() -> None:
        healed.set()

    scenario = Scenario("long", (Step(0.1, Act("fault", inject, heal)),), 60)
    task = asyncio.ensure_future(Run(scenario, manager, table="scratch").run())
    await asyncio.wait_for(injected.wait(), 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 60)
    assert healed.is_set()
    found = await manager.session().fetch_all("select tablename from pg_tables where tablename like 'scratch%'")
    assert found == []
