"""What was declared is undone, once per row, and what was not is refused."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, literal
from tests.migrations.data.conftest import Ground

from sillar.errors import MigrationStateError, UsageError
from sillar.migrations.data import batched_update, forget_batches, undo_batches
from sillar.migrations.progress import Progress


async def test_an_expression_undoes_each_row_once(ground: Ground) -> None:
    """Rows of later passes lie in the ranges of the first one."""
    await ground.fill(first=100, rows=60)
    options = {
        "key": "id", "values": {"n": "n + 5", "label": "'done'"}, "where": "label IS NULL", "verify": True,
        "batch_rows": 9, "undo": {"n": "n - 5", "label": "NULL"}, "undo_where": "label = 'done'", "name": "up",
    }  # fmt: skip
    await ground.run(batched_update, "stone", **options)
    await ground.fill(first=90, rows=5)
    await ground.fill(first=120 + 60, rows=5)
    await ground.run(batched_update, "stone", **options)
    await ground.fill(first=200, rows=2)
    report = await ground.run(batched_update, "stone", **options)
    assert (report.rows_done, report.passes) == (72, 3)
    assert await ground.counters() == [(5, 72)]

    undone = await ground.run(undo_batches, "up")
    assert (undone.rows_done, undone.rows_before, undone.batches_now) == (72, 72, report.batches)
    assert await ground.counters() == [(0, 72)]
    again = await ground.run(undo_batches, "up")
    assert (again.rows_done, again.resumed) == (0, True)

    report = await ground.run(batched_update, "stone", **options)  # begins anew
    assert (report.rows_done, report.passes, report.resumed) == (72, 1, False)


async def test_each_row_is_undone_once_without_a_condition(ground: Ground) -> None:
    await ground.fill(rows=50)
    options = {"key": "id", "values": {"n": "n + 5"}, "batch_rows": 9, "undo": {"n": "n - 5"}, "name": "up"}
    await ground.run(batched_update, "stone", remaining="n < 5", **options)
    await ground.fill(first=-5, rows=5)
    await ground.fill(first=80, rows=5)
    await ground.run(batched_update, "stone", remaining="n < 5", **options)
    assert await ground.counters() == [(5, 60)]
    await ground.run(undo_batches, "up")
    assert await ground.counters() == [(0, 60)]


async def test_old_values_come_back(ground: Ground) -> None:
    await ground.execute(
        "ALTER TABLE stone ADD COLUMN kind_old VARCHAR(20)", "ALTER TABLE stone ADD COLUMN n_old INTEGER"
    )
    await ground.fill(rows=70)
    await ground.run(
        batched_update, "stone", key="id", values={"kind": "'other'", "n": "n + 1"}, where="kind = 'k3'", batch_rows=20,
        keep_old={"kind": "kind_old", "n": "n_old"}, name="kinds",
    )  # fmt: skip
    assert await ground.rows("SELECT DISTINCT kind, n, kind_old, n_old FROM stone WHERE kind = 'other'") == [
        ("other", 1, "k3", 0)
    ]
    undone = await ground.run(undo_batches, "kinds")
    assert undone.rows_done == 10
    assert await ground.rows("SELECT count(*) FROM stone WHERE kind = 'k3' AND n = 0 AND kind_old IS NULL") == [(10,)]
    assert await ground.rows("SELECT count(*) FROM stone WHERE kind_old IS NOT NULL OR n_old IS NOT NULL") == [(0,)]


async def test_an_interrupted_undo_goes_on(ground: Ground) -> None:
    await ground.fill(rows=60)
    options = {"key": "id", "values": {"n": "n + 1"}, "batch_rows": 10, "undo": {"n": "n - 1"}, "name": "up"}
    await ground.run(batched_update, "stone", **options)

    def stop(progress: Progress) -> None:
        if progress.done == 20:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        await ground.run(undo_batches, "up", progress=stop)
    assert await ground.counters() == [(0, 20), (1, 40)]
    with pytest.raises(MigrationStateError, match="'up' is being undone"):
        await ground.run(batched_update, "stone", **options)
    report = await ground.run(undo_batches, "up")
    assert (report.rows_done, report.resumed) == (40, True)
    assert await ground.counters() == [(0, 60)]


async def test_what_cannot_be_undone_says_so(sqlite_ground: Ground) -> None:
    with pytest.raises(MigrationStateError, match="the journal has no run 'up': nothing to undo"):
        await sqlite_ground.run(undo_batches, "up")
    assert await sqlite_ground.run(forget_batches, "up") == 0
    await sqlite_ground.fill(rows=10)
    await sqlite_ground.run(batched_update, "stone", key="id", values={"n": "n + 1"}, name="up")
    with pytest.raises(UsageError, match=r"update of stone: n \('up'\) declared nothing to undo it by: declare undo="):
        await sqlite_ground.run(undo_batches, "up")
    with pytest.raises(MigrationStateError, match=r"another run under the name 'up' .update of stone: n, finished"):
        await sqlite_ground.run(batched_update, "stone", key="id", values={"n": "n + 2"}, name="up")
    assert await sqlite_ground.counters() == [(1, 10)]


async def test_an_old_value_that_is_null_is_refused(sqlite_ground: Ground) -> None:
    await sqlite_ground.execute("ALTER TABLE stone ADD COLUMN label_old VARCHAR(60)")
    await sqlite_ground.fill(rows=10)
    with pytest.raises(UsageError, match="whose old value is NULL"):
        await sqlite_ground.run(batched_update, "stone", key="id", values={"label": "kind"}, keep_old="label_old")
    assert await sqlite_ground.rows("SELECT count(*) FROM stone WHERE label IS NOT NULL") == [(0,)]


async def test_expressions_of_sqlalchemy(ground: Ground) -> None:
    await ground.fill(rows=30)
    stone = Table(
        "stone", MetaData(), Column("id", Integer, primary_key=True), Column("n", Integer), Column("label", String(60)),
        Column("kind", String(20)),
    )  # fmt: skip
    report = await ground.run(
        batched_update, stone, key="id", values={"n": stone.c.n + 4, "label": literal("it's 5%")},
        where=stone.c.kind.in_(["k1", "k2"]), undo={"n": stone.c.n - 4, "label": None},
        undo_where=stone.c.label == "it's 5%", name="core", batch_rows=4,
    )  # fmt: skip
    assert report.rows_done == 10
    assert await ground.rows("SELECT DISTINCT n, label FROM stone WHERE kind IN ('k1', 'k2')") == [(4, "it's 5%")]
    assert (await ground.run(undo_batches, "core")).rows_done == 10
    assert await ground.rows("SELECT DISTINCT n, label FROM stone") == [(0, None)]


async def test_calls_that_are_wrong(sqlite_ground: Ground) -> None:
    good = {"key": "id", "values": {"n": "1"}}
    for options, problem in (
        ({**good, "values": {"x": "1"}}, "values: stone has no column x; it has id, kind, n, label"),
        ({**good, "values": {}}, "values: no column is named"),
        ({**good, "batch_rows": 0}, "batch_rows is 0 and passes_max 10; both are at least 1"),
        ({**good, "passes_max": 0}, "passes_max 0"),
        ({**good, "verify": True}, "verify=True needs where= or remaining="),
        ({**good, "where": " "}, "an empty condition picks nothing and everything"),
        ({**good, "undo": {"n": "2"}, "where": "n = 0"}, "undo= with where= needs undo_where="),
        ({**good, "undo": {"x": "2"}}, "undo: stone has no column x"),
        ({**good, "undo": {"n": "2"}, "keep_old": "label"}, "has no undo="),
        ({**good, "values": {"n": "1", "label": "1"}, "keep_old": "kind"}, "keep_old= names a column for each"),
        ({**good, "name": ""}, "1 to 180 characters; this one has 0"),
        ({**good, "name": "n" * 181}, "this one has 181"),
        ({**good, "where": literal(object())}, "cannot be written as SQL text"),
    ):
        with pytest.raises(UsageError, match=problem):
            await sqlite_ground.run(batched_update, "stone", **options)
    with pytest.raises(UsageError, match=r"'\.' is no table"):
        await sqlite_ground.run(batched_update, ".", **good)
