"""Values there and back, prepared and as text, on both servers."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sillar import DatabaseManager, Json
from sillar.engines.mysql import MySQLAdapter
from sillar.engines.mysql.connection import MySQLConnection
from sillar.errors import ConnectionLostError, ParameterError, StatementError

Ask = Callable[..., Awaitable[Any]]
Table = Callable[[str], Awaitable[str]]
NASTY = "quote ' double \" back\\slash \\' percent % %s :name ? NUL \0 tab\t newline\n ctrl-Z \x1a ключ 🗿 \U0010ffff"


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


ROUND_TRIPS: list[tuple[str, Any, Any]] = [
    ("BIGINT", -(2**63), -(2**63)),
    ("BIGINT UNSIGNED", 2**64 - 1, 2**64 - 1),
    ("TINYINT(1)", True, 1),
    ("DOUBLE", 0.1 + 0.2, 0.1 + 0.2),
    ("DOUBLE", 5e-324, 5e-324),
    ("DECIMAL(65, 30)", Decimal("12345678901234567890.123456789012345678901234567890"), None),
    ("DECIMAL(10, 2)", Decimal("-0.10"), Decimal("-0.10")),
    ("TEXT CHARACTER SET utf8mb4", NASTY, NASTY),
    ("TEXT", "", ""),
    ("BLOB", bytes(range(256)), bytes(range(256))),
    ("BLOB", b"", b""),
    ("BLOB", bytearray(b"\xff'\\\0"), b"\xff'\\\0"),
    ("DATE", dt.date(2024, 2, 29), dt.date(2024, 2, 29)),
    ("DATETIME(6)", dt.datetime(2024, 2, 29, 23, 59, 59, 999_999), dt.datetime(2024, 2, 29, 23, 59, 59, 999_999)),
    (
        "DATETIME(6)",
        dt.datetime(2024, 6, 1, 12, 0, 0, 1, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))),
        dt.datetime(2024, 6, 1, 6, 30, 0, 1),
    ),
    (
        "TIMESTAMP(6) NULL",
        dt.datetime(2024, 6, 1, 12, 0, 0, 1, tzinfo=dt.timezone(dt.timedelta(hours=-3))),
        dt.datetime(2024, 6, 1, 15, 0, 0, 1, tzinfo=dt.UTC),
    ),
    ("TIME(6)", dt.timedelta(hours=-100, microseconds=-5), dt.timedelta(hours=-100, microseconds=-5)),
    ("TIME(6)", dt.time(1, 2, 3, 4), dt.timedelta(hours=1, minutes=2, seconds=3, microseconds=4)),
    ("CHAR(36)", UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    ("VARCHAR(9)", Colour.RED, "red"),
    ("INT", Level.HIGH, 3),
    ("YEAR", 2024, 2024),
    ("BIT(12)", 0xABC, 0xABC),
    ("ENUM('a', 'b')", "b", "b"),
    ("INT", None, None),
]


@pytest.mark.parametrize(
    ("column", "value", "expected"), ROUND_TRIPS, ids=[f"{c}-{n}" for n, (c, *_) in enumerate(ROUND_TRIPS)]
)
async def test_round_trip(
    connection: MySQLConnection, ask: Ask, table: Table, column: str, value: Any, expected: Any
) -> None:
    name = await table(f"id INT PRIMARY KEY, v {column}")
    if expected is None and value is not None:
        expected = value
    await ask(connection, f"INSERT INTO {name} VALUES (:id, :v)", {"id": 1, "v": value})
    await connection.bulk_insert(name, ["id", "v"], [(2, value)])
    found = [
        await ask(connection, f"SELECT v FROM {name} WHERE id = :id", {"id": 1}),  # binary results
        await ask(connection, f"SELECT v FROM {name} WHERE id = :id", {"id": 2}),
        await ask(connection, f"SELECT v FROM {name} WHERE id = 1"),  # text results
    ]
    assert found == [[(expected,)]] * 3
    assert type(found[0][0][0]) is type(expected)
    assert type(found[2][0][0]) is type(expected)


async def test_json_is_decoded_where_the_server_has_the_type(
    connection: MySQLConnection, ask: Ask, table: Table, is_mariadb: bool
) -> None:
    name = await table("id INT PRIMARY KEY, j JSON")
    document = {"a": [1, None, "ключ 🗿"], "b": {"c": 1.5}}
    await ask(
        connection,
        f"INSERT INTO {name} VALUES (1, :j), (2, :k), (3, :l)",
        {"j": document, "k": [1, 2], "l": Json(None)},
    )
    for rows in (
        await ask(connection, f"SELECT j FROM {name} ORDER BY id"),
        await ask(connection, f"SELECT j FROM {name} WHERE id > :id ORDER BY id", {"id": 0}),
    ):
        if is_mariadb:
            assert [type(row[0]) for row in rows] == [str, str, str]
            assert rows[2] == ("null",)
        else:
            assert rows == [(document,), ([1, 2],), (None,)]


@dataclass
class Record:
    flag: bool
    uid: UUID
    document: dict[str, int]
    colour: Colour
    at: dt.time


async def test_into_converts_alike_on_both(
    open_manager: Callable[..., Awaitable[DatabaseManager]], table: Table
) -> None:
    name = await table("flag TINYINT(1), uid CHAR(36), document JSON, colour VARCHAR(9), at TIME(6)")
    session = (await open_manager()).session()
    record = Record(True, UUID(int=9), {"a": 1}, Colour.RED, dt.time(4, 5, 6))
    await session.bulk_insert(
        name,
        ["flag", "uid", "document", "colour", "at"],
        [(record.flag, record.uid, record.document, record.colour, record.at)],
    )
    assert await session.fetch_one(f"SELECT * FROM {name}", into=Record) == record
    assert await session.fetch_one(f"SELECT * FROM {name} WHERE flag = :flag", {"flag": True}, into=Record) == record


async def test_native_uuid_of_mariadb(connection: MySQLConnection, ask: Ask, table: Table, is_mariadb: bool) -> None:
    if not is_mariadb:
        with pytest.raises(Exception, match=r"(?i)syntax"):
            await table("u UUID")
        return
    name = await table("u UUID")
    await ask(connection, f"INSERT INTO {name} VALUES (:u)", {"u": UUID(int=5)})
    assert await ask(connection, f"SELECT u FROM {name}") == [("00000000-0000-0000-0000-000000000005",)]
    assert await ask(connection, f"SELECT u FROM {name} WHERE u = :u", {"u": UUID(int=5)}) == [(str(UUID(int=5)),)]


async def test_zero_dates_are_none(
    open_connection: Callable[..., Awaitable[MySQLConnection]], ask: Ask, table: Table
) -> None:
    name = await table("id INT, d DATE, t DATETIME")
    lax = await open_connection(connection_options={"sql_mode": ""})
    await ask(lax, f"INSERT INTO {name} VALUES (1, '0000-00-00', '0000-00-00 00:00:00')")
    assert await ask(lax, f"SELECT d, t FROM {name}") == [(None, None)]
    assert await ask(lax, f"SELECT d, t FROM {name} WHERE id = :id", {"id": 1}) == [(None, None)]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (float("nan"), "NaN"),
        (float("-inf"), "infinite"),
        (Decimal("NaN"), "NaN"),
        (2**64, "64 bits"),
        (-(2**63) - 1, "64 bits"),
        ("\ud800secret", "surrogates"),
        (object(), "object"),
        ({1, 2}, "set"),
        (dt.time(1, tzinfo=dt.UTC), "time zone"),
        ({"a": object()}, "JSON"),
    ],
)
async def test_what_cannot_be_stored_is_refused_before_anything_is_sent(
    adapter: MySQLAdapter, value: Any, problem: str
) -> None:
    with pytest.raises(ParameterError, match=problem) as refused:
        adapter.bind("SELECT :fine, :wrong", {"fine": 1, "wrong": value})
    assert ":wrong" in str(refused.value)
    assert "secret" not in str(refused.value)
    with pytest.raises(ParameterError, match="parameter 2"):
        adapter.bind("SELECT %s, %s", [1, value])


async def test_parameters_as_they_are(connection: MySQLConnection, ask: Ask) -> None:
    """In a SELECT without any column to learn a type from."""
    values = [
        1,
        2**63,
        "a'b",
        1.5,
        Decimal("1.10"),
        dt.datetime(2020, 1, 2, 3, 4, 5, 6),
        dt.date(2020, 1, 2),
        None,
        b"\0\xff",
    ]
    for value in values * 2:  # one text, each time with another type
        assert await ask(connection, "SELECT :v", {"v": value}) == [(value,)]
    assert await ask(connection, "SELECT :a, :b, :a", {"a": b"\xff", "b": "100%"}) == [(b"\xff", "100%", b"\xff")]
    assert await ask(connection, "SELECT '100%', ':no', :v", {"v": 1}) == [("100%", ":no", 1)]
    assert await ask(connection, "SELECT '100%%', %s", ["é"]) == [("100%", "é")]


async def test_text_that_cannot_be_decoded_closes_the_connection(
    connection: MySQLConnection, ask: Ask, table: Table, is_mariadb: bool
) -> None:
    """A reply that was half read must never be continued by the next statement."""
    name = await table("t VARBINARY(9)")
    await ask(connection, f"INSERT INTO {name} VALUES (:v)", {"v": b"\xff\xfe"})
    # The server declares text and sends bytes that are none.
    bad = f"SELECT CAST(t AS CHAR CHARACTER SET binary), 1 FROM {name}"
    assert await ask(connection, bad) == [(b"\xff\xfe", 1)]
    connection.raw._decoders[3] = connection.raw._decoders[8] = _explode  # INT and BIGINT
    with pytest.raises((ConnectionLostError, ValueError)):
        await ask(connection, f"SELECT COUNT(*) FROM {name}")
    assert connection.is_closed()


def _explode(value: Any) -> Any:
    raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    data=st.binary(max_size=60),
    number=st.integers(-(2**63), 2**64 - 1),
    real=st.floats(allow_nan=False, allow_infinity=False),
)
async def test_anything_comes_back_as_it_went(
    connection: MySQLConnection, ask: Ask, text: str, data: bytes, number: int, real: float
) -> None:
    prepared = {"text": text, "number": number, "real": real}
    assert await ask(connection, "SELECT :text, :number, :real", prepared) == [(text, number, real)]
    assert await ask(connection, "SELECT :text, :data, :number", {"text": text, "data": data, "number": number}) == [
        (text, data, number)
    ]
    literals = ", ".join(connection.raw.literal(value) for value in (text, number, data))
    assert await ask(connection, f"SELECT {literals}") == [(text, number, data)]


async def test_errors_quote_no_values(connection: MySQLConnection, ask: Ask, table: Table) -> None:
    name = await table("id INT PRIMARY KEY, d DATE, k VARCHAR(99) UNIQUE, e ENUM('x')")
    await ask(connection, f"INSERT INTO {name} VALUES (1, NULL, 'hidden secret', NULL)")
    for sql, params in (
        (f"INSERT INTO {name} VALUES (2, NULL, :v, NULL)", {"v": "hidden secret"}),
        (f"INSERT INTO {name} VALUES (:v, NULL, NULL, NULL)", {"v": "secret"}),
        (f"INSERT INTO {name} VALUES (3, :v, NULL, NULL)", {"v": "secret"}),
        (f"INSERT INTO {name} VALUES (3, NULL, NULL, :v)", {"v": "it's a secret"}),
        (f"INSERT INTO {name} VALUES (3, :v, NULL, NULL)", {"v": "a \"secret' thing"}),
        ("KILL :v", {"v": "secret"}),
    ):
        with pytest.raises(StatementError) as refused:
            await ask(connection, sql, params)
        assert "secret" not in str(refused.value)
