"""Checks that need an empty database: they migrate it up and down, and leave it empty."""

from __future__ import annotations

import ast
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sillar.capabilities import Capability
from sillar.errors import DatabaseError, MigrationFileError, UsageError
from sillar.migrations.checks import CheckResult, models_agree

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from sillar.migrations.manager import MigrationManager

_SHOWN: Final = 20
_BATCH_MODE: Final = "batch_alter_table"


async def round_trip(migrations: MigrationManager) -> CheckResult:
    """Up, down to base, and up again: nothing is left at base, and the schema is the same both times.

    Raises:
        UsageError: the database is not empty.
    """

    async def faults() -> AsyncIterator[str]:
        empty = await state_of(migrations)
        await migrations.apply_migrations()
        first = await state_of(migrations)
        await migrations.rollback_migration("base")
        for line in differences(empty, await state_of(migrations)):
            yield f"after the way down to base: {line}"
        await migrations.apply_migrations()
        for line in differences(first, await state_of(migrations)):
            yield f"after the second way up: {line}"

    return await _tried(migrations, "up, down and up gives the same schema", faults)


async def stairway(migrations: MigrationManager) -> CheckResult:
    """Each migration up, down and up again, one after the other: each undoes just what it did.

    Raises:
        UsageError: the database is not empty.
    """

    async def faults() -> AsyncIterator[str]:
        for migration in migrations.scripts.migrations():
            before = await state_of(migrations)
            await migrations.apply_migrations(migration.version)
            after = await state_of(migrations)
            if len(migration.down_versions) > 1:
                continue  # it joins branches: there is no one place below it
            await migrations.rollback_migration((*migration.down_versions, "base")[0])
            for line in differences(before, await state_of(migrations)):
                yield f"{migration.version} down: {line}"
            await migrations.apply_migrations(migration.version)
            for line in differences(after, await state_of(migrations)):
                yield f"{migration.version} up again: {line}"

    return await _tried(migrations, "each migration undoes what it did", faults)


async def offline_equals_online(migrations: MigrationManager) -> CheckResult:
    """What ``--sql`` prints makes the same schema, with as many rows in each table, as the migrations themselves.

    For document databases the scripts are for another shell, so nothing is compared.

    Raises:
        UsageError: the database is not empty.
    """
    name = "offline SQL equals what runs"
    if Capability.SQL not in migrations.capabilities:
        return CheckResult(name, True, ("not compared: the scripts of this kind of database are for its shell",))

    try:
        statements = await _written_down(migrations)
    except MigrationFileError as error:
        # Batch mode of SQLite copies the table that it finds: Alembic has no scripts of that.
        return CheckResult(name, _BATCH_MODE in str(error), (f"not compared: {error}",))

    async def faults() -> AsyncIterator[str]:
        await migrations.apply_migrations()
        online = await state_of(migrations, with_counts=True)
        await empty(migrations)
        async with _autocommit(migrations) as connection:
            for statement in statements:
                await connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
        for line in differences(online, await state_of(migrations, with_counts=True)):
            yield f"after the script: {line}"

    return await _tried(migrations, name, faults)


async def _written_down(migrations: MigrationManager) -> list[str]:
    return [
        operation.sql
        for migration in migrations.scripts.migrations()
        for operation in await migrations.runner.operations(migration.version)
    ]


async def models_match(migrations: MigrationManager) -> CheckResult:
    """All migrations give what the models say.

    Raises:
        UsageError: the database is not empty.
    """
    found: list[CheckResult] = []

    async def faults() -> AsyncIterator[str]:
        await migrations.apply_migrations()
        found.append(await models_agree(migrations))
        for line in found[0].details if not found[0].is_well else ():
            yield line

    result = await _tried(migrations, "models and migrations agree", faults)
    return result if not found or not result.is_well else CheckResult(result.name, True, found[0].details)


def single_head(migrations: MigrationManager) -> CheckResult:
    """Nothing but one migration is followed by none, apart from lines that have branch labels of their own."""
    several = [f"{version} {migrations.scripts.get(version).name}" for version in migrations.scripts.unjoined()]
    return CheckResult("single head", not several, tuple(several))


def downgrades_exist(migrations: MigrationManager) -> CheckResult:
    """Each migration that does something says how it is undone."""
    missing = []
    for migration in migrations.scripts.migrations():
        assert migration.path is not None  # it was read from a file
        bodies = _bodies(migration.path)
        if not _is_empty(bodies.get("upgrade")) and _is_empty(bodies.get("downgrade")):
            missing.append(f"{migration.version} has no downgrade: {migration.place}")
    return CheckResult("downgrades exist", not missing, tuple(missing))


# --- the database -----------------------------------------------------------------------------------------------------


async def state_of(migrations: MigrationManager, *, with_counts: bool = False) -> dict[str, str]:
    """What is in the database, but for the tables of migrations themselves: names and definitions.

    Args:
        migrations: of the database.
        with_counts: the number of rows of each table, too.
    """
    if Capability.SQL not in migrations.capabilities:
        return await _state_of_documents(migrations)
    from sillar.migrations.sql.snapshot import counts, snapshot

    table = migrations.migration_table
    own = (table, f"{table}_steps")
    async with migrations.connection() as connection:
        found = await connection.run_sync(partial(snapshot, ignored=own))
        if with_counts:
            rows = await connection.run_sync(partial(counts, ignored=own))
            found |= {f"rows of {name}": str(count) for name, count in rows.items()}
    return found


async def _state_of_documents(migrations: MigrationManager) -> dict[str, str]:
    from sillar.migrations.mongodb.store import DocumentStore

    own: Any = migrations.runner
    found: dict[str, str] = {}
    async with migrations.opened() as manager:
        store = DocumentStore(manager.executor(migrations.database))
        for name, collection in (await store.collections()).items():
            if name in own.collections or name.startswith("system."):
                continue
            found[f"collection {name}"] = repr(collection.get("options", {}))
            for index, definition in (await store.indexes(name)).items():
                found[f"index {index} of {name}"] = repr({key: definition[key] for key in sorted(definition)})
    return found


async def empty(migrations: MigrationManager) -> None:
    """Drop everything in the database."""
    if Capability.SQL in migrations.capabilities:
        from sillar.migrations.sql.wipe import wipe

        async with _autocommit(migrations) as connection:
            await connection.run_sync(wipe)
        return
    from sillar.migrations.mongodb.store import DocumentStore

    async with migrations.opened() as manager:
        store = DocumentStore(manager.executor(migrations.database))
        for name in await store.collections():
            if not name.startswith("system."):
                await store.change({"drop": name})


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What is in one state and not in the other, one line each."""
    lines = []
    for name in sorted({*before, *after}):
        if name not in after:
            lines.append(f"{name} is gone")
        elif name not in before:
            lines.append(f"{name} is left, or new")
        elif before[name] != after[name]:
            lines.append(f"{name} was {before[name]} and is {after[name]}")
    return lines


@asynccontextmanager
async def _autocommit(migrations: MigrationManager) -> AsyncIterator[AsyncConnection]:
    async with migrations.connection() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        yield connection


async def _tried(migrations: MigrationManager, name: str, faults: Callable[[], AsyncIterator[str]]) -> CheckResult:
    """Try something on an empty database, and empty it afterwards."""
    async with migrations:
        await _check_empty(migrations)
        found: list[str] = []
        try:
            async for line in faults():
                found.append(line)
        except DatabaseError as error:
            found.append(f"{type(error).__name__}: {error}")
        finally:
            await empty(migrations)
    if len(found) > _SHOWN:
        found[_SHOWN:] = [f"… and {len(found) - _SHOWN} more"]
    return CheckResult(name, not found, tuple(found))


async def _check_empty(migrations: MigrationManager) -> None:
    there = [*await migrations.current(), *await state_of(migrations)]
    if there:
        raise UsageError(
            f"{migrations.database!r} is not empty ({', '.join(there[:5])}): these checks migrate down to base, and so"
            " delete what there is; give them a throwaway database"
        )


# --- the files --------------------------------------------------------------------------------------------------------


def _bodies(path: Path) -> dict[str, list[ast.stmt]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name: node.body for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def _is_empty(body: list[ast.stmt] | None) -> bool:
    def says_nothing(statement: ast.stmt) -> bool:
        return isinstance(statement, ast.Pass) or (
            isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        )

    return body is None or all(map(says_nothing, body))


__all__ = [
    "differences",
    "downgrades_exist",
    "empty",
    "models_match",
    "offline_equals_online",
    "round_trip",
    "single_head",
    "stairway",
    "state_of",
]
