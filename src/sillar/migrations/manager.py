"""The manager of migrations: one set of verbs over all engines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from sillar.capabilities import Capabilities, Capability
from sillar.config import DatabaseConfig, MigrationConfig, SecretsManager, load_config
from sillar.engines import open_adapter
from sillar.errors import MigrationRefusedError, UnsupportedCapabilityError, UsageError
from sillar.manager import DatabaseManager
from sillar.migrations.applied import AppliedMigration
from sillar.migrations.checks import CheckReport, check
from sillar.migrations.env import CONFIGURATION_FILE, only
from sillar.migrations.examination import examine
from sillar.migrations.migration import Migration
from sillar.migrations.policy import Gate
from sillar.migrations.progress import Report, silent
from sillar.migrations.runner import Generation, MigrationRunner, RunSettings
from sillar.migrations.scripts import Scripts
from sillar.migrations.tenants import check_file, check_tenant, create_tenant, databases_of, schema_of
from sillar.security.credential_manager import DatabaseCredentialManager


class MigrationManager:
    """Migrates one database: generates migrations, applies and undoes them, says where the database is.

    Args:
        config: where migrations are kept, locks, policies.
        databases: the configuration of the databases, or a manager that is open; None: what ``load_config`` finds in
            ``sillar.toml`` and the environment.
        database: configured name of the database; None is the default one.
        secrets: as for ``DatabaseManager``.
        environment: the profile whose policy holds; None is that of the configuration.
        tenant: a tenant with a schema or database of its own.
        report: is told how far it has come.

    Attributes:
        migration_table: name of the log.
        databases: the configuration, in which the database is the tenant's, if it has one of its own.
        configured: the configuration as it was given.
        secrets: as they were given.
        warnings: what the last run warned of, in words.
    """

    def __init__(
        self,
        config: MigrationConfig,
        databases: DatabaseConfig | DatabaseManager | None = None,
        database: str | None = None,
        *,
        secrets: SecretsManager | DatabaseCredentialManager | None = None,
        environment: str | None = None,
        tenant: str | None = None,
        report: Report = silent,
    ) -> None:
        self.config = config
        self.migration_table = config.table
        self._manager = databases if isinstance(databases, DatabaseManager) else None
        if databases is None:
            databases = load_config(file=CONFIGURATION_FILE if CONFIGURATION_FILE.is_file() else None)
        self.databases = databases.config if isinstance(databases, DatabaseManager) else databases
        self.database = database or self.databases.default_database
        self.databases.connection(self.database)
        self.environment = environment or self.databases.profile
        self.tenant = tenant
        self.configured = self.databases
        if tenant is not None:
            check_tenant(config, tenant)
            self.databases = databases_of(self.databases, config, self.database, tenant)
            if config.tenant_database is not None:
                self._manager = None  # it is open for another database
        self.secrets = secrets
        self._report = report
        self._runner: MigrationRunner | None = None
        self._own: DatabaseManager | None = None
        self._gate = Gate(config.policy(self.environment), self.environment)
        self.warnings: list[str] = []

    @classmethod
    def of(
        cls, databases: DatabaseConfig | DatabaseManager, database: str | None = None, **options: Any
    ) -> MigrationManager:
        """The manager of the migrations that a configuration names.

        Args:
            databases: the configuration, or a manager that is open.
            database: configured name of the database; None is the default one.
            options: as for the class.
        """
        config = databases.config if isinstance(databases, DatabaseManager) else databases
        return cls(config.migration_config, databases, database, **options)

    async def __aenter__(self) -> MigrationManager:
        """Keep the database open for several calls; without it, each call opens it."""
        if self._manager is None:
            self._own = self._new_manager()
            await self._own.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._own is not None:
            own, self._own = self._own, None
            await own.shutdown()

    # --- where it is --------------------------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """Where the migration files of this database are."""
        return self.config.folder(self.database, is_only=len(self.databases.databases) == 1)

    @property
    def scripts(self) -> Scripts:
        """The migration files.

        Raises:
            MigrationFileError: there is no such folder.
        """
        return self.runner.scripts

    @property
    def runner(self) -> MigrationRunner:
        """Whoever runs migrations on this kind of database."""
        if self._runner is None:
            self._runner = self._made_runner()
        return self._runner

    @property
    def capabilities(self) -> Capabilities:
        """What this kind of database can do."""
        return open_adapter(self.databases.connection(self.database)).capabilities

    @property
    def has_dry_run(self) -> bool:
        """Whether migrations can be tried: DDL is undone with its transaction, or steps are known without running."""
        return Capability.SQL not in self.capabilities or Capability.TRANSACTIONAL_DDL in self.capabilities

    @property
    def template(self) -> str:
        """Name of the template that ``sillar init`` makes the folder from."""
        return "sql" if Capability.SQL in self.capabilities else "mongodb"

    async def current(self) -> tuple[str, ...]:
        """The revisions that the database is at; empty before the first one."""
        return await self.runner.current()

    async def history(self) -> list[AppliedMigration]:
        """What was done to this database, oldest first."""
        return await self.runner.log()

    def migrations(self) -> list[Migration]:
        """All migrations, first ones first."""
        return [self._bound(each) for each in self.scripts.migrations()]

    async def pending(self, target: str = "heads") -> list[Migration]:
        """What is to be applied, in order."""
        return [self._bound(each) for each in self.scripts.pending(await self.current(), target)]

    async def plan(self, target: str = "heads") -> list[Migration]:
        """What is to be applied, in order, with the statements of each."""
        planned = await self.pending(target)
        for migration in planned:
            migration.operations = await self.runner.operations(migration.version)
        return planned

    async def edited(self) -> list[str]:
        """The versions that are applied, and whose files are not what was run."""
        log = {entry.version: entry for entry in await self.history() if entry.direction != "down"}
        applied = self.scripts.lineage(version for version in await self.current())
        return [
            migration.version
            for migration in self.scripts.migrations()
            if migration.version in applied
            and migration.version in log
            and log[migration.version].checksum != migration.checksum
        ]

    async def invalid_indexes(self) -> list[str]:
        """Indexes that were not built to their end, as ``schema.index on table``."""
        if Capability.SQL not in self.capabilities:
            return []
        from sillar.migrations.sql.dialects import dialect_of

        async with self.connection() as connection:
            return await connection.run_sync(lambda each: dialect_of(each.dialect.name).invalid_indexes(each))

    async def check(self) -> CheckReport:
        """See whether models, history and database agree; nothing is changed.

        One result each: ``single head``, ``database is at head``, ``applied migrations are unedited``, ``nothing is
        interrupted``, ``every index is valid``, ``models and database agree``.
        """
        return await check(self)

    # --- doing --------------------------------------------------------------------------------------------------------

    async def generate_migration(
        self, name: str, *, autogenerate: bool = True, head: str | None = None, **options: Any
    ) -> Migration:
        """Write a new migration: what the models have and the database has not.

        Args:
            name: what it does, in a line.
            autogenerate: compare models and database; else the file is empty.
            head: the revision that it follows; None: the only head.
            options: fields of :class:`Generation`.

        Raises:
            MigrationStateError: the database is not up to date.
            MigrationRefusedError: something may be a rename, and nobody has said; or ``process_revision_directives`` of
                an ``env.py`` left nothing to write.
        """
        versions = await self.runner.generate(Generation(name, autogenerate=autogenerate, head=head, **options))
        if not versions:
            raise MigrationRefusedError("process_revision_directives of env.py left nothing to write", [])
        return self._bound(self.scripts.get(versions[-1]))

    async def apply_migrations(self, target: str = "heads", *, dry_run: bool = False) -> list[AppliedMigration]:
        """Apply pending migrations, each in its transaction where the engine can.

        One migrator at a time: others wait, and then find nothing to do.

        Args:
            target: up to which one: ``heads``, ``head``, ``+1``, a version.
            dry_run: run them in a transaction that is rolled back.

        Returns:
            what was applied, in order.

        Raises:
            MigrationFailedError: a statement was refused; the message says what state is left.
            MigrationLockError: another migrator, or a lock on a table, for too long.
            MigrationRefusedError: a policy or the safety lint.
        """
        self._check_dry_run(dry_run)
        async with self._kept_open():
            self.warnings = await examine(self, self._gate, target)
            return await self.runner.upgrade(target, dry_run=dry_run)

    async def rollback_migration(self, target: str, *, dry_run: bool = False) -> list[AppliedMigration]:
        """Undo what is beyond a migration.

        Args:
            target: what stays: a version, ``-1``, ``base``.
            dry_run: run it in a transaction that is rolled back.

        Raises:
            MigrationRefusedError: not in this environment.
        """
        self._gate.check_downgrade()
        self._check_dry_run(dry_run)
        return await self.runner.downgrade(target, dry_run=dry_run)

    async def stamp(self, target: str, *, purge: bool = False) -> None:
        """Take a migration, and all that it follows, as applied without running anything.

        Args:
            target: a version, ``head``, ``heads`` or ``base``.
            purge: forget first where the database is, whatever that is.
        """
        await self.runner.stamp(target, purge=purge)

    async def create_tenant(self) -> bool:
        """Make the schema or the database of the tenant, if it is missing; says whether it was made."""
        return await create_tenant(self)

    # --- within -------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _kept_open(self) -> AsyncIterator[None]:
        """Within the block the database is opened once."""
        if self._manager is not None or self._own is not None or not self.runner.uses_manager:
            yield
            return
        async with self:
            yield

    def _bound(self, migration: Migration) -> Migration:
        migration._runner = self.runner
        return migration

    def _check_dry_run(self, is_dry: bool) -> None:
        if is_dry and not self.has_dry_run:
            raise UnsupportedCapabilityError(
                Capability.TRANSACTIONAL_DDL.value,
                engine=self.capabilities.engine,
                remedy="look at what would be sent instead: `sillar upgrade --sql`, plan()",
            )

    def _made_runner(self) -> MigrationRunner:
        scripts = Scripts(self.folder, self.config.alembic_ini)
        settings = RunSettings(
            self.config,
            self.database,
            environment=self.environment,
            tenant_schema=schema_of(self.config, self.tenant),
            report=self._report,
            before=self._gate.check,
        )
        capabilities = self.capabilities
        if Capability.SQL in capabilities:
            from sillar.migrations.sql.runner import SQLRunner

            return SQLRunner(scripts, settings, self.databases, self.connection)
        if Capability.DOCUMENTS in capabilities:
            from sillar.migrations.mongodb import MongoDBRunner

            return MongoDBRunner(scripts, settings, self.opened)
        raise UsageError(f"nobody knows how to migrate {capabilities.engine}")

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[DatabaseManager]:
        """The manager that was given, or one of this database alone, for as long as it is needed."""
        manager = self._manager or self._own
        if manager is not None:
            yield manager
            return
        async with self._new_manager() as manager:
            yield manager

    def _new_manager(self) -> DatabaseManager:
        if self.tenant is not None and self.config.tenant_database is not None:
            check_file(self.databases.connection(self.database), self.tenant)
        return DatabaseManager(only(self.databases, self.database), secrets=self.secrets)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """A connection of SQLAlchemy's to the database, for whoever looks into it.

        Raises:
            UnsupportedCapabilityError: it is no SQL database.
        """
        from sillar.integrations.sqlalchemy import SQLAlchemyIntegration

        async with self.opened() as manager:
            async with SQLAlchemyIntegration(manager, self.database).engine.connect() as connection:
                yield connection


__all__ = ["MigrationManager"]
