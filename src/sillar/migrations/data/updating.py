"""``batched_update``: what one run does to the rows of its batches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Select, Table, TableClause, func, literal, or_, select, update
from sqlalchemy.engine import Connection

from sillar.errors import UsageError
from sillar.migrations.data.expression import SQL, condition, kept_text, value_expression
from sillar.migrations.data.journal import BatchJournal
from sillar.migrations.data.key import Key, KeyValue
from sillar.migrations.data.place import Place, open_place
from sillar.migrations.data.report import BatchReport
from sillar.migrations.data.run import BatchRun, Work
from sillar.migrations.data.tables import TableName, load_key, load_table, offline_table, require_columns
from sillar.migrations.data.throttle import Throttle
from sillar.migrations.data.whole import dry_context, offline_context, run_dry, write_offline
from sillar.migrations.progress import Report, silent

PASSES_MAX: Final = 10


def batched_update(
    bind: Any,
    table: TableName,
    *,
    key: str | Sequence[str],
    values: Mapping[str, Any],
    where: SQL | None = None,
    remaining: SQL | None = None,
    verify: bool | None = None,
    batch_rows: int = 1000,
    throttle: Throttle | None = None,
    name: str | None = None,
    undo: Mapping[str, Any] | None = None,
    undo_where: SQL | None = None,
    keep_old: str | Mapping[str, str] | None = None,
    progress: Report | None = None,
    passes_max: int = PASSES_MAX,
    count: bool = True,
) -> BatchReport:
    """Update the rows of a table in short transactions, along a key; interrupted anywhere, the next call goes on behind
    the last batch that is committed, and no row is updated twice.

    Args:
        bind: ``alembic.op`` in a revision (whose transaction is committed before), or a synchronous SQLAlchemy
            connection without an open transaction. With ``--sql`` one plain UPDATE is written instead.
        table: ``"orders"``, ``"sales.orders"``, or a table of SQLAlchemy's.
        key: the column, or the columns in their order, that an index begins with; never NULL. It need not be unique.
        values: what columns are set to: a string is SQL (``"n + 1"``), so text is ``"'draft'"`` or
            ``literal("draft")``.
        where: which rows; SQL or an expression.
        remaining: which rows are still to be done; catching up goes by it. With ``verify``, the default is ``where``.
        verify: rows that came in behind, or were changed there by old code, are found and done, until ``remaining``
            (else ``where``) matches none. The update has to make it false. By default where ``remaining`` is given.
        batch_rows: how many entries of the key one batch passes, whether ``where`` picks them or not.
        throttle: pauses, size by time, replicas and load.
        name: of the run in the journal (``_migration_batches``); by default made of what is said here, so a change of
            the call is another run.
        undo: what :func:`undo_batches` sets columns to.
        undo_where: which of the rows in the ranges of the run it sets; needed with ``where`` and ``undo``.
        keep_old: the column (for several: of each column) in which the old value is kept, for undoing.
        progress: is told after each batch.
        passes_max: how many passes one call makes to catch up before it gives up (with the work kept).
        count: count rows before and after; False saves two scans of a large table.

    Raises:
        UsageError: the call, the key or the table does not fit; nothing was changed.
        MigrationStateError: rows remain after ``passes_max`` passes, or the journal has something else under the name.
        OverloadedError: the throttle waited too long; what is done is kept.
        sqlalchemy.exc.DBAPIError: the server refused a batch; those before it are kept.
    """
    names = key_names(key)
    if batch_rows < 1 or passes_max < 1:
        raise UsageError(f"batch_rows is {batch_rows} and passes_max {passes_max}; both are at least 1")
    if verify is None:
        verify = remaining is not None
    if verify and remaining is None and where is None:
        raise UsageError("verify=True needs where= or remaining=, which says what rows are still to be done")
    kept = {next(iter(values)): keep_old} if isinstance(keep_old, str) and len(values) == 1 else keep_old
    if isinstance(kept, str) or (kept is not None and undo is not None):
        raise UsageError("keep_old= names a column for each of several values, {column: old column}; and has no undo=")
    assigned = {*values, *(undo or {}), *(kept or {}).values()}
    if moved := [name for name in names if name in assigned]:
        raise UsageError(
            f"the batches go along {', '.join(moved)}, which this sets: rows would move ahead and be updated again."
            " Batch along another key, or set a new column and let it take the other's place"
        )
    if undo is not None and where is not None and undo_where is None:
        raise UsageError(
            "undo= with where= needs undo_where=: afterwards nothing else tells the rows that were updated from the"
            ' others (undo_where="true" for all of them)'
        )
    call = UpdateCall(values, where, remaining, verify, undo, undo_where, dict(kept or {}))
    if (context := offline_context(bind)) is not None:
        found = offline_table(table, [*names, *values, *call.kept.values()])
        return write_offline(context, name or f"update of {found.name}", call.statement(found))
    if (context := dry_context(bind)) is not None:
        loaded = load_table(bind.get_bind(), table)
        return run_dry(context, name or f"update of {loaded.name}", call.statement(loaded), call.counted(loaded))
    with open_place(bind) as place:
        with place.transaction() as connection:
            loaded = load_table(connection, table)
            columns = load_key(place, loaded, names)
            work = UpdateWork(place, loaded, Key(tuple(columns), place.dialect.compares_rows), names, call)
        journal = BatchJournal(work.default_name if name is None else name, place.schema)
        return BatchRun(
            place, work, journal, batch_rows, throttle or Throttle(), progress or silent, passes_max, count
        ).run()


def key_names(key: str | Sequence[str]) -> list[str]:
    """The columns of a key."""
    return [key] if isinstance(key, str) else list(key)


@dataclass(frozen=True)
class UpdateCall:
    """What a caller of :func:`batched_update` has said."""

    values: Mapping[str, Any]
    where: SQL | None
    remaining: SQL | None
    verify: bool
    undo: Mapping[str, Any] | None
    undo_where: SQL | None
    kept: Mapping[str, str]

    def statement(self, table: TableClause) -> Any:
        """One UPDATE of all rows."""
        statement = update(table).ordered_values(*self.assignments(table))
        return statement if self.where is None else statement.where(condition(self.where))

    def counted(self, table: TableClause) -> Select[Any]:
        """How many rows that are."""
        counted = select(func.count()).select_from(table)
        return counted if self.where is None else counted.where(condition(self.where))

    def assignments(self, table: TableClause) -> list[tuple[Any, Any]]:
        """What is set. Old values come first: MySQL assigns from left to right."""
        kept = [(table.c[old], table.c[name]) for name, old in self.kept.items()]
        return kept + [
            (table.c[name], value_expression(value, table.c[name].type)) for name, value in self.values.items()
        ]


class UpdateWork(Work):
    """An update of the rows of each batch.

    Args:
        place: where.
        table: with its columns.
        key: as it is compared.
        key_names: its columns.
        call: what the caller has said.
    """

    kind = "update"

    def __init__(self, place: Place, table: Table, key: Key, key_names: Sequence[str], call: UpdateCall) -> None:
        require_columns(table, list(call.values), "values")
        require_columns(table, [*call.kept.values(), *call.kept, *(call.undo or {}), *key_names], "undo")
        self.table, self.key, self.verified = table, key, call.verify
        self._names, self._call = list(key_names), call
        self._where = condition(call.where)
        self._remaining = condition(call.remaining) if call.remaining is not None else self._where
        self._update = update(table).ordered_values(*call.assignments(table))
        self._proven = False
        self._detail = self._describe(place)

    @property
    def default_name(self) -> str:
        """Made of what the call says."""
        return f"{self.kind} {self.table.name[:100]} {self._detail['fingerprint'][:12]}"

    def detail(self) -> dict[str, Any]:
        return self._detail

    def pending(self, pass_number: int) -> Any:
        return None if pass_number == 1 else self._remaining

    def apply(self, connection: Connection, between: Any, high: KeyValue, pass_number: int) -> int:
        picked = self._where if pass_number == 1 else self._remaining
        conditions = [between] if picked is None else [between, picked]
        self._refuse_null(connection, conditions)
        probe = self._probe(connection, conditions, high, pass_number) if self.verified else None
        rows = connection.execute(self._update.where(*conditions)).rowcount
        if probe is not None:
            left = select(literal(1)).select_from(self.table).where(self.key.equals(probe), self._remaining).limit(1)
            if connection.execute(left).first() is not None:
                raise UsageError(
                    f"rows of {self.table.name} are still to be done after the update, by"
                    f" {'remaining' if self._call.remaining is not None else 'where'}=; catching up would update them"
                    " again and again. This batch is rolled back. Give a remaining= that the update makes false, or"
                    " verify=False"
                )
            self._proven = True
        return rows

    def count_all(self, connection: Connection) -> int:
        return int(connection.execute(self._call.counted(self.table)).scalar_one())

    def count_remaining(self, connection: Connection) -> int | None:
        if self._remaining is None:
            return None
        counted = select(func.count()).select_from(self.table).where(self._remaining)
        return int(connection.execute(counted).scalar_one())

    def _probe(
        self, connection: Connection, conditions: list[Any], high: KeyValue, pass_number: int
    ) -> KeyValue | None:
        """The key of a row that will be updated, to see whether it counts as done then."""
        if pass_number > 1:
            return high
        if self._proven:
            return None
        row = connection.execute(select(*self.key.columns).select_from(self.table).where(*conditions).limit(1)).first()
        return None if row is None else tuple(row)

    def _refuse_null(self, connection: Connection, conditions: list[Any]) -> None:
        """An old value that is NULL cannot be told from one that was never kept."""
        nullable = [self.table.c[name] for name in self._call.kept if self.table.c[name].nullable]
        if not nullable:
            return
        found = (
            select(literal(1)).select_from(self.table).where(*conditions, or_(*(each.is_(None) for each in nullable)))
        )
        if connection.execute(found.limit(1)).first() is not None:
            raise UsageError(
                f"{self.table.name} has rows to be updated whose old value is NULL, and keep_old= could not tell them"
                ' from rows that were not updated: leave them out (where="… IS NOT NULL") and update them by'
                " another call with undo="
            )

    def _describe(self, place: Place) -> dict[str, Any]:
        dialect, call = place.connection.dialect, self._call
        said = {
            "kind": self.kind,
            "table": [self.table.schema, self.table.name],
            "key": self._names,
            "values": {name: kept_text(value, dialect) for name, value in call.values.items()},
            "where": None if call.where is None else kept_text(call.where, dialect),
            "remaining": None if call.remaining is None else kept_text(call.remaining, dialect),
            "kept": dict(call.kept),
        }
        undo: dict[str, Any] | None = None
        where = None if call.undo_where is None else kept_text(call.undo_where, dialect)
        if call.undo is not None:
            undo = {"set": {name: kept_text(value, dialect) for name, value in call.undo.items()}, "where": where}
        elif call.kept:
            quote = dialect.identifier_preparer.quote
            keeps = " OR ".join(f"{quote(old)} IS NOT NULL" for old in call.kept.values())
            restored = {name: quote(old) for name, old in call.kept.items()}
            undo = {
                "set": {**restored, **dict.fromkeys(call.kept.values(), "NULL")},
                "where": keeps if where is None else f"({keeps}) AND ({where})",
            }
        fingerprint = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
        summary = f"update of {self.table.name}: {', '.join(call.values)}"
        undone = {"undo_table": said["table"], "undo_key": said["key"]}
        return {**said, "fingerprint": fingerprint, "summary": summary, "undo": undo, **undone}
