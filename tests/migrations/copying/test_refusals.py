"""What cannot be carried is said beforehand; bad input changes nothing; a difference is found."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from tests.migrations.copying.conftest import Open, count, run

from sillar import DatabaseManager
from sillar.errors import (
    ConnectError,
    DataError,
    IntegrityError,
    MigrationStateError,
    StatementError,
    UniqueViolationError,
    UsageError,
)
from sillar.migrations.copying import CopyRefusedError, compare_databases, copy_database
from sillar.migrations.copying.side import PROGRESS_TABLE
from sillar.migrations.copying.sides import side_of
from sillar.testing.servers import PostgreSQLServer

STONES = "CREATE TABLE stone (id INTEGER PRIMARY KEY, kind VARCHAR(10), kg NUMERIC(6,2), day DATE, data JSON, raw BLOB)"


@pytest.fixture
async def stones(open_database: Open) -> DatabaseManager:
    """A table of a thousand rows in SQLite."""
    manager = await open_database("sqlite", "other")
    await manager.session().execute(STONES)
    rows = [(number, f"k{number}", 1.5, "2024-01-01", '{"a": 1}', b"\0") for number in range(1, 1001)]
    await manager.session().bulk_insert("stone", ["id", "kind", "kg", "day", "data", "raw"], rows)
    return manager


async def names(manager: DatabaseManager) -> list[str]:
    return await (await side_of(manager, None)).table_names()


async def test_a_dry_run_writes_nothing_and_says_what_would_be_done(
    stones: DatabaseManager, open_database: Open
) -> None:
    theirs = await open_database("postgresql")
    report = await copy_database(stones, theirs, dry_run=True)
    [table] = report.tables
    assert (table.source_rows, table.rows, report.dry_run) == (1000, 0, True)
    assert ("kg", "NUMERIC(6,2)", "numeric(6,2)") in table.columns
    assert any("jsonb" in str(each) for each in report.unfaithful)
    assert await names(theirs) == []
    assert report.to_json()["tables"][0]["source_rows"] == 1000


UNFIT = [
    ("kind", "'a' || char(0)", "NUL character"),
    ("kind", "'more than ten characters'", "longer than the 10"),
    ("kind", "x'00'", "is bytes in a column of text"),
    ("kg", "'heavy'", "is no decimal number"),
    ("kg", "123456.5", "4 digits before the point"),
    ("kg", "1.125", "2 digits after the point"),
    ("day", "'yesterday'", "is no date"),
    ("data", "'{'", "is no JSON"),
    ("data", "x'7B7D'", "is bytes in a column of JSON"),
    ("raw", "'text'", "is no bytes"),
]


@pytest.mark.parametrize(("column", "value", "reason"), UNFIT)
async def test_a_value_that_does_not_fit_prevents_the_copy(
    column: str, value: str, reason: str, stones: DatabaseManager, open_database: Open
) -> None:
    theirs = await open_database("postgresql")
    await stones.session().execute(f"UPDATE stone SET {column} = {value} WHERE id IN (77, 78)")
    with pytest.raises(CopyRefusedError) as caught:
        await copy_database(stones, theirs)
    [found] = caught.value.findings
    assert (found.table, found.column, found.prevents) == ("stone", column, True)
    assert "2 values, the first in row id=77" in found.what
    assert reason in found.what
    assert await names(theirs) == []
    with pytest.raises(DataError, match=f"stone, row id=77: the value of {column} .*{reason}"):
        await copy_database(stones, theirs, survey_values=False, batch_rows=50)
    assert await count(theirs, "stone") == 50  # nothing of the batch that has it
    await stones.session().execute(f"UPDATE stone SET {column} = NULL WHERE id IN (77, 78)")
    report = await copy_database(stones, theirs)
    assert report.resumed
    assert report.verified


DISTANT = [
    ("timestamp", "'infinity'"),
    ("timestamptz", "'-infinity'"),
    ("date", "'0044-03-15 BC'"),
    ("date", "'20000-01-01'"),
    ("double precision", "'NaN'"),
    ("real", "'-Infinity'"),
    ("numeric", "'NaN'"),
    ("numeric", "1e400"),
    ("jsonb", "'[0.12345678901234567890123456789]'"),
    ("numeric(5,-2)", "12300"),
    ("time", "'24:00:00'"),
]


@pytest.mark.parametrize("target", ["postgresql18", "mysql", "mongodb"])
async def test_values_that_not_every_engine_has(target: str, open_database: Open) -> None:
    """Exact, or said beforehand: never quietly another value."""
    ours, theirs = await open_database("postgresql", "other"), await open_database(target)
    columns = ", ".join(f"c{number} {kind}" for number, (kind, _) in enumerate(DISTANT))
    values = ", ".join(value for _, value in DISTANT)
    await run(ours, f"CREATE TABLE far (id integer PRIMARY KEY, {columns});\nINSERT INTO far VALUES (1, {values});\n")
    if target == "postgresql18":
        assert (await copy_database(ours, theirs)).verified
        found: Any = await theirs.session().fetch_one("SELECT c0::text, c2::text, c6::text, c10::text FROM far")
        assert dict(found) == {"c0": "infinity", "c2": "0044-03-15 BC", "c6": "NaN", "c10": "24:00:00"}
        return
    if target == "mongodb":  # text where its own types end
        report = await copy_database(ours, theirs)
        assert report.verified
        document = await theirs.session().documents("far").find_one({"_id": 1})
        assert document is not None
        assert (document["c0"], document["c2"], document["c9"]) == ("infinity", "0044-03-15 BC", Decimal(12300))
        assert any(each.column == "c0" and "beyond its years" in each.what for each in report.unfaithful)
        return
    with pytest.raises(CopyRefusedError) as caught:
        await copy_database(ours, theirs)
    prevented = {each.column for each in caught.value.findings}
    assert prevented == {"c0", "c1", "c2", "c3", "c4", "c5", "c8", "c10"}
    for name in prevented:
        await ours.session().execute(f"ALTER TABLE far DROP COLUMN {name}")
    assert (await copy_database(ours, theirs)).verified
    assert await theirs.session().fetch_value("SELECT c6 FROM far") == "NaN"  # as text, and so said


@pytest.mark.parametrize("target", ["postgresql", "mysql", "mongodb", "sqlite"])
async def test_one_changed_value_is_found(target: str, stones: DatabaseManager, open_database: Open) -> None:
    theirs = await open_database(target)
    await copy_database(stones, theirs)
    if target == "mongodb":
        await theirs.session().documents("stone").update_one({"_id": 500}, {"$set": {"kind": "other"}})
        await theirs.session().documents("stone").delete_one({"_id": 501})
    else:
        await theirs.session().execute("UPDATE stone SET kind = 'other' WHERE id = 500")
        await theirs.session().execute("DELETE FROM stone WHERE id = 501")
        await theirs.session().execute("INSERT INTO stone (id) VALUES (2000)")
    report = await compare_databases(stones, theirs, batch_rows=100)
    [difference] = report.differences
    expected = {("id=500", "different"), ("id=501", "missing")} | (
        set() if target == "mongodb" else {("id=2000", "superfluous")}
    )
    assert set(difference.keys) == expected
    assert "id=500 different" in str(difference)


async def test_what_is_there_is_refused_or_replaced(stones: DatabaseManager, open_database: Open) -> None:
    theirs = await open_database("postgresql")
    await run(theirs, "CREATE TABLE stone (other text);\nCREATE TABLE mine (id integer PRIMARY KEY);\n")
    with pytest.raises(MigrationStateError, match=r"tables of these names already: stone.*nothing was changed"):
        await copy_database(stones, theirs)
    assert await names(theirs) == ["mine", "stone"]
    assert (await copy_database(stones, theirs, on_existing="replace")).verified
    with pytest.raises(MigrationStateError, match="rows already in stone"):
        await copy_database(stones, theirs, schema=False)
    assert (await copy_database(stones, theirs, schema=False, on_existing="replace")).rows == 1000
    assert await names(theirs) == ["mine", "stone"]


async def test_rows_into_tables_that_are_there(stones: DatabaseManager, open_database: Open) -> None:
    """Text becomes what the target's columns say, and both sides are compared as that."""
    theirs = await open_database("postgresql")
    await stones.session().execute("CREATE TABLE thing (id TEXT PRIMARY KEY NOT NULL, ok INTEGER, at TEXT, n NUMERIC)")
    await stones.session().execute(
        "INSERT INTO thing VALUES ('00000000-0000-4000-8000-00000000000A', 1, '2024-01-01T01:00:00+01:00', 7)"
    )
    await theirs.session().execute(
        "CREATE TABLE thing (id uuid PRIMARY KEY, ok boolean, at timestamptz, n integer, extra text DEFAULT 'x')"
    )
    report = await copy_database(stones, theirs, tables=["thing"], schema=False)
    assert report.verified
    assert await theirs.session().fetch_value("SELECT ok AND n = 7 AND extra = 'x' FROM thing") is True
    with pytest.raises(UsageError, match="has no table stone; create them"):
        await copy_database(stones, theirs, schema=False)
    await theirs.session().execute("CREATE TABLE stone (id integer PRIMARY KEY, needed text NOT NULL)")
    with pytest.raises(CopyRefusedError, match=r"(?s)no such column.*needs a value that the source does not have"):
        await copy_database(stones, theirs, tables=["stone"], schema=False)


async def test_a_row_that_the_target_refuses_is_named(stones: DatabaseManager, open_database: Open) -> None:
    theirs = await open_database("mysql")
    await theirs.session().execute(
        "CREATE TABLE stone"
        " (id int PRIMARY KEY, kind varchar(10) UNIQUE, kg decimal(6,2), day date, data json, raw blob)"
    )
    await stones.session().execute("UPDATE stone SET kind = 'K1' WHERE id = 777")  # which MySQL takes for k1
    with pytest.raises(UniqueViolationError, match=r"stone, row id=777.*the target refuses the row.*goes on here"):
        await copy_database(stones, theirs, schema=False, batch_rows=100)
    assert await count(theirs, "stone") == 700
    await stones.session().execute("UPDATE stone SET kind = 'new' WHERE id = 777")
    report = await copy_database(stones, theirs, schema=False)
    assert (report.resumed, report.verified, report.tables[0].rows_now) == (True, True, 300)


async def test_wrong_use(stones: DatabaseManager, open_database: Open) -> None:
    theirs = await open_database("postgresql")
    with pytest.raises(UsageError, match="has no table 'stones'; did you mean 'stone'"):
        await copy_database(stones, theirs, tables=["stones"])
    with pytest.raises(UsageError, match="the same database"):
        await copy_database(theirs, theirs)
    with pytest.raises(UsageError, match="neither schema nor data"):
        await copy_database(stones, theirs, schema=False, data=False)
    with pytest.raises(UsageError, match="batch_rows is at least 1"):
        await copy_database(stones, theirs, batch_rows=0)
    report = await copy_database(stones, theirs, exclude=["stone"])
    assert report.tables == []


async def test_another_copy_is_not_gone_on_with(stones: DatabaseManager, open_database: Open) -> None:
    theirs = await open_database("postgresql")
    await stones.session().execute("UPDATE stone SET raw = 'text' WHERE id = 900")
    with pytest.raises(DataError):
        await copy_database(stones, theirs, survey_values=False)
    another = await open_database("mysql", "other")
    await another.session().execute("CREATE TABLE stone (id int PRIMARY KEY)")
    with pytest.raises(MigrationStateError, match="interrupted copy of 1 tables from another source"):
        await copy_database(another, theirs)
    assert PROGRESS_TABLE in await theirs.session().fetch_all("SELECT relname FROM pg_class", into=str)


async def test_missing_rights_change_nothing(
    stones: DatabaseManager, open_database: Open, postgresql: PostgreSQLServer
) -> None:
    theirs = await open_database("postgresql")
    url: str = theirs.url  # type: ignore[attr-defined]
    await postgresql.execute_as_superuser("DROP ROLE IF EXISTS copy_reader")
    await postgresql.execute_as_superuser("CREATE ROLE copy_reader LOGIN PASSWORD 'copy_reader'")
    reader = url.replace(f"{postgresql.user}:{postgresql.password}@", "copy_reader:copy_reader@")
    async with DatabaseManager.from_url(reader) as manager:
        with pytest.raises(StatementError, match="permission denied"):
            await copy_database(stones, manager)
    assert await names(theirs) == []
    with pytest.raises(ConnectError):
        async with DatabaseManager.from_url("postgresql://nobody:x@127.0.0.1:9/none"):
            pass


async def test_a_circle_that_is_there_already(open_database: Open) -> None:
    """Rows that refer to later ones: MySQL waits with its checks, PostgreSQL says which row it cannot take."""
    ours = await open_database("sqlite", "other")
    await ours.session().execute("CREATE TABLE chip (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES chip(id))")
    await ours.session().execute("INSERT INTO chip VALUES (1, 2), (2, NULL)")
    create = "CREATE TABLE chip (id int PRIMARY KEY, parent int, FOREIGN KEY (parent) REFERENCES chip (id))"
    mysql, postgresql = await open_database("mysql"), await open_database("postgresql")
    for manager in (mysql, postgresql):
        await manager.session().execute(create)
    assert (await copy_database(ours, mysql, schema=False, batch_rows=1)).verified
    with pytest.raises(IntegrityError, match="chip, row id=1"):
        await copy_database(ours, postgresql, schema=False, batch_rows=1)
