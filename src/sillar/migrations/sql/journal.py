"""How far a migration has come, where its transaction does not say: a rerun skips what is done.

One row for each migration that is under way: how many of its statements are done, a digest of these, and the statement
that is in flight. There are three kinds of statements:

- In the migration's transaction (all of PostgreSQL and SQLite, DML of MySQL): nothing is written until that transaction
  is committed before the migration is done (``autocommit_block``, MySQL's DDL); the row is written in it, just before.
- Without a transaction, though it could have one (most of what stands in an ``autocommit_block``): it gets one of its
  own, together with the row.
- Alone (MySQL's DDL, ``CREATE INDEX CONCURRENTLY``): it is announced, with what the catalogue says before it, then
  sent, then marked. Where the connection or the process ends before the mark, the next run finds it in flight, and the
  dialect looks into the catalogue what became of it. It can, because nobody else is migrating, and because the
  migrators' lock is held by the session that the statement ran in: as long as it still runs, nobody gets the lock.

A statement that the server has refused is not in flight any more, so an error is never taken for an old success.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, time
from typing import Any, Final
from uuid import UUID

from sqlalchemy import delete, event, insert, select, update
from sqlalchemy.engine import Connection

from sillar.errors import MigrationStateError
from sillar.migrations.sql.connections import code_of
from sillar.migrations.sql.dialects import MigrationDialect, Verdict
from sillar.migrations.sql.statement import ends_transaction, is_step, is_temporary
from sillar.migrations.sql.tables import HistoryTables, now

_KEY: Final = "sillar.migrations.journal"
_SHOWN: Final = 200
Send = Callable[[], None]


class StoppedError(Exception):
    """Whoever started the run has left."""


@dataclass
class Journal:
    """Accounts for the statements of one migration.

    Args:
        connection: that the migration runs on.
        dialect: what is particular to the database.
        tables: where the row is.
        version: the migration.
        direction: ``up`` or ``down``.
        row: that an interrupted run has left, if there is one.
        patience_seconds: how long a statement that keeps nobody waiting may wait for others.
        in_one_transaction: whoever called has a transaction around everything (a dry run): no row is needed.

    Attributes:
        sent: statements seen so far, those that were skipped among them.
        last: the beginning of the last one.
        cleared: what was removed that a refused statement had left.
    """

    connection: Connection
    dialect: MigrationDialect
    tables: HistoryTables
    version: str
    direction: str
    row: Mapping[str, Any] | None = None
    patience_seconds: float = 60.0
    in_one_transaction: bool = False
    sent: int = 0
    last: str = ""
    cleared: str = ""
    _is_text_commit: bool = False
    _busy: bool = False
    _written: int = 0
    _has_row: bool = False
    _digest: Any = field(default_factory=hashlib.sha256)
    _digest_before: str = ""

    def __post_init__(self) -> None:
        row = self.row
        if row is None:
            self._done = self._digested = 0
            return
        if row["direction"] != self.direction:
            raise MigrationStateError(
                f"migration {self.version} was interrupted on its way {row['direction']}, after {row['done']}"
                f" statements: finish that first (`sillar {'upgrade' if row['direction'] == 'up' else 'downgrade'}"
                f" {self.version if row['direction'] == 'up' else '-1'}`)"
            )
        self._has_row = True
        self._done = self._written = row["done"]
        self._digested = row["digested"]

    # --- for whoever runs the migration -------------------------------------------------------------------------------

    @property
    def done(self) -> int:
        """How many statements are recorded as done, and stay if the current transaction is rolled back."""
        return self._written

    @property
    def kept(self) -> bool:
        """Whether some of its statements stay if the current transaction is rolled back."""
        return self._written > 0

    @property
    def is_replaying(self) -> bool:
        """Whether nothing was sent yet beyond what an interrupted run had done."""
        return self._done > 0 and self.sent <= self._done

    def finish(self) -> None:
        """Remove the row, in the transaction that records the migration."""
        if self.sent < max(self._done, self._digested):
            raise self._other(f"it ends after {self.sent} now")
        if self._is_text_commit:  # what records the migration has to be one transaction again
            with self.apart():
                self.connection.exec_driver_sql("BEGIN")
        if self._has_row:
            with self.apart():
                self.connection.execute(delete(self.tables.journal).where(self._mine))

    def note_commit(self) -> None:
        """What was sent so far is about to be committed, before the migration is done."""
        if not self._busy and not self.in_one_transaction and self.sent > self._written and not self._is_autocommit():
            self._write(done=self.sent)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Within the block, statements are no steps of the migration."""
        busy, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = busy

    # --- statements ---------------------------------------------------------------------------------------------------

    def take(self, cursor: Any, statement: str, parameters: Any, context: Any, send: Send) -> bool | None:
        """Called with each statement before it is sent. True: it is sent already, or need not be."""
        if self._busy or context.root_connection is not self.connection:
            return None
        if not is_step(statement):
            self._take_other(statement)
            return None
        number = self.sent
        self.sent += 1
        self.last = " ".join(statement.split())[:_SHOWN]
        self._digest_before = self._digest.hexdigest()
        self._digest.update(f"{len(statement)}:{statement}:{_steady(parameters)}".encode())
        if self.sent == self._digested and self.row is not None and self._digest.hexdigest() != self.row["digest"]:
            raise self._other("what it sends now is something else")
        if number < self._done:
            self._skip(cursor, statement, context)
            return True
        if self.in_one_transaction:
            return None
        autocommit = self._is_autocommit()
        alone = self.dialect.stands_alone(statement, autocommit=autocommit)
        in_flight = self.row["in_flight"] if self.row is not None and number == self._done else None
        if in_flight is not None and self._is_settled(statement):
            return True
        if alone:
            self._send_alone(statement, send)
            return True
        if autocommit:
            self._send_with_mark(send)
            return True
        return None

    def _take_other(self, statement: str) -> None:
        if self.in_one_transaction or not ends_transaction(statement):
            return
        self.note_commit()
        if self.dialect.transactional_ddl:  # MySQL's sessions begin a new one by themselves
            self._is_text_commit = statement.split()[0].upper().rstrip(";") in ("COMMIT", "END")

    def _skip(self, cursor: Any, statement: str, context: Any) -> None:
        if is_temporary(statement):
            raise self._other(f"statement {self.sent} made something temporary, which is gone")
        compiled = context.compiled
        implicit = () if compiled is None else getattr(compiled, "implicit_returning", None) or ()
        if implicit:  # nobody has asked for the new key; SQLAlchemy wants a row
            cursor.execute(f"SELECT {', '.join('NULL' for _ in implicit)}")

    def _send_with_mark(self, send: Send) -> None:
        """Send a statement and the row in a transaction of their own."""
        had_row, before = self._has_row, self._written
        try:
            with self._own_transaction():
                send()
                self._write(done=self.sent)
        except BaseException:
            self._has_row, self._written = had_row, before
            raise

    @contextmanager
    def _own_transaction(self) -> Iterator[None]:
        """Within the block, a connection that commits each statement has a transaction."""
        connection = self.connection
        dialect, raw = connection.dialect, connection.connection
        if self._is_text_commit:  # SQLAlchemy believes that its transaction goes on
            self._ask("BEGIN")
            try:
                yield
            except Exception:
                if not connection.invalidated:
                    self._ask("ROLLBACK")
                raise
            self._ask("COMMIT")
            return
        level: Any = connection.default_isolation_level or "SERIALIZABLE"
        dialect.set_isolation_level(raw.dbapi_connection, level)  # type: ignore[arg-type]
        try:
            yield
            dialect.do_commit(raw)
        except Exception:
            if not connection.invalidated:
                dialect.do_rollback(raw)
            raise
        finally:
            if not connection.invalidated:
                dialect.set_isolation_level(raw.dbapi_connection, "AUTOCOMMIT")  # type: ignore[arg-type]

    def _send_alone(self, statement: str, send: Send) -> None:
        """Announce, send, mark."""
        before = self._written
        evidence = self.dialect.evidence(self._ask, statement)
        self._write(done=self.sent - 1, in_flight=statement, evidence=evidence)
        try:
            with self.dialect.patient(self._ask, statement, self.patience_seconds):
                send()
        except Exception as error:
            if self._is_reply(error):
                self.cleared = self.dialect.clear(self._ask, statement, evidence)
                self._note_refusal()
            else:
                self._written = before
            raise
        self._write(done=self.sent)
        self._commit()

    def _note_refusal(self) -> None:
        """The last statement is not in flight any more. What was sent before it in the transaction stays."""
        self._write(done=self.sent - 1)
        if not self._written:
            with self.apart():
                self.connection.execute(delete(self.tables.journal).where(self._mine))
            self._has_row = False
        self._commit()

    def _is_settled(self, statement: str) -> bool:
        """Find out about the statement in flight: True: it was applied. In the transaction that is open."""
        assert self.row is not None
        verdict = self.dialect.settle(self._ask, statement, self.row["evidence"] or "")
        if verdict is Verdict.UNKNOWN:
            journal = self.tables.journal.name
            raise MigrationStateError(
                f"migration {self.version} was interrupted in statement {self.sent} ({self.last}), and nobody can tell"  # noqa: S608 - words for a person
                f" whether that was applied: look, and if it was, UPDATE {journal} SET done = {self.sent}, in_flight ="
                f" NULL WHERE version = '{self.version}'; if not, the same without done; then run it again"
            )
        if verdict is Verdict.AGAIN:
            return False
        if verdict is Verdict.AGAIN_OR_ALREADY:
            try:
                self._ask(statement)
            except Exception as error:
                if code_of(error) not in self.dialect.already_codes:
                    if self._is_reply(error):
                        self._note_refusal()
                    raise
        self._write(done=self.sent)
        self._commit()
        return True

    # --- within -------------------------------------------------------------------------------------------------------

    @property
    def _mine(self) -> Any:
        return self.tables.journal.c.version == self.version

    def _write(self, *, done: int, in_flight: str | None = None, evidence: str | None = None) -> None:
        journal = self.tables.journal
        with_last = done == self.sent or in_flight is not None  # one that was refused may come corrected
        values = {
            "direction": self.direction,
            "done": done,
            "digested": self.sent if with_last else done,
            "digest": self._digest.hexdigest() if with_last else self._digest_before,
            "in_flight": in_flight,
            "evidence": evidence,
            "at": now(),
        }
        with self.apart():
            if self._has_row:
                self.connection.execute(update(journal).where(self._mine).values(**values))
            else:
                self.connection.execute(insert(journal).values(version=self.version, **values))
        self._has_row, self._written = True, done

    def _commit(self) -> None:
        """Commit what a statement that stands alone has not: the mark. SQLAlchemy's own transaction goes on."""
        if not self._is_autocommit():
            self.connection.dialect.do_commit(self.connection.connection)

    def _ask(self, sql: str) -> Any:
        with self.apart():
            result = self.connection.exec_driver_sql(sql)
            return result.all() if result.returns_rows else []

    def _is_autocommit(self) -> bool:
        if self._is_text_commit:
            return True
        return self.connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"

    def _is_reply(self, error: Exception) -> bool:
        """Whether the server has answered a statement with an error, so that it is certainly not applied."""
        code = code_of(error)
        return code is not None and code not in self.dialect.lost_codes and not self.connection.invalidated

    def _other(self, how: str) -> MigrationStateError:
        return MigrationStateError(
            f"migration {self.version} was interrupted after {self._done} statements, and {how}: it was edited, or what"  # noqa: S608 - words for a person
            " it sends depends on data; restore the file that was begun, or finish it by hand, DELETE FROM"
            f" {self.tables.journal.name} WHERE version = '{self.version}', and `sillar stamp {self.version}`"
        )


class Watch:
    """Shows the statements of a connection to the journal of the migration that is running on it.

    Args:
        connection: of the run.

    Attributes:
        journal: of the migration that is running; None between migrations.
        is_left: whoever started the run has left: the next statement is not sent.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.journal: Journal | None = None
        self.is_left = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Within the block it is told of the statements."""
        engine, connection = self.connection.engine, self.connection
        listeners: list[tuple[Any, str, Callable[..., Any]]] = [
            (engine, "do_execute", self._execute),
            (engine, "do_executemany", self._execute_many),
            (engine, "do_execute_no_params", self._execute_no_params),
            (connection, "commit", self._commit),
        ]
        for target, name, function in listeners:
            event.listen(target, name, function)
        connection.info[_KEY] = self
        try:
            yield
        finally:
            for target, name, function in listeners:
                event.remove(target, name, function)
            if not connection.closed and not connection.invalidated:
                connection.info.pop(_KEY, None)

    def _execute(self, cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
        return self._take(
            cursor,
            statement,
            parameters,
            context,
            lambda: context.dialect.do_execute(cursor, statement, parameters, context),
        )

    def _execute_many(self, cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
        return self._take(
            cursor,
            statement,
            parameters,
            context,
            lambda: context.dialect.do_executemany(cursor, statement, parameters, context),
        )

    def _execute_no_params(self, cursor: Any, statement: str, context: Any) -> bool | None:
        return self._take(
            cursor, statement, (), context, lambda: context.dialect.do_execute_no_params(cursor, statement, context)
        )

    def _take(self, cursor: Any, statement: str, parameters: Any, context: Any, send: Send) -> bool | None:
        if self.journal is None or context.root_connection is not self.connection:
            return None
        if self.is_left and not self.journal._busy:
            raise StoppedError
        return self.journal.take(cursor, statement, parameters, context, send)

    def _commit(self, connection: Connection) -> None:
        if self.journal is not None:
            self.journal.note_commit()


def rows_of(connection: Connection, tables: HistoryTables) -> dict[str, Mapping[str, Any]]:
    """What interrupted runs have left, by version; the tables are created where they are not there. Commits."""
    tables.create(connection)
    rows = connection.execute(select(tables.journal)).mappings().all()
    connection.commit()
    return {row["version"]: dict(row) for row in rows}


@contextmanager
def not_journalled(connection: Connection) -> Iterator[None]:
    """Within the block, the statements of a connection are no steps of the migration that is running on it: for work
    that keeps account of itself, and may commit."""
    watch: Watch | None = connection.info.get(_KEY)
    journal = None if watch is None else watch.journal
    if journal is None or journal._busy:
        yield
        return
    journal.note_commit()
    with journal.apart():
        yield


def _steady(parameters: Any) -> str:
    """Parameters as far as they are the same when a migration is run again: no times, no new identifiers."""
    if isinstance(parameters, Mapping):
        return f"{{{','.join(f'{key}:{_steady(value)}' for key, value in parameters.items())}}}"
    if isinstance(parameters, list | tuple):
        return f"[{','.join(map(_steady, parameters))}]"
    if isinstance(parameters, datetime | time | UUID):
        return type(parameters).__name__
    return repr(parameters)


__all__ = ["Journal", "StoppedError", "Watch", "not_journalled", "rows_of"]
