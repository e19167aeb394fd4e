"""Tortoise, as the suite for ORMs sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

from tests.conformance.orm import tortoise_models
from tests.conformance.orm.tortoise_models import Author, Book, Record
from tortoise.transactions import in_transaction

from sillar import DatabaseManager
from sillar.integrations.tortoise import TortoiseIntegration
from sillar.testing.conformance import RECORD_FIELDS, ORMAuthor, ORMBook, ORMEngine, ORMRecord, ORMSubject


class TortoiseSubject(ORMSubject):
    """Stock models, querysets and transactions."""

    name = "tortoise"
    record_model = Record
    orm: TortoiseIntegration

    def __init__(self, engine: ORMEngine) -> None:
        super().__init__(engine)
        if engine.name == "sqlite":  # text with a blank between date and time
            self.own_forms = frozenset({"moment"})

    async def open(self, manager: DatabaseManager) -> None:
        await super().open(manager)
        self.orm = TortoiseIntegration(manager)
        await self.orm.open({"models": [tortoise_models]})

    def errors(self) -> AbstractAsyncContextManager[Any]:
        return nullcontext()  # they are of both kinds

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        async with in_transaction() as connection:
            yield connection

    async def count_through(self, held: Any) -> int:
        return await Author.all(using_db=held).count()

    async def add_author(self, author: ORMAuthor) -> None:
        await Author.create(**vars(author))

    async def add_book(self, book: ORMBook) -> None:
        await Book.create(**vars(book))

    async def rename_author(self, number: int, name: str) -> None:
        author = await Author.get(id=number)
        author.name = name
        await author.save()

    async def remove_author(self, number: int) -> None:
        await Author.filter(id=number).delete()

    async def author_names(self) -> list[str]:
        return [str(author.name) for author in await Author.all().order_by("id")]

    async def count_authors(self) -> int:
        return await Author.all().count()

    async def stream_names(self) -> AsyncIterator[str]:
        async for author in Author.all().order_by("id"):
            yield str(author.name)

    async def titles_of(self, number: int) -> list[str]:
        author = await Author.get(id=number).prefetch_related("books")
        return [book.title for book in sorted(author.books, key=lambda book: book.id)]

    async def author_of(self, number: int) -> str:
        book = await Book.get(id=number).select_related("author")
        return str(book.author.name)

    async def write(self, record: ORMRecord) -> None:
        await Record.create(**vars(record))

    async def read(self, number: int) -> ORMRecord:
        found = await Record.get(id=number)
        return ORMRecord(**{name: getattr(found, name) for name in RECORD_FIELDS})

    async def run_long(self) -> None:
        await self.orm.execute_query(self.engine.subject.long[0])

    async def scalar(self, sql: str) -> Any:
        [row] = await self.orm.execute_query(sql)
        return next(iter(row.values()))

    async def run(self, sql: str) -> None:
        await self.orm.client.execute_query(sql)
