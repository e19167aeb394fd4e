"""Values round-trip exactly, or are refused."""

from __future__ import annotations

import enum
import math
import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from sillar import Json
from sillar.errors import ParameterError
from sillar.execution.documents import DocumentCollection

pytestmark = pytest.mark.usefixtures("mongodb")


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    LARGE = 3


@dataclass
class Everything:
    day: date
    at: time
    length: timedelta
    colour: Colour
    size: Size
    number: Decimal
    key: uuid.UUID
    moment: datetime
    inner: Inner
    tags: list[str] = field(default_factory=list)


@dataclass
class Inner:
    n: int


VALUES: dict[str, Any] = {
    "decimal": Decimal("12.340"),
    "decimal as Python computes it": Decimal(1) / 3,
    "decimal of 34 digits": Decimal("0.1234567890123456789012345678901234"),
    "int64": 2**63 - 1,
    "least int64": -(2**63),
    "float": 0.1,
    "infinity": math.inf,
    "true": True,
    "null": None,
    "empty": "",
    "four bytes": "𝄞 🪨",
    "nul": "a\x00b",
    "bytes": bytes(range(256)),
    "uuid": uuid.uuid4(),
    "moment": datetime(2026, 11, 20, 21, 5, 59, 123000, tzinfo=UTC),
    "old": datetime(1, 1, 1, tzinfo=UTC),
    "array": [1, "two", None, [3.5]],
    "document": {"a": {"b": [{"c": 1}]}, "": "empty key"},
}


@pytest.mark.parametrize("name", VALUES)
async def test_comes_back_as_it_went(stones: DocumentCollection, name: str) -> None:
    given = VALUES[name]
    await stones.insert_one({"v": given})
    found = await stones.find_one()
    assert found is not None
    assert found["v"] == given
    assert str(found["v"]) == str(given)
    assert isinstance(found["v"], type(given))


async def test_nan(stones: DocumentCollection) -> None:
    await stones.insert_one({"v": math.nan, "d": Decimal("NaN")})
    found = await stones.find_one()
    assert found is not None
    assert math.isnan(found["v"])
    assert found["d"].is_nan()


async def test_what_bson_lacks_is_stored_as_on_other_engines(stones: DocumentCollection) -> None:
    key, moment = uuid.uuid4(), datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=timezone(timedelta(hours=-5)))
    document = {
        "day": date(2026, 1, 2),
        "at": time(3, 4, 5),
        "length": timedelta(seconds=1.5),
        "colour": Colour.RED,
        "size": Size.LARGE,
        "number": Decimal("1.50"),
        "key": key,
        "moment": moment,
        "inner": Json({"n": 4}),
        "tags": ("a", "b"),
        "blob": bytearray(b"x"),
    }
    await stones.insert_one(document)
    raw = await stones.find_one(projection={"_id": 0})
    assert raw is not None
    stored = moment.astimezone(UTC).replace(microsecond=678000)  # BSON has milliseconds
    assert raw == {
        "day": "2026-01-02",
        "at": "03:04:05",
        "length": 1.5,
        "colour": "red",
        "size": 3,
        "number": Decimal("1.50"),
        "key": key,
        "moment": stored,
        "inner": {"n": 4},
        "tags": ["a", "b"],
        "blob": b"x",
    }
    assert raw["moment"].tzinfo is not None
    assert await stones.find_one(into=Everything) == Everything(
        date(2026, 1, 2),
        time(3, 4, 5),
        timedelta(seconds=1.5),
        Colour.RED,
        Size.LARGE,
        Decimal("1.50"),
        key,
        stored,
        Inner(4),
        ["a", "b"],
    )
    assert await stones.count({"colour": Colour.RED, "day": {"$lt": date(2026, 1, 3)}, "number": Decimal("1.5")}) == 1


async def test_a_naive_time_counts_as_utc(stones: DocumentCollection) -> None:
    await stones.insert_one({"v": datetime(2026, 1, 2, 3)})
    found = await stones.find_one()
    assert found is not None
    assert found["v"] == datetime(2026, 1, 2, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (2**63, "64 bits"),
        (Decimal("0." + "1" * 40), "34 digits"),
        (object(), "no form for a value of type object"),
        ({1: "secret-value"}, "keys are strings"),
        ({"\x00": "secret-value"}, "cannot be encoded"),
        ("\ud800", "cannot be encoded"),
        (b"x" * 17_000_000, "larger than the server takes"),
    ],
)
async def test_what_has_no_form_is_refused_and_not_quoted(stones: DocumentCollection, given: Any, what: str) -> None:
    with pytest.raises(ParameterError, match=what) as refused:
        await stones.insert_one({"v": given})
    assert "secret-value" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert await stones.count() == 0
