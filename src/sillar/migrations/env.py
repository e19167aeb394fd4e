"""What an ``env.py`` of ``sillar init`` calls: it runs under ``sillar`` and under plain ``alembic``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import MetaData
from sqlalchemy.engine import Connection

from sillar.config import DatabaseConfig, load_config
from sillar.errors import UsageError
from sillar.integrations.sqlalchemy import SQLAlchemyIntegration
from sillar.manager import DatabaseManager
from sillar.migrations.names import BATCHES_TABLE, COPIES_TABLE

HOST: Final = "sillar"
CONNECTION: Final = "connection"
CONFIGURATION_FILE: Final = Path("sillar.toml")


@dataclass(frozen=True, slots=True)
class EnvironmentHost:
    """What Sillar gives an ``env.py`` through ``config.attributes``.

    Attributes:
        config: of the databases.
        database: which of them.
        options: for ``autogenerate_options``: answers about renames.
        compares: models are compared with the database; else they are not even imported.
    """

    config: DatabaseConfig
    database: str
    options: dict[str, Any]
    compares: bool = True


def run_environment(context: Any, target_metadata: MetaData | Sequence[MetaData] | None = None, **options: Any) -> None:
    """Run the migrations that Alembic's context asks for, on the connection that Sillar gives, or on one of its own.

    Args:
        context: ``alembic.context``.
        target_metadata: that migrations are generated from; None: what ``migration_config.models`` names.
        options: for ``context.configure``; they override Sillar's.

    Raises:
        UsageError: under plain ``alembic``, where there are several databases and ``-x database=NAME`` is missing.
    """
    host: EnvironmentHost | None = context.config.attributes.get(HOST)
    if host is None:
        host = _configured(context)
    dialect = host.config.connection(host.database).engine.value
    given = {"target_metadata": target_metadata, **options}
    if host.compares:
        given = comparing(host, dialect, given)
    if context.is_offline_mode():
        context.configure(dialect_name=dialect, literal_binds=True, dialect_opts={"paramstyle": "named"}, **given)
        with context.begin_transaction():
            context.run_migrations()
        return
    connection: Connection | None = context.config.attributes.get(CONNECTION)
    if connection is not None:
        _run(connection, context, given)
    else:
        asyncio.run(_run_on_own(context, host, given))


def comparing(host: EnvironmentHost, dialect: str, given: dict[str, Any]) -> dict[str, Any]:
    """The options of ``context.configure`` for a comparison, of an ``env.py`` of ours or of anybody's.

    Args:
        host: says what is known about renames, and names models for an ``env.py`` that has none.
        dialect: SQLAlchemy's name.
        given: the options of the ``env.py``, which go over Sillar's. Those that have Sillar's already stay as they are.
    """
    from sillar.migrations.autogenerate import autogenerate_options, load_models
    from sillar.migrations.autogenerate.plugin import ANSWERS, with_ours

    if ANSWERS in given:
        return given
    settings = host.config.migration_config
    own_tables = (settings.table, f"{settings.table}_steps", BATCHES_TABLE, COPIES_TABLE)
    options = {**autogenerate_options(dialect, own_tables=own_tables, **host.options), **given}
    options["autogenerate_plugins"] = with_ours(options["autogenerate_plugins"])
    if options.get("target_metadata") is None and settings.models:
        options["target_metadata"] = load_models(settings.models)
    return options


def _run(connection: Connection, context: Any, options: dict[str, Any]) -> None:
    context.configure(connection=connection, **options)
    with context.begin_transaction():
        context.run_migrations()


async def _run_on_own(context: Any, host: EnvironmentHost, options: dict[str, Any]) -> None:
    async with DatabaseManager(only(host.config, host.database)) as manager:
        async with SQLAlchemyIntegration(manager).engine.connect() as connection:
            await connection.run_sync(_run, context, options)
            await connection.commit()


def only(config: DatabaseConfig, database: str) -> DatabaseConfig:
    """The configuration with one of its databases alone, whose statements may take as long as they need."""
    found = config.databases[database]
    if found.connection_options.statement_timeout is not None:
        patient = found.connection_options.model_copy(update={"statement_timeout": None})
        found = found.model_copy(update={"connection_options": patient})
    return config.model_copy(update={"databases": {database: found}, "default_database": database})


def _configured(context: Any) -> EnvironmentHost:
    config = load_config(file=CONFIGURATION_FILE if CONFIGURATION_FILE.is_file() else None)
    arguments = context.get_x_argument(as_dictionary=True)
    database = arguments.get("database")
    if database is None:
        if len(config.databases) > 1:
            raise UsageError(f"which database? alembic -x database=NAME, one of {', '.join(config.databases)}")
        database = next(iter(config.databases))
    config.connection(database)
    return EnvironmentHost(config, database, {})


__all__ = ["run_environment"]
