"""An Alembic project is adopted as it is, and stays one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.migrations.running.foreign import ForeignProject, stock, url_of
from tests.migrations.running.project import Place, Project

from sillar.errors import MigrationFailedError, MigrationFileError

DRIVERS = [
    ("sqlite", "sqlite", "generic"),
    ("sqlite", "sqlite+aiosqlite", "async"),
    ("postgresql", "postgresql+asyncpg", "async"),
    ("postgresql", "postgresql+psycopg", "generic"),
    ("mariadb", "mysql+pymysql", "generic"),
    ("mysql", "mysql+aiomysql", "async"),
]
with_drivers = pytest.mark.parametrize(
    ("place", "driver", "template"), DRIVERS, indirect=["place"], ids=[driver for _, driver, _ in DRIVERS]
)


def history(project: Project) -> None:
    project.revision("a1", 'op.create_table("t", sa.Column("n", sa.Integer))', 'op.drop_table("t")')
    project.revision(
        "b2",
        'op.execute("INSERT INTO t VALUES (1)")\nop.add_column("t", sa.Column("m", sa.Integer))',
        'op.execute("DELETE FROM t")\nwith op.batch_alter_table("t") as batch:\n    batch.drop_column("m")',
    )
    project.revision("c3", 'op.execute("UPDATE t SET n = n + 1")', 'op.execute("UPDATE t SET n = n - 1")')


@with_drivers
async def test_both_by_turns(place: Place, driver: str, template: str, tmp_path: Path) -> None:
    project = ForeignProject(tmp_path, template, url_of(place, driver))
    history(project)
    await project.alembic("upgrade", "a1")
    manager = project.manager(place)
    assert await manager.current() == ("a1",)
    assert [each.version for each in await manager.pending()] == ["b2", "c3"]
    assert [each.version for each in await manager.apply_migrations("+1")] == ["b2"]
    assert "b2" in await project.alembic("current")
    await project.alembic("upgrade", "head")
    assert [each.version for each in await manager.rollback_migration("-1")] == ["c3"]
    assert await place.execute("SELECT n, m FROM t") == [(1, None)]
    await project.alembic("downgrade", "a1")
    assert [each.version for each in await manager.apply_migrations()] == ["b2", "c3"]
    assert await place.execute("SELECT n, m FROM t") == [(2, None)]
    assert [(each.version, each.direction) for each in await manager.history()] == [
        *(("b2", "up"), ("c3", "down"), ("b2", "up"), ("c3", "up"))
    ]


@with_drivers
async def test_a_failed_migration_is_undone_there_too(place: Place, driver: str, template: str, tmp_path: Path) -> None:
    project = ForeignProject(tmp_path, template, url_of(place, driver))
    project.steps("a1", "CREATE TABLE t (n INT)", "INSERT INTO t VALUES (1)", "ALTER TABLE missing ADD COLUMN m INT")
    with pytest.raises(MigrationFailedError) as caught:
        await project.manager(place).apply_migrations()
    assert caught.value.rolled_back == place.is_transactional
    assert (await place.state())[0].keys() == (set() if place.is_transactional else {"table t", "column n of t"})
    path = project.folder / "versions" / "a1_test.py"
    path.write_text(path.read_text().replace("missing ADD", "t ADD"))
    await project.manager(place).apply_migrations()
    assert await place.execute("SELECT n, m FROM t") == [(1, None)]


@pytest.mark.parametrize("place", ["postgresql", "sqlite"], indirect=True)
async def test_a_project_of_sillar_runs_under_plain_alembic(place: Place, project: Project) -> None:
    history(project)
    settings = dict(place.settings)
    login = settings.pop("credentials", None)
    lines = [f"{key} = {value!r}" for key, value in settings.items()]
    text = "[databases.default]\n" + "\n".join(lines)
    if login:
        text += f"\n[databases.default.credentials]\nuser = {login['user']!r}\npassword = {login['password']!r}\n"
    (project.root / "sillar.toml").write_text(text)
    await stock(project.root, "upgrade", "b2")
    manager = project.manager(place)
    assert [each.version for each in await manager.apply_migrations()] == ["c3"]
    await stock(project.root, "downgrade", "a1")
    assert await manager.current() == ("a1",)
    assert "a1" in await stock(project.root, "current")
    await stock(project.root, "upgrade", "head")
    assert await place.execute("SELECT n, m FROM t") == [(2, None)]


@pytest.mark.parametrize("place", ["sqlite", "postgresql"], indirect=True)
async def test_an_env_py_that_begins(place: Place, tmp_path: Path) -> None:
    driver = "sqlite" if place.name == "sqlite" else "postgresql+asyncpg"
    project = ForeignProject(tmp_path, "generic" if place.name == "sqlite" else "async", url_of(place, driver))
    project.edit_env("connectable.connect() as connection", "connectable.begin() as connection")
    history(project)
    manager = project.manager(place)
    assert len(await manager.apply_migrations(dry_run=True)) == 3
    assert (await place.state())[0] == {}
    assert len(await manager.apply_migrations()) == 3
    assert await place.execute("SELECT n, m FROM t") == [(2, None)]
    assert await manager.current() == ("c3",)


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
async def test_an_env_py_that_commits_by_itself(place: Place, tmp_path: Path) -> None:
    project = ForeignProject(tmp_path, "async", url_of(place, "postgresql+asyncpg"))
    project.edit_env("poolclass=pool.NullPool", 'poolclass=pool.NullPool, isolation_level="AUTOCOMMIT"')
    project.edit_env("target_metadata = None", "import sqlalchemy\ntarget_metadata = sqlalchemy.MetaData()")
    project.steps("a1", "CREATE TABLE t (n INT)", "ALTER TABLE missing ADD COLUMN m INT")
    with pytest.raises(MigrationFailedError, match="nothing of this migration is left"):
        await project.manager(place).apply_migrations()
    assert (await place.state())[0] == {}
    (project.folder / "versions" / "a1_test.py").unlink()
    assert (await project.manager(place).check()).is_well


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
async def test_a_version_table_elsewhere(place: Place, tmp_path: Path) -> None:
    project = ForeignProject(tmp_path, "async", url_of(place, "postgresql+asyncpg"))
    project.edit_env(
        "context.configure(connection=connection, target_metadata=target_metadata)",
        'context.configure(connection=connection, target_metadata=target_metadata, version_table="where",'
        ' version_table_schema="aside", include_schemas=True, on_version_apply=seen)',
    )
    project.edit_env(
        "def do_run_migrations",
        "def seen(**_):\n    op.execute('INSERT INTO heard VALUES (1)')\n\n\ndef do_run_migrations",
    )
    project.edit_env("from alembic import context", "from alembic import context, op")
    await place.execute("CREATE SCHEMA aside", "CREATE TABLE heard (n INT)")
    history(project)
    manager = project.manager(place)
    await manager.apply_migrations()
    assert await place.execute("SELECT version_num FROM aside.where") == [("c3",)]
    assert await place.execute("SELECT count(*) FROM heard") == [(3,)]
    assert await manager.current() == ("c3",)
    await manager.rollback_migration("base")
    assert await place.execute("SELECT version_num FROM aside.where") == []


async def test_a_project_of_several_databases(tmp_path: Path) -> None:
    project = ForeignProject(tmp_path, "multidb", "unused")
    first, second = tmp_path / "first.db", tmp_path / "second.db"
    text = project.ini.read_text()
    for file in (first, second):
        text = text.replace("sqlalchemy.url = unused", f"sqlalchemy.url = sqlite:///{file}", 1)
    project.ini.write_text(text)
    path = project.revision("a1", "globals()[f'upgrade_{engine_name}']()")
    path.write_text(
        path.read_text().replace("def upgrade():", "def upgrade(engine_name):")
        + "\n\ndef upgrade_engine1():\n    op.execute('CREATE TABLE one (n INT)')\n"
        "\n\ndef upgrade_engine2():\n    op.execute('CREATE TABLE two (n INT)')\n"
    )
    places = [Place("sqlite", {"engine": "sqlite", "database": str(each)}) for each in (first, second)]
    assert len(await project.manager(places[0]).apply_migrations()) == 2
    assert "table one" in (await places[0].state())[0]
    assert "table two" in (await places[1].state())[0]
    assert await project.manager(places[0]).apply_migrations() == []


async def test_an_env_py_that_runs_nothing(tmp_path: Path) -> None:
    project = ForeignProject(tmp_path, "generic", "sqlite://")
    (project.folder / "env.py").write_text("from alembic import context\n")
    place = Place("sqlite", {"engine": "sqlite", "database": str(tmp_path / "x.db")})
    with pytest.raises(MigrationFileError, match=r"env\.py did not call context\.run_migrations"):
        await project.manager(place).current()
