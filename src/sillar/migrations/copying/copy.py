"""One database into another: schema, rows, verification."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from hashlib import sha256
from time import perf_counter
from typing import Literal, TypeAlias

from sillar.errors import MigrationRefusedError, MigrationStateError, UsageError
from sillar.manager import DatabaseManager
from sillar.migrations.copying.load import load_group
from sillar.migrations.copying.model import CopyReport, Table, TableCopy, Unfaithful
from sillar.migrations.copying.plan import TablePlan, in_order, matched, planned
from sillar.migrations.copying.side import Facts, ProgressRow, Reader, Side
from sillar.migrations.copying.sides import side_of
from sillar.migrations.copying.survey import survey
from sillar.migrations.copying.verification import compared
from sillar.migrations.progress import Progress, Report, silent

Database: TypeAlias = DatabaseManager | tuple[DatabaseManager, str | None]
"""An open manager (its default database), or one with a configured name."""

OnExisting: TypeAlias = Literal["refuse", "replace"]

BATCH_ROWS = 5_000


async def copy_database(
    source: Database,
    target: Database,
    *,
    tables: Iterable[str] | None = None,
    exclude: Iterable[str] = (),
    schema: bool = True,
    data: bool = True,
    verify: bool = True,
    resume: bool = True,
    survey_values: bool = True,
    batch_rows: int = BATCH_ROWS,
    on_existing: OnExisting = "refuse",
    dry_run: bool = False,
    progress: Report = silent,
) -> CopyReport:
    """Copy tables from one database into another, of the same or another engine.

    What cannot be carried as it is stands in the report before anything is written; a value that does not fit prevents
    the copy. Rows are copied in batches, each in one transaction with the note of how far it came: interrupted
    anywhere, the same call goes on. At the end both sides are read again and compared.

    Args:
        source, target: an open manager, or a pair of one and a configured name.
        tables: what to copy; None: all. ``exclude``: what not.
        schema: create the tables, indexes and constraints; False: they are there already.
        data: copy the rows.
        verify: compare both sides at the end.
        resume: go on where an interrupted copy stopped; False: begin again.
        survey_values: look at every value before anything is written. Without it, a value that does not fit stops the
            copy when its turn comes.
        batch_rows: rows in memory.
        on_existing: what to do with tables that are there (with ``schema``) or have rows (without): ``refuse``, or
            ``replace`` them.
        dry_run: write nothing; the report says what would be done.
        progress: told from time to time.

    Returns:
        what was done. ``report.differences`` is empty if both sides have the same rows.

    Raises:
        UsageError: unknown tables, both databases are the same, or the copy cannot be done as asked; nothing was
            changed.
        MigrationStateError: the target has tables or rows of these names already, or an interrupted copy from
            somewhere else; nothing was changed.
        DataError, IntegrityError: the target refuses a row; the batches before it stay.
    """
    if not schema and not data:
        raise UsageError("neither schema nor data is to be copied; leave one of them on")
    if batch_rows < 1:
        raise UsageError(f"batch_rows is at least 1, not {batch_rows}")
    ours, theirs = await side_of(*_pair(source)), await side_of(*_pair(target))
    if ours.label == theirs.label:
        raise UsageError(f"source and target are the same database, {ours.label}")
    ours.carries_whole = theirs.carries_whole = ours.is_schemaless and theirs.is_schemaless
    run = CopyRun(ours, theirs, schema=schema, data=data, verify=verify, batch_rows=batch_rows, progress=progress)
    run.survey_values, run.resume, run.on_existing = survey_values, resume, on_existing
    return await run.run(await _chosen(ours, tables, exclude), dry_run=dry_run)


async def compare_databases(
    source: Database,
    target: Database,
    *,
    tables: Iterable[str] | None = None,
    exclude: Iterable[str] = (),
    batch_rows: int = BATCH_ROWS,
    progress: Report = silent,
) -> CopyReport:
    """Compare the rows of tables that both databases have, as at the end of a copy. Nothing is written.

    Args:
        source, target, tables, exclude, batch_rows, progress: as for :func:`copy_database`.

    Returns:
        ``differences`` has what was found.

    Raises:
        UsageError: unknown tables, or the target does not have them.
        CopyRefusedError: the target does not have the columns of the source.
    """
    ours, theirs = await side_of(*_pair(source)), await side_of(*_pair(target))
    ours.carries_whole = theirs.carries_whole = ours.is_schemaless and theirs.is_schemaless
    run = CopyRun(ours, theirs, schema=False, data=True, verify=True, batch_rows=batch_rows, progress=progress)
    run.survey_values = False
    return await run.compare(await _chosen(ours, tables, exclude))


def _pair(given: Database) -> tuple[DatabaseManager, str | None]:
    return given if isinstance(given, tuple) else (given, None)


async def _chosen(source: Side, tables: Iterable[str] | None, exclude: Iterable[str]) -> list[str]:
    present = await source.table_names()
    left_out, wanted = list(exclude), None if tables is None else list(dict.fromkeys(tables))
    for name in (*(wanted or ()), *left_out):
        if name not in present:
            near = get_close_matches(name, present, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(present) or 'none'}"
            raise UsageError(f"{source.label} has no table {name!r}; {hint}")
    return [name for name in (present if wanted is None else wanted) if name not in left_out]


class CopyRun:
    """One copy.

    Args:
        source, target: the two databases.
        schema, data, verify, batch_rows, progress: as for :func:`copy_database`.
    """

    def __init__(
        self,
        source: Side,
        target: Side,
        *,
        schema: bool,
        data: bool,
        verify: bool,
        batch_rows: int,
        progress: Report,
    ) -> None:
        self.source, self.target = source, target
        self.schema, self.data, self.verify = schema, data, verify
        self.batch_rows, self.progress = batch_rows, progress
        self.survey_values = self.resume = True
        self.on_existing: OnExisting = "refuse"
        self.report = CopyReport(source.label, target.label)
        self._known: dict[str, ProgressRow] = {}
        self._own: set[str] = set()

    async def run(self, names: Sequence[str], *, dry_run: bool) -> CopyReport:
        """Do it, or look what would be done."""
        began = perf_counter()
        self.report.dry_run = dry_run
        await self._look_back(names)
        async with self.source.snapshot() as reader:
            self._say_snapshot(reader)
            plans = await self._plans(names, reader)
            self._tell_of(plans)
            if not dry_run:
                self._refuse_unfit()
                await self._prepare(plans)
                if self.data:
                    await self._load(plans, reader)
                await self._finish(plans)
                if self.data and self.verify:
                    await self._verify(plans, reader)
                if not self.report.differences:
                    await self.target.drop_progress()
        self.report.seconds = perf_counter() - began
        return self.report

    async def compare(self, names: Sequence[str]) -> CopyReport:
        """Compare tables that are there on both sides."""
        began = perf_counter()
        async with self.source.snapshot() as reader:
            self._say_snapshot(reader)
            plans = await self._plans(names, reader)
            self._tell_of(plans)
            self._refuse_unfit()
            await self._verify(plans, reader)
        self.report.seconds = perf_counter() - began
        return self.report

    def _say_snapshot(self, reader: Reader) -> None:
        self.report.snapshot = reader.is_snapshot
        if not reader.is_snapshot:
            self.report.notes.append(
                "the source is not read as it is at one moment: let nobody write to it until the copy has ended"
            )

    # --- before anything is written ---------------------------------------------------------------------------------

    async def _look_back(self, names: Sequence[str]) -> None:
        """What earlier runs have left."""
        found = await self.target.open_progress()
        origin = self._origin()
        strangers = [name for name, row in found.items() if row.source != origin]
        if strangers:
            raise MigrationStateError(
                f"{self.target.label} has an interrupted copy of {len(strangers)} tables from another source, or with"
                " other options; finish that, or drop its table _copy_progress and what it has copied"
            )
        if self.resume:
            self._known = {name: row for name, row in found.items() if name in names}
        self._own = set(found)  # what the interrupted copy has made, and may be replaced
        self.report.resumed = bool(self._known)

    def _origin(self) -> str:
        what = ("schema" if self.schema else "", "data" if self.data else "")
        return sha256(f"{self.source.label} {what}".encode()).hexdigest()[:32]

    async def _plans(self, names: Sequence[str], reader: Reader) -> list[TablePlan]:
        tables = await self.source.tables(names)
        present = await self.target.table_names()
        there: dict[str, Table] = {} if self.schema else await self._there(names, present)
        if self.schema:
            self._refuse_existing([name for name in names if name in present])
        plans = []
        for table in tables:
            known = self._known.get(table.name)
            if known is not None and known.plan:
                plans.append(self._remembered(table, known))
                continue
            plan = await self._plan(table, there.get(table.name.lower()), reader)
            if self.schema:
                plan.unfaithful += [
                    Unfaithful(table.name, column, what, "rename it in the source, or leave the table out", True)
                    for column, what in self.target.impossible(table, names)
                ]
            plans.append(plan)
        return plans

    async def _there(self, names: Sequence[str], present: Sequence[str]) -> dict[str, Table]:
        by_name = {name.lower(): name for name in present}
        missing = [name for name in names if name.lower() not in by_name]
        if missing:
            raise UsageError(
                f"{self.target.label} has no table {', '.join(missing)}; create them, or copy the schema, too"
            )
        found = await self.target.tables([by_name[name.lower()] for name in names])
        return {table.name.lower(): table for table in found}

    def _refuse_existing(self, existing: Sequence[str]) -> None:
        strange = [name for name in existing if name not in self._own]
        if strange and self.on_existing != "replace":
            raise MigrationStateError(
                f"{self.target.label} has tables of these names already: {', '.join(strange)}; nothing was changed."
                " Copy the data alone into them (--data-only), have them replaced (--replace), or leave them out"
                " (--exclude)"
            )

    async def _plan(self, table: Table, there: Table | None, reader: Reader) -> TablePlan:
        def made(facts: dict[str, Facts] | None) -> TablePlan:
            if there is None or self.target.is_schemaless:
                return planned(table, self.source, self.target, facts)
            return matched(table, there, self.source, self.target)

        plan = made(None)
        if not (self.survey_values and self.data and plan.source.fields):
            return plan
        self.progress(Progress(f"survey {table.name}", 0, None))
        found = await survey(
            table, self.source, self.target, reader, plan.source, plan.target,
            created=there is None or self.target.is_schemaless, batch_rows=self.batch_rows,
            summed=self.verify and reader.is_snapshot,
        )  # fmt: skip
        plan = made(found.facts)
        plan.rows, plan.sums = found.rows, found.sums
        plan.unfaithful += found.unfaithful(table.name)
        self.progress(Progress(f"survey {table.name}", found.rows, found.rows))
        return plan

    def _remembered(self, table: Table, known: ProgressRow) -> TablePlan:
        """The plan of the run that was interrupted, whatever a survey would say now."""
        plan = TablePlan.from_text(table.name, known.plan)
        fresh = planned(table, self.source, self.target, None)
        plan.refers_to, plan.unfaithful = fresh.refers_to, fresh.unfaithful
        if self.schema and fresh.definition is not None:
            stored = {each.name: each.stored for each in plan.target.fields}
            columns = tuple(
                replace(kept, identity=column.identity and self.target.numbers(table, column, kept.type))
                for column, kept in (
                    (table.column(each.name), each.typed(stored.get(each.name, each.type)))
                    for each in fresh.definition.columns
                )
            )
            plan.definition = Table(
                fresh.definition.name, columns, fresh.definition.key, fresh.definition.indexes,
                fresh.definition.checks, fresh.definition.foreign_keys, fresh.definition.comment,
                fresh.definition.native,
            )  # fmt: skip
        return plan

    def _tell_of(self, plans: Sequence[TablePlan]) -> None:
        for plan in plans:
            self.report.unfaithful += sorted(plan.unfaithful, key=lambda each: (each.column or "", each.what))
            known = self._known.get(plan.name)
            rows = known.rows if known is not None else 0
            self.report.tables.append(TableCopy(plan.name, plan.columns, plan.rows, rows))

    def _refuse_unfit(self) -> None:
        prevented = [each for each in self.report.unfaithful if each.prevents]
        if prevented:
            raise CopyRefusedError(self.report, prevented)

    # --- writing ----------------------------------------------------------------------------------------------------

    async def _prepare(self, plans: Sequence[TablePlan]) -> None:
        """The progress table, and the tables."""
        if not self.schema:
            await self._refuse_rows([plan for plan in plans if plan.name not in self._known])
        await self.target.create_progress()
        origin = self._origin()
        waiting = [
            plan
            for group in in_order(plans)
            for plan in group
            if (known := self._known.get(plan.name)) is None or known.state == "planned"
        ]
        for plan in waiting:  # before the tables: so they are known to be ours if we die in between
            row = self._known[plan.name] = ProgressRow(plan.name, origin, plan=plan.to_text())
            await self.target.note(row)
        if self.schema:
            await self.target.drop_tables([plan.target.table for plan in waiting])
            for plan in waiting:
                assert plan.definition is not None  # of a copy with schema
                await self.target.create_table(plan.definition, self.source.words)
            return
        for plan in reversed(waiting):
            if self.on_existing == "replace" or plan.name in self._own:
                await self.target.clear_table(plan.target.table)

    async def _refuse_rows(self, plans: Sequence[TablePlan]) -> None:
        if self.on_existing == "replace":
            return
        strange = [plan.target.table for plan in plans if plan.name not in self._own]
        filled = [name for name in strange if not await self.target.is_empty(name)]
        if filled:
            raise MigrationStateError(
                f"{self.target.label} has rows already in {', '.join(filled)}; nothing was changed. Empty them, have"
                " their rows replaced (--replace), or leave them out (--exclude)"
            )

    async def _load(self, plans: Sequence[TablePlan], reader: Reader) -> None:
        def tell(what: str, done: int, total: int | None) -> None:
            self.progress(Progress(what, done, total))

        before = {plan.name: self._known[plan.name].rows for plan in plans}
        for group in in_order(plans):
            await load_group(group, reader, self.target, self._known, batch_rows=self.batch_rows, tell=tell)
        for copied in self.report.tables:
            copied.rows = self._known[copied.table].rows
            copied.rows_now = copied.rows - before[copied.table]

    async def _finish(self, plans: Sequence[TablePlan]) -> None:
        """What slows loading down, afterwards."""
        if not self.schema:
            return
        waiting = [plan for plan in plans if self._known[plan.name].state != "finished"]
        for plan in waiting:
            assert plan.definition is not None  # of a copy with schema
            self.progress(Progress(f"indexes of {plan.name}", 0, None, "indexes"))
            await self.target.finish_table(plan.definition, self.source.words)
            await self.target.number_on(plan.definition)
        copied = {plan.name for plan in plans}
        for plan in waiting:
            assert plan.definition is not None
            await self.target.add_foreign_keys(_without_strangers(plan.definition, copied))
        for plan in waiting:
            row = self._known[plan.name]
            row.state = "finished"
            await self.target.note(row)

    async def _verify(self, plans: Sequence[TablePlan], reader: Reader) -> None:
        def tell(what: str, done: int, total: int | None) -> None:
            self.progress(Progress(what, done, total))

        async with self.target.snapshot() as other:
            for plan, copied in zip(plans, self.report.tables, strict=True):
                sums, difference = await compared(plan, reader, other, batch_rows=self.batch_rows, tell=tell)
                copied.checksum, copied.verified = sums.checksum, difference is None
                if difference is not None:
                    self.report.differences.append(difference)


def _without_strangers(table: Table, copied: set[str]) -> Table:
    """Without foreign keys to tables that are not copied."""
    kept = tuple(each for each in table.foreign_keys if each.table in copied)
    return Table(table.name, table.columns, table.key, table.indexes, table.checks, kept, table.comment)


class CopyRefusedError(MigrationRefusedError):
    """Something cannot be carried, so that nothing was written. ``report`` has all of it, ``findings`` what prevents
    the copy."""

    def __init__(self, report: CopyReport, prevented: Sequence[Unfaithful]) -> None:
        self.report = report
        shown = "\n".join(f"  {each}" for each in prevented[:20])
        more = f"\n  and {len(prevented) - 20} more" if len(prevented) > 20 else ""
        super().__init__(f"nothing was copied: what follows does not fit {report.target}\n{shown}{more}", prevented)
