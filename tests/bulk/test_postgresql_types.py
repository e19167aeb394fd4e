"""PostgreSQL by both of its ways: arrays up to 1000 rows, a temporary table above, for columns of all kinds."""

from __future__ import annotations

import enum
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from tests.bulk.place import Place

from sillar import Json
from sillar.errors import DataError, ParameterError


class Colour(enum.Enum):
    RED = "red"


COLUMNS = ["id", "data", "amount", "at", "ref", "mood", "short"]
AT = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)


@pytest.fixture
async def typed(open_place: Any) -> Any:
    place: Place = await open_place("postgresql")
    session = place.session
    await session.execute("CREATE TYPE bulk_mood AS ENUM ('red', 'blue')")
    await session.execute("CREATE DOMAIN bulk_positive AS numeric(10,2) CHECK (value > 0)")
    await session.execute(
        "CREATE TABLE bulk_typed (id int PRIMARY KEY, data jsonb, amount bulk_positive, at timestamptz, ref uuid,"
        ' mood bulk_mood, short varchar(5), tags text[], "Odd ""name" "char")'
    )
    yield place
    await session.execute("DROP TABLE bulk_typed")
    await session.execute("DROP TYPE bulk_mood")
    await session.execute("DROP DOMAIN bulk_positive")


@pytest.mark.parametrize("count", [3, 1500])
async def test_values_of_all_kinds(typed: Place, count: int) -> None:
    ref = uuid.uuid4()
    session = typed.session
    rows = [(n, {"n": n}, Decimal("1.50"), AT, ref, Colour.RED, "short") for n in range(count)]
    for _ in "ab":  # inserted, then updated
        report = await session.bulk_upsert("public.bulk_typed", COLUMNS, rows, key="id")
        assert report.rows_affected == count
    await session.bulk_update("bulk_typed", ["id", "data"], [(n, Json([n])) for n in range(1, count)], key="id")
    found = await session.get_many("bulk_typed", [0, count - 1], columns=COLUMNS)
    assert found[0] == dict(zip(COLUMNS, (0, {"n": 0}, Decimal("1.50"), AT, ref, "red", "short"), strict=True))
    assert found[1]["data"] == [count - 1]
    assert (await session.bulk_delete("bulk_typed", "id", range(1, 5000))).rows_affected == count - 1
    assert await session.fetch_value("SELECT count(*) FROM pg_class WHERE relname LIKE 'sillar_bulk%'") == 0


async def test_columns_of_arrays_and_odd_names(typed: Place) -> None:
    rows = [(1, ["a", "b"], b"x"), (2, [], b"y"), (3, None, None)]
    async with typed.session.transaction() as transaction:
        for _ in "ab":
            await transaction.bulk_upsert("bulk_typed", ["id", "tags", 'Odd "name'], rows, key="id")
    found = await typed.session.get_many("bulk_typed", [1, 2, 3], columns=["tags", 'Odd "name'])
    assert [tuple(each.values()) for each in found if each] == [(["a", "b"], b"x"), ([], b"y"), (None, None)]


@pytest.mark.parametrize("count", [10, 1500])
async def test_the_rows_that_types_refuse(typed: Place, count: int) -> None:
    good: list[tuple[Any, ...]] = [(n, "fits") for n in range(1, count + 1)]
    session = typed.session
    with pytest.raises(DataError, match="row 7 of the input") as refused:
        await session.bulk_upsert("bulk_typed", ["id", "short"], [*good[:6], (7, "too long"), *good[7:]], key="id")
    assert "too long" not in str(refused.value).replace("value too long", "")
    wrong = [*good[:6], (7, 5), *good[7:]]
    with pytest.raises(ParameterError, match=r"column short|column in bulk_typed"):
        await session.bulk_upsert("bulk_typed", ["id", "short"], wrong, key="id")
    assert await session.fetch_value("SELECT count(*) FROM bulk_typed") == 0
    assert typed.manager.pools["default"].stats().leased == 0
