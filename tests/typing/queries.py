"""The types of queries over every kind of model, read by mypy and pyright and never run."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, assert_type

import msgspec
import sqlalchemy
from beanie import Document
from pydantic import BaseModel
from sqlalchemy import ColumnElement, Table, func
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from tortoise import fields, models

from sillar import DatabaseSession, QueryBuilder, QueryResult, bind_model, column, columns, parameter
from sillar.execution.stream import RowStream
from sillar.query.paging import Page
from sillar.query.prepared import PreparedQuery
from sillar.query.writes import WriteQuery


class Base(DeclarativeBase): ...


class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]


class Book(models.Model):
    id = fields.IntField(primary_key=True)
    title = fields.TextField()
    price = fields.DecimalField(max_digits=8, decimal_places=2)


class Review(Document):
    stars: int
    text: str


class Address(BaseModel):
    city: str


@bind_model("reader")
class Reader(BaseModel):
    id: int
    name: str
    address: Address


@bind_model("shelf")
@dataclass
class Shelf:
    id: int
    label: str


@bind_model("loan")
class Loan(msgspec.Struct):
    id: int
    days: int


class Name(msgspec.Struct):
    name: str


async def columns_of_every_kind() -> None:
    assert_type(column(Author, lambda a: a.id), ColumnElement[int])
    assert_type(column(Author, lambda a: a.name), ColumnElement[str | None])
    assert_type(column(Book, lambda b: b.title), ColumnElement[str])
    assert_type(column(Book, lambda b: b.price), ColumnElement[Decimal])
    assert_type(column(Review, lambda r: r.stars), ColumnElement[int])
    assert_type(column(Reader, lambda r: r.name), ColumnElement[str])
    assert_type(column(Reader, lambda r: r.address.city), ColumnElement[str])
    assert_type(column(Shelf, lambda s: s.label), ColumnElement[str])
    assert_type(column(Loan, lambda loan: loan.days), ColumnElement[int])
    assert_type(column(Loan, lambda loan: loan.days) > 3, ColumnElement[bool])
    assert_type(column(Loan, "days"), ColumnElement[Any])
    loan = columns(Loan)
    assert_type(loan(lambda each: each.days), ColumnElement[int])
    assert_type(loan.days, ColumnElement[Any])
    assert_type(loan["days"], ColumnElement[Any])


async def rows(session: DatabaseSession, orm: AsyncSession, table: Table) -> None:
    assert_type(await QueryBuilder(Author).all(orm), list[Author])
    assert_type(await QueryBuilder(Book).first(session), Book | None)
    assert_type(await QueryBuilder(Review).one(session), Review)
    assert_type(await QueryBuilder(Reader).one_or_none(), Reader | None)
    assert_type(await QueryBuilder(table).all(), list[dict[str, Any]])
    assert_type(await QueryBuilder(columns(Loan, alias="l")).all(), list[Loan])
    assert_type(await QueryBuilder(Author).into(Name).all(), list[Name])
    query = QueryBuilder(Author).where(Author.id > 3).order_by("-name").limit(3)
    assert_type(query, QueryBuilder[Author])
    assert_type(await query.select(Author.id, Author.name).all(session), list[tuple[int, str | None]])
    assert_type(await query.select(Author.id).scalars(session), list[int])
    assert_type(await query.select(column(Shelf, lambda s: s.label), func.count()).first(), tuple[str, int] | None)
    assert_type(await query.select(Author.name).scalar(), str | None)
    assert_type(await query.select("id", "name").all(), list[tuple[Any, ...]])
    assert_type(query.stream(session), RowStream[Author])
    assert_type(await query.execute(session), QueryResult)
    assert_type(await query.count(), int)
    assert_type(await query.into(Name).page(20), Page[Name])
    assert_type((await query.into(Name).page(20)).next_cursor, str | None)


async def prepared(session: DatabaseSession) -> None:
    query = QueryBuilder(Loan).where(column(Loan, lambda loan: loan.id) == parameter("id", int)).prepare()
    assert_type(query, PreparedQuery[Loan])
    assert_type(await query.one(session, params={"id": 1}), Loan)


async def writes() -> None:
    loans = QueryBuilder(Loan)
    assert_type(loans.insert({"id": 1, "days": 3}), WriteQuery[Loan])
    assert_type(await loans.insert(Loan(1, 3)).returning().one(), Loan)
    days = column(Loan, lambda loan: loan.days)
    assert_type(await loans.insert_many([Loan(1, 3)]).returning(days).all(), list[tuple[int]])
    assert_type(await loans.where(days > 3).update({"days": days + 1}).execute(), QueryResult)
    assert_type(await loans.where(days > 3).delete().execute(), QueryResult)
    assert_type(await loans.upsert([Loan(1, 3)]).execute(), QueryResult)


def wrong() -> None:
    column(Reader, lambda r: r.nam)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    QueryBuilder(Review).where(Review.stars == 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    QueryBuilder(Loan).where("days > 3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sqlalchemy.select(Author.nam)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
