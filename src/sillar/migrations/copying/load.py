"""Rows from one side to the other, batch by batch, each with the note of how far it came."""

from __future__ import annotations

from collections.abc import Callable

from sillar.errors import (
    DatabaseError,
    DataError,
    IntegrityError,
    StatementError,
    TransientStatementError,
    UnknownStatementError,
)
from sillar.migrations.copying.ahead import read_behind
from sillar.migrations.copying.plan import TablePlan, is_circle
from sillar.migrations.copying.rows import key_from_text, key_of, key_to_text
from sillar.migrations.copying.side import ProgressRow, Reader, Row, Side, Writer

Told = Callable[[str, int, int | None], None]


async def load_group(
    group: list[TablePlan],
    reader: Reader,
    target: Side,
    progress: dict[str, ProgressRow],
    *,
    batch_rows: int,
    tell: Told,
) -> None:
    """Copy the rows of tables that belong together, as far as they are not there.

    Args:
        group: one table, or several that refer to each other in a circle.
        progress: how far each has come; kept up to date.

    Raises:
        DataError, IntegrityError: the target refuses a row; nothing of its batch is written.
    """
    waiting = [plan for plan in group if progress[plan.name].state in ("planned", "loading")]
    if not waiting:
        return
    if not is_circle(group):
        await _load(waiting[0], reader, target, progress[waiting[0].name], None, batch_rows=batch_rows, tell=tell)
        return
    async with target.together() as within:
        for plan in waiting:
            await _load(plan, reader, target, progress[plan.name], within, batch_rows=batch_rows, tell=tell)


async def _load(
    plan: TablePlan,
    reader: Reader,
    target: Side,
    row: ProgressRow,
    within: object,
    *,
    batch_rows: int,
    tell: Told,
) -> None:
    writer, pages = target.writer(plan.target), reader.pages(plan.source)
    types = [plan.source.fields[place].agreed for place in plan.source.key_places]
    after: Row | None = None
    if row.state == "loading":
        if pages:
            after = None if row.last_key is None else key_from_text(types, row.last_key)
        else:  # nobody can tell where it stopped
            await target.clear_table(plan.target.table)
            row.rows = 0
    row.state = "loading"
    if not pages and within is None:
        await target.note(row)  # so that what an interrupted run leaves is known to be its own

    async def write(rows: list[Row]) -> None:
        row.rows += len(rows)
        if pages:
            row.last_key = key_to_text(types, [rows[-1][place] for place in plan.source.key_places])
        try:
            await writer.write(rows, row, within)
        except DatabaseError as error:
            if within is None:
                await _blame(writer, plan, rows, error)
            raise
        tell(f"copy {plan.name}", row.rows, plan.rows)

    if within is None:
        await read_behind(reader, plan.source, write, batch_rows=batch_rows, in_order=True, after=after)
    else:  # a transaction belongs to the task that began it
        await reader.read(plan.source, write, batch_rows=batch_rows, in_order=True, after=after)
    row.state = "loaded"
    if within is None:
        await target.note(row)
    else:
        await writer.write([], row, within)


def _is_of_a_row(error: DatabaseError) -> bool:
    return isinstance(error, (DataError, IntegrityError, UnknownStatementError)) and not isinstance(
        error, TransientStatementError
    )


async def _blame(writer: Writer, plan: TablePlan, rows: list[Row], error: DatabaseError) -> None:
    """Name the row that the target refuses: by halves, each tried and taken back."""
    if not _is_of_a_row(error) or (isinstance(error, DataError) and error.table == plan.target.table):
        return
    low, high = 0, len(rows)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            await writer.attempt(rows[low:middle])
        except DatabaseError as found:
            if not _is_of_a_row(found):
                return
            high = middle
        else:
            low = middle
    column = error.column if isinstance(error, StatementError) else None
    where = f"{plan.name}, {key_of(plan.source, rows[low])}{f', column {column}' if column else ''}"
    error.args = (
        f"{where}: the target refuses the row: {error.args[0]}; correct it in the source or change the rule in the"
        " target, and run the same copy again: it goes on here",
        *error.args[1:],
    )
