"""Killed anywhere, the next run goes on, and ends as if nothing had happened."""

from __future__ import annotations

import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest
from tests.children import ended
from tests.migrations.copying.conftest import Open, count

from sillar import DatabaseManager
from sillar.errors import MigrationStateError
from sillar.migrations.copying import copy_database
from sillar.migrations.copying.side import PROGRESS_TABLE
from sillar.migrations.copying.sides import side_of

PROGRAM = Path(__file__).with_name("killed.py")
PAIRS = [
    ("sqlite", "postgresql", (2, 17, 33)),
    ("postgresql", "mysql", (9, 24, 45)),
    ("mariadb", "mongodb", (5, 29, 38)),
    ("mongodb", "sqlite", (3, 12, 20)),
]


async def run_killed(source: Any, target: Any, kill_at: int, batch_rows: int = 40) -> tuple[int, str]:
    """Its exit status and what it printed."""
    status, output, errors = await ended(
        sys.executable, str(PROGRAM), source.url, target.url, str(kill_at), str(batch_rows),
        stdout=PIPE, stderr=PIPE,
    )  # fmt: skip
    assert status in (0, -signal.SIGKILL), errors.decode()
    return status, output.decode().splitlines()[-1] if output else ""


async def tables_of(manager: DatabaseManager) -> list[str]:
    return await (await side_of(manager, None)).table_names()


@pytest.mark.parametrize(("source", "target", "points"), PAIRS)
async def test_killed_at_several_steps(
    source: str, target: str, points: tuple[int, ...], open_specimen: Open, open_database: Open
) -> None:
    ours, theirs = await open_specimen(source), await open_database(target)
    statuses = []
    for kill_at in (*points, 10_000):
        status, printed = await run_killed(ours, theirs, kill_at)
        statuses.append(status)
        if status == 0:
            assert printed.endswith("True")  # it was resumed
            break
    assert statuses[-1] == 0
    assert statuses.count(-signal.SIGKILL) >= 2
    for name in await tables_of(ours):
        assert await count(ours, name) == await count(theirs, name), name
    assert await tables_of(theirs) == await tables_of(ours)


async def test_what_an_interrupted_copy_has_done_is_not_done_again(open_database: Open) -> None:
    ours, theirs = await open_database("sqlite", "other"), await open_database("postgresql")
    await ours.session().execute("CREATE TABLE stone (id INTEGER PRIMARY KEY, kind TEXT)")
    await ours.session().bulk_insert("stone", ["id", "kind"], [(number, "tuff") for number in range(1000)])
    status, _ = await run_killed(ours, theirs, 14, 100)  # after some batches
    assert status == -signal.SIGKILL
    done = await theirs.session().fetch_value(f"SELECT rows_done FROM {PROGRESS_TABLE}")
    assert done == await count(theirs, "stone")
    assert 100 <= done < 1000
    await theirs.session().execute("UPDATE stone SET kind = 'theirs' WHERE id = 5")
    report = await copy_database(ours, theirs, batch_rows=100)
    [table] = report.tables
    assert report.resumed
    assert (table.rows, table.rows_now) == (1000, 1000 - done)
    [difference] = report.differences  # what was there before is looked at, too
    assert difference.keys == (("id=5", "different"),)
    assert PROGRESS_TABLE in await theirs.session().fetch_all("SELECT relname FROM pg_class", into=str)
    await ours.session().execute("CREATE TABLE mine (id INTEGER PRIMARY KEY)")
    await theirs.session().execute("CREATE TABLE mine (id int PRIMARY KEY)")
    with pytest.raises(MigrationStateError, match="tables of these names already: mine"):
        await copy_database(ours, theirs, resume=False)  # only what is its own is replaced
    report = await copy_database(ours, theirs, resume=False, exclude=["mine"])
    assert report.verified
    assert not report.resumed
