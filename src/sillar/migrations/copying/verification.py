"""Both sides read again and compared, by sums over the canonical encoding."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from sillar.migrations.copying.ahead import read_behind
from sillar.migrations.copying.canonical import TableSums
from sillar.migrations.copying.model import Difference
from sillar.migrations.copying.plan import TablePlan
from sillar.migrations.copying.rows import key_of
from sillar.migrations.copying.side import Reader, Row, Shelf

KEYS_SHOWN_MAX: Final = 10
_PARTS_MAX: Final = 32

Told = Callable[[str, int, int | None], None]


async def sums_of(
    shelf: Shelf,
    reader: Reader,
    *,
    batch_rows: int,
    tell: Callable[[int], None],
    key_places: tuple[int, ...] | None = None,
) -> TableSums:
    """The sums of a table, from reading all of it; with ``key_places`` those of its parts, too."""
    sums = TableSums([each.agreed for each in shelf.fields], key_places)

    async def add(rows: list[Row]) -> None:
        sums.add(rows)
        tell(sums.rows)

    await read_behind(reader, shelf, add, batch_rows=batch_rows)
    return sums


async def compared(
    plan: TablePlan, source: Reader, target: Reader, *, batch_rows: int, tell: Told
) -> tuple[TableSums, Difference | None]:
    """The sums of the source, and what is different in the target; None if nothing is.

    What the survey has summed up in the same snapshot is not read again.
    """

    def told(done: int) -> None:
        tell(f"verify {plan.name}", done, plan.rows)

    async def both(key_places: tuple[int, ...] | None) -> tuple[TableSums, TableSums]:
        async with asyncio.TaskGroup() as group:  # each server works while the other's rows are summed up
            here, there = (
                group.create_task(sums_of(shelf, reader, batch_rows=batch_rows, tell=told, key_places=key_places))
                for shelf, reader in ((plan.source, source), (plan.target, target))
            )
        return here.result(), there.result()

    if plan.sums is not None:
        ours, theirs = plan.sums, await sums_of(plan.target, target, batch_rows=batch_rows, tell=told)
    else:
        ours, theirs = await both(None)
    if (ours.rows, ours.total) == (theirs.rows, theirs.total):
        return ours, None
    keys: tuple[tuple[str, str], ...] = ()
    places = plan.source.key_places
    if places:
        ours, theirs = await both(places)
        parts = {number for number, both in enumerate(zip(ours.parts, theirs.parts, strict=True)) if both[0] != both[1]}
        chosen = set(sorted(parts)[:_PARTS_MAX])
        here = await _rows_in(plan.source, ours, chosen, source, batch_rows)
        there = await _rows_in(plan.target, theirs, chosen, target, batch_rows)
        keys = tuple(_different(here, there))
    return ours, Difference(plan.name, ours.rows, theirs.rows, keys)


async def _rows_in(shelf: Shelf, sums: TableSums, parts: set[int], reader: Reader, batch_rows: int) -> dict[str, bytes]:
    """The hashes of the rows that fall into some parts, by key."""
    found: dict[str, bytes] = {}

    async def look(rows: list[Row]) -> None:
        for row, (part, digest) in zip(rows, sums.hashed(rows), strict=True):
            if part in parts:
                found[key_of(shelf, row).partition(" ")[2]] = digest

    await reader.read(shelf, look, batch_rows=batch_rows)
    return found


def _different(here: dict[str, bytes], there: dict[str, bytes]) -> list[tuple[str, str]]:
    found = []
    for key in sorted({*here, *there}):
        if here.get(key) != there.get(key):
            what = "missing" if key not in there else "superfluous" if key not in here else "different"
            found.append((key, what))
    return found[:KEYS_SHOWN_MAX]
