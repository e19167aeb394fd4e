"""The query builder, as the suite for ORMs sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from bson import DBRef
from sqlalchemy import column as named
from sqlalchemy import text
from tests.conformance.orm.statements_subject import Record, SessionSubject

from sillar import Capability, QueryBuilder, bind_model, column
from sillar.testing.conformance import ORMAuthor, ORMBook, ORMRecord


@bind_model("oc_author")
@dataclass
class Author(ORMAuthor):
    """An author."""


@bind_model("oc_book")
@dataclass
class Book(ORMBook):
    """A book."""


@bind_model("oc_book")
@dataclass
class LinkedBook(ORMBook):
    """A book of a document database, with the link that Beanie follows."""

    author: DBRef


class BuilderSubject(SessionSubject):
    """Queries over plain dataclasses."""

    name = "builder"

    async def count_through(self, held: Any) -> int:
        return await QueryBuilder(Author).count(held)

    async def add_author(self, author: ORMAuthor) -> None:
        await QueryBuilder(Author).insert(vars(author)).execute(await self.statements())

    async def add_book(self, book: ORMBook) -> None:
        statements = await self.statements()
        if statements.capabilities.has(Capability.SQL):
            await QueryBuilder(Book).insert(vars(book)).execute(statements)
        else:
            linked = {**vars(book), "author": DBRef("oc_author", book.author_id)}
            await QueryBuilder(LinkedBook).insert(linked).execute(statements)

    async def rename_author(self, number: int, name: str) -> None:
        one = QueryBuilder(Author).where(column(Author, "id") == number)
        await one.update({"name": name}).execute(await self.statements())

    async def remove_author(self, number: int) -> None:
        one = QueryBuilder(Author).where(column(Author, "id") == number)
        await one.delete().execute(await self.statements())

    async def author_names(self) -> list[str]:
        names = QueryBuilder(Author).order_by("id").select(column(Author, lambda author: author.name))
        return [str(name) for name in await names.scalars(await self.statements())]

    async def count_authors(self) -> int:
        return await QueryBuilder(Author).count(await self.statements())

    async def stream_names(self) -> AsyncIterator[str]:
        query = QueryBuilder(Author).order_by("id")
        async with query.stream(await self.statements(), batch_rows=50) as rows:
            async for row in rows:
                yield str(row.name)

    async def titles_of(self, number: int) -> list[str]:
        joined = QueryBuilder(Book).join(Author, on=column(Author, "id") == column(Book, "author_id"))
        found = joined.where(column(Author, "id") == number).order_by("id").select("title")
        return await found.scalars(await self.statements())

    async def author_of(self, number: int) -> str:
        joined = QueryBuilder(Book).join(Author, on=column(Author, "id") == column(Book, "author_id"))
        found = joined.where(column(Book, "id") == number).select(column(Author, lambda author: author.name))
        return str(await found.scalar(await self.statements()))

    async def write(self, record: ORMRecord) -> None:
        await QueryBuilder(Record).insert(vars(record)).execute(await self.statements())

    async def read(self, number: int) -> ORMRecord:
        found = await QueryBuilder(Record).where(column(Record, "id") == number).one(await self.statements())
        return ORMRecord(**vars(found))

    async def scalar(self, sql: str) -> Any:
        asked = text(f"{sql} AS found").columns(named("found")).subquery("asked")
        return await QueryBuilder(asked).select("found").scalar(await self.statements())

    async def run(self, sql: str) -> None:
        await (await self.statements()).execute(text(sql))
