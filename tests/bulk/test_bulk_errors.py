"""What a bulk write says of a row that is refused, and what stays."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from tests.bulk.place import COLUMNS, Place

from sillar import Capability, DatabaseManager
from sillar.errors import (
    CheckViolationError,
    DatabaseError,
    IntegrityError,
    NotNullViolationError,
    ParameterError,
    StatementTimeoutError,
    UniqueViolationError,
    UnsupportedCapabilityError,
    UsageError,
)


def ledger(count: int, **exceptions: Any) -> list[tuple[Any, ...]]:
    """Rows with the ids 1 to ``count``; ``exceptions`` are rows that stand in place of one: ``at7=(…)``."""
    rows: list[tuple[Any, ...]] = [(number, f"n{number}", number) for number in range(1, count + 1)]
    for place, row in exceptions.items():
        rows[int(place[2:]) - 1] = row
    return rows


@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize("verb", ["insert", "upsert"])
async def test_a_row_that_is_there_already_is_named(place: Place, verb: str, atomic: bool) -> None:
    await place.session.bulk_insert(place.table, COLUMNS, [(5000, "n1234", 0)])
    bulk = place.session.bulk_insert if verb == "insert" else place.session.bulk_upsert
    options: dict[str, Any] = {} if verb == "insert" else {"key": "id"}
    with pytest.raises(UniqueViolationError, match="row 1234 of the input") as refused:
        await bulk(place.table, COLUMNS, iter(ledger(1500)), batch_rows=500, atomic=atomic, **options)
    error = refused.value
    assert error.row_number == 1234
    assert ("(key: id)" in str(error)) == (verb == "upsert")
    assert not error.safe_to_retry
    report = error.bulk_report
    written = 0 if atomic else 1000
    assert (report.rows_written, report.batches_written) == (written, written // 500)
    assert (report.rows_affected, report.rows_seen) == (written, 1500)
    assert set(await place.rows()) == {5000, *range(1, written + 1)}
    assert place.manager.pools["default"].stats().leased == 0


@pytest.mark.parametrize("batch_rows", [None, 3])
async def test_a_value_that_the_column_does_not_take_is_named_by_its_row_alone(
    place: Place, batch_rows: int | None
) -> None:
    class Secret:
        def __repr__(self) -> str:
            return "hunter2"

    rows = ledger(10, at8=(8, "n8", Secret()))
    for work in (
        place.session.bulk_insert(place.table, COLUMNS, rows, batch_rows=batch_rows),
        place.session.bulk_upsert(place.table, COLUMNS, rows, key="id", batch_rows=batch_rows),
        place.session.bulk_update(place.table, COLUMNS, rows, key="id", batch_rows=batch_rows),
    ):
        with pytest.raises(ParameterError, match="row 8 of the input") as refused:
            await work
        assert refused.value.row_number == 8
        assert "hunter2" not in str(refused.value)
    assert await place.rows() == {}


async def test_a_value_that_cannot_be_stored_is_named_in_a_large_batch(place: Place) -> None:
    rows = ledger(1500, at1200=(1200, "n1200", object()))
    with pytest.raises(ParameterError, match="row 1200 of the input"):
        await place.session.bulk_upsert(place.table, COLUMNS, rows, key="id")
    assert await place.rows() == {}


async def test_checks_and_missing_values_are_named(sql_place: Place) -> None:
    place = sql_place
    rows = ledger(1500, at1007=(1007, "n1007", -5))
    for options in ({}, {"batch_rows": 400}, {"atomic": False, "batch_rows": 400}):
        with pytest.raises(CheckViolationError, match=r"row 1007 of the input \(key: id\)"):
            await place.session.bulk_upsert(place.table, COLUMNS, rows, key="id", **options)
        await place.session.bulk_delete(place.table, "id", range(2000))
    await place.session.bulk_insert(place.table, COLUMNS, ledger(20))
    rows = [(number, None if number == 17 else number) for number in range(1, 21)]
    with pytest.raises((NotNullViolationError, IntegrityError), match="row 17 of the input"):
        await place.session.bulk_update(place.table, ["id", "qty"], rows, key="id")
    assert (await place.rows())[1] == ("n1", 1)


async def test_a_delete_that_a_foreign_key_forbids_is_named(sql_place: Place) -> None:
    place = sql_place
    await place.session.bulk_insert(place.table, COLUMNS, ledger(20))
    child = f"{place.table}_child"
    await place.session.execute(
        f"CREATE TABLE {child} (id integer PRIMARY KEY, parent integer,"
        f" FOREIGN KEY (parent) REFERENCES {place.table} (id))"
    )
    try:
        await place.session.execute(f"INSERT INTO {child} VALUES (1, 13)")
        with pytest.raises(IntegrityError, match=r"row 9 of the input \(key: id\)"):
            await place.session.bulk_delete(place.table, "id", range(5, 20))
        assert len(await place.rows()) == 20
    finally:
        await place.session.execute(f"DROP TABLE {child}")


async def test_a_conflict_with_a_row_of_an_earlier_batch_is_named(place: Place) -> None:
    rows = ledger(30, at28=(28, "n3", 1))
    with pytest.raises(UniqueViolationError, match="row 28 of the input"):
        await place.session.bulk_upsert(place.table, COLUMNS, rows, key="id", batch_rows=10)
    assert await place.rows() == {}


async def test_a_row_behind_one_that_was_overwritten_keeps_its_number(place: Place) -> None:
    await place.session.bulk_insert(place.table, COLUMNS, [(100, "taken", 1)])
    rows = [(1, "a", 1), (1, "b", 1), (2, "c", 1), (2, "d", 1), (3, "taken", 1)]
    with pytest.raises(UniqueViolationError, match="row 5 of the input"):
        await place.session.bulk_upsert(place.table, COLUMNS, rows, key="id")


@pytest.mark.parametrize(
    ("row", "why"), [((None, "x", 1), "NULL"), (([7], "x", 1), "compared"), ((7, "x"), "2 values for 3 columns")]
)
async def test_rows_that_cannot_be_are_refused_before_their_batch_is_sent(place: Place, row: Any, why: str) -> None:
    rows = ledger(25, at24=row)
    with pytest.raises(ParameterError, match=why) as refused:
        await place.session.bulk_upsert(place.table, COLUMNS, rows, key="id", batch_rows=10, atomic=False)
    assert refused.value.row_number == 24
    assert refused.value.bulk_report.rows_written == 20
    assert len(await place.rows()) == 20
    with pytest.raises(ParameterError, match="NULL"):
        await place.session.bulk_delete(place.table, ["id", "name"], [(1, "n1"), (2, None)])


async def test_in_an_open_transaction_the_work_before_it_stays(sql_place: Place) -> None:
    place = sql_place
    async with place.session.transaction():
        await place.session.execute(f"INSERT INTO {place.table} (id, name) VALUES (50, 'n15')")
        with pytest.raises(UniqueViolationError, match="row 15 of the input"):
            await place.session.bulk_insert(place.table, COLUMNS, ledger(20), batch_rows=10)
        assert set(await place.rows_within()) == {50}
        with pytest.raises(UniqueViolationError, match="row 15 of the input") as refused:
            await place.session.bulk_insert(place.table, COLUMNS, ledger(20), batch_rows=10, atomic=False)
        assert refused.value.bulk_report.rows_written == 10
    assert set(await place.rows()) == {50, *range(1, 11)}


async def test_what_the_source_or_the_progress_raises_comes_through(place: Place) -> None:
    def rows() -> Iterator[tuple[Any, ...]]:
        yield from ledger(25)
        raise LookupError("the source broke")

    def stop(done: int) -> None:
        if done == 20:
            raise KeyError("enough")

    with pytest.raises(LookupError, match="the source broke"):
        await place.session.bulk_insert(place.table, COLUMNS, rows(), batch_rows=10)
    with pytest.raises(KeyError, match="enough"):
        await place.session.bulk_insert(place.table, COLUMNS, ledger(30), batch_rows=10, progress=stop)
    assert await place.rows() == {}
    with pytest.raises(LookupError) as broken:
        await place.session.bulk_insert(place.table, COLUMNS, rows(), batch_rows=10, atomic=False)
    assert broken.value.__notes__ == ["20 rows in 2 batches were written before, and stay"]
    assert len(await place.rows()) == 20


async def test_a_caller_that_leaves_leaves_all_or_nothing(place: Place) -> None:
    def rows() -> Iterator[tuple[Any, ...]]:
        return ((number, f"n{number}", 1) for number in range(20_000))

    for delay in (0.001, 0.05, 0.2):
        work = place.session.bulk_upsert(place.table, COLUMNS, rows(), key="id", batch_rows=2000)
        task = asyncio.create_task(work)
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(60):
            while place.manager.pools["default"].stats().leased:
                await asyncio.sleep(0.01)
        assert len(await place.rows()) in (0, 20_000)
        await place.session.bulk_delete(place.table, "id", range(20_000))


async def test_the_time_for_all_of_it_is_limited(place: Place) -> None:
    def rows() -> Iterator[tuple[Any, ...]]:
        yield from ledger(5)
        raise AssertionError("nobody asks for more")

    async def slow(done: int) -> None:
        await asyncio.sleep(0.3)

    with pytest.raises(StatementTimeoutError, match=r"0\.25 s"):
        await place.session.bulk_insert(
            place.table, COLUMNS, ledger(20), batch_rows=10, progress=slow, timeout_seconds=0.25
        )
    assert await place.rows() == {}
    with pytest.raises(AssertionError, match="nobody"):
        await place.session.bulk_insert(place.table, COLUMNS, rows(), batch_rows=5)


async def test_a_table_that_is_not_there(place: Place) -> None:
    if place.engine == "mongodb":  # where writing makes it
        assert (await place.session.bulk_delete("no_such_place", "id", [1])).rows_affected == 0
        return
    for work in (
        place.session.bulk_insert("no_such_place", COLUMNS, ledger(3)),
        place.session.bulk_upsert("no_such_place", COLUMNS, ledger(3), key="id"),
        place.session.bulk_update("no_such_place", COLUMNS, ledger(2000), key="id"),
        place.session.bulk_delete("no_such_place", "id", [1]),
    ):
        with pytest.raises(DatabaseError, match="no_such_place") as refused:
            await work
        assert refused.value.row_number is None


async def test_an_upsert_by_columns_that_are_no_key(sql_place: Place) -> None:
    place = sql_place
    with pytest.raises(DatabaseError) as refused:
        await place.session.bulk_upsert(place.table, COLUMNS, ledger(5), key="qty")
    assert refused.value.row_number is None
    assert await place.rows() == {}


async def test_a_deployment_without_transactions_says_what_to_pass(open_place: Any) -> None:
    place = await open_place("mongodb")
    executor = place.manager.executor()
    whole = executor.capabilities
    executor.capabilities = whole.without(Capability.TRANSACTIONS, "a standalone server has no transactions")
    try:
        with pytest.raises(UnsupportedCapabilityError, match="atomic=False"):
            await place.session.bulk_upsert(place.table, COLUMNS, ledger(5), key="id")
        report = await place.session.bulk_upsert(place.table, COLUMNS, ledger(5), key="id", atomic=False)
        assert report.rows_affected == 5
        more = [(n, f"n{n}", n) for n in range(6, 9)]
        assert await place.session.bulk_insert(place.table, COLUMNS, more) == 3
    finally:
        executor.capabilities = whole
    assert len(await place.rows()) == 8


async def test_a_database_that_is_read_only(open_place: Any) -> None:
    place = await open_place("mongodb")
    settings = {"databases": {"default": {"read_only": True}}}
    async with DatabaseManager.from_url(place.url, overrides=settings) as manager:
        with pytest.raises(DatabaseError, match="read_only"):
            await manager.session().bulk_upsert(place.table, COLUMNS, ledger(2), key="id")


async def test_a_closed_session_takes_nothing(place: Place) -> None:
    await place.session.close()
    with pytest.raises(UsageError, match="closed"):
        await place.session.bulk_delete(place.table, "id", [1])
    with pytest.raises(UsageError, match="closed"):
        await place.session.get_many(place.table, [1])


async def test_what_the_driver_alone_refuses_is_named(open_place: Any) -> None:
    place = await open_place("mongodb")
    for wrong in (2**70, "lone \ud800", {1: 2}):
        with pytest.raises(ParameterError, match="row 3 of the input"):
            await place.session.bulk_upsert(place.table, COLUMNS, ledger(5, at3=(3, "n3", wrong)), key="id")
    assert await place.rows() == {}


async def test_a_row_beyond_the_packet_of_the_server(open_place: Any) -> None:
    place = await open_place("mariadb")
    packet = await place.session.fetch_value("SELECT @@max_allowed_packet")
    with pytest.raises(ParameterError, match=r"^a row takes .*it is row 3 of the input"):
        await place.session.bulk_insert(place.table, COLUMNS, ledger(5, at3=(3, "x" * (packet + 10), 1)))
    assert await place.rows() == {}


async def test_a_row_that_a_trigger_refuses(open_place: Any) -> None:
    place = await open_place("postgresql")
    await place.session.execute(
        f"CREATE FUNCTION {place.table}_check() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF NEW.qty = 4 THEN RAISE EXCEPTION 'no fours'; END IF; RETURN NEW; END $$;"
        f" CREATE TRIGGER refuses BEFORE INSERT ON {place.table} FOR EACH ROW EXECUTE FUNCTION {place.table}_check()"
    )
    with pytest.raises(DatabaseError, match=r"no fours; it is row 4 of the input \(key: id\)"):
        await place.session.bulk_upsert(place.table, COLUMNS, ledger(9), key="id")
    assert await place.rows() == {}
    await place.session.execute(f"DROP FUNCTION {place.table}_check() CASCADE")
