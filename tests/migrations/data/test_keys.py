"""Any key that can be compared is gone along, and kept in the journal exactly."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection
from tests.migrations.data.conftest import Ground

from sillar.errors import UsageError
from sillar.migrations.data import batched_update
from sillar.migrations.data.key import decode_key, encode_key

KEYS = [
    (True, 2**63 - 1, "ñandú \x00 \U0001f578"),
    (UUID(int=5), Decimal("1.10"), b"\x00\xff"),
    (datetime(2026, 1, 2, 3, 4, 5, 678901), datetime(2026, 1, 2, tzinfo=UTC), date(2026, 1, 2), time(1, 2, 3, 4)),
    (0.1, float("inf"), -0.0),
]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: type(key[0]).__name__)
def test_a_key_comes_back_as_it_was(key: tuple[object, ...]) -> None:
    found = decode_key(encode_key(key))
    assert found == key
    assert [type(each) for each in found or ()] == [type(each) for each in key]
    assert encode_key(None) is decode_key(None) is None


def test_a_value_without_an_exact_text_is_refused() -> None:
    with pytest.raises(UsageError, match="a key cannot be of complex; batch along another one"):
        encode_key((1j,))


# Columns of a key in the words of each engine, and one row's values by its number.
WORDS = {
    "sqlite": ("VARCHAR(40)", "TIMESTAMP", "BLOB"),
    "postgresql": ("text", "timestamptz(6)", "bytea"),
    "mariadb": ("VARCHAR(40)", "DATETIME(6)", "VARBINARY(16)"),
    "mysql": ("VARCHAR(40)", "DATETIME(6)", "VARBINARY(16)"),
}


async def _check(
    ground: Ground, columns: dict[str, str], rows: list[tuple[object, ...]], *, unique: bool = True
) -> None:
    names = ", ".join(columns)
    declared = ", ".join(f"{name} {kind} NOT NULL" for name, kind in columns.items())
    await ground.execute(
        f"CREATE TABLE block ({declared}, n INTEGER NOT NULL DEFAULT 0)",
        f"CREATE {'UNIQUE' if unique else ''} INDEX block_key ON block ({names})",
    )
    slots = ", ".join(f":{name}" for name in columns)

    def insert(connection: Connection) -> None:
        with connection.begin():
            connection.execute(
                text(f"INSERT INTO block ({names}) VALUES ({slots})"),
                [dict(zip(columns, row, strict=True)) for row in rows],
            )

    await ground.run(insert)
    report = await ground.run(batched_update, "block", key=list(columns), values={"n": "n + 1"}, batch_rows=7)
    assert await ground.rows("SELECT n, count(*) FROM block GROUP BY n") == [(1, len(rows))]
    assert report.rows_done == len(rows)
    assert 3 < report.batches <= -(-len(rows) // 7)


async def test_text_in_the_order_of_its_collation(ground: Ground) -> None:
    words = ["ab", "Ab", "aB", "ñu", "nu", "Nu ", "zz", "Éa", "ea", "%", "it's", ":a", "\\", "0"]
    rows: list[tuple[object, ...]] = [(f"{word}{number}",) for word in words for number in range(3)]
    await _check(ground, {"k": WORDS[ground.name][0]}, rows, unique=False)  # where ñu is nu and Éa is ea


async def test_points_in_time_and_text_together(ground: Ground) -> None:
    words, moments, _ = WORDS[ground.name]
    aware = ground.name == "postgresql"
    first = datetime(2026, 3, 29, 1, 59, 59, 999_999, tzinfo=UTC if aware else None)
    rows = [(f"k{number % 3}", first.replace(microsecond=number, minute=number % 60)) for number in range(40)]
    if ground.name == "sqlite":  # as its users keep them: not all in SQLAlchemy's form
        rows = [(kind, at.isoformat() if at.microsecond % 2 else str(at)) for kind, at in rows]
    await _check(ground, {"kind": words, "at": moments}, rows)


async def test_bytes_and_numbers_together(ground: Ground) -> None:
    rows: list[tuple[object, ...]] = [
        (bytes([number % 5, 255 - number]), number % 4, number // 4) for number in range(50)
    ]
    await _check(ground, {"a": WORDS[ground.name][2], "b": "INTEGER", "c": "INTEGER"}, rows)


@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
async def test_uuid(name: str, request: pytest.FixtureRequest, fleet: object, tmp_path: object) -> None:
    from tests.migrations.data.conftest import grounds

    async for ground in grounds(name, fleet, tmp_path):  # type: ignore[arg-type]
        await _check(ground, {"k": "uuid"}, [(uuid4() if name == "postgresql" else str(uuid4()),) for _ in range(40)])


async def test_a_key_that_is_not_unique(ground: Ground) -> None:
    await ground.fill(rows=100)
    await ground.execute("CREATE INDEX stone_kind ON stone (kind, n)")
    report = await ground.run(batched_update, "stone", key=["kind"], values={"n": "n + 1"}, batch_rows=10)
    assert await ground.counters() == [(1, 100)]
    assert report.batches == 7


async def test_keys_that_will_not_do(sqlite_ground: Ground) -> None:
    await sqlite_ground.execute(
        "CREATE TABLE block (k TEXT PRIMARY KEY, n INTEGER, f FLOAT NOT NULL, p INTEGER NOT NULL, v INTEGER)",
        "CREATE INDEX block_f ON block (f)",
        "CREATE INDEX block_n ON block (n)",
        "CREATE INDEX block_p ON block (p) WHERE p > 3",
        "INSERT INTO block VALUES ('a', NULL, 1.5, 1, 0), (NULL, 1, 2.5, 1, 0)",
    )
    for key, problem in (
        ("x", "key: block has no column x; it has k, n, f, p, v"),
        ([], "key: no column is named"),
        ("f", "key \\(f\\) of block: f is a floating point number"),
        ("p", "key \\(p\\) of block: no index begins with these columns"),
        (["n", "p"], "key \\(n, p\\) of block: no index begins"),
        ("n", "key \\(n\\) of block: there are rows with NULL in it"),
        ("k", "key \\(k\\) of block: there are rows with NULL in it"),
    ):
        with pytest.raises(UsageError, match=problem):
            await sqlite_ground.run(batched_update, "block", key=key, values={"v": "v + 1"})
    await sqlite_ground.execute("DELETE FROM block WHERE k IS NULL")
    for options in ({"values": {"k": "k || 'z'"}}, {"values": {"n": "1"}, "undo": {"k": "k"}}):
        with pytest.raises(UsageError, match="the batches go along k, which this sets: rows would move ahead"):
            await sqlite_ground.run(batched_update, "block", key="k", **options)
    await sqlite_ground.run(batched_update, "block", key="k", values={"n": "7"})
    assert await sqlite_ground.rows("SELECT n FROM block") == [(7,)]
