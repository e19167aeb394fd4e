"""Statements and document verbs of a session, as the suite for ORMs sees them: what the ORMs are compared with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from bson import DBRef

from sillar import bind_model
from sillar.current import joined_transaction
from sillar.testing.conformance import RECORD_FIELDS, ORMAuthor, ORMBook, ORMRecord, ORMSubject


@bind_model("oc_record")
@dataclass
class Record(ORMRecord):
    """A record as the builder knows it."""


class SessionSubject(ORMSubject):
    """What everything that runs in a session of Sillar's has in common."""

    record_model = Record

    def errors(self) -> AbstractAsyncContextManager[Any]:
        return nullcontext()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        outer = await joined_transaction("default")
        async with self.manager.session().transaction() if outer is None else outer.nested() as transaction:
            yield transaction

    async def statements(self) -> Any:
        """The transaction of the context, or a session."""
        return await joined_transaction("default") or self.manager.session()

    async def run_long(self) -> None:
        await (await self.statements()).execute(*self.engine.subject.long)


class StatementsSubject(SessionSubject):
    """Statements in SQL."""

    name = "statements"

    async def count_through(self, held: Any) -> int:
        return int(await held.fetch_value("SELECT count(*) FROM oc_author"))

    async def add_author(self, author: ORMAuthor) -> None:
        sql = "INSERT INTO oc_author (id, name) VALUES (:id, :name)"
        await (await self.statements()).execute(sql, {"id": author.id, "name": author.name})

    async def add_book(self, book: ORMBook) -> None:
        sql = "INSERT INTO oc_book (id, title, pages, author_id) VALUES (:id, :title, :pages, :author_id)"
        await (await self.statements()).execute(sql, vars(book))

    async def rename_author(self, number: int, name: str) -> None:
        sql = "UPDATE oc_author SET name = :name WHERE id = :id"
        await (await self.statements()).execute(sql, {"id": number, "name": name})

    async def remove_author(self, number: int) -> None:
        await (await self.statements()).execute("DELETE FROM oc_author WHERE id = :id", {"id": number})

    async def author_names(self) -> list[str]:
        rows = await (await self.statements()).fetch_all("SELECT name FROM oc_author ORDER BY id")
        return [row["name"] for row in rows]

    async def count_authors(self) -> int:
        return int(await (await self.statements()).fetch_value("SELECT count(*) FROM oc_author"))

    async def stream_names(self) -> AsyncIterator[str]:
        statements = await self.statements()
        async with statements.stream("SELECT name FROM oc_author ORDER BY id", batch_rows=50) as rows:
            async for row in rows:
                yield row["name"]

    async def titles_of(self, number: int) -> list[str]:
        sql = "SELECT b.title FROM oc_author a JOIN oc_book b ON b.author_id = a.id WHERE a.id = :id ORDER BY b.id"
        return [row["title"] for row in await (await self.statements()).fetch_all(sql, {"id": number})]

    async def author_of(self, number: int) -> str:
        sql = "SELECT a.name FROM oc_book b JOIN oc_author a ON a.id = b.author_id WHERE b.id = :id"
        return str(await (await self.statements()).fetch_value(sql, {"id": number}))

    async def write(self, record: ORMRecord) -> None:
        names, places = ", ".join(RECORD_FIELDS), ", ".join(f":{name}" for name in RECORD_FIELDS)
        await (await self.statements()).execute(f"INSERT INTO oc_record ({names}) VALUES ({places})", vars(record))

    async def read(self, number: int) -> ORMRecord:
        sql = "SELECT * FROM oc_record WHERE id = :id"
        found: ORMRecord = await (await self.statements()).fetch_one(sql, {"id": number}, into=ORMRecord)
        return found

    async def scalar(self, sql: str) -> Any:
        return await (await self.statements()).fetch_value(sql)

    async def run(self, sql: str) -> None:
        await (await self.statements()).execute(sql)


class DocumentsSubject(SessionSubject):
    """The document verbs."""

    name = "documents"

    async def count_through(self, held: Any) -> int:
        return int(await held.documents("oc_author").count())

    async def add_author(self, author: ORMAuthor) -> None:
        await (await self._in("oc_author")).insert_one({"_id": author.id, "name": author.name})

    async def add_book(self, book: ORMBook) -> None:
        document = {"_id": book.id, "title": book.title, "pages": book.pages, "author_id": book.author_id}
        await (await self._in("oc_book")).insert_one({**document, "author": DBRef("oc_author", book.author_id)})

    async def rename_author(self, number: int, name: str) -> None:
        await (await self._in("oc_author")).update_one({"_id": number}, {"$set": {"name": name}})

    async def remove_author(self, number: int) -> None:
        await (await self._in("oc_author")).delete_one({"_id": number})

    async def author_names(self) -> list[str]:
        return [each["name"] for each in await (await self._in("oc_author")).find(sort=[("_id", 1)])]

    async def count_authors(self) -> int:
        return int(await (await self._in("oc_author")).count())

    async def stream_names(self) -> AsyncIterator[str]:
        async with (await self._in("oc_author")).stream(sort=[("_id", 1)], batch_rows=50) as rows:
            async for row in rows:
                yield row["name"]

    async def titles_of(self, number: int) -> list[str]:
        found = await (await self._in("oc_book")).find({"author.$id": number}, sort=[("_id", 1)])
        return [each["title"] for each in found]

    async def author_of(self, number: int) -> str:
        book = await (await self._in("oc_book")).find_one({"_id": number})
        author = await (await self._in(book["author"].collection)).find_one({"_id": book["author"].id})
        return str(author["name"])

    async def write(self, record: ORMRecord) -> None:
        fields = vars(record).copy()
        await (await self._in("oc_record")).insert_one({"_id": fields.pop("id"), **fields})

    async def read(self, number: int) -> ORMRecord:
        rows = await (await self._in("oc_record")).aggregate(
            [{"$match": {"_id": number}}, {"$set": {"id": "$_id"}}, {"$unset": "_id"}], into=ORMRecord
        )
        found: ORMRecord = rows[0]
        return found

    async def _in(self, collection: str) -> Any:
        return (await self.statements()).documents(collection)
