"""The same tables as every kind of model that a query can be built on."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic import BaseModel
from sqlalchemy import JSON, Boolean, Date, ForeignKey, MetaData, Numeric, String, Table
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from sillar import bind_model

METADATA = MetaData()


class Base(DeclarativeBase):
    metadata = METADATA


class Author(Base):
    __tablename__ = "qb_author"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(100))
    books: Mapped[list[Book]] = relationship(back_populates="author")


class Book(Base):
    __tablename__ = "qb_book"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    title: Mapped[str] = mapped_column(String(100))
    pages: Mapped[int | None]
    price: Mapped[decimal.Decimal] = mapped_column(Numeric(10, 2))
    printed: Mapped[dt.date | None] = mapped_column(Date)
    sold: Mapped[bool] = mapped_column(Boolean)
    label: Mapped[str] = mapped_column("label_text", String(50), unique=True)
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)
    author_id: Mapped[int] = mapped_column(ForeignKey("qb_author.id"))
    author: Mapped[Author] = relationship(back_populates="books")


BOOK: Table = Book.__table__  # type: ignore[assignment]


class Place(BaseModel):
    city: str
    floor: int | None = None


@bind_model("qb_reader")
class Reader(BaseModel):
    id: int
    name: str
    place: Place
    joined: dt.datetime | None = None


@bind_model("qb_shelf", columns={"label": "label_text"})
@dataclass
class Shelf:
    id: int
    label: str
    width: float = 1.0


@bind_model("qb_loan")
class Loan(msgspec.Struct):
    id: int
    shelf_id: int
    token: uuid.UUID
    days: int | None = None


class BookTitle(msgspec.Struct):
    id: int
    title: str


@dataclass
class BookCard:
    title: str
    label: str
    note: str = "none"


class BookOut(BaseModel):
    id: int
    price: decimal.Decimal
    printed: dt.date | None


TABLES = [Author.__table__, BOOK]
OTHER_TABLES = ("qb_loan", "qb_shelf", "qb_reader", "qb_book", "qb_author")

AUTHORS = [{"id": 1, "name": "Rulfo"}, {"id": 2, "name": "Arguedas"}, {"id": 3, "name": "Loayza"}]
BOOKS = [
    {
        "id": number,
        "title": title,
        "pages": pages,
        "price": decimal.Decimal(price),
        "printed": printed,
        "sold": number % 2 == 0,
        "label": f"L{number}",
        "facts": {"shelf": {"row": number}, "tags": ["a", f"t{number}"]},
        "author_id": author,
    }
    for number, (title, pages, price, printed, author) in enumerate(
        [
            ("Pedro Páramo", 124, "10.50", dt.date(1955, 3, 18), 1),
            ("El llano en llamas", 170, "9.00", dt.date(1953, 9, 18), 1),
            ("Los ríos profundos", 250, "12.25", dt.date(1958, 1, 1), 2),
            ("Yawar Fiesta", None, "8.75", None, 2),
            ("El zorro de arriba", None, "14.00", dt.date(1971, 1, 1), 2),
            ("El gallo de oro", 100, "7.10", dt.date(1980, 5, 1), 1),
        ],
        1,
    )
]
JOINED = dt.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=dt.UTC)
