"""Runs the migrations of SQL databases."""

from __future__ import annotations

import asyncio
import builtins
import io
import random
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from alembic.autogenerate.api import RevisionContext
from alembic.runtime.migration import MigrationContext
from alembic.util import asbool
from sqlalchemy import Constraint, Index, delete
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from sillar.config import DatabaseConfig, MigrationConfig
from sillar.errors import (
    ConnectError,
    DeadlockError,
    LockTimeoutError,
    MigrationFileError,
    MigrationLockError,
    MigrationStateError,
    PoolTimeoutError,
)
from sillar.migrations.applied import AppliedMigration, who
from sillar.migrations.env import CONNECTION, HOST, EnvironmentHost
from sillar.migrations.migration import BATCHED, OFFLINE_NOTE, MigrationOperation
from sillar.migrations.runner import Generation, MigrationRunner, RunSettings
from sillar.migrations.scripts import Scripts, reading, source_of, telling
from sillar.migrations.sql.connections import words_of
from sillar.migrations.sql.environment import MigrationEnvironment, Run, Steps
from sillar.migrations.sql.failure import LockNotGrantedError, kept_out
from sillar.migrations.sql.tables import HistoryTables, now
from sillar.migrations.sql.turn import Turn

_BACKOFF_SECONDS_MAX: Final = 10.0
_RELATIVE: Final = re.compile(r"[+-]\d+$|@")
_TAKES_CONNECTION: Final = re.compile(
    r"run_environment|\battributes\s*(?:\.\s*(?:get|pop|setdefault)\s*\(|\[)\s*(?:[\"']connection[\"']|CONNECTION\b)"
    r"|[\"']connection[\"']\s+(?:not\s+)?in\s+[\w.]*\battributes\b"
)
"""In an ``env.py``: of ours, or of Alembic's recipe for sharing a connection. Other attributes say nothing."""

Connect = Callable[[], AbstractAsyncContextManager[AsyncConnection]]


class SQLRunner(MigrationRunner):
    """Runs Alembic's migrations.

    An ``env.py`` that takes the connection it is given (all of ``sillar init``, and those that follow Alembic's recipe)
    is run in the event loop, on a connection of the manager's. Any other opens its own, with its own driver, in a
    thread; lock, journal and log are on that connection then.

    Args:
        scripts: the folder.
        settings: how.
        config: of the databases.
        connect: opens a connection of the manager's.
    """

    def __init__(self, scripts: Scripts, settings: RunSettings, config: DatabaseConfig, connect: Connect) -> None:
        super().__init__(scripts, settings)
        self._config = config
        self._connect = connect
        self._tables = HistoryTables(settings.config.table, settings.tenant_schema)

    @property
    def uses_manager(self) -> bool:
        return self._takes_connection()

    async def current(self) -> tuple[str, ...]:
        return tuple(await self._look(lambda context: context.get_current_heads()))

    async def log(self) -> list[AppliedMigration]:
        found: list[AppliedMigration] = await self._look(lambda context: self._tables.entries(_bind(context)))
        return found

    async def interrupted(self) -> tuple[str, ...]:
        return tuple(await self._look(lambda context: self._tables.begun(_bind(context))))

    async def upgrade(self, target: str, *, dry_run: bool = False) -> list[AppliedMigration]:
        self._check(target)
        return await self._migrate(lambda heads: self.scripts.directory._upgrade_revs(target, _any(heads)), dry_run)

    async def downgrade(self, target: str, *, dry_run: bool = False) -> list[AppliedMigration]:
        self._check(target)
        return await self._migrate(lambda heads: self.scripts.directory._downgrade_revs(target, _any(heads)), dry_run)

    async def stamp(self, target: str, *, purge: bool = False) -> None:
        def stamp(context: MigrationContext) -> None:
            _bind(context).execute(delete(self._tables.journal))  # whoever says where the database is has looked
            if purge:
                context._ensure_version_table(purge=True)
            with reading(self.scripts, context.get_current_heads()):
                context.stamp(self.scripts.directory, target)
            for version in context.get_current_heads():
                migration = self.scripts.get(version)
                self._tables.add(
                    _bind(context),
                    AppliedMigration(
                        version=version,
                        name=migration.name,
                        direction="stamp",
                        applied_by=who(),
                        applied_at=now(),
                        duration_seconds=0.0,
                        checksum=migration.checksum,
                        environment=self.settings.environment,
                    ),
                )

        await self._run(Run(self.settings, look=stamp, locked=True))

    async def operations(self, version: str, direction: str = "up") -> list[MigrationOperation]:
        script = self.scripts.script(version)
        before = script._versioned_down_revisions
        lower = before[0] if before else "base"
        start, target = (lower, script.revision) if direction == "up" else (script.revision, lower)
        run = Run(
            self.settings, steps=lambda _heads: [_step_of(self.scripts, version, direction)], output=io.StringIO()
        )
        await self._run(run, as_sql=True, starting_rev=start, destination_rev=target)
        return _without_comments(run.operations)

    async def render(self, start: str, target: str, direction: str = "up") -> str:
        output = io.StringIO()
        directory = self.scripts.directory
        find: Any = directory._upgrade_revs if direction == "up" else directory._downgrade_revs
        run = Run(self.settings, steps=lambda heads: find(target, heads), output=output)
        await self._run(run, as_sql=True, starting_rev=start, destination_rev=target)
        return output.getvalue()

    async def generate(self, generation: Generation) -> list[str]:
        if not generation.autogenerate and not self._runs_environment(generation):
            written = self.scripts.write(
                generation.message,
                version=generation.version,
                branch_labels=list(generation.branch_labels) or None,
                depends_on=list(generation.depends_on) or None,
                version_path=generation.version_path,
                head=generation.head,
                splice=generation.splice,
                upgrade_text=generation.upgrade_text,
                downgrade_text=generation.downgrade_text,
                imports_text=generation.imports_text,
            )
            return [written.version]
        revisions = self._revisions(generation)
        if generation.autogenerate:
            await self._compare(revisions, generation.options)
        else:
            run = Run(self.settings, look=lambda context: revisions.run_no_autogenerate((), context))
            await self._run(run, template_args=revisions.template_args, revision_context=revisions, as_sql=False)
        with reading(self.scripts):
            return [script.revision for script in revisions.generate_scripts() if script is not None]

    async def differences(self) -> list[str]:
        revisions = self._revisions(Generation("check", autogenerate=True))
        await self._compare(revisions, {"refuse_renames": False})
        found: list[Any] = []
        for revision in revisions.generated_revisions[-1:]:  # process_revision_directives may have left none
            for directive in revision.upgrade_ops_list:
                found += directive.as_diffs()
        return [described(difference) for difference in found]

    # --- within -------------------------------------------------------------------------------------------------------

    def _check(self, target: str) -> None:
        """Read the files before anything is changed."""
        with reading(self.scripts):
            self.scripts.heads()
            if not _RELATIVE.search(target):
                self.scripts.directory.get_revisions(target)

    async def _migrate(self, steps: Steps, dry_run: bool) -> list[AppliedMigration]:
        """Run migrations; what did not get a lock is begun anew, after a while."""
        applied: list[AppliedMigration] = []
        config = self.settings.config
        for attempt in range(1, config.lock_attempts + 1):
            run = Run(self.settings, steps=steps, dry=dry_run)
            try:
                await self._run(run)
            except (LockNotGrantedError, LockTimeoutError, DeadlockError, PoolTimeoutError) as error:
                applied += run.applied
                if attempt == config.lock_attempts:
                    raise _not_granted(error, config) from error
                await asyncio.sleep(min(_BACKOFF_SECONDS_MAX, 0.25 * 2**attempt) * (0.5 + random.random()))
            else:
                return applied + run.applied
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _revisions(self, generation: Generation) -> RevisionContext:
        arguments = {
            "message": generation.message,
            "autogenerate": generation.autogenerate,
            "sql": False,
            "head": generation.head or "head",
            "splice": generation.splice,
            "branch_label": list(generation.branch_labels) or None,
            "version_path": generation.version_path,
            "rev_id": generation.version,
            "depends_on": list(generation.depends_on) or None,
        }
        return RevisionContext(self.scripts.new_config(), self.scripts.directory, arguments)

    def _runs_environment(self, generation: Generation) -> bool:
        """Whether ``env.py`` has a say in an empty migration, too: Alembic's ``revision_environment``."""
        is_written = generation.upgrade_text or generation.downgrade_text
        return not is_written and asbool(self.scripts.new_config().get_alembic_option("revision_environment"))

    async def _compare(self, revisions: RevisionContext, options: dict[str, Any]) -> None:
        def compare(context: MigrationContext) -> None:
            current = context.get_current_heads()
            pending = self.scripts.pending(current)
            if pending:
                raise MigrationStateError(
                    f"the database is not up to date ({len(pending)} migrations to apply, the next is"
                    f" {pending[0].version}): upgrade it first, then compare it with the models"
                )
            revisions.run_autogenerate(current, context)

        run = Run(self.settings, look=compare)
        await self._run(
            run, host_options=options, template_args=revisions.template_args, revision_context=revisions, as_sql=False
        )

    async def _look(self, look: Callable[[MigrationContext], Any]) -> Any:
        run = Run(self.settings, look=look)
        await self._run(run)
        return run.found

    async def _run(self, run: Run, *, host_options: dict[str, Any] | None = None, **options: Any) -> None:
        if not options.get("as_sql") and (run.locked or (run.steps is not None and not run.dry)):
            database = repr(self._config.connection(self.settings.database))
            run.turn = Turn((str(self.scripts.folder.resolve()), database, self.settings.tenant_schema))
        try:
            await self._turn(run)
            if options.get("as_sql") or not self._takes_connection():
                await self._in_thread(run, partial(self._run_environment, run, None, host_options, options))
            else:
                async with self._connect() as connection:
                    await connection.run_sync(partial(self._on, run, host_options, options))
        finally:
            run.turn.end()

    async def _turn(self, run: Run) -> None:
        limit = self.settings.config.migrator_timeout
        try:
            await run.turn.wait(limit)
        except TimeoutError as error:
            raise kept_out(self.settings.database, limit) from error

    async def _in_thread(self, run: Run, work: Callable[[], None]) -> None:
        """Run something in a thread. Whoever leaves meanwhile waits until its statement is done: nothing goes on behind
        his back, and the lock is given back."""
        task = asyncio.create_task(asyncio.to_thread(work))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            run.leave()
            while not task.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # it was stopped; that it says so is no news
            raise

    def _on(
        self, run: Run, host_options: dict[str, Any] | None, options: dict[str, Any], connection: Connection
    ) -> None:
        self._run_environment(run, connection, host_options, options)

    def _run_environment(
        self, run: Run, connection: Connection | None, host_options: dict[str, Any] | None, options: dict[str, Any]
    ) -> None:
        config = self.scripts.new_config()
        if config.cmd_opts is not None:
            config.cmd_opts.autogenerate = host_options is not None  # a recipe of Alembic's asks for it
        config.attributes[HOST] = EnvironmentHost(
            self._config, self.settings.database, host_options or {}, compares=host_options is not None
        )
        if connection is not None:
            config.attributes[CONNECTION] = connection
        environment = MigrationEnvironment(config, self.scripts, run, **options)
        with self._telling(is_script=bool(options.get("as_sql"))), environment:
            self.scripts.directory.run_env()
            if not environment.was_run:
                raise MigrationFileError(
                    f"{self._env_py()} did not call context.run_migrations(): nothing was run; see"
                    " docs/adopting-alembic.md for what it has to do"
                )

    @contextmanager
    def _telling(self, *, is_script: bool) -> Iterator[None]:
        """Within the block, an ``env.py`` runs: what goes wrong in it is told with its place."""
        if is_script:
            self.scripts.heads()  # the files are read before
        with telling(self.scripts):
            try:
                yield
            except SQLAlchemyError as error:
                if is_script:
                    raise MigrationFileError(
                        f"{self.scripts.folder}: what would be sent cannot be written down without a database"
                        f" ({type(error).__name__}: {words_of(error)}): it depends on what it reads, or on values whose"
                        " type nobody has named"
                    ) from error
                raise self._unusable(error) from error
            except (builtins.ConnectionError, TimeoutError, socket.gaierror) as error:
                raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> ConnectError:
        text = f"{self._env_py()} could not use its database: {type(error).__name__}: {words_of(error)}"
        found = ConnectError(text)
        found.at(database=self.settings.database)
        return found

    def _env_py(self) -> Path:
        return Path(self.scripts.directory.env_py_location)

    def _takes_connection(self) -> bool:
        """Whether the ``env.py`` uses a connection that it is given."""
        path = self._env_py()
        if not path.is_file():
            raise MigrationFileError(f"there is no {path}: restore it, or make a new folder with `sillar init`")
        return _TAKES_CONNECTION.search(source_of(path)) is not None


def _not_granted(error: Exception, config: MigrationConfig) -> MigrationLockError:
    where = (
        f"migration {error.revision}, at: {error.statement}" if isinstance(error, LockNotGrantedError) else str(error)
    )
    return MigrationLockError(
        f"a lock was not granted within {config.lock_timeout:g} s in {config.lock_attempts} attempts: {where}; what was"
        " not committed is undone, and the service was not held up: look for long transactions on that table, or run it"
        " at a quieter time"
    )


def described(difference: Any) -> str:
    """One difference of Alembic's in words."""
    if isinstance(difference, list):
        return "; ".join(described(each) for each in difference)
    kind, *rest = difference
    shown = [_named(each) for each in rest if each is not None and not isinstance(each, dict)]
    return f"{str(kind).replace('_', ' ')}: {' '.join(shown)}"


def _named(part: Any) -> str:
    """A part of a difference, in words."""
    if isinstance(part, Index | Constraint):
        columns: Any = getattr(part, "expressions", None) or getattr(part, "columns", ())
        named = ", ".join(str(getattr(each, "name", each)) for each in columns)
        return f"{part.name or 'without a name'} on {part.table} ({named})"
    return str(part)


def _bind(context: MigrationContext) -> Connection:
    assert context.connection is not None  # only offline there is none
    return context.connection


def _any(heads: Sequence[str]) -> Any:
    return tuple(heads)


def _step_of(scripts: Scripts, version: str, direction: str) -> Any:
    from alembic.runtime.migration import MigrationStep

    make = MigrationStep.upgrade_from_script if direction == "up" else MigrationStep.downgrade_from_script
    return make(scripts.directory.revision_map, scripts.script(version))


__all__ = ["SQLRunner", "described"]


def _without_comments(operations: Iterable[MigrationOperation]) -> list[MigrationOperation]:
    """Statements alone; one that a data migration has written is marked as what it is when it runs."""
    statements: list[MigrationOperation] = []
    is_batched = False
    for operation in operations:
        if operation.sql.startswith("--"):
            is_batched = OFFLINE_NOTE in operation.sql
            continue
        statements.append(replace(operation, details=BATCHED) if is_batched else operation)
        is_batched = False
    return statements
