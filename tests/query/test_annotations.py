"""What column an annotation comes to."""

from __future__ import annotations

import ipaddress
import pathlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pytest
from bson import DBRef, ObjectId
from pydantic import AnyUrl, BaseModel, EmailStr, Field, HttpUrl, SecretBytes, SecretStr
from sqlalchemy import Column, MetaData, Table, create_engine, insert, select
from typing_extensions import TypeAliasType

from sillar.errors import UsageError
from sillar.query.annotations import EnumValue, NativeValue, column_type


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Rank(IntEnum):
    LOW = 1
    HIGH = 2


class Mixed(Enum):
    ONE = 1
    TWO = "two"


class Model(BaseModel):
    x: int


@dataclass
class Data:
    x: int


class Stone(msgspec.Struct):
    x: int


class Point(NamedTuple):
    x: int
    y: int


class Keys(TypedDict):
    x: int


Bounded = TypeVar("Bounded", bound=int)
Free = TypeVar("Free")
Name = NewType("Name", str)
Alias = TypeAliasType("Alias", int | None)


@pytest.mark.parametrize(
    ("annotation", "said", "nullable"),
    [
        (int, "BigInteger()", False),
        (bool, "Boolean()", False),
        (str, "String()", False),
        (float, "Double(precision=53)", False),
        (Decimal, "Numeric()", False),
        (bytes, "LargeBinary()", False),
        (datetime, "DateTime(timezone=True)", False),
        (date, "Date()", False),
        (time, "Time()", False),
        (timedelta, "Interval()", False),
        (UUID, "Uuid()", False),
        (int | None, "BigInteger()", True),
        (str | None, "String()", True),
        (Annotated[str, Field(max_length=3)], "String()", False),
        (Annotated[int | None, Field(gt=3)], "BigInteger()", True),
        (Name, "String()", False),
        (Alias, "BigInteger()", True),
        (Bounded, "BigInteger()", False),
        (Literal["a", "b"], "String()", False),
        (Literal["a", None], "String()", True),
        (Literal["a", 1], "JSON()", False),
        (int | str, "JSON()", False),
        (Any, "JSON()", True),
        (None, "JSON(none_as_null=True)", True),
        (dict[str, int], "JSON()", False),
        (list, "JSON()", False),
        (list[str], "ARRAY(String())", False),
        (set[int], "ARRAY(BigInteger())", False),
        (tuple[int, ...], "ARRAY(BigInteger())", False),
        (tuple[int, str], "JSON()", False),
        (list[int | None], "JSON()", False),
        (list[list[int]], "JSON()", False),
        (list[Model], "JSON()", False),
        (Model, "JSON()", False),
        (Data, "JSON()", False),
        (Stone, "JSON()", False),
        (Point, "JSON()", False),
        (Keys, "JSON()", False),
        (pathlib.Path, "String()", False),
        (ipaddress.IPv4Address, "String()", False),
        (AnyUrl, "String()", False),
        (HttpUrl, "String()", False),
        (EmailStr, "String()", False),
        (SecretStr, "String()", False),
        (SecretBytes, "LargeBinary()", False),
        (ObjectId, "NativeValue('objectId')", False),
        (DBRef, "NativeValue('dbRef')", False),
        (Rank, "EnumValue(Rank, BigInteger())", False),
        (Mixed, "EnumValue(Mixed, JSON())", False),
    ],
    ids=str,
)
def test_annotations(annotation: Any, said: str, nullable: bool) -> None:
    kind, takes_null = column_type(annotation)
    assert repr(kind).replace("Double()", "Double(precision=53)") == said
    assert takes_null is nullable


@pytest.mark.parametrize("annotation", [complex, Callable[[int], int], Free, "Model"], ids=str)
def test_what_no_column_holds_is_refused_by_the_name_of_its_field(annotation: Any) -> None:
    with pytest.raises(UsageError, match="the field 'weight' is annotated"):
        column_type(annotation, field="weight")
    with pytest.raises(UsageError, match="the annotation is annotated"):
        column_type(annotation)


def test_enumerations_are_stored_by_value() -> None:
    """In SQLite, where the file says what is stored."""
    table = Table(
        "stone",
        MetaData(),
        *(
            Column(name, column_type(kind)[0])
            for name, kind in {"colour": Colour, "rank": Rank, "tags": list[str]}.items()
        ),
    )
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(insert(table), {"colour": Colour.RED, "rank": Rank.HIGH, "tags": ["a", "b"]})
        connection.execute(insert(table), {"colour": None, "rank": None, "tags": None})
        stored = connection.exec_driver_sql("SELECT * FROM stone").fetchall()
        assert tuple(stored[0]) == ("red", 2, '["a", "b"]')
        assert connection.execute(select(table).where(table.c.rank == Rank.HIGH)).all() == [
            (Colour.RED, Rank.HIGH, ["a", "b"])
        ]
        assert connection.execute(select(table.c.rank).where(table.c.rank.is_(None))).all() == [(None,)]
    engine.dispose()


def test_types_are_equal_in_cache_keys_and_copies() -> None:
    rank = column_type(Rank)[0]
    assert isinstance(rank, EnumValue)
    assert repr(rank.copy()) == repr(rank)
    key = ObjectId()
    column = Column("id", NativeValue("objectId"))
    comparison = column == key
    assert comparison.right.type is column.type  # the value is not taken for text
    assert str(column.type) == "objectId"
