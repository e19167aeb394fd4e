"""Copies in batches, beside code that writes both tables."""

from __future__ import annotations

import asyncio

import pytest
import structlog
from sqlalchemy import column, func
from sqlalchemy.util import await_only
from tests.children import left
from tests.migrations.data.conftest import Ground

from sillar.errors import UsageError
from sillar.migrations.data import Throttle, batched_copy, undo_batches
from sillar.migrations.progress import Progress
from sillar.testing.conformance import eventually

COLUMNS = {"stone_id": "id", "label": func.upper(column("kind")), "doubled": "n * 2 + 0"}


async def with_blocks(ground: Ground, rows: int = 100) -> None:
    await ground.fill(rows=rows, n=3)
    await ground.execute(
        "CREATE TABLE block (stone_id INTEGER PRIMARY KEY, label VARCHAR(60), doubled INTEGER, extra INTEGER DEFAULT 9)"
    )


async def blocks(ground: Ground) -> list[tuple[object, ...]]:
    return await ground.rows(
        "SELECT count(*), min(label), max(label), min(doubled), max(doubled), min(extra) FROM block"
    )


async def test_rows_are_copied_once_and_undone(ground: Ground) -> None:
    await with_blocks(ground)
    told: list[Progress] = []
    report = await ground.run(
        batched_copy, "stone", "block", columns=COLUMNS, key="id", where="n = 3", batch_rows=30, name="copy",
        undo="delete copied", progress=told.append,
    )  # fmt: skip
    assert await blocks(ground) == [(100, "K0", "K6", 6, 6, 9)]
    assert (report.rows_done, report.batches, report.passes) == (100, 4, 1)
    assert (report.rows_before, report.rows_remaining, report.rows_different) == (100, 0, 0)
    assert [each.done for each in told] == [30, 60, 90, 100]

    again = await ground.run(
        batched_copy, "stone", "block", columns=COLUMNS, key="id", where="n = 3", batch_rows=30, name="copy"
    )
    assert (again.rows_done_now, again.resumed) == (0, True)

    undone = await ground.run(undo_batches, "copy", progress=told.append)
    assert (undone.state, undone.rows_done, undone.batches_now) == ("undone", 100, 4)
    assert await ground.rows("SELECT count(*) FROM block") == [(0,)]
    assert [each.done for each in told[4:]] == [10, 40, 70, 100]


async def test_rows_that_are_there_are_kept(ground: Ground) -> None:
    """New code writes both tables; its rows are newer."""
    await with_blocks(ground)
    await ground.execute("INSERT INTO block (stone_id, label, doubled) VALUES (5, 'new', 1), (77, 'new', 1)")
    with structlog.testing.capture_logs() as logs:
        report = await ground.run(batched_copy, "stone", "block", columns=COLUMNS, key="id", batch_rows=30)
    assert (report.rows_done, report.rows_remaining, report.rows_different) == (98, 0, 2)
    assert await ground.rows("SELECT count(*) FROM block WHERE label = 'new'") == [(2,)]
    assert [line["rows"] for line in logs if line["event"] == "rows that are there have other values"] == [2]


async def test_rows_that_are_there_are_updated(ground: Ground) -> None:
    """Only old code writes, and the target follows it until nothing differs."""
    await with_blocks(ground)
    await ground.execute("INSERT INTO block (stone_id, label, doubled) VALUES (5, NULL, 1), (6, 'K6', 6)")
    changed = False

    def change(progress: Progress) -> None:
        nonlocal changed
        if progress.done >= 60 and not changed:
            changed = True
            insert = "INSERT INTO stone (id, kind, n) VALUES (-1, 'k2', 8)"
            await_only(ground.execute("UPDATE stone SET n = 8 WHERE id IN (3, 4)", insert))

    report = await ground.run(
        batched_copy, "stone", "block", columns=COLUMNS, key=["id"], existing="update", batch_rows=30, progress=change,
        throttle=Throttle(pause_seconds=0.05),
    )  # fmt: skip
    assert (report.rows_remaining, report.rows_different, report.passes) == (0, 0, 2)
    assert report.rows_done == 100 - 1 + 3  # one was there as it should be
    assert report.waited_seconds >= 0.15
    assert await ground.rows("SELECT stone_id FROM block WHERE doubled = 16 ORDER BY stone_id") == [(-1,), (3,), (4,)]
    assert await ground.rows("SELECT label FROM block WHERE stone_id = 5") == [("K5",)]


async def test_a_composite_key_of_other_names(ground: Ground) -> None:
    await ground.execute(
        "CREATE TABLE course (a INTEGER, b INTEGER, c INTEGER, n INTEGER, PRIMARY KEY (a, b, c))",
        "CREATE TABLE block (x INTEGER, y INTEGER, z INTEGER, n INTEGER, PRIMARY KEY (x, y, z))",
        "INSERT INTO course VALUES " + ", ".join(f"({i % 3}, {i % 4}, {i}, {i})" for i in range(48)),
        "INSERT INTO block VALUES (0, 0, 0, 7)",
    )
    report = await ground.run(
        batched_copy, "course", "block", columns={"z": "c", "y": "b", "x": "a", "n": "n"}, key=["a", "b", "c"],
        batch_rows=5, undo="delete copied", undo_where="n <> 7", name="three",
    )  # fmt: skip
    assert (report.rows_done, report.batches, report.rows_different) == (47, 10, 1)
    assert await ground.rows("SELECT count(*) FROM block JOIN course ON a = x AND b = y AND c = z") == [(48,)]
    await ground.execute("INSERT INTO course VALUES (1, 1, 100, 9)")
    again = await ground.run(
        batched_copy, "course", "block", columns={"z": "c", "y": "b", "x": "a", "n": "n"}, key=["a", "b", "c"],
        batch_rows=5, name="three",
    )  # fmt: skip
    assert (again.rows_done_now, again.passes, again.rows_remaining) == (1, 2, 0)
    undone = await ground.run(undo_batches, "three")
    assert await ground.rows("SELECT n FROM block ORDER BY n") == [(7,), (7,)]  # one of them was copied
    assert undone.rows_done == 47


async def test_a_writer_of_both_is_no_conflict(postgresql_ground: Ground) -> None:
    """Its row is not committed when the batch looks, and is there when the batch writes."""
    await with_blocks(postgresql_ground)

    async def waits() -> bool:
        sql = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return bool(await postgresql_ground.rows(sql))

    async with postgresql_ground.orm.engine.connect() as writer:
        await writer.exec_driver_sql("INSERT INTO block (stone_id, label) VALUES (50, 'new')")
        copy = asyncio.create_task(
            postgresql_ground.run(batched_copy, "stone", "block", columns=COLUMNS, key="id", batch_rows=60)
        )
        async with left(copy):
            await eventually(waits, 60)
            assert not copy.done()
            await writer.commit()
            report = await asyncio.wait_for(copy, 60)
    assert (report.rows_done, report.rows_different) == (99, 1)


async def test_without_its_key_a_row_is_copied_by_the_journal_alone(ground: Ground) -> None:
    await ground.fill(rows=50)
    await ground.execute("CREATE TABLE block (kind VARCHAR(20), n INTEGER)")
    report = await ground.run(
        batched_copy, "stone", "block", columns=["kind", "n"], key="id", batch_rows=20, name="lines"
    )
    assert (report.rows_done, report.rows_remaining, report.rows_different) == (50, None, None)
    await ground.run(batched_copy, "stone", "block", columns=["kind", "n"], key="id", batch_rows=20, name="lines")
    assert await ground.rows("SELECT count(*) FROM block") == [(50,)]


async def test_rows_of_others_are_not_deleted(sqlite_ground: Ground) -> None:
    await with_blocks(sqlite_ground)
    await sqlite_ground.execute("INSERT INTO block (stone_id, label) VALUES (5, 'new')")
    await sqlite_ground.run(
        batched_copy, "stone", "block", columns=COLUMNS, key="id", name="copy", undo="delete copied", batch_rows=30
    )
    with pytest.raises(
        UsageError, match=r"'copy' copied 99 rows, and 100 rows of block are in its ranges now: somebody"
    ):
        await sqlite_ground.run(undo_batches, "copy")
    assert await sqlite_ground.rows("SELECT count(*) FROM block") == [(100,)]


async def test_json_is_compared_as_text(postgresql_ground: Ground) -> None:
    await postgresql_ground.execute(
        "CREATE TABLE course (id integer PRIMARY KEY, data json)",
        "CREATE TABLE block (id integer PRIMARY KEY, data json)",
        "INSERT INTO course SELECT n, json_build_object('n', n) FROM generate_series(1, 30) n",
        "INSERT INTO block VALUES (3, '{}')",
    )
    report = await postgresql_ground.run(
        batched_copy, "course", "block", columns=["id", "data"], key="id", existing="update", batch_rows=9
    )
    assert (report.rows_done, report.rows_different) == (30, 0)


async def test_calls_that_are_wrong(sqlite_ground: Ground) -> None:
    await with_blocks(sqlite_ground, 3)
    await sqlite_ground.execute("CREATE TABLE course (id INTEGER, kind TEXT)")
    good = {"columns": COLUMNS, "key": "id"}
    for tables, options, problem in (
        (("stone", "stone"), good, "stone would be copied to itself"),
        (("stone", "nowhere"), good, "there is no table 'nowhere' in this database"),
        (("stone", "block"), {**good, "columns": {"x": "id"}}, "columns: block has no column x"),
        (("stone", "block"), {**good, "columns": {"label": "kind"}, "verify": True}, "recognize rows by their key"),
        (("stone", "block"), {**good, "existing": "delete"}, "existing is 'delete'"),
        (("stone", "block"), {**good, "undo": "all"}, "undo= of a copy is 'delete copied'"),
        (
            ("stone", "block"),
            {**good, "undo": "delete copied", "existing": "update"},
            "existing='update' there is none",
        ),
        (("stone", "block"), {**good, "batch_rows": 0}, "batch_rows is 0"),
        (("stone", "course"), {**good, "columns": ["id", "kind"]}, r"course has no index that begins with \(id\)"),
    ):
        with pytest.raises(UsageError, match=problem):
            await sqlite_ground.run(batched_copy, *tables, **options)
