"""SQLite needs no server: a table, typed rows, a transaction."""

import asyncio
import os
from dataclasses import dataclass

from sillar import DatabaseManager

URL = os.environ.get("SILLAR_EXAMPLE_SQLITE_URL", "sqlite:///quickstart.db")


@dataclass
class Book:
    id: int
    title: str
    pages: int


async def main() -> None:
    async with DatabaseManager.from_url(URL) as manager:
        session = await manager.get_session()
        await session.execute("DROP TABLE IF EXISTS book")
        await session.execute("CREATE TABLE book (id INTEGER PRIMARY KEY, title TEXT NOT NULL, pages INTEGER NOT NULL)")

        async with session.transaction():  # commits at the end of the block, rolls back on an exception
            for title, pages in [("Popol Vuh", 320), ("Pedro Páramo", 124)]:
                await session.execute(
                    "INSERT INTO book (title, pages) VALUES (:title, :pages)", {"title": title, "pages": pages}
                )

        for book in await session.fetch_all("SELECT id, title, pages FROM book ORDER BY pages", into=Book):
            print(f"{book.title}: {book.pages} pages")


asyncio.run(main())
