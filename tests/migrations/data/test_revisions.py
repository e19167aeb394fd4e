"""Batches inside revisions: Sillar's runner, stock Alembic, dry runs, ``--sql``, and transactions of others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, text
from sqlalchemy.engine import Connection
from tests.migrations.data.conftest import Ground
from tests.migrations.running.project import Place, Project, place_of

from sillar.errors import DatabaseError, UsageError
from sillar.migrations.data import batched_copy, batched_update, undo_batches
from sillar.testing.servers import ServerFleet

HEAD = """
from pathlib import Path
from sillar.migrations.data import batched_copy, batched_update, forget_batches, undo_batches

def tell(progress):
    stop = Path(__file__).with_name("stop")
    if progress.done >= 40 and stop.exists():
        stop.unlink()
        raise RuntimeError("pulled the plug")
"""
FIRST = """
op.create_table("stone", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("n", sa.Integer(), nullable=False))
op.bulk_insert(sa.table("stone", sa.column("id"), sa.column("n")), [{"id": i, "n": 0} for i in range(1, 101)])
"""
SECOND = """
op.add_column("stone", sa.Column("label", sa.String(20)))
batched_update(op, "stone", key="id", values={"n": "n + 1", "label": "'done'"}, where="label IS NULL", verify=True,
    batch_rows=10, name="second", undo={"n": "n - 1", "label": "NULL"}, undo_where="label IS NOT NULL", progress=tell)
op.create_table("block", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("n", sa.Integer()))
batched_copy(op, "stone", "block", columns=["id", "n"], key="id", batch_rows=30, name="copy")
op.create_index("block_n", "block", ["n"])
"""
SECOND_DOWN = """
undo_batches(op, "second")
forget_batches(op, "copy")
op.drop_table("block")
op.drop_column("stone", "label")
"""


@pytest.fixture(params=["sqlite", "postgresql", "mariadb", "mysql"])
async def place(request: pytest.FixtureRequest, fleet: ServerFleet, tmp_path: Path) -> AsyncIterator[Place]:
    async with place_of(request.param, fleet, tmp_path) as found:
        yield found


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.revision("a", FIRST)
    made.revision("b", SECOND, SECOND_DOWN, head=HEAD)
    return made


async def test_up_down_and_up_again(place: Place, project: Project) -> None:
    manager = project.manager(place)
    applied = await manager.apply_migrations()
    assert [each.version for each in applied] == ["a", "b"]
    assert await place.execute("SELECT n, label, count(*) FROM stone GROUP BY n, label") == [(1, "done", 100)]
    assert await place.execute("SELECT count(*), sum(n) FROM block") == [(100, 100)]

    await manager.rollback_migration("a")
    assert await place.execute("SELECT n, count(*) FROM stone GROUP BY n") == [(0, 100)]
    assert (await manager.current()) == ("a",)

    await manager.apply_migrations()
    assert await place.execute("SELECT n, label, count(*) FROM stone GROUP BY n, label") == [(1, "done", 100)]


async def test_a_revision_that_was_interrupted_goes_on(place: Place, project: Project) -> None:
    """The column is there already, and some of the rows are done."""
    manager = project.manager(place)
    (project.folder / "versions" / "stop").touch()
    with pytest.raises(DatabaseError, match="pulled the plug"):
        await manager.apply_migrations()
    assert await place.execute("SELECT n, count(*) FROM stone GROUP BY n ORDER BY n") == [(0, 60), (1, 40)]
    assert await manager.current() == ("a",)
    await manager.apply_migrations()
    assert await place.execute("SELECT n, label, count(*) FROM stone GROUP BY n, label") == [(1, "done", 100)]
    assert await place.execute("SELECT count(*) FROM block") == [(100,)]
    assert await manager.current() == ("b",)


@pytest.mark.parametrize("place", ["sqlite", "postgresql"], indirect=True)
async def test_a_dry_run_leaves_nothing(place: Place, project: Project) -> None:
    manager = project.manager(place)
    project.revision("c", 'undo_batches(op, "second")', head=HEAD)
    await manager.apply_migrations("a")
    await manager.apply_migrations("b", dry_run=True)
    assert await place.execute("SELECT n, count(*) FROM stone GROUP BY n") == [(0, 100)]
    assert await manager.current() == ("a",)
    await manager.apply_migrations(dry_run=True)
    await manager.apply_migrations("b")
    assert await place.execute("SELECT n, count(*) FROM stone GROUP BY n") == [(1, 100)]


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_what_is_too_large_is_left_out_of_a_dry_run(
    place: Place, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sillar.migrations.data.whole.DRY_ROWS_MAX", 99)
    project.revision(
        "c",
        """
        report = batched_update(op, "stone", key="id", values={"n": "n / 0"})
        assert (report.state, report.rows_before, report.rows_done) == ("dry", 100, 0)
        """,
        head=HEAD,
    )
    manager = project.manager(place)
    await manager.apply_migrations("a")
    await manager.apply_migrations(dry_run=True)


# --- stock Alembic ----------------------------------------------------------------------------------------------------

ENV = """
from alembic import context
from sqlalchemy import create_engine

url = context.config.get_main_option("sqlalchemy.url")
if context.is_offline_mode():
    context.configure(url=url, literal_binds=True, dialect_opts={"paramstyle": "named"})
    with context.begin_transaction():
        context.run_migrations()
else:
    with create_engine(url).connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()
"""
ASYNC_ENV = """
import asyncio
from alembic import context
from sqlalchemy.ext.asyncio import create_async_engine

def run(connection):
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()

async def main():
    engine = create_async_engine(context.config.get_main_option("sqlalchemy.url"))
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run)
    finally:
        await engine.dispose()

asyncio.run(main())
"""


def stock(project: Project, url: str, env: str) -> Config:
    (project.folder / "env.py").write_text(env)
    config = Config(output_buffer=StringIO())
    config.set_main_option("script_location", str(project.folder))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


async def test_stock_alembic(place: Place, project: Project) -> None:
    """Without anything of Sillar's around it: psycopg's place is taken by asyncpg, the others are synchronous."""
    settings = place.settings
    if place.server is None:
        url, env = f"sqlite:///{settings['database']}", ENV
    else:
        login, node = settings["credentials"], f"{settings['host']}:{settings['port']}/{settings['database']}"
        driver, env = ("postgresql+asyncpg", ASYNC_ENV) if place.is_postgresql else ("mysql+pymysql", ENV)
        url = f"{driver}://{login['user']}:{login['password']}@{node}"
    config = stock(project, url, env)
    await asyncio.to_thread(command.upgrade, config, "a")
    (project.folder / "versions" / "stop").touch()
    with pytest.raises(RuntimeError, match="pulled the plug"):
        await asyncio.to_thread(command.upgrade, config, "head")
    assert await place.execute("SELECT n, count(*) FROM stone GROUP BY n ORDER BY n") == [(0, 60), (1, 40)]
    # Stock Alembic has no journal of statements: what stands before the batches is run again.
    await place.execute("UPDATE stone SET label = 'kept' WHERE label IS NOT NULL")
    path = project.folder / "versions" / "b_test.py"
    path.write_text(path.read_text().replace('op.add_column("stone"', 'lambda: op.add_column("stone"'))
    await asyncio.to_thread(command.upgrade, config, "head")
    assert await place.execute("SELECT label, n, count(*) FROM stone GROUP BY label, n ORDER BY label") == [
        ("done", 1, 60), ("kept", 1, 40),
    ]  # fmt: skip
    assert await place.execute("SELECT version_num FROM alembic_version") == [("b",)]
    await asyncio.to_thread(command.downgrade, config, "a")
    assert await place.execute("SELECT n, count(*) FROM stone GROUP BY n") == [(0, 100)]


@pytest.mark.parametrize("driver", ["postgresql+asyncpg", "mysql+pymysql", "sqlite"])
def test_written_down(driver: str, project: Project) -> None:
    project.revision(
        "c",
        """
        batched_copy(op, "sales.stone", "block", columns={"number": "id", "label": "upper(label)"}, key=["id"],
            where="n > 3")
        batched_update(op, sa.table("stone", sa.column("id"), sa.column("n"), sa.column("former")), key="id",
            values={"n": sa.literal(5)}, where=sa.column("n") == 4, keep_old="former")
        """,
        head=HEAD,
    )
    config = stock(project, f"{driver}://", ENV)
    command.upgrade(config, "a:c", sql=True)
    assert isinstance(config.output_buffer, StringIO)
    written = config.output_buffer.getvalue()
    lines = " ".join(written.split())
    assert "-- second: ONE statement here, not in batches: it locks all of its rows until it -- commits" in lines
    assert "UPDATE stone SET n=(n + 1), label=('done') WHERE (label IS NULL);" in lines
    assert "INSERT INTO block (id, n) SELECT rows_.id, rows_.n FROM (SELECT" in lines
    assert "-- copy of stone: ONE statement" in lines
    assert "(upper(label)) AS label FROM sales.stone WHERE (n > 3)) AS rows_ WHERE NOT (EXISTS (SELECT 1 AS" in lines
    assert "UPDATE stone SET former=stone.n, n=5" in lines
    assert "_migration_batches" not in lines
    with pytest.raises(UsageError, match="undoing 'second' follows the journal in the database; it cannot be written"):
        command.downgrade(config, "b:a", sql=True)


# --- transactions of others -------------------------------------------------------------------------------------------


async def test_an_open_transaction_is_refused(ground: Ground) -> None:
    await ground.fill(rows=5)

    def begun(connection: Connection) -> None:
        connection.execute(text("SELECT 1"))
        with pytest.raises(UsageError, match=r"a transaction is open on this connection, .*commit\(\) or rollback\(\)"):
            batched_update(connection, "stone", key="id", values={"n": "1"})
        connection.rollback()
        context = MigrationContext.configure(connection)
        with context.begin_transaction(), context.autocommit_block():
            with pytest.raises(UsageError, match=r"pass `op` itself, outside of autocommit_block\(\)"):
                batched_update(Operations(context), "stone", key="id", values={"n": "1"})
        with connection.begin():
            outer = Operations(MigrationContext.configure(connection))
            with pytest.raises(UsageError, match="a transaction was open before the migrations began"):
                batched_copy(outer, "stone", "block", key="id", columns=["id"])
            with pytest.raises(UsageError, match="a transaction was open before the migrations began"):
                undo_batches(outer, "x")

    await ground.run(begun)
    assert await ground.counters() == [(0, 5)]


async def test_the_isolation_level_is_put_back(ground: Ground) -> None:
    await ground.fill(rows=30)
    levels: list[str] = []

    def isolated(connection: Connection) -> None:
        level = "AUTOCOMMIT" if ground.name == "sqlite" else "REPEATABLE READ"
        connection.execution_options(isolation_level=level)

        def tell(progress: object) -> None:
            levels.append(connection.get_execution_options()["isolation_level"])

        batched_update(connection, "stone", key="id", values={"n": "n + 1"}, batch_rows=20, progress=tell)
        assert connection.get_isolation_level() == level

    await ground.run(isolated)
    assert levels == ["SERIALIZABLE" if ground.name == "sqlite" else "READ COMMITTED"] * 2
    assert await ground.counters() == [(1, 30)]


def test_what_is_neither_op_nor_a_connection() -> None:
    engine = create_engine("sqlite://")
    for bind in (engine, "sqlite://", None):
        with pytest.raises(UsageError, match=rf"this is a {type(bind).__name__}"):
            batched_update(bind, "stone", key="id", values={"n": "1"})

    class Other:
        def get_context(self) -> int:
            return 1

    with pytest.raises(UsageError, match=r"get_context\(\) of Other is no MigrationContext"):
        batched_update(Other(), "stone", key="id", values={"n": "1"})

    class OpOutsideOfARevision:
        def get_context(self) -> int:
            raise NameError("Can't invoke function 'get_context', as the proxy object has not yet been established")

    with pytest.raises(UsageError, match="within a revision"):
        batched_update(OpOutsideOfARevision(), "stone", key="id", values={"n": "1"})
