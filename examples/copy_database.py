"""A SQLite file becomes a PostgreSQL or MySQL database: what does not fit is said first, then both are compared."""

import asyncio
import os
from pathlib import Path

from sillar import DatabaseManager
from sillar.migrations.copying import CopyRefusedError, compare_databases, copy_database

URL = os.environ.get("SILLAR_EXAMPLE_URL", "postgresql://localhost/example")


async def fill(source: DatabaseManager) -> None:
    """A small application's database, with a value that its column should not have."""
    session = source.session()
    await session.execute(
        "CREATE TABLE example_stone"
        " (id INTEGER PRIMARY KEY, kind VARCHAR(20) NOT NULL, kg NUMERIC(6, 2), cut TIMESTAMP)"
    )
    await session.execute("CREATE INDEX example_stone_kind ON example_stone (kind)")
    rows = ((number, f"tuff {number % 7}", number / 4, "2026-11-26 12:00:00") for number in range(1, 5001))
    await session.bulk_insert("example_stone", ["id", "kind", "kg", "cut"], rows)
    await session.execute("UPDATE example_stone SET kg = 'heavy' WHERE id = 17")


async def main() -> None:
    async with DatabaseManager.from_url("sqlite:///quarry.db") as source, DatabaseManager.from_url(URL) as target:
        await fill(source)
        try:
            await copy_database(source, target, on_existing="replace")
        except CopyRefusedError as error:
            found = error.findings[0]
            print(f"a value does not fit: {found.table}.{found.column}")

        await source.session().execute("UPDATE example_stone SET kg = 17 WHERE id = 17")
        report = await copy_database(source, target, on_existing="replace")
        print(f"{report.rows} rows, both sides are the same: {report.verified}")

        session = target.session()
        await session.execute("INSERT INTO example_stone (kind) VALUES ('slate')")  # the numbering goes on
        newest = await session.fetch_value("SELECT max(id) FROM example_stone", into=int)
        print(f"the newest stone has the number {newest}")

        await session.execute(f"DELETE FROM example_stone WHERE id = {newest}")
        await session.execute("UPDATE example_stone SET kg = 18 WHERE id = 17")
        report = await compare_databases(source, target)
        for key, what in report.differences[0].keys:
            print(f"found: {key} {what}")
        await session.execute("DROP TABLE example_stone")


if __name__ == "__main__":
    Path("quarry.db").unlink(missing_ok=True)
    asyncio.run(main())
