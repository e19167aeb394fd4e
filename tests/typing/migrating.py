"""The types of migrations, read by mypy and pyright and never run."""

from __future__ import annotations

from typing import assert_type

from sqlalchemy import Connection

from sillar import DatabaseConfig, DatabaseManager
from sillar.migrations import AppliedMigration, Migration, MigrationManager, MigrationOperation
from sillar.migrations.copying import CopyReport, copy_database
from sillar.migrations.data import BatchReport, batched_update, run_batched


async def migrate(config: DatabaseConfig) -> None:
    migrations = MigrationManager.of(config)
    assert_type(migrations, MigrationManager)
    assert_type(await migrations.current(), tuple[str, ...])
    assert_type(await migrations.history(), list[AppliedMigration])
    assert_type(await migrations.apply_migrations("head", dry_run=True), list[AppliedMigration])
    assert_type(await migrations.rollback_migration("-1"), list[AppliedMigration])
    generated = await migrations.generate_migration("add people")
    assert_type(generated, Migration)
    assert_type(generated.operations, list[MigrationOperation])


async def move(manager: DatabaseManager, connection: Connection) -> None:
    assert_type(await copy_database(manager, (manager, "other")), CopyReport)
    report = batched_update(connection, "person", key="id", values={"age": "age + 1"}, where="age < 3")
    assert_type(report, BatchReport)
    assert_type(await run_batched(manager, batched_update, "person", key="id", values={}), BatchReport)
