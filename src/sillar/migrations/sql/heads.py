"""Where a database is: its versions and the entry of the log, written together in the transaction of a migration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from alembic.runtime.migration import HeadMaintainer, MigrationContext
from sqlalchemy import bindparam, delete, insert, literal_column, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.util import await_only

from sillar.errors import ConnectionLostError, MigrationStateError
from sillar.migrations.applied import AppliedMigration
from sillar.migrations.sql.connections import lent_by_sillar
from sillar.migrations.sql.dialects import MigrationDialect
from sillar.migrations.sql.tables import HistoryTables

_BEFORE: Final = "version_before"
_AFTER: Final = "version_after"
_COUNTED: Final = {"preserve_rowcount": True}


@dataclass(frozen=True)
class _Prepared:
    """A statement that is compiled once for the whole run."""

    statement: Any
    sql: str
    names: tuple[str, ...]
    processors: Mapping[str, Callable[[Any], Any]]

    @classmethod
    def of(cls, statement: Any, connection: Connection) -> _Prepared:
        dialect = connection.dialect
        compiled = statement.compile(dialect=dialect)
        found = {name: bind.type.dialect_impl(dialect).bind_processor(dialect) for name, bind in compiled.binds.items()}
        processors = {name: processor for name, processor in found.items() if processor is not None}
        return cls(statement, str(compiled), tuple(compiled.positiontup or ()), processors)

    def values(self, given: Mapping[str, Any]) -> list[Any]:
        """In the order of the driver's placeholders, as it takes them."""
        as_it_is: Callable[[Any], Any] = lambda value: value  # noqa: E731 - shorter than a function
        return [self.processors.get(name, as_it_is)(given[name]) for name in self.names]


class Heads(HeadMaintainer):
    """Alembic's account of the heads, in which the changes of one migration wait for the entry of the log.

    Alembic writes each version as text, which has to be compiled and prepared each time. Here the statements are the
    same for the whole run, with parameters; and where the server can do both in one statement, one is sent.

    Args:
        context: of the run.
        heads: that the database is at.
        tables: where the log is.
        dialect: what is particular to the database.
    """

    def __init__(
        self, context: MigrationContext, heads: tuple[str, ...], tables: HistoryTables, dialect: MigrationDialect
    ) -> None:
        super().__init__(context, heads)
        self._tables, self._dialect = tables, dialect
        self._changes: list[tuple[str | None, str | None]] = []
        self._prepared: dict[tuple[str, bool], _Prepared] = {}

    # --- as Alembic calls it ------------------------------------------------------------------------------------------

    def _insert_version(self, version: str) -> None:
        self._note(None, version)

    def _delete_version(self, version: str) -> None:
        self._note(version, None)

    def _update_version(self, from_: str, to_: str) -> None:
        self._note(from_, to_)

    def _note(self, before: str | None, after: str | None) -> None:
        if before is not None:
            self.heads.remove(before)
        if after is not None:
            assert after not in self.heads
            self.heads.add(after)
        self._changes.append((before, after))

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, entry: AppliedMigration | None = None) -> None:
        """Write what has changed, and the entry, in the transaction that the connection is in.

        Raises:
            MigrationStateError: the database is not where it was.
        """
        changes, self._changes = self._changes, []
        values = {} if entry is None else self._tables.values(entry)
        together = entry is not None and len(changes) == 1 and self._dialect.writes_in_queries
        for before, after in changes:
            given = {key: value for key, value in ((_BEFORE, before), (_AFTER, after)) if value is not None}
            kind = "insert" if before is None else "delete" if after is None else "update"
            count = self._send(kind, together, {**given, **values} if together else given)
            if before is not None and count != 1 and self.context.dialect.supports_sane_rowcount:
                raise MigrationStateError(
                    f"{self.context.version_table} has {count} rows of {before or after} and not one: somebody has"
                    " migrated with other means meanwhile, or the migration itself wrote there: look with `sillar"
                    " current`, then run it again, or say where the database is with `sillar stamp`"
                )
        if entry is not None and not together:
            self._send("log", False, values)

    def _send(self, kind: str, with_entry: bool, values: Mapping[str, Any]) -> int:
        connection = self.context.connection
        assert connection is not None  # only offline there is none
        found = self._prepared.get((kind, with_entry))
        if found is None:
            found = _Prepared.of(self._statement(kind, with_entry), connection)
            self._prepared[kind, with_entry] = found
        lent = lent_by_sillar(connection)
        if lent is None or not (self._dialect.records_directly and lent.in_transaction):
            return connection.execute(found.statement, values, execution_options=_COUNTED).rowcount
        args = found.values(values)
        try:
            reply = await_only(lent.watched(found.sql, lambda text: lent.physical.run(text, args)))
        except ConnectionLostError:
            connection.invalidate()  # SQLAlchemy was not told
            raise
        return int(reply.rows_affected)

    def _statement(self, kind: str, with_entry: bool) -> Any:
        version, log = self.context._version, self._tables.log
        here = version.c.version_num == bindparam(_BEFORE)
        statement: Any = {
            "insert": insert(version).values(version_num=bindparam(_AFTER)),
            "update": update(version).where(here).values(version_num=bindparam(_AFTER)),
            "delete": delete(version).where(here),
            "log": insert(log).inline().values({name: bindparam(name) for name in AppliedMigration.__slots__}),
        }[kind]
        if not with_entry:
            return statement
        changed = statement.returning(literal_column("1")).cte("changed")
        entry = select(*(bindparam(name, type_=log.c[name].type) for name in AppliedMigration.__slots__))
        return insert(log).from_select(list(AppliedMigration.__slots__), entry.select_from(changed))


__all__ = ["Heads"]
