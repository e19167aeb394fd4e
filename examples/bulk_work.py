"""Many rows and many keys: insert, upsert, update, delete, the row that is to blame, lookups that go out together.

The same code runs on PostgreSQL, MySQL, MariaDB and SQLite.
"""

import asyncio
import os
from collections.abc import Iterator

import msgspec

from sillar import DatabaseManager, Lookups
from sillar.errors import UniqueViolationError

URL = os.environ.get("SILLAR_EXAMPLE_URL", "sqlite://")
COLUMNS = ["id", "name", "kg"]


class Stone(msgspec.Struct):
    id: int
    name: str
    kg: int


def quarry(count: int) -> Iterator[tuple[int, str, int]]:
    """Rows come one by one: memory is bounded by the batch, not by the input."""
    return ((number, f"stone {number}", 1 + number % 9) for number in range(count))


async def main() -> None:
    async with DatabaseManager.from_url(URL) as manager:
        session = manager.session()
        await session.execute("DROP TABLE IF EXISTS quarry_stone")
        await session.execute(
            "CREATE TABLE quarry_stone (id INT NOT NULL PRIMARY KEY, name VARCHAR(40) UNIQUE, kg INT NOT NULL)"
        )

        def progress(done: int) -> None:
            print(f"{done} rows")

        await session.bulk_insert("quarry_stone", COLUMNS, quarry(10_000), batch_rows=4000, progress=progress)

        # Rows that are there are updated, others inserted; of two with one key the last one wins.
        report = await session.bulk_upsert(
            "quarry_stone", COLUMNS, [(1, "corner", 50), (20_000, "key", 9), (1, "corner", 55)], key="id", update=["kg"]
        )
        assert (report.rows_seen, report.rows_affected) == (3, 2)
        await session.bulk_update("quarry_stone", ["id", "kg"], ((n, 3) for n in range(2, 100)), key="id")
        report = await session.bulk_delete("quarry_stone", "id", range(200, 10_000))
        print(f"{report.rows_affected} deleted in {report.batches_written} batches")

        # All or nothing, and the row is named.
        try:
            await session.bulk_insert("quarry_stone", COLUMNS, [(300, "new", 1), (301, "stone 7", 1)])
        except UniqueViolationError as error:
            print(f"row {error.row_number} is there already")
        assert await session.get_many("quarry_stone", [300]) == [None]

        # Many keys at once; and lookups of many tasks, which become one statement.
        stones = await session.get_many("quarry_stone", [7, 300, 5], columns=COLUMNS, into=Stone)
        assert stones == [Stone(7, "stone 7", 3), None, Stone(5, "stone 5", 3)]
        lookups = Lookups(manager, "quarry_stone", columns=COLUMNS, into=Stone)
        found = await asyncio.gather(*(lookups.get(number) for number in range(100)))
        print(f"{sum(stone is not None for stone in found)} stones found together")
        await session.execute("DROP TABLE quarry_stone")


if __name__ == "__main__":
    asyncio.run(main())
