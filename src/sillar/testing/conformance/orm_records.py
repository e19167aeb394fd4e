"""What the ORM cases store: authors and their books, and one record with a value of each portable type."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sillar import Capability, DatabaseSession, DocumentCommand
from sillar.errors import StatementError
from sillar.testing.conformance.orm_engine import ORMEngine
from sillar.testing.conformance.specimen import Colour
from sillar.testing.conformance.subject import SQLSubject


@dataclass
class ORMAuthor:
    """A row of ``oc_author``. The name is unique and may not be missing."""

    id: int
    name: str | None


@dataclass
class ORMBook:
    """A row of ``oc_book``. It has at least one page, and an author that exists."""

    id: int
    title: str
    pages: int
    author_id: int


@dataclass
class ORMRecord:
    """A row of ``oc_record``: a field of each type that every way can store on every engine.

    Attributes:
        whole: 32 bits; ``large`` has 64.
        amount: 18 digits, 4 of them behind the point.
        moment: aware, to the millisecond.
        data, items: JSON.
        colour: stored as text, by its value.
        missing: always None.
    """

    id: int
    whole: int
    large: int
    note: str
    flag: bool
    amount: Decimal
    ratio: float
    day: dt.date
    moment: dt.datetime
    token: UUID
    content: bytes
    data: dict[str, Any]
    items: list[Any]
    colour: Colour
    missing: str | None


RECORD_FIELDS: Final = tuple(ORMRecord.__dataclass_fields__)
RECORDS: Final = (
    ORMRecord(
        1,
        2**31 - 1,
        2**63 - 1,
        "quotes ' \" `; backslash \\n \\; percent % %s; colon :name; 🪨𝄞",
        True,
        Decimal("12345678901234.5678"),
        0.1,
        dt.date(2024, 2, 29),
        dt.datetime(2026, 11, 20, 21, 30, 15, 123000, dt.UTC),
        UUID("12345678-1234-5678-9234-567812345678"),
        bytes(range(256)),
        {"name": "Zoë", "inner": {"list": [1, 2.5, None, "null", True], "empty": {}}, "nothing": None},
        [1, "two", None, {"three": [3]}, "null"],
        Colour.GREEN,
        None,
    ),
    ORMRecord(
        2,
        -(2**31),
        -(2**63),
        "",
        False,
        Decimal("-0.0001"),
        -1e300,
        dt.date(1970, 1, 1),
        dt.datetime(1999, 12, 31, 23, 59, 59, 999000, dt.UTC),
        UUID(int=1),
        b"",
        {},
        [],
        Colour.RED,
        None,
    ),
)

SEARCHED: Final = tuple(name for name in RECORD_FIELDS if name not in ("data", "items", "missing"))
"""The fields that can be compared with a value."""

AUTHORS: Final = "oc_author"
BOOKS: Final = "oc_book"
RECORD: Final = "oc_record"
_TABLES: Final = (BOOKS, RECORD, AUTHORS)
_DEFINITIONS: Final = {
    AUTHORS: "id {integer} PRIMARY KEY, name {key_text} NOT NULL UNIQUE",
    BOOKS: "id {integer} PRIMARY KEY, title {key_text} NOT NULL, pages {integer} NOT NULL CHECK (pages > 0),"
    " author_id {integer} NOT NULL, FOREIGN KEY (author_id) REFERENCES oc_author (id)",
    RECORD: "id {integer} PRIMARY KEY, whole {integer}, large {big_integer}, note {text}, flag {bool},"
    " amount {decimal}, ratio {float}, day {date}, moment {aware_time}, token {uuid}, content {bytes}, data {json},"
    " items {json}, colour {key_text}, missing {text}",
}
_RULES: Final = {
    AUTHORS: {"name": {"bsonType": "string"}},
    BOOKS: {"pages": {"minimum": 1}},
}


async def empty_tables(session: DatabaseSession, engine: ORMEngine) -> None:
    """Have the tables (or collections) of these records, with nothing in them."""
    if not session.capabilities.has(Capability.SQL):
        await _empty_collections(session)
        return
    assert isinstance(engine.subject, SQLSubject)
    try:
        for name in _TABLES:
            await session.execute(f"DELETE FROM {name}")
    except StatementError:  # the first one on this server
        for name in _TABLES:
            await session.execute(f"DROP TABLE IF EXISTS {name}")
        for name in reversed(_TABLES):
            await session.execute(f"CREATE TABLE {name} ({_DEFINITIONS[name].format_map(engine.subject.types)})")


async def _empty_collections(session: DatabaseSession) -> None:
    await session.documents(AUTHORS).create_index([("name", 1)], unique=True, name="one_name")
    await session.documents(BOOKS).create_index([("author_id", 1)], name="of_author")
    await session.documents(RECORD).create_index([("note", 1)], name="by_note")
    for name in _TABLES:
        await session.documents(name).delete_many({})
    for name, properties in _RULES.items():
        rule = {"$jsonSchema": {"properties": properties}}
        command = {"collMod": name, "validator": rule}
        await session.execute(DocumentCommand("", "command", {"command": command}))
