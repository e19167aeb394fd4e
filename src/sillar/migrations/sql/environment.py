"""Alembic's environment with a lock, a journal and a log around whatever an ``env.py`` does."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, Final, NoReturn, TextIO

from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.util.langhelpers import ModuleClsProxy
from sqlalchemy import delete
from sqlalchemy.engine import Connection

from sillar.errors import DatabaseError, MigrationStateError, UnsupportedCapabilityError
from sillar.migrations.applied import AppliedMigration, who
from sillar.migrations.env import HOST, EnvironmentHost, comparing
from sillar.migrations.migration import MigrationOperation
from sillar.migrations.progress import Progress
from sillar.migrations.runner import RunSettings
from sillar.migrations.scripts import Scripts, checksum, reading
from sillar.migrations.sql.connections import code_of, pause, words_of
from sillar.migrations.sql.dialects import MigrationDialect, dialect_of
from sillar.migrations.sql.failure import LockNotGrantedError, failure, kept_out
from sillar.migrations.sql.heads import Heads
from sillar.migrations.sql.journal import Journal, StoppedError, Watch, rows_of
from sillar.migrations.sql.offline import record
from sillar.migrations.sql.schema import entering, in_schema
from sillar.migrations.sql.set_aside import SetAside
from sillar.migrations.sql.tables import HistoryTables, now
from sillar.migrations.sql.turn import Turn

_log: Final = logging.getLogger("alembic.runtime.migration")
_POLL_SECONDS_MIN: Final = 0.05
_POLL_SECONDS_MAX: Final = 0.5
Steps = Callable[[tuple[str, ...]], Sequence[RevisionStep]]


@dataclass
class Run:
    """One run of an ``env.py``.

    Args:
        settings: how migrations are run.
        steps: what to do, by the revisions that the database is at.
        look: instead of steps: is called with the context; what it returns is ``found``.
        locked: whether ``look`` changes something, and so needs the migrators' lock.
        dry: everything is rolled back.
        output: takes the script of an offline run.

    Attributes:
        applied: what was done.
        operations: of an offline run: the statements.
        found: what ``look`` returned.
        connection: the connection of the run, once there is one.
        rows: of the journal: what interrupted runs have left.
        watch: on the statements of the connection.
        is_left: whoever started the run has left; it ends before its next statement.
        turn: with what Alembic keeps for the whole process.
    """

    settings: RunSettings
    steps: Steps | None = None
    look: Callable[[MigrationContext], Any] | None = None
    locked: bool = False
    dry: bool = False
    output: TextIO | None = None
    applied: list[AppliedMigration] = field(default_factory=list)
    operations: list[MigrationOperation] = field(default_factory=list)
    connection: Connection | None = None
    found: Any = None
    rows: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    watch: Watch | None = None
    is_left: bool = False
    turn: Turn = field(default_factory=Turn)

    def leave(self) -> None:
        """Have it end before its next statement. Called from any thread."""
        self.is_left = True
        if self.watch is not None:
            self.watch.is_left = True


class MigrationEnvironment(EnvironmentContext):
    """What ``alembic.context`` is while an ``env.py`` runs, ours or anybody else's.

    Args:
        config: Alembic's.
        scripts: the folder.
        run: what to do in it.
    """

    def __init__(self, config: Config, scripts: Scripts, run: Run, **options: Any) -> None:
        super().__init__(config, scripts.directory, fn=self._steps, **options)
        self.scripts = scripts
        self.run = run
        self.tables = HistoryTables(run.settings.config.table, run.settings.tenant_schema)
        self.was_run = self._is_installed = False
        self._who = who()
        self._started = 0.0

    # --- what an env.py calls -----------------------------------------------------------------------------------------

    def configure(self, connection: Connection | None = None, **options: Any) -> None:  # type: ignore[override]
        if connection is None or self.is_offline_mode():
            if self.run.output is not None:
                options["output_buffer"] = self.run.output
            super().configure(connection=connection, **self._completed(options))
            schema = self.run.settings.tenant_schema
            if schema is not None:
                context = self.get_context()
                context.impl.static_output(entering(context.dialect, schema) + ";")
            record(self.get_context(), self.run.operations)
            return
        self.run.connection = connection
        self.dialect: MigrationDialect = dialect_of(connection.dialect.name)
        self._set_aside = SetAside(connection)
        host: EnvironmentHost | None = self.config.attributes.get(HOST)
        if host is not None and host.compares:
            options = comparing(host, connection.dialect.name, options)
        options = {**options, "transaction_per_migration": True, "transactional_ddl": self.dialect.transactional_ddl}
        if self.run.dry:
            if not self.dialect.transactional_ddl:
                raise UnsupportedCapabilityError(
                    "dry run",
                    engine=connection.dialect.name,
                    remedy="DDL commits by itself there: look at the statements with `sillar upgrade --sql`",
                )
            connection.begin()
        super().configure(connection=connection, **self._completed(options))

    def run_migrations(self, **kw: Any) -> None:
        if self.get_context().as_sql:
            self._run_migrations(**kw)
            return
        try:
            with in_schema(self._connection(), self.run.settings.tenant_schema) as self._schema:
                self._run_migrations(**kw)
        finally:
            self._set_aside.put_back()

    def _run_migrations(self, **kw: Any) -> None:
        context = self.get_context()
        run = self.run
        self.was_run = True
        if context.as_sql:
            super().run_migrations(**kw)
            return
        connection = self._connection()
        with self._told():
            if run.dry:
                self._rehearse(context, connection, kw)
            elif run.look is not None and not run.locked:
                run.found = run.look(context)
            else:
                self.dialect.prepare(connection, run.settings.config.lock_timeout)
                with self._lock(connection):
                    self._run(context, connection, kw)

    def _run(self, context: MigrationContext, connection: Connection, kw: dict[str, Any]) -> None:
        run = self.run
        if run.look is not None:
            self.tables.create(connection)
            run.found = run.look(context)
            connection.commit()
            return
        run.rows = rows_of(connection, self.tables)
        with self._watch(connection).installed():
            self._apply(context, kw)

    def _apply(self, context: MigrationContext, kw: dict[str, Any]) -> None:
        """What Alembic's ``MigrationContext.run_migrations`` does, with the log. The version is written with the entry;
        before it, where an env.py wants to be told of the version."""
        with Operations.context(context):
            context.impl.start_migrations()
            current = context.get_current_heads()
            if not current:
                context._ensure_version_table()
            heads = Heads(context, current, self.tables, self.dialect)
            for step in self._steps(current, context):
                with context.begin_transaction(_per_migration=True):
                    _log.info("Running %s", step)
                    step.migration_fn(**kw)
                    heads.update_to_step(step)
                    if context.on_version_apply_callbacks:
                        heads.write()
                    for callback in context.on_version_apply_callbacks:
                        callback(ctx=context, step=step.info, heads=set(heads.heads), run_args=kw)
                    entry = self._entry(step)
                    heads.write(None if self.run.dry else entry)
                self.run.applied.append(entry)

    def _rehearse(self, context: MigrationContext, connection: Connection, kw: dict[str, Any]) -> None:
        """Run everything in one transaction, and roll it back."""

        def refuse() -> NoReturn:
            raise UnsupportedCapabilityError(
                "dry run of autocommit_block()",
                engine=connection.dialect.name,
                remedy="what it does could not be rolled back: look at the statements with `sillar upgrade --sql`",
            )

        context.autocommit_block = refuse  # type: ignore[method-assign]
        self.dialect.prepare_rehearsal(connection, self.run.settings.config.lock_timeout)
        watch = self._watch(connection)
        try:
            with watch.installed():
                self._apply(context, kw)
        finally:
            if not connection.closed and not connection.invalidated:
                connection.rollback()

    def _watch(self, connection: Connection) -> Watch:
        watch = self.run.watch = Watch(connection)
        if self.run.is_left:
            self.run.leave()
        return watch

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Within the block, what is wrong between migrations is told: locks, rights."""
        try:
            yield
        except DatabaseError:
            raise
        except Exception as error:
            code = code_of(error)
            if code in self.dialect.lock_codes:
                raise LockNotGrantedError("", "the history", error) from error
            if code in self.dialect.rights_codes:
                raise MigrationStateError(
                    f"this user may not work on the history of {self.run.settings.database}: {words_of(error)}; grant"
                    " it the right, or migrate as the owner; nothing was run"
                ) from error
            raise

    # --- the steps ----------------------------------------------------------------------------------------------------

    def _steps(self, heads: tuple[str, ...], context: MigrationContext) -> Iterator[RevisionStep]:
        if self.run.steps is None:
            return
        with reading(self.scripts, heads):
            steps = list(self.run.steps(heads))
        self._check_interrupted(heads, steps)
        direction = "up" if all(step.is_upgrade for step in steps) else "down"
        self.run.settings.before([step.revision.revision for step in steps], direction)
        total = len(steps)
        for number, step in enumerate(steps, 1):
            name = step.revision.doc or step.revision.revision
            self.run.settings.report(Progress(f"{step.revision.revision} {name}", number - 1, total, "migrations"))
            with ExitStack() as stack:
                if not context.as_sql and not self.run.dry:
                    stack.enter_context(self.dialect.around(self._connection(), step.revision))
                if not context.as_sql:
                    step.migration_fn = self._watched(step, step.migration_fn)
                yield step
            self.run.settings.report(Progress(f"{step.revision.revision} {name}", number, total, "migrations"))

    def _check_interrupted(self, heads: tuple[str, ...], steps: Sequence[RevisionStep]) -> None:
        """What was interrupted has to be finished first; what was finished by other means is forgotten."""
        if not self.run.rows:
            return
        applied = self.scripts.lineage(heads)
        first = {step.revision.revision: "up" if step.is_upgrade else "down" for step in steps}
        connection = self._connection()
        for version, row in list(self.run.rows.items()):
            if (row["direction"] == "up") == (version in applied):
                connection.execute(delete(self.tables.journal).where(self.tables.journal.c.version == version))
                del self.run.rows[version]
            elif first.get(version) != row["direction"]:
                command = f"upgrade {version}" if row["direction"] == "up" else "downgrade -1"
                raise MigrationStateError(
                    f"migration {version} was interrupted on its way {row['direction']}, after {row['done']}"
                    f" statements, and what is to be done now does not finish it: `sillar {command}` first; or if it"
                    " was finished by hand, say so with `sillar stamp`"
                )
        connection.commit()

    def _watched(self, step: RevisionStep, work: Callable[..., None]) -> Callable[..., None]:
        """The function of a migration under its journal; called in the migration's transaction."""
        script, direction = step.revision, "up" if step.is_upgrade else "down"
        run, config = self.run, self.run.settings.config

        def watched(**kw: Any) -> None:
            connection = self._connection()
            journal = Journal(
                connection,
                self.dialect,
                self.tables,
                script.revision,
                direction,
                row=run.rows.get(script.revision),
                patience_seconds=config.lock_timeout * config.lock_attempts,
                in_one_transaction=run.dry,
            )
            self._started = perf_counter()
            assert run.watch is not None  # it was installed for the run
            try:
                if not run.dry:
                    self.dialect.begin(connection, script)
                run.watch.journal = journal
                work(**kw)
                run.watch.journal = None
                self.dialect.before_commit(connection, script)
                journal.finish()
            except DatabaseError:
                raise
            except Exception as error:
                raise failure(script, journal, error) from error
            finally:
                run.watch.journal = None

        watched.__name__ = work.__name__
        return watched

    def _entry(self, step: RevisionStep) -> AppliedMigration:
        """What the log is told of a migration that has run."""
        script = step.revision
        return AppliedMigration(
            version=script.revision,
            name=script.doc or "",
            direction="up" if step.is_upgrade else "down",
            applied_by=self._who,
            applied_at=now(),
            duration_seconds=perf_counter() - self._started,
            checksum=checksum(Path(script.path)),
            environment=self.run.settings.environment,
        )

    # --- within -------------------------------------------------------------------------------------------------------

    def _connection(self) -> Connection:
        assert self.run.connection is not None  # configure() was called with it
        return self.run.connection

    def _completed(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options of an env.py, with what Sillar adds."""
        wanted, own = options.get("include_name"), self.tables.names

        def include_name(name: str | None, kind: Any, parents: Any) -> bool:
            if kind == "table" and name in own:
                return False
            return True if wanted is None else bool(wanted(name, kind, parents))

        options["include_name"] = include_name
        return options

    @contextmanager
    def _lock(self, connection: Connection) -> Iterator[None]:
        name = self._lock_name(connection)
        limit = self.run.settings.config.migrator_timeout
        until, wait = monotonic() + limit, _POLL_SECONDS_MIN
        while (held := self.dialect.try_lock(connection, name)) is None:
            if self.run.is_left:
                raise StoppedError
            if monotonic() >= until:
                raise kept_out(self.run.settings.database, limit)
            with self._aside(connection):
                pause(connection, wait * (0.5 + random.random()))
            wait = min(_POLL_SECONDS_MAX, wait * 1.5)
        try:
            yield
        finally:
            if not connection.closed and not connection.invalidated:
                connection.rollback()
                self.dialect.unlock(connection, name)
            else:
                self.dialect.abandon(held)

    @contextmanager
    def _aside(self, connection: Connection) -> Iterator[None]:
        """Within the block, other runs of the process have their turn: nothing of this one is in their way."""
        turn = self.run.turn
        self._remove_proxy()
        self._schema.leave()
        turn.give_back()
        try:
            yield
            while not turn.take():
                if self.run.is_left:
                    raise StoppedError
                turn.look_again(connection)
        finally:
            if turn.take():
                self._install_proxy()
                self._schema.enter()

    def _install_proxy(self) -> None:
        super()._install_proxy()
        self._is_installed = True

    def _remove_proxy(self) -> None:
        if self._is_installed:  # else it is another run's turn
            self._is_installed = False
            super()._remove_proxy()

    def _lock_name(self, connection: Connection) -> str:
        context = self.get_context()
        place = connection.dialect.default_schema_name or ""
        schema = context.version_table_schema or ""
        return f"{place}.{schema}.{context.version_table}"


# Alembic finds the module functions of a facade by its very class.
ModuleClsProxy._setups[MigrationEnvironment] = ModuleClsProxy._setups[EnvironmentContext]


__all__ = ["MigrationEnvironment", "Run"]
