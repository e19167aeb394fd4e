"""Locks: how long a migration waits for others, and others for it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from tests.children import appears, child, left
from tests.migrations.running.foreign import ForeignProject, url_of
from tests.migrations.running.project import Place, Project

from sillar import DatabaseManager
from sillar.errors import MigrationLockError
from sillar.integrations.sqlalchemy import SQLAlchemyIntegration
from sillar.migrations import MigrationManager

FOREVER_SECONDS = 60


async def traffic(manager: DatabaseManager, stop: asyncio.Event) -> float:
    """A request after the other; the longest, in seconds."""
    longest, number, session = 0.0, 10, manager.session()
    while not stop.is_set():
        number += 1
        began = time.perf_counter()
        await session.execute("INSERT INTO t (id, n) VALUES (:id, 1)", {"id": number})
        await session.fetch_value("SELECT count(*) FROM t")
        longest = max(longest, time.perf_counter() - began)
        await asyncio.sleep(0.01)
    return longest


@pytest.mark.parametrize("place", ["postgresql", "mariadb", "mysql"], indirect=True)
async def test_a_long_reader_holds_up_nobody_else(place: Place, project: Project) -> None:
    project.steps("a1", "CREATE TABLE t (id INT PRIMARY KEY, n INT)", "INSERT INTO t VALUES (1, 1)")
    project.steps("b2", "UPDATE t SET n = n + 1 WHERE id = 1", "ALTER TABLE t ADD COLUMN m INT")
    await project.manager(place).apply_migrations("a1")
    stop = asyncio.Event()
    async with DatabaseManager(place.config(Path())) as manager:
        engine = SQLAlchemyIntegration(manager).engine
        async with engine.connect() as reader:
            await reader.execute(text("SELECT count(*) FROM t"))
            service = asyncio.create_task(traffic(manager, stop))
            migration = asyncio.create_task(project.manager(place, lock_timeout=1.0).apply_migrations())
            async with left(service), left(migration):
                await asyncio.sleep(5)
                assert not migration.done()
                await reader.commit()
                applied = await asyncio.wait_for(migration, FOREVER_SECONDS)
                stop.set()
                longest = await asyncio.wait_for(service, FOREVER_SECONDS)
    assert [each.version for each in applied] == ["b2"]
    assert longest < 1.0 + 3
    assert await place.execute("SELECT n, m FROM t WHERE id = 1") == [(2, None)]


@pytest.mark.parametrize("place", ["postgresql", "mariadb", "mysql"], indirect=True)
async def test_it_gives_up(place: Place, project: Project) -> None:
    project.steps("a1", "CREATE TABLE t (id INT PRIMARY KEY, n INT)", "INSERT INTO t VALUES (1, 1)")
    project.steps("b2", "UPDATE t SET n = n + 1 WHERE id = 1", "ALTER TABLE t ADD COLUMN m INT")
    await project.manager(place).apply_migrations("a1")
    async with DatabaseManager(place.config(Path())) as manager:
        async with SQLAlchemyIntegration(manager).engine.connect() as reader:
            await reader.execute(text("SELECT count(*) FROM t"))
            with pytest.raises(
                MigrationLockError, match=r"within 1 s in 2 attempts: migration b2, at: ALTER TABLE t ADD"
            ):
                await project.manager(place, lock_timeout=1.0, lock_attempts=2).apply_migrations()
            await reader.rollback()
    assert (await place.state())[0].keys() >= {"column n of t"}
    assert "column m of t" not in (await place.state())[0]
    assert await project.manager(place).current() == ("a1",)
    await project.manager(place).apply_migrations()
    assert await place.execute("SELECT n, m FROM t WHERE id = 1") == [(2, None)]


@pytest.mark.parametrize("stock", [False, True])
async def test_a_busy_writer(stock: bool, tmp_path: Path) -> None:
    place = Place(
        "sqlite", {"engine": "sqlite", "database": str(tmp_path / "x.db"), "connection_options": {"busy_timeout": 0.5}}
    )
    project = ForeignProject(tmp_path, "generic", url_of(place, "sqlite")) if stock else Project(tmp_path)
    project.steps("a1", "CREATE TABLE t (n INT)", "INSERT INTO t VALUES (1)")
    project.steps("b2", "UPDATE t SET n = n + 1")
    await project.manager(place).apply_migrations("a1")
    async with DatabaseManager(place.config(Path())) as manager:
        async with manager.session().transaction() as writer:
            await writer.execute("UPDATE t SET n = n + 10")
            began = time.perf_counter()
            with pytest.raises(MigrationLockError, match="in 2 attempts"):
                await project.manager(place, lock_timeout=0.5, lock_attempts=2).apply_migrations()
            assert time.perf_counter() - began < FOREVER_SECONDS
            migration = asyncio.create_task(project.manager(place, lock_timeout=0.5).apply_migrations())
            await asyncio.sleep(1)
            assert not migration.done()
        assert len(await asyncio.wait_for(migration, FOREVER_SECONDS)) == 1
    assert await place.execute("SELECT n FROM t") == [(12,)]


@pytest.mark.parametrize("place", ["mariadb", "sqlite"], indirect=True)
@pytest.mark.parametrize("stock", [False, True])
async def test_another_migrator_at_work(place: Place, stock: bool, tmp_path: Path) -> None:
    """Whoever waits for him holds up no other database of the same process."""
    drivers = {"mariadb": "mysql+aiomysql", "sqlite": "sqlite"}
    template = "generic" if place.name == "sqlite" else "async"
    project = ForeignProject(tmp_path, template, url_of(place, drivers[place.name])) if stock else Project(tmp_path)
    async with at_work(place, project) as go_on:
        with pytest.raises(MigrationLockError, match=r"another migrator has been at work on default for 0\.2 s"):
            await project.manager(place, migrator_timeout=0.2).apply_migrations()
        manager = project.manager(place)
        waiting = await waits(manager, project)
        async with left(waiting), asyncio.timeout(FOREVER_SECONDS):
            assert len(await project_elsewhere(tmp_path).apply_migrations()) == 1
            with pytest.raises(MigrationLockError, match=r"another migrator has been at work on default for 0\.2 s"):
                await project.manager(place, migrator_timeout=0.2).apply_migrations()  # behind one of this process
            assert not waiting.done()
            go_on()
            assert [each.version for each in await waiting] == ["b2"]
    assert await manager.current() == ("b2",)
    assert "table u" in (await place.state())[0]


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
async def test_another_migrator_at_work_for_a_tenant(place: Place, project: Project) -> None:
    """Whoever waits for him holds up no other tenant, on connections of the same engine; nor does one who gives up."""
    await place.execute("CREATE SCHEMA t_one", "CREATE SCHEMA t_two")
    options = {"tenant_schema": "t_{tenant}"}
    async with (
        at_work(place, project, options, "one") as go_on,
        DatabaseManager(place.config(project.folder, **options)) as databases,
    ):
        one, two = (MigrationManager.of(databases, tenant=tenant) for tenant in ("one", "two"))
        waiting, behind = await waits(one, project), asyncio.create_task(one.apply_migrations())
        async with left(waiting), left(behind), asyncio.timeout(FOREVER_SECONDS):
            assert len(await two.apply_migrations()) == 2
            assert not waiting.done()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            go_on()
            assert [each.version for each in await behind] == ["b2"]
        assert [await each.current() for each in (one, two)] == [("b2",), ("b2",)]
    rows = await place.execute(
        "SELECT schemaname, tablename FROM pg_tables WHERE tablename IN ('t', 'u') ORDER BY 1, 2"
    )
    assert rows == [("t_one", "t"), ("t_one", "u"), ("t_two", "t"), ("t_two", "u")]


@asynccontextmanager
async def at_work(
    place: Place, project: Project, options: dict[str, Any] | None = None, *tenant: str
) -> AsyncIterator[Callable[[], None]]:
    """Within the block a migrator of another process is in the midst of ``a1``, until what is yielded is called."""
    began, go_on = project.root / "began", project.root / "go on"
    wait = (
        f"import os, pathlib, time\npathlib.Path({str(began)!r}).touch()\nend = time.monotonic() + 60\n"
        f"while os.getpid() != {os.getpid()} and not pathlib.Path({str(go_on)!r}).exists()"
        " and time.monotonic() < end:\n    time.sleep(0.02)\n"
    )
    project.revision("a1", wait + "op.execute('CREATE TABLE t (n INT)')")
    project.revision("b2", "op.create_table('u', sa.Column('n', sa.Integer))")
    program = (sys.executable, "-m", "tests.migrations.running.other_run", place.name, json.dumps(place.settings))
    async with child(*program, str(project.folder), json.dumps(options or {}), *tenant) as process:
        ended = asyncio.ensure_future(process.wait())
        await appears(began, ended)
        try:
            yield go_on.touch
        finally:
            go_on.touch()
            assert await asyncio.wait_for(ended, FOREVER_SECONDS) == 0


async def waits(manager: MigrationManager, project: Project) -> asyncio.Task[Any]:
    """A task that migrates, and has come to its ``env.py``. It is for the caller to leave."""
    here = project.root / "here"
    here.unlink(missing_ok=True)
    env = project.folder / "env.py"
    mark = f"import pathlib; pathlib.Path({str(here)!r}).touch()"
    if mark not in env.read_text():
        env.write_text(
            env.read_text().replace("from alembic import context", f"from alembic import context\n{mark}", 1)
        )
    task = asyncio.create_task(manager.apply_migrations())
    await appears(here, task)
    return task


def project_elsewhere(folder: Path) -> MigrationManager:
    """A project with one migration, of a database of its own."""
    place = Place("sqlite", {"engine": "sqlite", "database": str(folder / "elsewhere.db")})
    project = Project(folder / "elsewhere")
    project.steps("e1", "CREATE TABLE e (n INT)")
    return project.manager(place)
