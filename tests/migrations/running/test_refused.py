"""What is refused, with the remedy, and leaves the database as it was; dry runs; whoever leaves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.children import appears, left
from tests.migrations.running.foreign import ForeignProject, url_of
from tests.migrations.running.project import Place, Project

from sillar.errors import (
    ConnectionError,
    MigrationFailedError,
    MigrationFileError,
    MigrationStateError,
    UnsupportedCapabilityError,
)
from sillar.testing.servers import MySQLServer, PostgreSQLServer

on_sqlite = pytest.mark.parametrize("place", ["sqlite"], indirect=True)


def first(project: Project) -> None:
    project.revision("a1", 'op.create_table("t", sa.Column("n", sa.Integer))', 'op.drop_table("t")')


# --- dry runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["postgresql", "sqlite"], indirect=True)
async def test_a_dry_run_leaves_nothing(place: Place, project: Project) -> None:
    first(project)
    project.steps("b2", "INSERT INTO t VALUES (1)", "ALTER TABLE t ADD COLUMN m INT")
    applied = await project.manager(place).apply_migrations(dry_run=True)
    assert [each.version for each in applied] == ["a1", "b2"]
    assert await place.tables() == []
    wrong = project.steps("c3", "ALTER TABLE missing ADD COLUMN m INT")
    with pytest.raises(MigrationFailedError, match=r"c3 .* failed at statement 1"):
        await project.manager(place).apply_migrations(dry_run=True)
    assert await place.tables() == []
    wrong.unlink()
    await project.manager(place).apply_migrations()
    await project.manager(place).rollback_migration("a1", dry_run=True)
    assert await project.manager(place).current() == ("b2",)


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
async def test_a_dry_run_of_what_cannot_be_rolled_back(place: Place, project: Project) -> None:
    first(project)
    project.revision(
        "b2", "with op.get_context().autocommit_block():\n    op.execute('CREATE INDEX CONCURRENTLY i ON t (n)')"
    )
    with pytest.raises(UnsupportedCapabilityError, match="autocommit_block"):
        await project.manager(place).apply_migrations(dry_run=True)
    assert await place.tables() == []


@pytest.mark.parametrize("place", ["mariadb"], indirect=True)
async def test_a_dry_run_where_ddl_commits(place: Place, project: Project) -> None:
    first(project)
    with pytest.raises(UnsupportedCapabilityError, match=r"cannot do DDL inside transactions: .*--sql"):
        await project.manager(place).apply_migrations(dry_run=True)
    assert await place.tables() == []


# --- files ------------------------------------------------------------------------------------------------------------


@on_sqlite
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda project: project.revision("b2", "this is no python"), r"b2_test\.py:\d+ cannot be read: SyntaxError"),
        (
            lambda project: project.revision("b2", "pass", follows="missing"),
            "Revision missing .* is not present: restore the file",
        ),
        (lambda project: project.revision("b2", "pass", follows="b2"), "circle"),
        (lambda project: project.revision("b2", "pass", head="import nothing_like_it"), "ModuleNotFoundError"),
    ],
    ids=["syntax", "missing", "cycle", "import"],
)
async def test_files_that_are_wrong(place: Place, project: Project, damage: Any, said: str) -> None:
    first(project)
    damage(project)
    with pytest.raises(MigrationFileError, match=said):
        await project.manager(place).apply_migrations()
    assert await place.tables() == []


@on_sqlite
async def test_two_heads(place: Place, project: Project) -> None:
    first(project)
    project.revision("b2", "pass", follows="a1")
    project.revision("c3", "pass", follows="a1")
    with pytest.raises(MigrationFileError, match=r"several heads: .*sillar merge heads"):
        await project.manager(place).apply_migrations("head")
    assert "t" not in await place.tables()
    assert len(await project.manager(place).apply_migrations("heads")) == 3


@on_sqlite
async def test_a_revision_that_is_not_here(place: Place, project: Project) -> None:
    first(project)
    await project.manager(place).apply_migrations()
    await place.execute("UPDATE alembic_version SET version_num = 'zz'")
    with pytest.raises(MigrationFileError, match="the database is at zz, and no file"):
        await project.manager(place).apply_migrations()


@on_sqlite
async def test_an_exception_of_its_own(place: Place, project: Project) -> None:
    project.revision("a1", 'op.create_table("t", sa.Column("n", sa.Integer))\nraise RuntimeError("not today")')
    with pytest.raises(MigrationFailedError, match="failed at its own code: RuntimeError: not today; nothing of this"):
        await project.manager(place).apply_migrations()
    assert "t" not in await place.tables()


# --- rights and reach -------------------------------------------------------------------------------------------------


async def test_an_unreachable_database(project: Project) -> None:
    first(project)
    place = Place("postgresql", {"engine": "postgresql", "host": "127.0.0.1", "port": 1, "database": "x",
                                 "credentials": {"user": "x", "password": "x"}})  # fmt: skip
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1"):
        await project.manager(place).apply_migrations()


async def test_an_unreachable_database_of_a_foreign_project(tmp_path: Path) -> None:
    project = ForeignProject(tmp_path, "async", "postgresql+asyncpg://x:x@127.0.0.1:1/x")
    first(project)
    place = Place("postgresql", {"engine": "postgresql", "host": "127.0.0.1", "port": 1, "database": "x",
                                 "credentials": {"user": "x", "password": "x"}})  # fmt: skip
    with pytest.raises(ConnectionError, match=r"env\.py could not use its database"):
        await project.manager(place).apply_migrations()


@pytest.mark.parametrize("place", ["postgresql", "mariadb", "mysql"], indirect=True)
async def test_a_user_without_rights(place: Place, project: Project) -> None:
    first(project)
    server, database = place.server, place.settings["database"]
    assert isinstance(server, PostgreSQLServer | MySQLServer)
    if isinstance(server, PostgreSQLServer):
        await server.execute_as_superuser("DROP ROLE IF EXISTS idler")
        await server.execute_as_superuser("CREATE ROLE idler LOGIN PASSWORD 'idle'")
        await server.execute_as_superuser("REVOKE CREATE ON SCHEMA public FROM PUBLIC", database=database)
    else:
        await server.execute_as_superuser("CREATE USER IF NOT EXISTS 'idler'@'%' IDENTIFIED BY 'idle'")
        await server.execute_as_superuser(f"GRANT SELECT ON {database}.* TO 'idler'@'%'")
    idle = Place(place.name, {**place.settings, "credentials": {"user": "idler", "password": "idle"}})
    with pytest.raises(MigrationStateError, match=r"this user may not work on the history of default: .*grant it"):
        await project.manager(idle).apply_migrations()
    assert await place.tables() == []
    await project.manager(place).apply_migrations()
    project.steps("b2", "ALTER TABLE t ADD COLUMN m INT")
    if isinstance(server, PostgreSQLServer):
        grants = ["GRANT ALL ON _migrations, _migrations_steps, alembic_version, _migrations_id_seq TO idler"]
    else:
        names = ("_migrations", "_migrations_steps", "alembic_version")
        grants = [f"GRANT ALL ON {database}.{name} TO 'idler'@'%'" for name in names]
    for grant in grants:
        await server.execute_as_superuser(grant, database=database)
    with pytest.raises(MigrationFailedError, match=r"lacks the right|must be owner"):
        await project.manager(idle).apply_migrations()
    assert await project.manager(place).current() == ("a1",)
    assert await project.manager(place).runner.interrupted() == ()


async def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    place = Place("sqlite", {"engine": "sqlite", "database": str(tmp_path / "x.db")})
    await place.execute("CREATE TABLE there (n INT)", "DROP TABLE there")
    project = ForeignProject(tmp_path, "generic", f"sqlite:///file:{tmp_path / 'x.db'}?mode=ro&uri=true")
    first(project)
    with pytest.raises(MigrationStateError, match="this user may not work on the history"):
        await project.manager(place).apply_migrations()
    assert await place.tables() == []


# --- whoever leaves ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["postgresql", "mariadb", "sqlite"], indirect=True)
@pytest.mark.parametrize("stock", [False, True])
async def test_whoever_leaves_takes_the_migration_along(place: Place, stock: bool, tmp_path: Path) -> None:
    drivers = {"postgresql": "postgresql+asyncpg", "mariadb": "mysql+aiomysql", "sqlite": "sqlite+aiosqlite"}
    project = ForeignProject(tmp_path, "async", url_of(place, drivers[place.name])) if stock else Project(tmp_path)
    flag, gone = tmp_path / "began", tmp_path / "gone"
    body = f"import pathlib, time\npathlib.Path({str(flag)!r}).touch()\nfor each in range(400):\n"
    if stock:  # in its thread it would be done before anybody could leave
        body += f"    time.sleep(0 if pathlib.Path({str(gone)!r}).exists() else 0.02)\n"
    body += "    op.execute(f'INSERT INTO t VALUES ({each})')"
    first(project)
    project.revision("b2", body)
    await project.manager(place).apply_migrations("a1")
    task = asyncio.create_task(project.manager(place).apply_migrations())
    async with left(task):
        await appears(flag, task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    gone.touch()
    assert await place.execute("SELECT count(*) FROM t") == [(0,)]
    manager = project.manager(place, migrator_timeout=5)
    assert await manager.current() == ("a1",)
    assert [each.version for each in await manager.apply_migrations()] == ["b2"]
    assert await place.execute("SELECT count(*) FROM t") == [(400,)]
