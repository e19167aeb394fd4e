"""Tenants that have a schema or a database of their own, each with a history of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sillar.capabilities import Capability
from sillar.config import DatabaseConfig, DatabaseConnectionConfig, MigrationConfig
from sillar.config.faults import suggestion
from sillar.engines import open_adapter
from sillar.errors import MigrationStateError, UnknownDatabaseError, UsageError
from sillar.manager import DatabaseManager
from sillar.migrations.env import only

if TYPE_CHECKING:
    from sillar.migrations.manager import MigrationManager

ALL: Final = "all"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


def tenants_of(config: MigrationConfig, named: Sequence[str]) -> tuple[str, ...]:
    """The tenants that are meant, each once.

    Args:
        config: has the tenants.
        named: their names; ``all`` means every one that is configured.

    Raises:
        UsageError: a name that is none, or not configured; or no tenants are.
    """
    if ALL in named:
        if not config.tenants:
            raise UsageError("no tenants are configured: name them in migration_config.tenants, or with --tenant")
        return config.tenants
    for name in named:
        check_tenant(config, name)
    return tuple(dict.fromkeys(named))


def check_tenant(config: MigrationConfig, tenant: str) -> None:
    """See that this is a tenant of these migrations.

    Raises:
        UsageError: it is not, or tenants have neither schemas nor databases.
    """
    if config.tenant_schema is None and config.tenant_database is None:
        raise UsageError(
            "tenants have neither schemas nor databases of their own: set migration_config.tenant_schema or"
            " .tenant_database, with {tenant} in it"
        )
    if not _NAME.fullmatch(tenant):
        raise UsageError(
            f"{tenant!r} is no name of a tenant: letters, digits, _ and -, 63 at most, the first a letter or digit"
        )
    if config.tenants and tenant not in config.tenants:
        raise UsageError(f"there is no tenant {tenant!r}: {suggestion(tenant, list(config.tenants))}")


def schema_of(config: MigrationConfig, tenant: str | None) -> str | None:
    """The schema of a tenant; None: no tenant, or one with a database of its own."""
    if tenant is None or config.tenant_schema is None:
        return None
    return config.tenant_schema.format(tenant=tenant)


def databases_of(
    databases: DatabaseConfig, config: MigrationConfig, database: str, tenant: str | None
) -> DatabaseConfig:
    """The databases, among which one is that of a tenant, if tenants have databases of their own."""
    if tenant is None or config.tenant_database is None:
        return databases
    own = databases.databases[database].model_copy(update={"database": config.tenant_database.format(tenant=tenant)})
    return databases.model_copy(update={"databases": {**databases.databases, database: own}})


def check_file(database: DatabaseConnectionConfig, tenant: str) -> None:
    """See that the file of a tenant is there, if its database is one: opening it would make an empty one.

    Raises:
        MigrationStateError: it is not.
    """
    if _is_file(database) and not Path(database.database).exists():
        raise MigrationStateError(
            f"tenant {tenant!r} has no database {database.database}: make it with `sillar upgrade --tenant {tenant}"
            " --create`, or correct migration_config.tenant_database"
        )


async def create_tenant(migrations: MigrationManager) -> bool:
    """Make the schema or the database of a manager's tenant, if it is missing; says whether it was made.

    Raises:
        UsageError: the manager is for no tenant.
    """
    tenant, config = migrations.tenant, migrations.config
    if tenant is None:
        raise UsageError("whose schema or database is to be made? name a tenant (--tenant)")
    schema = schema_of(config, tenant)
    if schema is not None:
        from sillar.migrations.sql.schema import create_schema

        async with migrations.connection() as connection:
            return await connection.run_sync(create_schema, schema)
    return await _create_database(migrations, tenant)


async def _create_database(migrations: MigrationManager, tenant: str) -> bool:
    database = migrations.databases.connection(migrations.database)
    if not database.addresses:
        return _make_file(Path(database.database))
    if Capability.SQL not in open_adapter(database).capabilities:
        return False  # it comes to be with its first document
    try:
        async with DatabaseManager(only(migrations.databases, migrations.database), secrets=migrations.secrets):
            return False
    except UnknownDatabaseError:
        pass
    async with DatabaseManager(only(migrations.configured, migrations.database), secrets=migrations.secrets) as manager:
        from sillar.integrations.sqlalchemy import SQLAlchemyIntegration

        engine = SQLAlchemyIntegration(manager, migrations.database).engine
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            name = engine.dialect.identifier_preparer.quote_identifier(database.database)
            await connection.exec_driver_sql(f"CREATE DATABASE {name}")
    return True


def _make_file(path: Path) -> bool:
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return True


def _is_file(database: DatabaseConnectionConfig) -> bool:
    return not database.addresses and database.database != ":memory:"


__all__ = ["ALL", "check_file", "check_tenant", "create_tenant", "databases_of", "schema_of", "tenants_of"]
