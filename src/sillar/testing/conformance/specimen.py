"""One record with a field of each type, which reads back equal from every engine."""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID


class Colour(enum.Enum):
    """An enumeration that is stored as text."""

    RED = "red"
    GREEN = "grün"


class Level(enum.IntEnum):
    """An enumeration that is stored as a number."""

    LOW = 1
    HIGH = 3


@dataclass
class Specimen:
    """A field of each type."""

    id: int
    amount: Decimal
    seen_at: dt.datetime
    seen_on: dt.date
    token: UUID
    data: dict[str, Any]
    raw: bytes
    tags: list[str]
    colour: Colour
    level: Level
    large: int
    ratio: float
    flag: bool
    note: str
    missing: str | None


COLUMNS: tuple[str, ...] = tuple(Specimen.__dataclass_fields__)

DEFINITION = (
    "id {integer} PRIMARY KEY, amount {decimal}, seen_at {aware_time}, seen_on {date}, token {uuid}, data {json},"
    " raw {bytes}, tags {list}, colour {key_text}, level {integer}, large {big_integer}, ratio {float}, flag {bool},"
    " note {text}, missing {text}"
)
"""The columns of a table of specimens, with the types as a subject spells them."""

SPECIMENS = (
    Specimen(
        1,
        Decimal("1234567890123456.7890123400"),
        dt.datetime(2026, 11, 20, 21, 30, 15, 123000, dt.UTC),
        dt.date(2026, 2, 28),
        UUID("12345678-1234-5678-9234-567812345678"),
        {"name": "Zoë 🪨", "inner": {"list": [1, 2.5, None, "null", True], "empty": {}}, "nothing": None},
        bytes(range(256)),
        ["a", "", "Ünïcödé", "𝄞", 'quote " and \\ backslash, {comma}'],
        Colour.GREEN,
        Level.HIGH,
        2**63 - 1,
        0.1,
        True,
        "four bytes: 🪨𝄞; quotes: ' \" `; backslash: \\n \\; percent: % %s; colon: :name",
        None,
    ),
    Specimen(
        2,
        Decimal("-0.0000000001"),
        dt.datetime(1999, 12, 31, 23, 59, 59, 999000, dt.UTC),
        dt.date(2000, 2, 29),
        UUID(int=0),
        {},
        b"",
        [],
        Colour.RED,
        Level.LOW,
        -(2**63),
        -1.7976931348623157e308,
        False,
        "",
        "",
    ),
)


def values(specimen: Specimen) -> dict[str, Any]:
    """Its fields by name, as parameters."""
    return {name: getattr(specimen, name) for name in COLUMNS}
