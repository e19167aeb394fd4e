"""Two tables, the same on PostgreSQL and MongoDB, with everything in them that tells the two apart.

Documents lack some fields that rows have as NULL; texts begin with ``$`` or hold what is special in patterns.
"""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    Boolean,
    Column,
    Date,
    DateTime,
    Float,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()
items = Table(
    "shelf_items",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("a", Integer),
    Column("b", Integer),
    Column("n", Integer, nullable=False),
    Column("f", Float),
    Column("d", Numeric(12, 2)),
    Column("s", String),
    Column("w", String),
    Column("ok", Boolean),
    Column("at", DateTime),
    Column("day", Date),
    Column("tags", ARRAY(Integer)),
    Column("doc", JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")),
)
parts = Table(
    "shelf_parts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("item_id", Integer),
    Column("k", Integer),
    Column("s", String),
    Column("v", Float),
    Column("at", DateTime),
)

TEXTS = [
    "$a",
    "$$ROOT",
    "{$gt: 1}",
    "a.b",
    "a%b",
    "a_b",
    "x\\y",
    "",
    " pad ",
    "A",
    "b",
    "B",
    "ab\ncd",
    "a",
    "(a|b)*",
    "10",
]
WIDE = ["é", "É", "straße", "日本", "$é", "plain", "Plain"]
NUMBERS = [-7, -3, -1, 0, 1, 2, 3, 5, 8]
FLOATS = [-2.5, -0.75, 0.0, 0.25, 1.5, 3.0]
DECIMALS = [Decimal(text) for text in ("-1.25", "0.00", "0.10", "2.50", "19.99")]
TIMES = [dt.datetime(2024, month, day, 5, 6, 7, 8000) for month, day in ((1, 31), (2, 29), (12, 31))]
TIMES += [dt.datetime(1999, 12, 31, 23, 59, 59, 999000)]
DAYS = [dt.date(2024, 2, 29), dt.date(1970, 1, 1), dt.date(2023, 12, 31)]
ITEMS, PARTS = 26, 30


def _of(rnd: random.Random, values: list[Any]) -> Any:
    return None if rnd.random() < 0.25 else rnd.choice(values)


def rows() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of both tables."""
    rnd = random.Random(11)
    made = [
        {
            "id": number,
            "a": _of(rnd, NUMBERS),
            "b": _of(rnd, NUMBERS),
            "n": rnd.choice(NUMBERS),
            "f": _of(rnd, FLOATS),
            "d": _of(rnd, DECIMALS),
            "s": _of(rnd, TEXTS),
            "w": _of(rnd, WIDE),
            "ok": _of(rnd, [True, False]),
            "at": _of(rnd, TIMES),
            "day": _of(rnd, DAYS),
            "tags": _of(rnd, [[], [1], [1, 2], [2, 3, 3], [5], [1, None]]),
            "doc": _of(rnd, [{"k": 1}, {"k": 2, "t": "$a"}, {"o": {"p": 3}, "t": "x"}, {"k": None}, {"l": [1, 2]}]),
        }
        for number in range(1, ITEMS + 1)
    ]
    inner = [
        {
            "id": number,
            "item_id": _of(rnd, list(range(1, ITEMS + 4))),
            "k": _of(rnd, NUMBERS),
            "s": _of(rnd, TEXTS),
            "v": _of(rnd, FLOATS),
            "at": _of(rnd, TIMES),
        }
        for number in range(1, PARTS + 1)
    ]
    return made, inner


def documents(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows as documents: NULL is null in some, and missing in others."""
    rnd = random.Random(12)
    made = []
    for row in given:
        document = {"_id": row["id"]}
        for name, value in row.items():
            if name != "id" and (value is not None or rnd.random() < 0.5):
                document[name] = value
        made.append(document)
    return made
