"""A column is filled in batches: the process dies on the way, the next one goes on, and at last all of it is undone.

The same code runs on PostgreSQL, MySQL, MariaDB and SQLite. In a revision the calls are the same, with `op` for the
connection.
"""

import asyncio
import os
from typing import Any

from sillar import DatabaseManager
from sillar.migrations.data import Throttle, batched_update, run_batched, undo_batches
from sillar.migrations.progress import Progress

URL = os.environ.get("SILLAR_EXAMPLE_URL", "sqlite:///orders.db")
CALL: dict[str, Any] = {
    "key": "id",
    "values": {"cents": "price * 100"},
    "where": "cents IS NULL",
    "verify": True,  # rows that come in behind are done, too
    "batch_rows": 250,
    "throttle": Throttle(pause_seconds=0.001, target_batch_seconds=1, batch_rows_max=250),
    "undo": {"cents": "NULL"},
    "undo_where": "cents IS NOT NULL",
    "name": "prices in cents",
}


def power_cut(progress: Progress) -> None:
    if progress.done >= 1000:
        raise KeyError("the power went away")


async def main() -> None:
    async with DatabaseManager.from_url(URL) as manager:
        session = manager.session()
        for table in ("example_order", "_migration_batches"):
            await session.execute(f"DROP TABLE IF EXISTS {table}")
        await session.execute(
            "CREATE TABLE example_order (id INTEGER PRIMARY KEY, price INTEGER NOT NULL, cents INTEGER)"
        )
        await session.bulk_insert("example_order", ["id", "price"], ((i, i % 50) for i in range(1, 5001)))

        try:
            await run_batched(manager, batched_update, "example_order", **CALL, progress=power_cut)
        except KeyError:
            print("interrupted; done so far:", await session.fetch_value("SELECT count(cents) FROM example_order"))

        report = await run_batched(manager, batched_update, "example_order", **CALL)
        print(f"{report.rows_done} rows in {report.batches} batches, {report.rows_done_now} of them now")
        wrong = await session.fetch_value(
            "SELECT count(*) FROM example_order WHERE cents IS NULL OR cents <> price * 100"
        )
        print(f"remaining: {report.rows_remaining}, wrong: {wrong}")

        undone = await run_batched(manager, undo_batches, "prices in cents")
        print(f"{undone.state}: {undone.rows_done} rows")


asyncio.run(main())
