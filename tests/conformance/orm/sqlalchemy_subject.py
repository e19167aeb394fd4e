"""SQLAlchemy, as the suite for ORMs sees it."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger, Dialect, Enum, ForeignKey, Numeric, String, delete, func, select, text
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload
from sqlalchemy.types import DateTime, TypeDecorator

from sillar import DatabaseManager
from sillar.integrations.sqlalchemy import SQLAlchemyIntegration
from sillar.testing.conformance import RECORD_FIELDS, Colour, ORMAuthor, ORMBook, ORMEngine, ORMRecord, ORMSubject


class Moment(TypeDecorator[dt.datetime]):
    """A point in time, as everybody else stores it: SQLAlchemy's own type forgets the zone on MySQL and SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        own = {"sqlite": String(40), "mysql": mysql.TIMESTAMP(fsp=6)}.get(dialect.name)
        return self.impl_instance if own is None else dialect.type_descriptor(own)  # type: ignore[arg-type]

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        utc = value.astimezone(dt.UTC)
        return utc.isoformat(timespec="microseconds") if dialect.name == "sqlite" else utc.replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> dt.datetime | None:
        moment = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.replace(tzinfo=dt.UTC) if moment is not None and moment.tzinfo is None else moment


class Digits(TypeDecorator[Decimal]):
    """A decimal as text, where the engine has no exact ones."""

    impl = String(60)
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> str | None:
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


class Base(DeclarativeBase):
    type_annotation_map = {  # noqa: RUF012 - read only
        dict[str, Any]: JSON().with_variant(JSONB(), "postgresql"),
        list[Any]: JSON().with_variant(JSONB(), "postgresql"),
        Decimal: Numeric(18, 4).with_variant(Digits(), "sqlite"),
        dt.datetime: Moment(),
        Colour: Enum(Colour, values_callable=lambda kind: [each.value for each in kind], native_enum=False, length=100),
    }


class Author(Base):
    __tablename__ = "oc_author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    books: Mapped[list[Book]] = relationship(back_populates="author", order_by="Book.id", passive_deletes="all")


class Book(Base):
    __tablename__ = "oc_book"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    pages: Mapped[int]
    author_id: Mapped[int] = mapped_column(ForeignKey("oc_author.id"))
    author: Mapped[Author] = relationship(back_populates="books")


class Record(Base):
    __tablename__ = "oc_record"
    id: Mapped[int] = mapped_column(primary_key=True)
    whole: Mapped[int]
    large: Mapped[int] = mapped_column(BigInteger)
    note: Mapped[str]
    flag: Mapped[bool]
    amount: Mapped[Decimal]
    ratio: Mapped[float]
    day: Mapped[dt.date]
    moment: Mapped[dt.datetime]
    token: Mapped[UUID]
    content: Mapped[bytes]
    data: Mapped[dict[str, Any]]
    items: Mapped[list[Any]]
    colour: Mapped[Colour]
    missing: Mapped[str | None]


_own: ContextVar[AsyncSession | None] = ContextVar("session", default=None)
"""The session whose transaction is open in this context."""


class SQLAlchemySubject(ORMSubject):
    """Stock sessions and declarative classes."""

    name = "sqlalchemy"
    record_model = Record
    follows = True
    orm: SQLAlchemyIntegration

    def __init__(self, engine: ORMEngine) -> None:
        super().__init__(engine)
        if engine.name in ("mysql", "sqlite"):  # SQLAlchemy's Uuid leaves the hyphens out
            self.own_forms = frozenset({"token"})

    async def open(self, manager: DatabaseManager) -> None:
        await super().open(manager)
        self.orm = SQLAlchemyIntegration(manager)

    def errors(self) -> AbstractAsyncContextManager[Any]:
        return self.orm.errors()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        own = _own.get()
        if own is not None:
            async with own.begin_nested():
                yield own
            return
        async with await self.orm.create_session() as session:
            token = _own.set(session)
            try:
                async with session.begin():
                    yield session
            finally:
                _own.reset(token)

    async def count_through(self, held: Any) -> int:
        return int(await held.scalar(select(func.count()).select_from(Author)))

    @asynccontextmanager
    async def session(self, *, reads: bool = False) -> AsyncIterator[AsyncSession]:
        """The session of :meth:`transaction`, or one that commits at the end of the block.

        Args:
            reads: nothing is written: on SQLite, whose other sessions hold the one writer, it is a read-only one.
        """
        own = _own.get()
        if own is not None:
            yield own
            return
        async with await self.orm.create_session(read_only=reads and self.engine.name == "sqlite") as session:
            yield session
            await session.commit()

    async def add_author(self, author: ORMAuthor) -> None:
        async with self.session() as session:
            session.add(Author(**vars(author)))
            await session.flush()

    async def add_book(self, book: ORMBook) -> None:
        async with self.session() as session:
            session.add(Book(**vars(book)))
            await session.flush()

    async def rename_author(self, number: int, name: str) -> None:
        async with self.session() as session:
            author = await session.get(Author, number, populate_existing=True)
            assert author is not None
            author.name = name
            await session.flush()

    async def remove_author(self, number: int) -> None:
        async with self.session() as session:
            await session.execute(delete(Author).where(Author.id == number))

    async def author_names(self) -> list[str]:
        async with self.session(reads=True) as session:
            return [str(name) for name in await session.scalars(select(Author.name).order_by(Author.id))]

    async def count_authors(self) -> int:
        async with self.session(reads=True) as session:
            return await session.scalar(select(func.count()).select_from(Author)) or 0

    async def stream_names(self) -> AsyncIterator[str]:
        async with self.session(reads=True) as session:
            found = await session.stream_scalars(select(Author).order_by(Author.id).execution_options(yield_per=50))
            try:
                async for author in found:
                    yield str(author.name)
            finally:
                await found.close()

    async def titles_of(self, number: int) -> list[str]:
        async with self.session(reads=True) as session:
            author = await session.get(Author, number, options=[selectinload(Author.books)], populate_existing=True)
            assert author is not None
            return [book.title for book in author.books]

    async def author_of(self, number: int) -> str:
        async with self.session(reads=True) as session:
            book = await session.get(Book, number, options=[selectinload(Book.author)], populate_existing=True)
            assert book is not None
            return str(book.author.name)

    async def write(self, record: ORMRecord) -> None:
        async with self.session() as session:
            session.add(Record(**vars(record)))
            await session.flush()

    async def read(self, number: int) -> ORMRecord:
        async with self.session(reads=True) as session:
            found = await session.get(Record, number, populate_existing=True)
            assert found is not None
            return ORMRecord(**{name: getattr(found, name) for name in RECORD_FIELDS})

    async def run_long(self) -> None:
        async with self.session(reads=True) as session:
            await session.execute(text(self.engine.subject.long[0]))

    async def scalar(self, sql: str) -> Any:
        async with self.session(reads=True) as session:
            return await session.scalar(text(sql))

    async def run(self, sql: str) -> None:
        async with self.session() as session:
            await session.execute(text(sql))
