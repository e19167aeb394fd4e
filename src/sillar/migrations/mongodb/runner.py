"""Runs the migrations of a folder on a document database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from sillar.errors import DatabaseError, MigrationFileError, MigrationStateError
from sillar.manager import DatabaseManager
from sillar.migrations.applied import AppliedMigration
from sillar.migrations.migration import Migration, MigrationOperation
from sillar.migrations.mongodb.history import History, HistoryState
from sillar.migrations.mongodb.journal import Journal, RunJournal
from sillar.migrations.mongodb.lease import LEASE_SECONDS, MigratorLease
from sillar.migrations.mongodb.models import ModelComparison
from sillar.migrations.mongodb.operations import NoDatabaseError
from sillar.migrations.mongodb.performers import (
    JournalledPerformer,
    RecallingPerformer,
    RecordingPerformer,
)
from sillar.migrations.mongodb.run import FUNCTIONS, Script, call, function_of, recall, run_through
from sillar.migrations.mongodb.step import SCRIPT_HEAD, Step
from sillar.migrations.mongodb.store import DocumentStore
from sillar.migrations.names import BATCHES_TABLE, COPIES_TABLE
from sillar.migrations.progress import Progress
from sillar.migrations.runner import Generation, MigrationRunner, RunSettings
from sillar.migrations.scripts import Scripts, reading

T = TypeVar("T")
Way = Literal["up", "down"]


class MongoDBRunner(MigrationRunner):
    """Runs migrations whose ``upgrade(op)`` and ``downgrade(op)`` are coroutine functions, step by journalled step.

    It keeps three collections: the log (``migration_config.table``), the journal of runs that are not at their end, and
    the lease of the migrator; their names are made from that of the log.

    Args:
        scripts: the folder.
        settings: how.
        opened: gives a manager that is open, for as long as it is needed.
        lease_seconds: how long a migrator that says nothing keeps the others waiting.
    """

    def __init__(
        self,
        scripts: Scripts,
        settings: RunSettings,
        opened: Callable[[], AbstractAsyncContextManager[DatabaseManager]],
        *,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        super().__init__(scripts, settings)
        self._opened = opened
        self._lease_seconds = lease_seconds
        self._patience = settings.config.migrator_timeout
        table = settings.config.table
        stem = table.removesuffix("s")
        self._history_name, self._journal_name, self._lease_name = table, f"{stem}_steps", f"{stem}_lease"

    @property
    def collections(self) -> tuple[str, str, str]:
        """The names of the collections of its own: log, journal, lease."""
        return self._history_name, self._journal_name, self._lease_name

    @property
    def own_tables(self) -> frozenset[str]:
        return frozenset((*self.collections, BATCHES_TABLE, COPIES_TABLE))

    # --- where it is --------------------------------------------------------------------------------------------------

    async def current(self) -> tuple[str, ...]:
        async with self._database() as store:
            return (await self._history(store).state()).heads

    async def log(self) -> list[AppliedMigration]:
        async with self._database() as store:
            return await self._history(store).log()

    async def interrupted(self) -> tuple[str, ...]:
        async with self._database() as store:
            state = await self._history(store).state()
            runs = await self._journal(store).open_runs()
            return tuple(str(run["_id"]) for run in runs if run["entry"] > state.entries)

    # --- running ------------------------------------------------------------------------------------------------------

    async def upgrade(self, target: str, *, dry_run: bool = False) -> list[AppliedMigration]:
        """As for all; a dry run writes the steps down and reports each with the number of documents it is about."""
        async with self._database() as store:
            if dry_run:
                state = await self._history(store).state()
                return await self._rehearse(store, self.scripts.pending(state.heads, target), "up")
            if await self._is_done(store, target):
                return []
            lease = self._lease(store)
            if not await lease.acquire(self._patience, unless=lambda: self._is_done(store, target)):
                return []
            async with lease.renewed():
                return await self._under_lease(store, lease, target, "up")

    async def _is_done(self, store: DocumentStore, target: str) -> bool:
        """Whether another migrator has done everything."""
        state = await self._history(store).state()
        return not self.scripts.pending(state.heads, target) and not await self._journal(store).open_runs()

    async def downgrade(self, target: str, *, dry_run: bool = False) -> list[AppliedMigration]:
        """As for all. A migration that was interrupted on its way up is undone first, where its steps can be."""
        async with self._database() as store:
            if dry_run:
                state = await self._history(store).state()
                return await self._rehearse(store, self.scripts.undone(state.heads, target), "down")
            async with self._lease(store).held(self._patience) as lease:
                return await self._under_lease(store, lease, target, "down")

    async def _under_lease(
        self, store: DocumentStore, lease: MigratorLease, target: str, way: Way
    ) -> list[AppliedMigration]:
        await self._settle(store, lease, way)
        state = await self._history(store).state()
        plan = self._plan(state, target, way, await self._journal(store).open_runs())
        functions = [function_of(each, self._module(each), way) for each in plan]
        if plan:
            self.settings.before([each.version for each in plan], way)
        applied = []
        for number, (migration, function) in enumerate(zip(plan, functions, strict=True)):
            self._tell(f"{FUNCTIONS[way]} {migration.version} {migration.name}", number, len(plan), "migrations")
            applied.append(await self._run(store, lease, migration, function, way))
        return applied

    def _plan(self, state: HistoryState, target: str, way: Way, runs: Sequence[dict[str, Any]]) -> list[Migration]:
        """What is to be run, an interrupted migration first."""
        plan = self.scripts.pending(state.heads, target) if way == "up" else self.scripts.undone(state.heads, target)
        for run in runs:
            version = str(run["_id"])
            mine = [each for each in plan if each.version == version]
            if not mine:
                raise MigrationStateError(
                    f"{version} was interrupted on its way {run['direction']}, and {target!r} does not reach it: run"
                    f" {FUNCTIONS[run['direction']]} to the end of it first, or downgrade, which undoes it where it can"
                    " be"
                )
            plan = [*mine, *(each for each in plan if each.version != version)]
        return plan

    async def _run(
        self, store: DocumentStore, lease: MigratorLease, migration: Migration, function: Script, way: Way
    ) -> AppliedMigration:
        history, journals = self._history(store), self._journal(store)
        state = await history.state()
        if any(run["_id"] == migration.version for run in await journals.open_runs()):
            journal = await journals.take_over(lease, migration.version)
        else:
            journal = await journals.begin(
                lease,
                migration.version,
                direction=way,
                name=migration.name,
                checksum=migration.checksum,
                entry=state.entries + 1,
            )
        performer = JournalledPerformer(store, lease, journal, self._tell)
        seconds = await run_through(migration, function, store, journal, performer)
        await lease.check()

        async def log() -> AppliedMigration:
            return await history.add(
                journal.entry,
                self._heads_after(state.heads, migration, way),
                version=migration.version,
                name=migration.name,
                direction=way,
                duration_seconds=seconds,
                checksum=migration.checksum,
                environment=self.settings.environment,
                steps=len(performer.taken),
            )

        return await _ended(store, journal, log)

    def _heads_after(self, heads: Sequence[str], migration: Migration, way: Way) -> list[str]:
        if way == "up":
            return [*(each for each in heads if each not in migration.down_versions), migration.version]
        rest = [each for each in heads if each != migration.version]
        known = self.scripts.lineage(rest) if rest else set()
        return [*rest, *(each for each in migration.down_versions if each not in known)]

    # --- what an earlier run has left ---------------------------------------------------------------------------------

    async def _settle(self, store: DocumentStore, lease: MigratorLease, way: Way) -> None:
        """End what was logged and not closed; go on with an undoing; undo what was interrupted on its way up, if the
        way is down."""
        state = await self._history(store).state()
        journals = self._journal(store)
        for run in await journals.open_runs():
            version = str(run["_id"])
            journal = await journals.take_over(lease, version)
            if journal.entry <= state.entries:
                await journal.close()
                continue
            self._check_is_here(version)
            if journal.state == "reversing" or (journal.direction == "up" and way == "down"):
                await self._take_back(store, lease, journal)
            elif journal.direction != way:
                below = next(iter(self.scripts.get(version).down_versions), "base")
                raise MigrationStateError(
                    f"{version} was interrupted while it was undone: run it to its end first"
                    f" (`sillar downgrade {below}`), and upgrade then"
                )

    def _check_is_here(self, version: str) -> None:
        try:
            self.scripts.get(version)
        except MigrationFileError as error:
            raise MigrationStateError(
                f"{version} was interrupted, and no file has it any more: restore the file; or, if what it has done is"
                " to stay, say where the database is (`sillar stamp REVISION`)"
            ) from error

    async def _take_back(self, store: DocumentStore, lease: MigratorLease, journal: RunJournal) -> None:
        migration = self.scripts.get(journal.version)
        performer = RecallingPerformer(store, lease, journal, self._tell)
        direction: Way = "up" if journal.direction == "up" else "down"
        await recall(function_of(migration, self._module(migration), direction), store, journal, performer)
        obstacles = performer.obstacles()
        if obstacles:
            raise MigrationStateError(
                f"{journal.version} was interrupted, and its steps cannot be undone, because of {'; '.join(obstacles)}:"
                f" run {FUNCTIONS[direction]} to the end of it"
            )
        await performer.take_back()
        await journal.close()

    # --- without running ----------------------------------------------------------------------------------------------

    async def stamp(self, target: str, *, purge: bool = False) -> None:
        """As for all. Runs that were interrupted are taken as ended, by whoever says where the database is."""
        async with self._database() as store, self._lease(store).held(self._patience) as lease:
            state = await self._history(store).state()
            with reading(self.scripts, state.heads):
                scripts = [] if target == "base" else list(self.scripts.directory.get_revisions(target))
            versions = [script.revision for script in scripts if script is not None]
            kept = [] if purge or not versions else self._apart(state.heads, versions)
            checksum = self.scripts.get(versions[0]).checksum if len(versions) == 1 else ""
            await self._history(store).add(
                state.entries + 1,
                [*kept, *versions],
                version=", ".join(versions) or "base",
                name="",
                direction="stamp",
                duration_seconds=0.0,
                checksum=checksum,
                environment=self.settings.environment,
            )
            for run in await self._journal(store).open_runs():
                await (await self._journal(store).take_over(lease, str(run["_id"]))).close()

    def _apart(self, heads: Sequence[str], versions: Sequence[str]) -> list[str]:
        """Of the heads, those of branches that the versions have nothing to do with."""
        below = self.scripts.lineage(versions)
        return [each for each in heads if each not in below and not self.scripts.lineage([each]) & set(versions)]

    async def _rehearse(self, store: DocumentStore, plan: Sequence[Migration], way: Way) -> list[AppliedMigration]:
        """Write the steps down, and report each with how many documents it is about."""
        self.rehearsal.clear()
        for migration in plan:
            for number, step in enumerate(await self._recorded(migration, way, store), 1):
                concerned = await step.concerned(store)
                count = "" if concerned is None else f" ({concerned} {step.concerns})"
                self.rehearsal.append(f"{migration.version} step {number}: {step.words.removesuffix(count)}{count}")
                self._tell(f"{migration.version} step {number}: {step.words}", 0, concerned, "documents")
        now = datetime.now(UTC)
        return [
            AppliedMigration(
                each.version, each.name, way, "nobody (dry run)", now, 0.0, each.checksum, self.settings.environment
            )
            for each in plan
        ]

    async def operations(self, version: str, direction: str = "up") -> list[MigrationOperation]:
        """As for all; ``details`` is the step as the safety lint reads it."""
        steps = await self.steps(version, direction)
        return [MigrationOperation(step.words, step.atomic, step.operation, step.line) for step in steps]

    async def steps(self, version: str, direction: str = "up") -> list[Step]:
        """The steps of one migration; nothing is sent. A database is opened only where the file looks at one."""
        migration = self.scripts.get(version)
        way: Way = "up" if direction == "up" else "down"
        try:
            return await self._recorded(migration, way, None)
        except NoDatabaseError:
            async with self._database() as store:
                return await self._recorded(migration, way, store)

    async def render(self, start: str, target: str, direction: str = "up") -> str:
        """For MongoDB's shell. What Python has a part in cannot be in it; the script stops there and says so."""
        heads = () if start == "base" else (self.scripts.get(start).version,)
        way: Way = "up" if direction == "up" else "down"
        plan = self.scripts.pending(heads, target) if way == "up" else self.scripts.undone(heads, target)
        lines = [SCRIPT_HEAD] if plan else []
        for migration in plan:
            lines.append(f"// {FUNCTIONS[way]} {migration.version}: {migration.name}")
            for number, step in enumerate(await self._recorded(migration, way, None), 1):
                lines += [f"// step {number}: {step.words}", *step.script()]
            lines.append("")
        if plan:
            lines.append(f"// Then say so: sillar stamp {target}")
        return "\n".join(lines)

    async def generate(self, generation: Generation) -> list[str]:
        up, down, imports = generation.upgrade_text, generation.downgrade_text, generation.imports_text
        if generation.autogenerate:
            comparison = await self._compared(drop=bool(generation.options.get("drop")), is_current=True)
            up, down, imports = comparison.upgrade_text, comparison.downgrade_text, comparison.imports_text
        written = self.scripts.write(
            generation.message,
            version=generation.version,
            branch_labels=list(generation.branch_labels) or None,
            depends_on=list(generation.depends_on) or None,
            version_path=generation.version_path,
            head=generation.head,
            splice=generation.splice,
            upgrade_text=up,
            downgrade_text=down,
            imports_text=imports,
        )
        return [written.version]

    async def differences(self) -> list[str]:
        """As for all; empty where no models are named."""
        return (await self._compared()).lines if self.has_models else []

    @property
    def has_models(self) -> bool:
        return bool(self.settings.config.models)

    async def _compared(self, *, drop: bool = False, is_current: bool = False) -> ModelComparison:
        """Compare the models with the database, which has to be at the heads if something is made of it."""
        async with self._database() as store:
            pending = self.scripts.pending((await self._history(store).state()).heads) if is_current else []
            if pending:
                raise MigrationStateError(
                    f"the database is not up to date ({len(pending)} migrations to apply, the next is"
                    f" {pending[0].version}): upgrade it first, then compare it with the models"
                )
            models = self.settings.config.models
            return await ModelComparison.of(store, models, ignored=self.own_tables, drop=drop)

    # --- within -------------------------------------------------------------------------------------------------------

    async def _recorded(self, migration: Migration, way: Way, store: DocumentStore | None) -> list[Step]:
        function = function_of(migration, self._module(migration), way)
        recorder = RecordingPerformer()
        try:
            await call(function, recorder, store)
        except DatabaseError:
            raise
        except Exception as error:
            raise MigrationFileError(
                f"the steps of {migration.version} cannot be known without running it: {FUNCTIONS[way]}() fails where"
                f" nothing is sent ({type(error).__name__}: {error})"
            ) from error
        return recorder.steps

    def _module(self, migration: Migration) -> Any:
        with reading(self.scripts):
            return self.scripts.script(migration.version).module

    @asynccontextmanager
    async def _database(self) -> AsyncIterator[DocumentStore]:
        async with self._opened() as manager:
            yield DocumentStore(manager.executor(self.settings.database))

    def _lease(self, store: DocumentStore) -> MigratorLease:
        store.check_can_migrate()
        return MigratorLease(store, self._lease_name, seconds=self._lease_seconds)

    def _history(self, store: DocumentStore) -> History:
        return History(store, self._history_name)

    def _journal(self, store: DocumentStore) -> Journal:
        return Journal(store, self._journal_name)

    def _tell(self, what: str, done: int, total: int | None, unit: str) -> None:
        self.settings.report(Progress(what, done, total, unit))


async def _ended(store: DocumentStore, journal: RunJournal, log: Callable[[], Awaitable[T]]) -> T:
    """Write a run into the log, and forget its journal.

    With transactions in one of them: whoever has lost the lease finds no journal of its own, and logs nothing. Without
    them the log comes first, and the next migrator closes a journal that was left behind.
    """
    if not store.has_transactions:
        applied = await log()
        await journal.close()
        return applied

    async def both() -> T:
        await journal.close()
        return await log()

    return await store.atomically(both)
