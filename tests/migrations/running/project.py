"""Projects of migrations for tests: a folder as ``sillar init`` makes it, and revisions written by hand."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.ext.asyncio import AsyncConnection
from tests.databases import drop_database

from sillar import DatabaseConfig, DatabaseManager, load_config
from sillar.integrations.sqlalchemy import SQLAlchemyIntegration
from sillar.migrations import MigrationManager
from sillar.migrations.scripts import Scripts
from sillar.migrations.sql.snapshot import snapshot
from sillar.testing.servers import MySQLServer, PostgreSQLServer, Server, ServerFleet

SERVERS = ("postgresql", "postgresql18", "mariadb", "mysql")
ENGINES = (*SERVERS, "sqlite")
_numbers = itertools.count(1)

HISTORY = frozenset({"_migrations", "_migrations_steps", "alembic_version"})


def settings_of(server: Server, database: str | None = None) -> dict[str, Any]:
    """The settings of a database on a server."""
    assert isinstance(server, PostgreSQLServer | MySQLServer)
    return {
        "engine": "postgresql" if isinstance(server, PostgreSQLServer) else "mysql",
        "host": server.host,
        "port": server.port,
        "database": database or server.database,
        "credentials": {"user": server.user, "password": server.password},
    }


class Place:
    """An empty database of its own.

    Args:
        name: of the engine.
        settings: of the database.
    """

    def __init__(self, name: str, settings: dict[str, Any], server: Server | None = None) -> None:
        self.name, self.settings, self.server = name, settings, server

    @property
    def is_transactional(self) -> bool:
        return self.name in ("postgresql", "postgresql18", "sqlite")

    @property
    def is_postgresql(self) -> bool:
        return self.name.startswith("postgresql")

    def config(self, folder: Path, settings: Mapping[str, Any] | None = None, **options: Any) -> DatabaseConfig:
        chosen = {**self.settings, **(settings or {})}
        migrations = {"directory": str(folder), "policies": {"dev": {"lint": "off"}}, **options}
        overrides = {"databases": {"default": chosen}, "migration_config": migrations}
        return load_config(overrides=overrides, environment={})

    async def execute(self, *statements: str) -> list[Any]:
        """Statements in one transaction, by the owner; the rows of the last one."""
        async with DatabaseManager(self.config(Path())) as manager:
            async with SQLAlchemyIntegration(manager).engine.begin() as connection:
                rows: list[Any] = []
                for statement in statements:
                    result = await connection.exec_driver_sql(statement)
                    rows = [tuple(row) for row in result.all()] if result.returns_rows else []
                return rows

    async def tables(self) -> list[str]:
        """The names of all tables, the history's among them."""
        async with DatabaseManager(self.config(Path())) as manager:
            async with SQLAlchemyIntegration(manager).engine.connect() as connection:
                return await connection.run_sync(lambda sync: inspect(sync).get_table_names())

    async def state(self, *queries: str) -> tuple[dict[str, str], list[Any]]:
        """Schema and data: what is there beside the history, and the rows of queries."""
        async with DatabaseManager(self.config(Path())) as manager:
            async with SQLAlchemyIntegration(manager).engine.connect() as connection:
                found = await connection.run_sync(snapshot, HISTORY)
                found = {name: text for name, text in found.items() if not name.startswith("sequence _migrations")}
                rows = [[tuple(row) for row in await connection.exec_driver_sql(query)] for query in queries]
        return found, rows


@asynccontextmanager
async def place_on(name: str, server: Server | None, folder: Path) -> AsyncIterator[Place]:
    """An empty database on a server, dropped afterwards; for SQLite a file in the folder."""
    number = next(_numbers)
    if server is None:
        yield Place(name, {"engine": "sqlite", "database": str(folder / f"place{number}.db")})
        return
    assert isinstance(server, PostgreSQLServer | MySQLServer)
    database = f"migrating_{number}_{id(folder) % 100000}"
    if isinstance(server, PostgreSQLServer):
        await server.execute_as_superuser(f'CREATE DATABASE {database} OWNER "{server.user}"')
    else:
        await server.execute_as_superuser(f"CREATE DATABASE {database}")
        await server.execute_as_superuser(f"GRANT ALL ON {database}.* TO '{server.user}'@'%'")
    try:
        yield Place(name, settings_of(server, database), server)
    finally:
        await drop_database(server, database)


@asynccontextmanager
async def place_of(name: str, fleet: ServerFleet, folder: Path) -> AsyncIterator[Place]:
    """The same on the shared server of that name."""
    server = None if name == "sqlite" else await fleet.get(name)
    async with place_on(name, server, folder) as place:
        yield place


class Project:
    """A folder of migrations.

    Args:
        folder: that it is made in.
    """

    def __init__(self, folder: Path, *, create: bool = True) -> None:
        self.root, self.folder = folder, folder / "migrations"
        self.head: str | None = None
        if create:
            Scripts.create(self.folder, "sql")

    def revision(self, version: str, up: str, down: str = "pass", *, follows: Any = "previous", head: str = "") -> Path:
        """Write a revision that follows the one before."""
        before = self.head if follows == "previous" else follows
        path = self.folder / "versions" / f"{version}_test.py"
        path.write_text(
            f'"""what {version} does"""\n\nimport sqlalchemy as sa\nfrom alembic import op\n\n'
            f"revision = {version!r}\ndown_revision = {before!r}\nbranch_labels = None\ndepends_on = None\n"
            f"{dedent(head)}\n\n"
            f"def upgrade():\n{indent(dedent(up).strip(), '    ')}\n\n\n"
            f"def downgrade():\n{indent(dedent(down).strip(), '    ')}\n"
        )
        self.head = version
        return path

    def steps(self, version: str, *statements: str, down: str = "pass") -> Path:
        """Write a revision of statements as text."""
        return self.revision(version, "\n".join(f"op.execute({each!r})" for each in statements), down)

    def manager(self, place: Place, **options: Any) -> MigrationManager:
        return MigrationManager.of(place.config(self.folder, **options))


@asynccontextmanager
async def autocommit(place: Place) -> AsyncIterator[AsyncConnection]:
    """A connection on which each statement commits by itself."""
    async with DatabaseManager(place.config(Path())) as manager:
        engine = SQLAlchemyIntegration(manager).engine.execution_options(isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            yield connection
