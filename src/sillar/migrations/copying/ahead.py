"""Reading ahead: the next batch is asked for while the last one is worked on."""

from __future__ import annotations

import asyncio
from typing import Any

from sillar.migrations.copying.side import Reader, Row, Shelf, Sink


async def read_behind(reader: Reader, shelf: Shelf, sink: Sink, **options: Any) -> None:
    """As :meth:`Reader.read`, with ``sink`` at work in a task of its own, one batch after the other, while the reader
    waits for its server. Two batches are in memory then."""
    at_work: asyncio.Task[None] | None = None

    async def work(rows: list[Row]) -> None:
        await sink(rows)

    async def take(rows: list[Row]) -> None:
        nonlocal at_work
        if at_work is not None:
            await at_work
        at_work = asyncio.create_task(work(rows))

    try:
        try:
            await reader.read(shelf, take, **options)
        except Exception:
            if at_work is not None:  # the batches before the one that could not be read are done
                await asyncio.wait([at_work])
            raise
        if at_work is not None:
            await at_work
    finally:
        if at_work is not None and not at_work.done():  # it was cancelled: so is what it waits for
            at_work.cancel()
            await asyncio.wait([at_work])
