"""The tables of the lane tests: a column of each kind, per engine, and what stands in them."""

from __future__ import annotations

import datetime as dt
import enum
import json
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Enum,
    Float,
    ForeignKey,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    PickleType,
    SmallInteger,
    String,
    Table,
    Text,
    Time,
    TypeDecorator,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Color(enum.Enum):
    red = 1
    blue = 2


class Cents(TypeDecorator[Any]):
    """Money as whole cents: a type that a user has written."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else int(value * 100)

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else Decimal(value) / 100


class Folded(TypeDecorator[Any]):
    """JSON in a text column."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else json.loads(value)


_UTC = dt.UTC
KINDS: dict[str, tuple[Any, list[Any]]] = {
    "small": (SmallInteger(), [1, -2, 30, 7]),
    "big": (BigInteger(), [2**40, -1, 0, 5]),
    "name": (String(50), ["anna", "b%_o'x\\y", "Ärger ✓", ""]),
    "note": (Text(), ["long " * 20, "a:b", "100%", 'q"q']),
    "flag": (Boolean(), [True, False, True, False]),
    "price": (Numeric(10, 2), [Decimal("1.50"), Decimal("-2.00"), Decimal("1000.01"), Decimal("0.10")]),
    "rate": (Numeric(10, 3, asdecimal=False), [1.5, -2.125, 0.1, 7.0]),
    "ratio": (Float(), [0.1, 1234567.25, -3.5, 2.0]),
    "exact": (Double(), [0.1, 1e100, -3.3333333333333335, 2.0]),
    "born": (Date(), [dt.date(2000, 1, 2), dt.date(1969, 7, 20), dt.date(2024, 2, 29), dt.date(1, 1, 1)]),
    "made": (
        DateTime(),
        [
            dt.datetime(2024, 1, 1, 12),
            dt.datetime(1999, 12, 31, 23, 59, 59),
            dt.datetime(2024, 5, 1),
            dt.datetime(2020, 1, 1),
        ],
    ),
    "at": (Time(), [dt.time(1, 2, 3), dt.time(23, 59, 59), dt.time(0, 0), dt.time(12)]),
    "blob": (LargeBinary(), [b"\x00\xff'\\", b"", b"abc", b"%s"]),
    "doc": (
        JSON(),
        [
            {"a": {"b": 1, "s": "x"}, "l": [1, 2], "n": 1.5},
            {"a": {"b": 2, "s": "y"}, "l": [], "n": 2},
            [1, "two", None],
            "text",
        ],
    ),
    "ident": (Uuid(), [UUID(int=number) for number in (1, 2, 3, 4)]),
    "color": (Enum(Color, name="lane_color"), [Color.red, Color.blue, Color.red, Color.blue]),
    "word": (Enum("up", "down", native_enum=False, length=8), ["up", "down", "up", "down"]),
    "span": (
        Interval(),
        [dt.timedelta(hours=1), dt.timedelta(days=3, seconds=5), dt.timedelta(0), dt.timedelta(minutes=7)],
    ),
    "cents": (Cents(), [Decimal("1.25"), Decimal("3.5"), Decimal("0"), Decimal("7")]),
    "folded": (Folded(), [{"k": 1}, [1, 2], "s", 5]),
    "pickled": (PickleType(), [{1: 2}, (1, 2), "x", None]),
}

POSTGRESQL_KINDS: dict[str, tuple[Any, list[Any]]] = {
    "moment": (
        DateTime(timezone=True),
        [dt.datetime(2024, 1, number, 12, 0, 0, 123456, tzinfo=_UTC) for number in (1, 2, 3, 4)],
    ),
    "docb": (postgresql.JSONB(), KINDS["doc"][1]),
    "tags": (postgresql.ARRAY(Text), [["x", "y"], [], ["z", None], ["x"]]),
    "grid": (postgresql.ARRAY(Integer, dimensions=2), [[[1, 2], [3, 4]], [[5]], [[0]], [[1]]]),
    "colors": (
        postgresql.ARRAY(Enum(Color, name="lane_color")),
        [[Color.red], [], [Color.blue, Color.red], [Color.red]],
    ),
    "docs": (postgresql.ARRAY(postgresql.JSONB), [[{"a": 1}], [], [1, "x"], [None]]),
    "address": (postgresql.INET(), ["10.0.0.1", "10.0.0.0/8", "::1", "1.2.3.4"]),
    "between": (
        postgresql.INT4RANGE(),
        [postgresql.Range(1, 5), postgresql.Range(2, None), postgresql.Range(empty=True), postgresql.Range(7, 8)],
    ),
    "bits": (postgresql.BIT(3), [postgresql.BitString(text) for text in ("101", "000", "111", "010")])
    if hasattr(postgresql, "BitString")
    else (Text(), ["101", "000", "111", "010"]),
}
MYSQL_KINDS: dict[str, tuple[Any, list[Any]]] = {
    "fine": (
        mysql.DATETIME(fsp=6),
        [dt.datetime(2024, 1, number, 12, 0, 0, 123456) for number in (1, 2, 3, 4)],
    ),
    "stamp": (mysql.TIMESTAMP(fsp=3), [dt.datetime(2024, 1, number, 12, 0, 0, 5000) for number in (1, 2, 3, 4)]),
    "year": (mysql.YEAR(), [1999, 2024, 2000, 1970]),
    "wide": (mysql.BIGINT(unsigned=True), [2**64 - 1, 0, 1, 2]),
    "bits": (mysql.BIT(8), [1, 0, 255, 7]),
    "choice": (mysql.SET("a", "b", "c"), [{"a"}, {"a", "b"}, set(), {"c"}]),
    "lasted": (mysql.TIME(fsp=6), [dt.time(1, 2, 3, 4), dt.time(0), dt.time(23), dt.time(12)]),
    "tiny": (mysql.TINYINT(), [1, 0, 5, -7]),
}


def _ticks() -> int:
    return 42


class Tables:
    """The tables of one engine.

    Attributes:
        kinds: name of a column → its type and four values; a fifth row has NULL everywhere.
        item: a column of each kind.
        part: rows that belong to items.
        made: columns with defaults of all sorts.
        Item, Part: declarative classes for the same tables.
    """

    more: ClassVar[dict[str, dict[str, tuple[Any, list[Any]]]]] = {
        "postgresql": POSTGRESQL_KINDS,
        "mysql": MYSQL_KINDS,
        "mariadb": MYSQL_KINDS,
        "sqlite": {},
    }

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.kinds = {**KINDS, **self.more[engine]}
        if engine in ("mysql", "mariadb"):
            self.kinds["note"] = (Text(), KINDS["note"][1])
        metadata = self.metadata = MetaData()
        columns = [Column(name, kind, nullable=True) for name, (kind, _) in self.kinds.items()]
        self.item = Table("lane_item", metadata, Column("id", Integer, primary_key=True, autoincrement=False), *columns)
        self.part = Table(
            "lane_part",
            metadata,
            Column("id", Integer, primary_key=True),
            Column("item_id", ForeignKey("lane_item.id")),
            Column("parent_id", ForeignKey("lane_part.id")),
            Column("label", String(20)),
            Column("qty", Integer),
        )
        self.made = Table(
            "lane_made",
            metadata,
            Column("id", Integer, primary_key=True),
            Column("plain", String(20)),
            Column("constant", Integer, default=7),
            Column("called", Integer, default=_ticks),
            Column("in_context", Integer, default=lambda context: len(context.get_current_parameters())),
            Column("on_server", Integer, server_default=text("5")),
            Column("computed", Integer, default=func.abs(-3)),
            Column("changed", Integer, onupdate=9),
            Column("touched", Integer, onupdate=_ticks),
            Column("color", Enum(Color, name="lane_color"), default=Color.blue),
        )
        self.simple = Table(
            "lane_simple",
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            Column("name", String(20)),
            Column("qty", Integer, server_default=text("3")),
        )
        self._map()

    def _map(self) -> None:
        tables = self

        class Base(DeclarativeBase):
            metadata = tables.metadata

        class Item(Base):
            __table__ = tables.item
            parts: Mapped[list[Part]] = relationship("Part", lazy="selectin", viewonly=True)

        class Part(Base):
            __table__ = tables.part

        class Simple(Base):
            __table__ = tables.simple

        class Named(Base):
            __tablename__ = "lane_named"
            number: Mapped[int] = mapped_column("id", primary_key=True, autoincrement=False)
            title: Mapped[str | None] = mapped_column("name", String(20))

        globals()["Part"] = Part
        self.Item: Any = Item
        self.Part: Any = Part
        self.Simple: Any = Simple
        self.Named: Any = Named

    def rows(self) -> list[dict[str, Any]]:
        """What stands in ``item``."""
        filled = [
            {"id": number, **{name: values[number - 1] for name, (_, values) in self.kinds.items()}}
            for number in (1, 2, 3, 4)
        ]
        return [*filled, {"id": 5, **dict.fromkeys(self.kinds)}]

    def parts(self) -> list[dict[str, Any]]:
        """What stands in ``part``: two trees."""
        return [
            {"id": 1, "item_id": 1, "parent_id": None, "label": "root", "qty": 3},
            {"id": 2, "item_id": 1, "parent_id": 1, "label": "leaf", "qty": 4},
            {"id": 3, "item_id": 2, "parent_id": 1, "label": "leaf", "qty": None},
            {"id": 4, "item_id": 3, "parent_id": 2, "label": "twig", "qty": -1},
            {"id": 5, "item_id": None, "parent_id": None, "label": None, "qty": 10},
        ]
