"""A run in a process of its own, which somebody kills: prints the rows done after each batch."""

from __future__ import annotations

import asyncio
import sys

from sillar import DatabaseManager
from sillar.integrations.sqlalchemy import SQLAlchemyIntegration
from sillar.migrations.data import Throttle, batched_update
from sillar.migrations.progress import Progress


def tell(progress: Progress) -> None:
    print(progress.done, flush=True)


async def main(url: str) -> None:
    async with DatabaseManager.from_url(url) as manager:
        async with SQLAlchemyIntegration(manager).engine.connect() as connection:
            await connection.run_sync(
                batched_update, "stone", key="id", values={"n": "n + 1"}, batch_rows=20, name="count up",
                throttle=Throttle(pause_seconds=0.1), progress=tell,
            )  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
