"""Every pair of engines, with a schema that has every type."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from tests.migrations.copying.conftest import ENGINES, Open, count

from sillar import DatabaseManager, DocumentCommand
from sillar.errors import IntegrityError
from sillar.migrations.copying import CopyRefusedError, CopyReport, copy_database
from sillar.migrations.copying.sides import side_of


@pytest.mark.parametrize("target", ENGINES)
@pytest.mark.parametrize("source", ENGINES)
async def test_pair(source: str, target: str, open_specimen: Open, open_database: Open) -> None:
    ours, theirs = await open_specimen(source), await open_database(target)
    report = await copy_database(ours, theirs, batch_rows=100)
    assert [str(each) for each in report.differences] == []
    assert report.verified
    for each in report.tables:
        assert await count(ours, each.table) == await count(theirs, each.table) == each.rows, each.table


async def row(manager: DatabaseManager, table: str, key: str) -> dict[str, Any]:
    found: Any = await manager.session().fetch_one(f"SELECT * FROM {table} WHERE {key}")
    return dict(found)


def said(report: CopyReport, table: str, column: str | None, words: str) -> bool:
    return any(each.table == table and each.column == column and words in each.what for each in report.unfaithful)


async def test_values_arrive_exactly(open_specimen: Open, open_database: Open) -> None:
    """Looked at by the target's own means, not by the copy's."""
    ours, theirs = await open_specimen("postgresql"), await open_database("mysql")
    await copy_database(ours, theirs)
    numbers = await row(theirs, "numbers", "id = 1")
    assert numbers["exact"] == Decimal("-12345678901234567890.0123456789")
    assert (numbers["big"], numbers["price"], numbers["twice"]) == (-(2**63), Decimal("-9999999999.99"), 0.1)
    times = await row(theirs, "times", "id = 1")
    assert times["stamp"] == datetime(2024, 2, 29, 18, 29, 59, 999999)
    assert times["day"] == date(2024, 2, 29)
    assert (await row(theirs, "times", "id = 2"))["at"] == datetime(9999, 12, 31, 23, 59, 59, 999999)
    things = await row(theirs, "things", "id = '00000000-0000-4000-8000-000000000003'")
    assert things["data"] == {"a": 9007199254740993, "b": {"c": [], "ñ": "🪨"}, "e": 0.1}
    assert things["raw"] == b"\x00\xff\\\t" * 3
    assert json.loads(things["tags"] or "null") is None
    notes = await theirs.session().fetch_all("SELECT note FROM quarry WHERE id IN (1, 2, 3) ORDER BY id")
    assert [row["note"] for row in notes] == [None, "tab\tback\\slash\nnew line 🪨 ñandú", ""]


async def test_definitions_are_carried(open_specimen: Open, open_database: Open) -> None:
    ours, theirs = await open_specimen("postgresql"), await open_database("mysql")
    report = await copy_database(ours, theirs)
    session = theirs.session()
    await session.execute("INSERT INTO quarry (name, region) VALUES ('next', 'north')")
    assert (await row(theirs, "quarry", "name = 'next'"))["id"] == 301
    for refused in (
        "INSERT INTO quarry (name, region) VALUES ('next', 'north')",  # the unique constraint
        "INSERT INTO quarry (name, region) VALUES ('x', 'west')",  # the check, an IN list
        "INSERT INTO chip (id, quarry_id, number) VALUES (999, 999, 9)",  # the foreign key
    ):
        with pytest.raises(IntegrityError):
            await session.execute(refused)
    assert said(report, "things", None, "partial index things_partial")
    assert said(report, "things", "address", "inet is of its engine alone")
    assert said(report, "times", "stamp", "DATETIME in UTC")
    assert said(report, "line", None, "no primary key")
    (table,) = await (await side_of(theirs, None)).tables(["quarry"])
    assert (table.comment, table.column("code").comment) == ("where stones come from", "on the map's sheet")
    assert table.column("region").default == "'south'"


async def test_postgresql_from_mysql(open_specimen: Open, open_database: Open) -> None:
    ours, theirs = await open_specimen("mysql"), await open_database("postgresql")
    report = await copy_database(ours, theirs)
    numbers = await row(theirs, "numbers", "id = 1")
    assert numbers["huge"] == 2**64 - 1
    assert numbers["flags"] == 0b101010101
    assert numbers["yes"] is True
    assert (await row(theirs, "things", "label = 'one'"))["feeling"] == "it's fine"
    assert (await row(theirs, "times", "id = 1"))["stamp"] == datetime(2024, 2, 29, 18, 29, 59, 999999, UTC)
    assert await theirs.session().fetch_value("INSERT INTO chip (quarry_id, number) VALUES (1, 1) RETURNING id") == 8
    assert said(report, "quarry", "name", "different case")


async def test_back_and_forth_through_documents(open_specimen: Open, open_database: Open) -> None:
    """What a copy has noted in the validators gives the types back."""
    ours, between = await open_specimen("postgresql"), await open_database("mongodb")
    theirs = await open_database("postgresql")
    names = ["quarry", "numbers", "times", "stone"]
    there = await copy_database(ours, between, tables=names)
    stone = await between.session().documents("stone").find_one({"quarry_id": 7, "number": 2})
    assert stone is not None
    assert stone["_id"] == {"quarry_id": 7, "number": 2}
    assert stone["weight"] == Decimal("7.25")
    assert "note" not in (await between.session().documents("quarry").find({"_id": 1}))[0]  # NULL is no field
    back = await copy_database(between, theirs)
    sums = [{each.table: each.checksum for each in report.tables} for report in (there, back)]
    assert sums[0] == sums[1]
    assert not back.snapshot
    assert "at one moment" in back.notes[0]
    assert (await row(theirs, "times", "id = 1"))["at"] == datetime(2024, 2, 29, 23, 59, 59, 999999)


async def test_sqlite_keeps_rules_and_numbers(open_specimen: Open, open_database: Open) -> None:
    ours, theirs = await open_specimen("postgresql"), await open_database("sqlite")
    await copy_database(ours, theirs)
    session = theirs.session()
    with pytest.raises(IntegrityError):
        await session.execute("INSERT INTO chip (id, quarry_id, number) VALUES (999, 999, 9)")
    assert await session.fetch_value("SELECT count(*) FROM pragma_foreign_key_check") == 0
    assert await session.fetch_value("SELECT exact FROM numbers WHERE id = 1") == "-12345678901234567890.0123456789"
    assert await session.fetch_value("SELECT sql FROM sqlite_schema WHERE name = 'things_partial'") is not None
    assert await session.fetch_value("SELECT count(*) FROM husband JOIN wife ON wife.id = wife_id") == 2


async def test_mysql_keeps_what_only_mysql_has(open_database: Open) -> None:
    ours, theirs = await open_database("mysql", "other"), await open_database("mysql")
    create = "CREATE TABLE odd (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, day date, at datetime, clock time)"
    async with ours.session() as session, session.transaction() as transaction:
        await transaction.execute(create)
        await transaction.execute("SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'")
        await transaction.execute(
            "INSERT INTO odd VALUES (0, '0000-00-00', '2024-02-31 10:00:00', '-838:59:59'), (1, NULL, NULL, '24:00:00')"
        )
    assert (await copy_database(ours, theirs)).verified
    found = await theirs.session().fetch_one(
        "SELECT CAST(day AS CHAR) AS day, CAST(at AS CHAR) AS at, CAST(clock AS CHAR) AS clock FROM odd WHERE id = 0"
    )
    assert found == {"day": "0000-00-00", "at": "2024-02-31 10:00:00", "clock": "-838:59:59"}
    postgresql = await open_database("postgresql")
    with pytest.raises(CopyRefusedError, match=r"(?s)odd.at: .*odd.clock: 2 values.*odd.day: "):
        await copy_database(ours, postgresql)


async def test_a_generated_column_becomes_one_again(open_database: Open) -> None:
    ours, theirs = await open_database("sqlite", "other"), await open_database("postgresql")
    await ours.session().execute(
        "CREATE TABLE stone (id INTEGER PRIMARY KEY, kg INTEGER, odd TEXT AS (hex(kg)) STORED,"
        " twice INTEGER GENERATED ALWAYS AS (kg * (1 + 1)) VIRTUAL)"
    )
    await ours.session().execute("INSERT INTO stone (id, kg) VALUES (1, 21)")
    report = await copy_database(ours, theirs)
    await theirs.session().execute("UPDATE stone SET kg = 4")
    assert await row(theirs, "stone", "id = 1") == {"id": 1, "kg": 4, "odd": "3231", "twice": 8}
    assert said(report, "stone", "odd", "ordinary column")


async def test_collections_keep_their_indexes_and_validators(open_database: Open) -> None:
    source, target = await open_database("mongodb", "source"), await open_database("mongodb")
    validator = {"$jsonSchema": {"bsonType": "object", "required": ["email"]}}
    command = DocumentCommand("", "command", {"command": {"create": "people", "validator": validator}})
    await source.session().execute(command)
    people = source.session().documents("people")
    await people.create_index([("email", 1)], unique=True, name="email", partialFilterExpression={"age": {"$gt": 3}})
    await people.create_index([("seen", 1)], name="seen", expireAfterSeconds=3600)
    await people.insert_many([{"_id": 1, "email": "a", "nested": {"deep": [1, 2]}}, {"_id": 2, "email": "b"}])
    report = await copy_database(source, target)
    assert report.verified
    assert report.unfaithful == []

    async def seen(manager: DatabaseManager) -> tuple[Any, Any]:
        session = manager.session()
        listed = await session.fetch_one(
            DocumentCommand("", "command", {"command": {"listIndexes": "people", "cursor": {}}})
        )
        named = await session.fetch_one(DocumentCommand("", "command", {"command": {"listCollections": 1}}))
        assert listed is not None
        assert named is not None
        [options] = [each["options"] for each in named["cursor"]["firstBatch"] if each["name"] == "people"]
        return sorted(map(str, listed["cursor"]["firstBatch"])), options.get("validator")

    assert await seen(target) == await seen(source)
    assert "expireAfterSeconds" in str(await seen(target))
