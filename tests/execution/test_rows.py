"""Rows into objects."""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pydantic
import pytest

from sillar.engines import RowShape
from sillar.errors import ResultError
from sillar.execution.rows import row_maker

KEY = UUID("12345678-1234-5678-1234-567812345678")


class Colour(enum.Enum):
    RED = "red"


class Address(msgspec.Struct):
    street: str


class Struct(msgspec.Struct):
    id: int
    name: str


class KeywordStruct(msgspec.Struct, kw_only=True):
    id: int
    name: str = "nobody"


@dataclass
class Data:
    id: int
    name: str
    tags: list[str] = field(default_factory=list)


class Model(pydantic.BaseModel):
    id: int
    name: str


class Pair(NamedTuple):
    id: int
    name: str = "nobody"


@dataclass
class Everything:
    key: UUID
    price: Decimal
    at: dt.datetime
    day: dt.date
    clock: dt.time
    took: dt.timedelta
    done: bool
    colour: Colour
    address: Address | None
    raw: Any


ROWS = [(1, "one"), (2, "two")]


@pytest.mark.parametrize("kind", [Struct, KeywordStruct, Data, Model, Pair])
@pytest.mark.parametrize("columns", [("id", "name"), ("name", "id"), ("extra", "name", "id")])
def test_columns_are_matched_by_name(kind: Any, columns: tuple[str, ...]) -> None:
    values = [{"id": number, "name": name, "extra": None} for number, name in ROWS]
    rows = [tuple(each[column] for column in columns) for each in values]
    maker = row_maker(RowShape(columns), kind)
    expected = [kind(id=1, name="one"), kind(id=2, name="two")]
    assert maker.many(rows) == expected
    assert [maker.one(row) for row in rows] == expected


def test_without_a_type_rows_are_dicts() -> None:
    assert row_maker(RowShape(("id", "name")), None).many(ROWS) == [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]


def test_two_columns_of_one_name_are_not_lost_in_a_dict() -> None:
    with pytest.raises(ResultError, match=r"more than one column named id; give each a name of its own \(AS\)"):
        row_maker(RowShape(("id", "name", "id")), None)


@pytest.mark.parametrize("kind", [KeywordStruct, Pair])
def test_a_field_with_a_default_needs_no_column(kind: Any) -> None:
    assert row_maker(RowShape(("id",)), kind).many([(1,)]) == [kind(id=1)]


@pytest.mark.parametrize("kind", [Struct, Data])
def test_a_missing_field_names_the_nearest_column(kind: Any) -> None:
    with pytest.raises(ResultError, match=r"name \(did you mean the column names\? select it AS name\)"):
        row_maker(RowShape(("id", "names")), kind)


def test_what_an_engine_has_no_type_for_is_converted() -> None:
    columns = ("key", "price", "at", "day", "clock", "took", "done", "colour", "address", "raw")
    stored = (
        str(KEY),
        "1.50",
        "2026-11-20T10:00:00+00:00",
        "2026-11-20",
        "10:00:00",
        90.5,
        1,
        "red",
        '{"street": "A"}',
        7,
    )
    expected = Everything(
        KEY,
        Decimal("1.50"),
        dt.datetime(2026, 11, 20, 10, tzinfo=dt.UTC),
        dt.date(2026, 11, 20),
        dt.time(10),
        dt.timedelta(seconds=90.5),
        True,
        Colour.RED,
        Address("A"),
        7,
    )
    maker = row_maker(RowShape(columns), Everything)
    assert maker.one(stored) == expected
    native = (
        KEY, expected.price, expected.at, dt.datetime(2026, 11, 20, 5), dt.timedelta(hours=10), expected.took, True,
        Colour.RED, {"street": "A"}, 7,
    )  # fmt: skip
    assert maker.one(native) == expected
    nothing = maker.one((None,) * 10)
    assert [getattr(nothing, column) for column in columns] == [None] * 10


def test_what_an_engine_gives_by_itself_is_left_alone() -> None:
    shape = RowShape(("id", "key"), frozenset({int, str, UUID}))

    @dataclass
    class Keyed:
        id: int
        key: UUID

    assert row_maker(shape, Keyed).one((1, "as it is")).key == "as it is"


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (int, 3, 3),
        (UUID, str(KEY), KEY),
        (UUID, KEY.bytes, KEY),
        (Decimal, 2, Decimal(2)),
        (bool, 0, False),
        (Colour, "red", Colour.RED),
        (dict, '{"a": 1}', {"a": 1}),
        (list[int], "[1, 2]", [1, 2]),
        (Any, "x", "x"),
        (dt.datetime, None, None),
    ],
)
def test_a_scalar_type_takes_the_first_column(kind: Any, value: Any, expected: Any) -> None:
    maker = row_maker(RowShape(("a", "b")), kind)
    assert maker.one((value, "ignored")) == expected
    assert maker.many([(value, 1)]) == [expected]


@pytest.mark.parametrize("kind", [Struct, Data, Model])
def test_validation_catches_a_wrong_type_and_names_it(kind: Any) -> None:
    with pytest.raises(ResultError, match="does not fit") as caught:
        row_maker(RowShape(("id", "name")), kind, True).many([("x", 5)])
    assert kind.__name__ in str(caught.value)


def test_pydantic_models_are_validated_unless_told_otherwise() -> None:
    shape = RowShape(("id", "name"))
    with pytest.raises(ResultError):
        row_maker(shape, Model).one(("x", "y"))
    assert row_maker(shape, Model, False).one(("x", "y")).id == "x"
    assert row_maker(shape, int, True).one(("5",)) == 5


def test_a_value_that_cannot_be_converted_is_a_result_error_without_the_value() -> None:
    with pytest.raises(ResultError) as caught:
        row_maker(RowShape(("key",)), UUID).one(("secret",))
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_decimals_become_the_number_that_was_asked_for() -> None:
    shape = RowShape(("total", "mean"), frozenset({int, float, Decimal}), frozenset({"total", "mean"}))

    @dataclass
    class Sums:
        total: int
        mean: float | None

    made = row_maker(shape, Sums).one((Decimal(7), Decimal("1.5")))
    assert (made, type(made.total), type(made.mean)) == (Sums(7, 1.5), int, float)
    assert row_maker(shape, Sums).one((Decimal(7), None)).mean is None
    assert row_maker(shape, Decimal).one((Decimal("7.5"), None)) == Decimal("7.5")
    with pytest.raises(ResultError):
        row_maker(shape, int).one((Decimal("7.5"), None))


def test_a_type_that_no_row_can_become_is_refused() -> None:
    with pytest.raises(ResultError, match="dataclass, msgspec Struct"):
        row_maker(RowShape(("a",)), object)


def test_constructors_are_compiled_once_per_shape() -> None:
    shape = RowShape(("id", "name"))
    assert row_maker(shape, Struct) is row_maker(shape, Struct)
