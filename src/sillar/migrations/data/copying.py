"""``batched_copy``: what one run does with the rows of its batches, within one database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import (
    JSON,
    Select,
    Table,
    TableClause,
    Text,
    and_,
    cast,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.engine import Connection, Dialect

from sillar.errors import UsageError
from sillar.migrations.data.expression import SQL, condition, kept_text, value_expression
from sillar.migrations.data.journal import BatchJournal
from sillar.migrations.data.key import Key, KeyValue
from sillar.migrations.data.place import Place, open_place
from sillar.migrations.data.report import BatchReport
from sillar.migrations.data.run import BatchRun, Work
from sillar.migrations.data.tables import (
    TableName,
    is_indexed,
    load_key,
    load_table,
    offline_table,
    require_columns,
)
from sillar.migrations.data.throttle import Throttle
from sillar.migrations.data.updating import PASSES_MAX, key_names
from sillar.migrations.data.whole import dry_context, offline_context, run_dry, write_offline
from sillar.migrations.progress import Report, silent


def batched_copy(
    bind: Any,
    source: TableName,
    target: TableName,
    *,
    columns: Mapping[str, Any] | Sequence[str],
    key: str | Sequence[str],
    where: SQL | None = None,
    existing: Literal["keep", "update"] = "keep",
    verify: bool | None = None,
    batch_rows: int = 1000,
    throttle: Throttle | None = None,
    name: str | None = None,
    undo: Literal["delete copied"] | None = None,
    undo_where: SQL | None = None,
    progress: Report | None = None,
    passes_max: int = PASSES_MAX,
    count: bool = True,
) -> BatchReport:
    """Copy rows of one table to another of the same database in short transactions, along a key; interrupted anywhere,
    the next call goes on behind the last batch that is committed, and no row is copied twice.

    Args:
        bind: as for `batched_update`. With ``--sql`` one plain INSERT … SELECT is written instead.
        source: where rows come from.
        target: where they go to, a table that is there.
        columns: ``{column of the target: expression over the source}`` (a string is SQL), or names that are the same in
            both.
        key: the columns of the source that batches go along; an index begins with them. Where they are among
            ``columns`` as they are, rows are recognized in the target: by that the copy catches up and is verified.
        where: which rows of the source.
        existing: what happens to rows that are in the target already, by their key: ``keep`` them (code that writes
            both has the newer ones), or ``update`` them (the source has).
        verify: go through the source again until every row is in the target (``update``: with the same values). By
            default where the key is among ``columns``.
        batch_rows, throttle, name, progress, passes_max, count: as for `batched_update`.
        undo: ``"delete copied"``: `undo_batches` deletes the rows of the target in the ranges of the run.
        undo_where: leaves rows of the target out of that, which others wrote.

    Raises:
        as `batched_update`.
    """
    names = key_names(key)
    mapping = dict(columns) if isinstance(columns, Mapping) else {each: each for each in columns}
    call = CopyCall(names, mapping, where, existing)
    if existing not in ("keep", "update"):
        raise UsageError(f"existing is {existing!r}; it is 'keep' or 'update'")
    if batch_rows < 1 or passes_max < 1:
        raise UsageError(f"batch_rows is {batch_rows} and passes_max {passes_max}; both are at least 1")
    matches = len(call.target_key) == len(names)
    if not matches and (verify or existing == "update" or undo):
        raise UsageError(
            f"verify=True, existing='update' and undo= recognize rows by their key: have {', '.join(names)} among"
            " the columns"
        )
    if undo is not None and (undo != "delete copied" or existing == "update"):
        raise UsageError("undo= of a copy is 'delete copied', and with existing='update' there is none")
    if (context := offline_context(bind)) is not None:
        from_, to = offline_table(source, names), offline_table(target, list(mapping))
        return write_offline(context, name or f"copy of {from_.name}", call.insertion(from_, to))
    if (context := dry_context(bind)) is not None:
        connection = bind.get_bind()
        from_, to = load_table(connection, source), load_table(connection, target)
        return run_dry(context, name or f"copy of {from_.name}", call.insertion(from_, to), call.counted(from_))
    with open_place(bind) as place:
        with place.transaction() as connection:
            from_, to = load_table(connection, source), load_table(connection, target)
            verified = matches if verify is None else verify
            work = CopyWork(place, from_, to, call, verified, undo is not None, undo_where)
        journal = BatchJournal(work.default_name if name is None else name, place.schema)
        return BatchRun(
            place, work, journal, batch_rows, throttle or Throttle(), progress or silent, passes_max, count
        ).run()


@dataclass(frozen=True)
class CopyCall:
    """What a caller of :func:`batched_copy` has said."""

    key: Sequence[str]
    columns: Mapping[str, Any]
    where: SQL | None
    existing: str

    @property
    def target_key(self) -> list[str]:
        """The columns of the target that are the key, as far as they are there."""
        found = {
            getattr(source, "name", source): name
            for name, source in reversed(list(self.columns.items()))
            if _is_name(source)
        }
        return [found[name] for name in self.key if name in found]

    def rows(self, source: TableClause, *conditions: Any) -> Any:
        """The rows of the source as they belong in the target, as a table; expressions see the source alone."""
        picked = [*conditions] if self.where is None else [*conditions, condition(self.where)]
        expressions = []
        for name, given in self.columns.items():
            expression = source.c[given] if isinstance(given, str) and given in source.c else value_expression(given)
            expressions.append(expression.label(name))
        return select(*expressions).select_from(source).where(*picked).subquery("rows_")

    def insertion(self, source: TableClause, target: TableClause, *conditions: Any) -> Any:
        """INSERT … SELECT of the rows that are not there."""
        rows = self.rows(source, *conditions)
        chosen = select(*rows.c)
        if len(self.target_key) == len(self.key):
            chosen = chosen.where(~self.found(rows, target))
        return insert(target).from_select(list(self.columns), chosen, include_defaults=False)

    def found(self, rows: Any, target: TableClause) -> Any:
        """Whether a row of :meth:`rows` is in the target."""
        there = target.alias("there_")
        return exists(
            select(literal(1)).select_from(there).where(*(there.c[each] == rows.c[each] for each in self.target_key))
        )

    def differs(self, rows: Any, target: Any) -> Any:
        """Whether two rows with the same key have different values."""
        return or_(
            *(
                _comparable(target.c[name]).is_distinct_from(_comparable(rows.c[name], target.c[name]))
                for name in self.columns
                if name not in self.target_key
            )
        )

    def counted(self, source: TableClause) -> Select[Any]:
        """How many rows are to be copied."""
        counted = select(func.count()).select_from(source)
        return counted if self.where is None else counted.where(condition(self.where))


class CopyWork(Work):
    """A copy of the rows of each batch.

    Args:
        place: where.
        source: with its columns.
        target: with its columns.
        call: what the caller has said.
        verified: every row is there when the run has finished.
        deletes: undoing deletes what was copied.
        undo_where: of that.
    """

    kind = "copy"

    def __init__(
        self, place: Place, source: Table, target: Table, call: CopyCall, verified: bool, deletes: bool, undo_where: Any
    ) -> None:
        if (source.schema, source.name) == (target.schema, target.name):
            raise UsageError(f"{source.name} would be copied to itself, without end; copy to another table")
        require_columns(target, list(call.columns), "columns")
        self.table, self.verified = source, verified
        self.key = Key(tuple(load_key(place, source, call.key)), place.dialect.compares_rows)
        self._target, self._call = target, call
        self._matches = self.repeats_conflicts = len(call.target_key) == len(call.key)
        if self._matches and not is_indexed(place.connection, target, call.target_key):
            raise UsageError(
                f"{target.name} has no index that begins with ({', '.join(call.target_key)}), by which copied rows are"
                " found again: give it its primary key first"
            )
        self._updates = call.existing == "update" and len(call.columns) > len(call.target_key)
        self._detail = self._describe(place.connection.dialect, deletes, undo_where)

    @property
    def default_name(self) -> str:
        """Made of what the call says."""
        return f"{self.kind} {self.table.name[:60]} {self._target.name[:60]} {self._detail['fingerprint'][:12]}"

    def detail(self) -> dict[str, Any]:
        return self._detail

    def pending(self, pass_number: int) -> Any:
        if pass_number == 1:
            return None
        keys = select(*(each for each in self._undone().c))
        return (self.key.columns[0] if len(self.key.columns) == 1 else tuple_(*self.key.columns)).in_(keys)

    def apply(self, connection: Connection, between: Any, high: KeyValue, pass_number: int) -> int:
        changed = self._update(connection, between) if self._updates else 0
        return changed + connection.execute(self._call.insertion(self.table, self._target, between)).rowcount

    def count_all(self, connection: Connection) -> int:
        return int(connection.execute(self._call.counted(self.table)).scalar_one())

    def count_remaining(self, connection: Connection) -> int | None:
        if not self._matches:
            return None
        return int(connection.execute(select(func.count()).select_from(self._undone())).scalar_one())

    def count_different(self, connection: Connection) -> int | None:
        if not self._matches or len(self._call.columns) == len(self._call.target_key):
            return None
        rows, there = self._call.rows(self.table), self._target.alias("target_")
        joined = rows.join(there, self._same_key(rows, there))
        counted = select(func.count()).select_from(joined).where(self._call.differs(rows, there))
        return int(connection.execute(counted).scalar_one())

    def _undone(self) -> Any:
        """The keys of rows that are not in the target, or not as they should be."""
        rows, there = self._call.rows(self.table), self._target.alias("target_")
        names = self._call.target_key
        missing = there.c[names[0]].is_(None)
        keys = select(*(rows.c[each] for each in names)).select_from(rows.outerjoin(there, self._same_key(rows, there)))
        return keys.where(or_(missing, self._call.differs(rows, there)) if self._updates else missing).subquery(
            "undone_"
        )

    def _update(self, connection: Connection, between: Any) -> int:
        """Give rows that are in the target already the values of the source, where these differ."""
        call, target = self._call, self._target
        rows = call.rows(self.table, between)
        same = self._same_key(rows, target)
        values = {
            name: select(rows.c[name]).where(same).correlate(target).scalar_subquery()
            for name in call.columns
            if name not in call.target_key
        }
        changed = exists(select(literal(1)).select_from(rows).where(same, call.differs(rows, target)).correlate(target))
        return connection.execute(update(target).values(values).where(changed)).rowcount

    def _same_key(self, rows: Any, target: Any) -> Any:
        return and_(*(target.c[each] == rows.c[each] for each in self._call.target_key))

    def _describe(self, dialect: Dialect, deletes: bool, undo_where: Any) -> dict[str, Any]:
        call = self._call
        said = {
            "kind": self.kind,
            "table": [self.table.schema, self.table.name],
            "target": [self._target.schema, self._target.name],
            "key": list(call.key),
            "columns": {name: kept_text(value, dialect) for name, value in call.columns.items()},
            "where": None if call.where is None else kept_text(call.where, dialect),
            "existing": call.existing,
        }
        where = None if undo_where is None else kept_text(undo_where, dialect)
        return {
            **said,
            "fingerprint": hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest(),
            "summary": f"copy of {self.table.name} to {self._target.name}",
            "undo": {"where": where} if deletes else None,
            "undo_table": said["target"],
            "undo_key": call.target_key,
        }


def _is_name(expression: Any) -> bool:
    return isinstance(expression, str) or hasattr(expression, "name")


def _comparable(column: Any, like: Any = None) -> Any:
    """A value as it can be compared: JSON has no equality everywhere."""
    return cast(column, Text) if isinstance((column if like is None else like).type, JSON) else column
