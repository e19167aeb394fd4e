"""Rows that come in behind a run are found, and what would be done twice is refused."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.util import await_only
from tests.children import left
from tests.migrations.data.conftest import Ground

from sillar.errors import MigrationStateError, UsageError
from sillar.migrations.data import batched_update, undo_batches
from sillar.migrations.progress import Progress

LABEL = {"label": "kind", "n": "n + 1"}


class Intruder:
    """Writes a row as old code does, between two batches."""

    def __init__(self, ground: Ground) -> None:
        self.ground, self.written = ground, 0

    def __call__(self, progress: Progress) -> None:
        self.written += 1
        await_only(self.ground.fill(first=-self.written, rows=1))


async def test_concurrent_writers(ground: Ground) -> None:
    """Old code inserts below and above the cursor, and changes rows, all the time: each row ends right, once."""
    await ground.fill(first=1001, rows=400)
    stop, wrote = asyncio.Event(), asyncio.Event()
    inserted = 0

    async def write() -> None:
        nonlocal inserted
        while not stop.is_set():
            await ground.fill(first=1000 - inserted, rows=1)
            await ground.fill(first=5000 + inserted, rows=1)
            inserted += 1
            wrote.set()
            await asyncio.sleep(0.002)

    writer = asyncio.create_task(write())
    calls = 0

    def tell(progress: Progress) -> None:
        nonlocal calls
        calls += 1
        if calls == 18:
            stop.set()
        if not stop.is_set():  # however busy the machine is, there is something new behind each batch
            wrote.clear()
            await_only(asyncio.wait_for(wrote.wait(), 60))

    async with left(writer):
        report = await ground.run(
            batched_update, "stone", key="id", values=LABEL, where="label IS NULL", verify=True, batch_rows=30,
            progress=tell, passes_max=50,
        )  # fmt: skip
        assert stop.is_set()
        await asyncio.wait_for(writer, 60)
    late = await ground.rows("SELECT count(*) FROM stone WHERE label IS NULL")
    assert late[0][0] <= 2  # the last that the writer began before it saw that it should stop
    report = await ground.run(
        batched_update, "stone", key="id", values=LABEL, where="label IS NULL", verify=True, batch_rows=30
    )
    assert inserted > 3
    assert await ground.counters() == [(1, 400 + 2 * inserted)]
    assert report.rows_done == 400 + 2 * inserted
    assert report.rows_remaining == 0
    assert report.passes > 1


async def test_changes_of_old_code_are_caught_by_remaining(sqlite_ground: Ground) -> None:
    await sqlite_ground.fill(rows=50)
    changed = False

    def change(progress: Progress) -> None:
        nonlocal changed
        if progress.done >= 30 and not changed:
            changed = True
            await_only(sqlite_ground.execute("UPDATE stone SET kind = 'new' WHERE id = 3"))

    report = await sqlite_ground.run(
        batched_update, "stone", key="id", values={"label": "kind"}, where="label IS NULL",
        remaining="label IS NULL OR label <> kind", batch_rows=10, progress=change,
    )  # fmt: skip
    assert await sqlite_ground.rows("SELECT label FROM stone WHERE id = 3") == [("new",)]
    assert (report.passes, report.rows_done, report.rows_remaining) == (2, 51, 0)


async def test_it_gives_up_when_somebody_goes_on_writing(sqlite_ground: Ground) -> None:
    await sqlite_ground.fill(rows=30)
    writer = Intruder(sqlite_ground)
    with pytest.raises(
        MigrationStateError, match=r"1 rows of 'up' are still to be done after 3 passes: somebody goes on"
    ):
        await sqlite_ground.run(
            batched_update, "stone", key="id", values=LABEL, where="label IS NULL", verify=True, batch_rows=10,
            progress=writer, passes_max=3, name="up",
        )  # fmt: skip
    report = await sqlite_ground.run(
        batched_update, "stone", key="id", values=LABEL, where="label IS NULL", verify=True, name="up"
    )
    assert await sqlite_ground.counters() == [(1, 30 + writer.written)]
    assert report.resumed


async def test_a_condition_that_stays_true_is_refused(ground: Ground) -> None:
    await ground.fill(rows=70)
    with pytest.raises(UsageError, match="rows of stone are still to be done after the update, by where="):
        await ground.run(
            batched_update, "stone", key="id", values={"n": "n + 1"}, where="kind = 'k6'", verify=True, batch_rows=3
        )
    assert await ground.counters() == [(0, 70)]


async def test_one_row_that_stays_is_not_updated_twice(sqlite_ground: Ground) -> None:
    await sqlite_ground.fill(rows=50)
    with pytest.raises(UsageError, match="by remaining="):
        await sqlite_ground.run(
            batched_update, "stone", key="id", values={"n": "n + 1"}, remaining="n = 0 OR id = 33", batch_rows=10
        )
    assert await sqlite_ground.counters() == [(1, 50)]


async def test_a_process_thought_dead_is_taken_over_from(ground: Ground) -> None:
    """Two processes at one run: each row is updated once."""
    await ground.fill(rows=400)
    reports = await asyncio.gather(
        *(
            ground.run(batched_update, "stone", key="id", values={"n": "n + 1"}, batch_rows=20, name="both")
            for _ in range(2)
        )
    )
    assert await ground.counters() == [(1, 400)]
    assert sum(report.rows_done_now for report in reports) == 400
    assert {report.state for report in reports} == {"finished"}


async def test_undoing_and_running_exclude_each_other(sqlite_ground: Ground) -> None:
    await sqlite_ground.fill(rows=40)
    options = {"key": "id", "values": {"n": "n + 1"}, "batch_rows": 10, "name": "up", "undo": {"n": "n - 1"}}

    def stop_after_two(progress: Progress) -> None:
        if progress.done == 20:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        await sqlite_ground.run(batched_update, "stone", **options, progress=stop_after_two)
    assert await sqlite_ground.counters() == [(0, 20), (1, 20)]

    def forget(connection: Connection) -> None:
        with connection.begin():
            connection.execute(text("UPDATE _migration_batches SET state = 'undoing' WHERE number = 0"))

    await sqlite_ground.run(forget)
    with pytest.raises(MigrationStateError, match="'up' is being undone: finish that first"):
        await sqlite_ground.run(batched_update, "stone", **options)
    report = await sqlite_ground.run(undo_batches, "up")
    assert (report.state, report.rows_done, report.resumed) == ("undone", 20, True)
    assert await sqlite_ground.counters() == [(0, 40)]
