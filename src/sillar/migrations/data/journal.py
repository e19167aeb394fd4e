"""``_migration_batches``: which batches of a run are committed, written in the transaction of each.

Row 0 of a name is the run: ``last_number`` is what its batches claim, one after the other, so that of two processes at
the same run only one can commit a batch; ``detail`` is what undoing needs. The rows from 1 on are its batches.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from sillar.errors import UsageError
from sillar.migrations.data.key import KeyValue, decode_key, encode_key
from sillar.migrations.names import BATCHES_TABLE

JOURNAL_TABLE: Final = BATCHES_TABLE
"""The table's name; autogenerate leaves it alone."""
NAME_LENGTH_MAX: Final = 180
RUNNING, FINISHED, UNDOING, UNDONE, DONE = "running", "finished", "undoing", "undone", "done"


@dataclass
class RunState:
    """What the journal has of a run.

    Attributes:
        state: of the run.
        last_number: its last batch.
        pass_number: the pass that its last batch belongs to.
        cursor: the key up to which that pass has come; None: it is to begin.
        rows_done: by all batches.
        detail: what was declared.
    """

    state: str
    last_number: int
    pass_number: int
    cursor: KeyValue | None
    rows_done: int
    detail: dict[str, Any]


@dataclass(frozen=True)
class JournaledBatch:
    """A committed batch."""

    number: int
    pass_number: int
    low: KeyValue | None
    high: KeyValue
    rows: int


class BatchJournal:
    """The journal of one run.

    Args:
        name: of the run.
        schema: where the table is; None: where unqualified names lead.
    """

    def __init__(self, name: str, schema: str | None = None) -> None:
        if not name or len(name) > NAME_LENGTH_MAX:
            raise UsageError(f"the name of a run has 1 to {NAME_LENGTH_MAX} characters; this one has {len(name)}")
        self.name = name
        self.table = Table(
            JOURNAL_TABLE,
            MetaData(schema=schema),
            Column("name", String(NAME_LENGTH_MAX), primary_key=True),
            Column("number", Integer, primary_key=True, autoincrement=False),
            Column("state", String(20), nullable=False),
            Column("last_number", Integer),
            Column("pass_number", Integer, nullable=False),
            Column("low_key", Text),
            Column("high_key", Text),
            Column("rows_done", BigInteger, nullable=False),
            Column("started_at", DateTime, nullable=False),
            Column("finished_at", DateTime),
            Column("detail", Text),
        )

    def exists(self, connection: Connection) -> bool:
        """Whether there is a table at all."""
        return inspect(connection).has_table(JOURNAL_TABLE, schema=self.table.schema)

    def create(self, connection: Connection) -> None:
        """Make the table if it is not there, in the open transaction or after it."""
        if self.exists(connection):
            return
        try:
            self.table.create(connection)
        except DBAPIError:
            connection.rollback()
            with connection.begin():
                if not self.exists(connection):  # else another process was quicker
                    raise

    def load(self, connection: Connection) -> RunState | None:
        """The run, if it was ever begun."""
        columns = self.table.c
        header = connection.execute(
            select(columns.state, columns.last_number, columns.pass_number, columns.detail).where(self._is(0))
        ).first()
        if header is None:
            return None
        last = connection.execute(
            select(columns.pass_number, columns.high_key).where(self._is(header.last_number), columns.number > 0)
        ).first()
        rows = connection.execute(
            select(func.coalesce(func.sum(columns.rows_done), 0)).where(
                columns.name == self.name, columns.number > 0, columns.state == DONE
            )
        ).scalar_one()
        cursor = None
        if last is not None and last.pass_number == header.pass_number:
            cursor = decode_key(last.high_key)
        return RunState(
            header.state, header.last_number, header.pass_number, cursor, int(rows), json.loads(header.detail)
        )

    def begin(self, connection: Connection, detail: dict[str, Any]) -> RunState:
        """Write down a run that begins."""
        connection.execute(
            insert(self.table).values(
                name=self.name, number=0, state=RUNNING, last_number=0, pass_number=1, rows_done=0,
                started_at=_now(), detail=json.dumps(detail, ensure_ascii=False),
            )
        )  # fmt: skip
        return RunState(RUNNING, 0, 1, None, 0, detail)

    def claim(self, connection: Connection, last_number: int) -> bool:
        """Take the number of the next batch; holds the run until the end of the transaction. False: another process
        has been here."""
        columns = self.table.c
        claimed = connection.execute(
            update(self.table)
            .where(self._is(0), columns.last_number == last_number, columns.state == RUNNING)
            .values(last_number=last_number + 1)
        )
        return claimed.rowcount == 1

    def add(self, connection: Connection, batch: JournaledBatch, started_at: datetime) -> None:
        """Write down a batch, in its transaction."""
        connection.execute(
            insert(self.table).values(
                name=self.name, number=batch.number, state=DONE, pass_number=batch.pass_number,
                low_key=encode_key(batch.low), high_key=encode_key(batch.high), rows_done=batch.rows,
                started_at=started_at, finished_at=_now(),
            )
        )  # fmt: skip

    def set_state(self, connection: Connection, state: str) -> None:
        """Write down where the run is."""
        finished_at = None if state in (RUNNING, UNDOING) else _now()
        connection.execute(update(self.table).where(self._is(0)).values(state=state, finished_at=finished_at))

    def next_pass(self, connection: Connection, pass_number: int) -> bool:
        """Begin the pass after this one. False: another process has."""
        columns = self.table.c
        begun = connection.execute(
            update(self.table)
            .where(self._is(0), columns.pass_number == pass_number)
            .values(pass_number=pass_number + 1, state=RUNNING, finished_at=None)
        )
        return begun.rowcount == 1

    def last_to_undo(self, connection: Connection) -> JournaledBatch | None:
        """The last batch that is not undone."""
        columns = self.table.c
        row = connection.execute(
            select(columns.number, columns.pass_number, columns.low_key, columns.high_key, columns.rows_done)
            .where(columns.name == self.name, columns.number > 0, columns.state == DONE)
            .order_by(columns.number.desc())
            .limit(1)
        ).first()
        if row is None:
            return None
        high = decode_key(row.high_key)
        assert high is not None
        return JournaledBatch(row.number, row.pass_number, decode_key(row.low_key), high, row.rows_done)

    def mark_undone(self, connection: Connection, number: int) -> bool:
        """Take a batch to undo it; holds it until the end of the transaction. False: another process has."""
        marked = connection.execute(
            update(self.table).where(self._is(number), self.table.c.state == DONE).values(state=UNDONE)
        )
        return marked.rowcount == 1

    def ends_of_passes(self, connection: Connection, before: int) -> list[KeyValue]:
        """How far each pass before this one came."""
        columns = self.table.c
        last = (
            select(func.max(columns.number))
            .where(columns.name == self.name, columns.number > 0, columns.pass_number < before)
            .group_by(columns.pass_number)
        )
        numbers = list(connection.execute(last).scalars())
        rows = connection.execute(
            select(columns.high_key).where(columns.name == self.name, columns.number.in_(numbers))
        ).scalars()
        return [key for key in (decode_key(row) for row in rows) if key is not None]

    def batches(self, connection: Connection) -> int:
        """How many batches are committed."""
        columns = self.table.c
        return connection.execute(
            select(func.count()).where(columns.name == self.name, columns.number > 0, columns.state == DONE)
        ).scalar_one()

    def forget(self, connection: Connection) -> int:
        """Remove the run; returns how many rows that were."""
        return connection.execute(delete(self.table).where(self.table.c.name == self.name)).rowcount

    def _is(self, number: int) -> Any:
        return (self.table.c.name == self.name) & (self.table.c.number == number)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0)
