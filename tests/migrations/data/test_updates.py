"""Updates in batches: once per row, whatever happens on the way."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import await_only
from tests.children import SECONDS_MAX, child
from tests.migrations.data.conftest import Ground

from sillar.migrations.data import batched_update, forget_batches, run_batched
from sillar.migrations.progress import Progress


async def test_each_row_is_updated_once(ground: Ground) -> None:
    await ground.fill(rows=500)
    told: list[Progress] = []
    report = await ground.run(
        batched_update, "stone", key="id", values={"n": "n + 1"}, batch_rows=60, name="up", progress=told.append
    )
    assert await ground.counters() == [(1, 500)]
    assert (report.state, report.rows_done, report.rows_done_now, report.batches, report.passes) == (
        "finished", 500, 500, 9, 1,
    )  # fmt: skip
    assert report.rows_before == 500
    assert report.rows_remaining is None
    assert not report.resumed
    assert report.rows_per_second > 0
    assert report.longest_batch_seconds > 0
    assert [(each.what, each.done, each.total, each.unit) for each in told][:2] == [
        ("up", 60, 500, "rows"), ("up", 120, 500, "rows"),
    ]  # fmt: skip
    assert report.as_dict()["rows_per_second"] == round(report.rows_per_second, 1)

    with structlog.testing.capture_logs() as logs:
        again = await ground.run(batched_update, "stone", key="id", values={"n": "n + 1"}, batch_rows=60, name="up")
    assert (again.rows_done, again.rows_done_now, again.resumed) == (500, 0, True)
    assert await ground.counters() == [(1, 500)]
    assert [line["event"] for line in logs] == ["batches were finished before, nothing is done"]

    assert await ground.run(forget_batches, "up") == 10
    await ground.run(batched_update, "stone", key="id", values={"n": "n + 1"}, batch_rows=60, name="up")
    assert await ground.counters() == [(2, 500)]


async def test_only_what_is_asked_for_is_updated(ground: Ground) -> None:
    await ground.fill(rows=70)
    report = await ground.run(
        batched_update, "stone", key=["id"], values={"label": "'100% :a ' || kind" if ground.name in
        ("sqlite", "postgresql") else "concat('100% :a ', kind)", "n": 7},
        where="kind = 'k3' AND label IS NULL", verify=True, batch_rows=8, count=False,
    )  # fmt: skip
    assert report.rows_done == 10
    assert report.rows_before is None
    assert report.rows_remaining == 0
    assert await ground.rows("SELECT DISTINCT label, n FROM stone WHERE kind = 'k3'") == [("100% :a k3", 7)]
    assert await ground.rows("SELECT count(*) FROM stone WHERE label IS NULL AND n = 0") == [(60,)]


async def killed(ground: Ground, batches: int) -> None:
    """Run the script and kill it when it has told of so many batches."""
    program = str(Path(__file__).with_name("killed_run.py"))
    async with child(sys.executable, program, ground.url, stdout=asyncio.subprocess.PIPE) as process:
        assert process.stdout is not None
        async with asyncio.timeout(SECONDS_MAX):
            while batches:
                line = await process.stdout.readline()
                assert line, "it ended before it was killed"
                batches -= line.strip().isdigit()


async def test_a_killed_run_goes_on_where_it_was(ground: Ground) -> None:
    await ground.fill(rows=600)
    await killed(ground, 4)
    before = await ground.counters()
    assert before[-1][0] == 1
    assert 80 <= before[-1][1] < 600
    report = await ground.run(batched_update, "stone", key="id", values={"n": "n + 1"}, batch_rows=20, name="count up")
    assert await ground.counters() == [(1, 600)]
    assert report.resumed
    assert report.rows_done == 600
    assert report.rows_done_now <= 600 - 80
    assert report.batches == 30


async def test_a_lost_connection_ends_the_call_and_nothing_else(postgresql_ground: Ground) -> None:
    await postgresql_ground.fill(rows=200)
    options: dict[str, Any] = {"key": "id", "values": {"n": "n + 1"}, "batch_rows": 20, "name": "up"}

    def cut_off(connection: Connection) -> None:
        with connection.begin():
            number = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()

        def tell(progress: Progress) -> None:
            if progress.done == 60:
                await_only(postgresql_ground.rows(f"SELECT pg_terminate_backend({number}, 60000)"))

        batched_update(connection, "stone", **options, progress=tell)

    with pytest.raises(DBAPIError):
        await postgresql_ground.run(cut_off)
    report = await postgresql_ground.run(batched_update, "stone", **options)
    assert report.resumed
    assert report.rows_done_now < 200
    assert await postgresql_ground.counters() == [(1, 200)]


async def test_a_deadlock_is_tried_again(postgresql_ground: Ground) -> None:
    """And after six attempts it is an error."""
    await postgresql_ground.fill(rows=10)
    await postgresql_ground.execute(
        "CREATE SEQUENCE attempts",
        "CREATE FUNCTION give_way() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF nextval(''attempts'') <= 3 THEN"
        " RAISE EXCEPTION ''no'' USING ERRCODE = ''40P01''; END IF; RETURN NEW; END'",
        "CREATE TRIGGER give_way BEFORE UPDATE ON stone FOR EACH STATEMENT EXECUTE FUNCTION give_way()",
    )
    try:
        await postgresql_ground.run(batched_update, "stone", key="id", values={"n": "n + 1"}, name="up")
        assert await postgresql_ground.counters() == [(1, 10)]
        assert await postgresql_ground.rows("SELECT last_value FROM attempts") == [(4,)]
        await postgresql_ground.execute("ALTER SEQUENCE attempts MINVALUE -9 RESTART WITH -9")
        with pytest.raises(DBAPIError, match="no"):
            await postgresql_ground.run(batched_update, "stone", key="id", values={"n": "n + 1"}, name="again")
        assert await postgresql_ground.rows("SELECT last_value FROM attempts") == [(-4,)]
    finally:
        await postgresql_ground.execute("DROP TABLE stone", "DROP FUNCTION give_way", "DROP SEQUENCE attempts")


async def test_run_batched(ground: Ground) -> None:
    await ground.fill(rows=30)
    report = await run_batched(ground.manager, batched_update, "stone", key="id", values={"n": "n + 1"}, name="up")
    assert report.rows_done == 30
    assert await run_batched(ground.manager, forget_batches, "up", database="default") == 2
