"""Beanie, as the suite for ORMs sees it."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from uuid import UUID

from beanie import DecimalAnnotation, Document, Link
from beanie.operators import Set

from sillar import DatabaseManager
from sillar.integrations.beanie import BeanieIntegration
from sillar.testing.conformance import RECORD_FIELDS, Colour, ORMAuthor, ORMBook, ORMRecord, ORMSubject


class Author(Document):
    id: int  # type: ignore[assignment]
    name: str | None

    class Settings:
        name = "oc_author"


class Book(Document):
    id: int  # type: ignore[assignment]
    title: str
    pages: int
    author_id: int
    author: Link[Author]

    class Settings:
        name = "oc_book"


class Record(Document):
    id: int  # type: ignore[assignment]
    whole: int
    large: int
    note: str
    flag: bool
    amount: DecimalAnnotation
    ratio: float
    day: dt.date
    moment: dt.datetime
    token: UUID
    content: bytes
    data: dict[str, Any]
    items: list[Any]
    colour: Colour
    missing: str | None

    class Settings:
        name = "oc_record"


class BeanieSubject(ORMSubject):
    """Stock documents."""

    name = "beanie"
    record_model = Record
    own_forms = frozenset({"day"})  # midnight UTC; everybody else stores the text of a date
    orm: BeanieIntegration

    async def open(self, manager: DatabaseManager) -> None:
        await super().open(manager)
        self.orm = BeanieIntegration(manager)
        await self.orm.open(Author, Book, Record)

    def errors(self) -> AbstractAsyncContextManager[Any]:
        return self.orm.errors()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        async with self.orm.transaction():
            yield (await self.orm.create_session()).driver_session

    async def count_through(self, held: Any) -> int:
        return await Author.find(session=held).count()

    async def add_author(self, author: ORMAuthor) -> None:
        await Author(**vars(author)).insert()

    async def add_book(self, book: ORMBook) -> None:
        await Book(**vars(book), author=Author.link_from_id(book.author_id)).insert()

    async def rename_author(self, number: int, name: str) -> None:
        await Author.find_one(Author.id == number).update(Set({Author.name: name}))

    async def remove_author(self, number: int) -> None:
        await Author.find_one(Author.id == number).delete()

    async def author_names(self) -> list[str]:
        return [str(author.name) for author in await Author.find_all().sort("_id").to_list()]

    async def count_authors(self) -> int:
        return await Author.count()

    async def stream_names(self) -> AsyncIterator[str]:
        async for author in Author.find_all(batch_size=50).sort("_id"):
            yield str(author.name)

    async def titles_of(self, number: int) -> list[str]:
        return [book.title for book in await Book.find({"author.$id": number}).sort("_id").to_list()]

    async def author_of(self, number: int) -> str:
        book = await Book.get(number, fetch_links=True)
        assert book is not None
        return str(book.author.name)  # type: ignore[attr-defined]

    async def write(self, record: ORMRecord) -> None:
        await Record(**vars(record)).insert()

    async def read(self, number: int) -> ORMRecord:
        found = await Record.get(number)
        assert found is not None
        return ORMRecord(**{name: getattr(found, name) for name in RECORD_FIELDS})

    async def run_long(self) -> None:
        command: Any = self.engine.subject.long[0]
        collection = self.orm.database[command.collection]
        await (await collection.aggregate(**command.arguments)).to_list()
