"""A hundred migrations, and a schema of 150 tables compared with its models, against plain Alembic."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate.api import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Column, DateTime, ForeignKey, Index, Integer, MetaData, Numeric, String, Table
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from bench.case import SILLAR, Case, Contest
from bench.servers import Servers
from sillar import DatabaseManager
from sillar.config import DatabaseConfig, load_config
from sillar.migrations import MigrationManager
from sillar.migrations.scripts import Scripts

ALEMBIC, ALEMBIC_EACH = "alembic", "alembic, one transaction each"
MIGRATIONS, TABLES = 100, 150
_DRIVERS = {"postgresql": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite"}
METADATA = MetaData()
for _number in range(TABLES):
    Table(
        f"bench_t{_number}",
        METADATA,
        Column("id", Integer, primary_key=True),
        Column("name", String(80), nullable=False, unique=True),
        Column("amount", Numeric(12, 2), server_default="0"),
        Column("made_at", DateTime(timezone=True)),
        Column("parent_id", Integer, ForeignKey(f"bench_t{max(_number - 1, 0)}.id")),
        Index(f"bench_t{_number}_made", "made_at", "name"),
    )

_STOCK_ENV = '''"""Alembic's asynchronous template, without its logging."""
import asyncio
from alembic import context
from sqlalchemy import pool
from sqlalchemy.ext.asyncio import async_engine_from_config


def do_run_migrations(connection):
    context.configure(connection=connection, transaction_per_migration=EACH)
    with context.begin_transaction():
        context.run_migrations()


async def run_async_migrations():
    section = context.config.get_section(context.config.config_ini_section, {})
    connectable = async_engine_from_config(section, prefix="sqlalchemy.", poolclass=pool.NullPool)
    async with connectable.connect() as connection:
        await connection.run_sync(do_run_migrations)
    await connectable.dispose()


asyncio.run(run_async_migrations())
'''


def _drivers(url: str) -> str:
    """The URL with the driver that SQLAlchemy's asynchronous engines want."""
    scheme, rest = url.split(":", 1)
    return f"{_DRIVERS[scheme]}:{rest}"


async def _url(servers: Servers, engine: str, folder: Path) -> str:
    return f"sqlite:///{folder / 'bench.db'}" if engine == "sqlite" else (await servers.postgresql()).url


def _write(folder: Path) -> None:
    """A hundred migrations of two statements each."""
    scripts = Scripts(folder)
    for number in range(MIGRATIONS):
        scripts.write(
            f"number {number}",
            version=f"b{number:04}",
            upgrade_text=f"op.create_table('bench_m{number}', sa.Column('id', sa.Integer, primary_key=True),"
            " sa.Column('name', sa.String(40)))\n"
            f"    op.create_index('bench_m{number}_name', 'bench_m{number}', ['name'])",
            downgrade_text=f"op.drop_table('bench_m{number}')",
        )


def _stock(folder: Path, url: str, *, each: bool) -> Config:
    """The same migrations for plain Alembic."""
    place = folder / f"stock{each:d}"
    place.mkdir()
    (place / "env.py").write_text(_STOCK_ENV.replace("EACH", str(each)))
    (place / "versions").symlink_to(folder / "ours" / "versions")
    config = Config()
    config.set_main_option("script_location", str(place))
    config.set_main_option("sqlalchemy.url", _drivers(url).replace("%", "%%"))
    return config


@asynccontextmanager
async def upgrade(servers: Servers, engine: str) -> AsyncIterator[Contest]:
    """A hundred migrations applied to an empty database. What empties it is not counted."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = await _url(servers, engine, folder)
        Scripts.create(folder / "ours", "sql")
        _write(folder / "ours")
        stock = {ALEMBIC: _stock(folder, url, each=False), ALEMBIC_EACH: _stock(folder, url, each=True)}
        config = load_config(
            url=url, environment={}, overrides={"migration_config": {"directory": str(folder / "ours")}}
        )
        measured: dict[str, list[float]] = {SILLAR: [], **{name: [] for name in stock}}

        def round_of(contender: str, work: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[None]]:
            async def one() -> None:
                await _emptied(url)
                started = time.perf_counter()
                await work()
                measured[contender].append(time.perf_counter() - started)

            return one

        async def ours() -> None:
            assert len(await MigrationManager.of(config).apply_migrations()) == MIGRATIONS

        async def theirs(config: Config) -> None:
            await asyncio.to_thread(command.upgrade, config, "head")

        others = {name: round_of(name, partial(theirs, config)) for name, config in stock.items()}
        notes: dict[str, float | str] = {
            "plain Alembic": "no lock, no journal, no log; by itself all in one transaction"
        }
        yield Contest(MIGRATIONS, {SILLAR: round_of(SILLAR, ours), **others}, measured=measured, notes=notes)
        await _emptied(url)


def _config(url: str, folder: Path) -> DatabaseConfig:
    return load_config(url=url, environment={}, overrides={"migration_config": {"directory": str(folder)}})


async def _emptied(url: str) -> None:
    names = [
        "alembic_version",
        "_migrations",
        "_migrations_steps",
        *(f"bench_m{number}" for number in range(MIGRATIONS)),
    ]
    async with DatabaseManager.from_url(url) as manager:
        session = manager.session()
        async with session.transaction():
            for name in names:
                await session.execute(f'DROP TABLE IF EXISTS "{name}"')


@asynccontextmanager
async def autogenerate(servers: Servers, engine: str) -> AsyncIterator[Contest]:
    """A database of 150 tables compared with the models that it was made from: nothing is found."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = await _url(servers, engine, folder)
        Scripts.create(folder / "ours", "sql")
        env = folder / "ours" / "env.py"
        env.write_text(
            env.read_text().replace(
                "target_metadata = None", "from bench.micro.migrations import METADATA as target_metadata"
            )
        )
        config = load_config(
            url=url, environment={}, overrides={"migration_config": {"directory": str(folder / "ours")}}
        )
        stock = create_async_engine(_drivers(url), poolclass=NullPool)
        async with stock.begin() as connection:
            await connection.run_sync(METADATA.create_all)

        async def ours() -> None:
            assert await MigrationManager.of(config).runner.differences() == []

        async def theirs() -> None:
            async with stock.connect() as connection:
                assert await connection.run_sync(_compared) == []

        yield Contest(1, {SILLAR: ours, ALEMBIC: theirs})
        async with stock.begin() as connection:
            await connection.run_sync(METADATA.drop_all)
        await stock.dispose()


def _compared(connection: Any) -> list[Any]:
    wanted = {"include_name": lambda name, kind, _parents: kind != "table" or str(name).startswith("bench_t")}
    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": True, **wanted}
    )
    found: list[Any] = compare_metadata(context, METADATA)
    return found


_UPGRADE, _COMPARE = {ALEMBIC: 1.0, ALEMBIC_EACH: 1.0}, {ALEMBIC: 1.0}
CASES = [
    Case(f"migrations.{name}.{engine}", goals, partial(set_up, engine=engine), unit="s", rounds=5)
    for name, set_up, goals in (("upgrade100", upgrade, _UPGRADE), ("autogenerate150", autogenerate, _COMPARE))
    for engine in ("sqlite", "postgresql")
]
