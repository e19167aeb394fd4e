"""Bulk insert, upsert, update and delete on every engine: values, order, batches, progress, all or nothing."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from tests.bulk.place import COLUMNS, Place

from sillar import BulkReport
from sillar.errors import ParameterError, UsageError


async def filled(place: Place, count: int = 10) -> Place:
    rows = [(number, f"n{number}", number) for number in range(count)]
    assert await place.session.bulk_insert(place.table, COLUMNS, rows) == count
    return place


async def test_an_upsert_inserts_and_updates(place: Place) -> None:
    await filled(place, 10)
    rows = [(number, f"new {number}", 100 + number) for number in range(5, 2505)]
    report = await place.session.bulk_upsert(place.table, COLUMNS, iter(rows), key="id", batch_rows=1000)
    assert (report.rows_seen, report.rows_written, report.rows_affected) == (2500, 2500, 2500)
    assert report.batches_written == 3
    assert report.duration_seconds > 0
    found = await place.rows()
    assert len(found) == 2505
    assert (found[4], found[5], found[2504]) == (("n4", 4), ("new 5", 105), ("new 2504", 2604))


async def test_an_upsert_sets_the_columns_that_were_asked_for(place: Place) -> None:
    await filled(place, 2)
    report = await place.session.bulk_upsert(
        place.table, COLUMNS, [(1, "other", 50), (2, "fresh", 60)], key=["id"], update=["qty"]
    )
    assert report.rows_affected == 2
    assert await place.rows() == {0: ("n0", 0), 1: ("n1", 50), 2: ("fresh", 60)}


@pytest.mark.parametrize("count", [1, 3])
async def test_an_upsert_without_update_leaves_rows_alone(place: Place, count: int) -> None:
    await filled(place, 2)
    rows = [(number, f"other {number}", 50) for number in range(1, 1 + count)]
    report = await place.session.bulk_upsert(place.table, COLUMNS, rows, key=["id"], update=())
    assert isinstance(report, BulkReport)
    assert (report.rows_seen, report.rows_affected) == (count, count - 1)
    assert (await place.rows())[1] == ("n1", 1)
    report = await place.session.bulk_upsert(place.table, ["id"], [(1,), (77,)], key="id")
    assert report.rows_affected == 1
    assert (await place.rows())[1] == ("n1", 1)


async def test_an_upsert_where_nothing_but_the_key_can_conflict(place: Place) -> None:
    await filled(place, 3)
    upsert = place.session.bulk_upsert
    report = await upsert(place.table, ["qty", "id"], [(20, 2), (30, 3), (40, 4)], key="id")
    assert report.rows_affected == 3
    assert await place.rows() == {0: ("n0", 0), 1: ("n1", 1), 2: ("n2", 20), 3: (None, 30), 4: (None, 40)}
    for key, inserted in ((4, 0), (5, 1)):
        report = await upsert(place.table, ["id", "qty"], [(key, 7)], key="id", update=())
        assert report.rows_affected == inserted
    report = await upsert(place.table, ["id", "qty"], [(key, 8) for key in range(4, 9)], key="id", update=())
    assert report.rows_affected == 3
    assert {key: row[1] for key, row in (await place.rows()).items() if key > 3} == {4: 40, 5: 7, 6: 8, 7: 8, 8: 8}


async def test_of_rows_with_one_key_the_last_wins_and_the_first_where_nothing_is_updated(place: Place) -> None:
    await filled(place, 1)
    rows = [(7, "first", 1), (8, "eight", 8), (7, "second", 2), (0, "zero", 3), (0, "nought", 4)]
    report = await place.session.bulk_upsert(place.table, COLUMNS, rows, key="id")
    assert (report.rows_seen, report.rows_affected) == (5, 3)
    assert await place.rows() == {0: ("nought", 4), 7: ("second", 2), 8: ("eight", 8)}
    report = await place.session.bulk_upsert(place.table, COLUMNS, [(9, "a", 1), (9, "b", 2)], key="id", update=())
    assert report.rows_affected == 1
    assert (await place.rows())[9] == ("a", 1)
    report = await place.session.bulk_update(place.table, ["id", "qty"], [(7, 20), (7, 30)], key="id")
    assert (report.rows_seen, report.rows_affected) == (2, 1)
    assert (await place.rows())[7] == ("second", 30)


async def test_an_update_changes_rows_that_are_there_and_inserts_none(place: Place) -> None:
    await filled(place, 1500)
    rows = [(10 * number, number) for number in range(1499, -1, -1)]
    report = await place.session.bulk_update(place.table, ["qty", "id"], rows, key="id", batch_rows=1200)
    assert (report.rows_seen, report.rows_affected, report.batches_written) == (1500, 1500, 2)
    again = await place.session.bulk_update(place.table, ["id", "qty"], [(3, 30), (4, 41), (9999, 1)], key="id")
    assert again.rows_affected == 2  # found, changed or not
    found = await place.rows()
    assert len(found) == 1500
    assert (found[3], found[4], found[1499]) == (("n3", 30), ("n4", 41), ("n1499", 14990))


async def test_an_update_by_several_columns(place: Place) -> None:
    await filled(place, 3)
    rows = [("n1", 1, 11), ("n1", 2, 12), ("n2", 2, 13)]
    report = await place.session.bulk_update(place.table, ["name", "id", "qty"], rows, key=["id", "name"])
    assert report.rows_affected == 2
    assert await place.rows() == {0: ("n0", 0), 1: ("n1", 11), 2: ("n2", 13)}


async def test_a_delete_by_one_column_and_by_several(place: Place) -> None:
    await filled(place, 2000)
    report = await place.session.bulk_delete(place.table, "id", range(5, 5000), batch_rows=1500)
    assert (report.rows_seen, report.rows_affected, report.batches_written) == (4995, 1995, 4)
    assert set(await place.rows()) == {0, 1, 2, 3, 4}
    report = await place.session.bulk_delete(place.table, ["name", "id"], [("n1", 1), ("n1", 2), ("n3", 3)])
    assert report.rows_affected == 2
    assert set(await place.rows()) == {0, 2, 4}


async def test_an_input_that_comes_over_time(place: Place) -> None:
    async def rows() -> AsyncIterator[tuple[Any, ...]]:
        for number in range(250):
            await asyncio.sleep(0)
            yield number, f"n{number}", number

    async def keys() -> AsyncIterator[int]:
        for number in range(0, 250, 2):
            yield number

    assert await place.session.bulk_insert(place.table, COLUMNS, rows(), batch_rows=100) == 250
    report = await place.session.bulk_delete(place.table, "id", keys(), batch_rows=100)
    assert (report.rows_affected, report.batches_written) == (125, 2)
    assert len(await place.rows()) == 125


async def test_nothing_is_done_with_no_rows(place: Place) -> None:
    assert await place.session.bulk_insert(place.table, COLUMNS, []) == 0
    report = await place.session.bulk_upsert(place.table, COLUMNS, iter(()), key="id", progress=print)
    assert (report.rows_seen, report.rows_affected, report.batches_written) == (0, 0, 0)


async def test_progress_is_told_after_each_batch(place: Place) -> None:
    told: list[int] = []

    async def later(done: int) -> None:
        await asyncio.sleep(0)
        told.append(-done)

    rows = [(number, f"n{number}", 0) for number in range(25)]
    assert await place.session.bulk_insert(place.table, COLUMNS, rows, batch_rows=10, progress=told.append) == 25
    await place.session.bulk_upsert(place.table, COLUMNS, rows, key="id", batch_rows=20, progress=later, atomic=False)
    assert told == [10, 20, 25, -20, -25]


async def test_within_a_transaction_it_is_part_of_it(place: Place) -> None:
    await filled(place, 3)
    with pytest.raises(RuntimeError):
        async with place.session.transaction() as transaction:
            await transaction.bulk_upsert(
                place.table, COLUMNS, [(n, f"x{n}", 1) for n in range(30)], key="id", batch_rows=10
            )
            await place.session.bulk_delete(place.table, "id", [0, 1], atomic=False)
            await place.session.bulk_update(place.table, ["id", "qty"], [(2, 9)], key="id")
            assert (await transaction.get_many(place.table, [1, 2], columns=["qty"]))[1] == {"qty": 9}
            raise RuntimeError
    assert await place.rows() == {n: (f"n{n}", n) for n in range(3)}


async def test_an_autobegin_session_commits_it_with_the_rest(place: Place) -> None:
    session = place.manager.session(autobegin=True)
    await session.bulk_insert(place.table, COLUMNS, [(1, "a", 1)])
    assert session.in_transaction
    await session.rollback()
    assert await place.rows() == {}
    await session.bulk_insert(place.table, COLUMNS, [(1, "a", 1)])
    await session.commit()
    assert await place.rows() == {1: ("a", 1)}
    await session.close()
    with pytest.raises(UsageError, match="closed"):
        await session.bulk_insert(place.table, COLUMNS, [(2, "b", 1)])


async def test_a_transaction_that_has_ended_takes_no_rows(place: Place) -> None:
    async with place.session.transaction() as transaction:
        pass
    with pytest.raises(UsageError, match="ended"):
        await transaction.bulk_insert(place.table, COLUMNS, [(2, "b", 1)])
    assert await place.rows() == {}


async def test_memory_is_bounded_by_the_batches(place: Place) -> None:
    def rows(count: int) -> Iterator[tuple[Any, ...]]:
        return ((number, f"{number}:{'x' * 200}", 1) for number in range(count))

    async def peak(count: int) -> int:
        tracemalloc.start()
        await place.session.bulk_upsert(place.table, COLUMNS, rows(count), key="id", batch_rows=200, atomic=False)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    await peak(400)
    few, many = await peak(400), await peak(3000)
    assert many < few * 1.5 + 200_000  # all rows together have 900 kB


@pytest.mark.parametrize(
    ("columns", "key", "update"),
    [
        (["id", "na\0me"], "id", None),
        (["id", ""], "id", None),
        (["id", "n" * 300], "id", None),
        ([], "id", None),
        ("id", "id", None),
        (["id", "id"], "id", None),
        (["id", "name"], "ident", None),
        (["id", "name"], [], None),
        (["id", "name"], ["id", "id"], None),
        (["id", "name"], "id", ["nam"]),
        (["id", "name"], "id", ["id"]),
    ],
)
async def test_names_that_cannot_be_are_refused(place: Place, columns: Any, key: Any, update: Any) -> None:
    with pytest.raises(ParameterError):
        await place.session.bulk_upsert(place.table, columns, [(1, "a")], key=key, update=update)
    for table in ("", "a\0b", "n" * 300, f"{place.table}."):
        with pytest.raises(ParameterError):
            await place.session.bulk_delete(table, "id", [1])
        with pytest.raises(ParameterError):
            await place.session.get_many(table, [1])
    with pytest.raises(ParameterError, match="not part of the key"):
        await place.session.bulk_update(place.table, ["id"], [(1,)], key="id")
    assert await place.rows() == {}


async def test_names_are_quoted(sql_place: Place) -> None:
    place = await filled(sql_place, 2)
    evil = 'id"`) ; DROP TABLE x; --%s :a'
    for work in (
        place.session.bulk_upsert(place.table, ["id", evil], [(1, 1)], key="id"),
        place.session.bulk_update(place.table, ["id", evil], [(1, 1)], key="id"),
        place.session.bulk_delete(place.table, evil, [1]),
        place.session.bulk_insert(evil, ["id"], [(9,)]),
        place.session.get_many(place.table, [1], key=evil),
        place.session.get_many(place.table, [1], columns=[evil]),
    ):
        with pytest.raises(Exception, match=r"id|DROP"):
            await work
    await place.session.execute(f"ALTER TABLE {place.table} ADD COLUMN {_quoted(place, evil)} integer")
    await place.session.bulk_update(place.table, ["id", evil], [(1, 5)], key="id")
    assert await place.session.get_many(place.table, [1], columns=[evil]) == [{evil: 5}]
    assert await place.session.get_many(place.table, [5], key=evil, columns=["id"]) == [{"id": 1}]
    assert (await place.session.bulk_delete(place.table, evil, [5])).rows_affected == 1
    assert set(await place.rows()) == {0}


def _quoted(place: Place, name: str) -> str:
    mark = "`" if place.engine in ("mysql", "mariadb") else '"'
    return mark + name.replace(mark, mark * 2) + mark


async def test_operators_are_no_fields(open_place: Any) -> None:
    place = await open_place("mongodb")
    for name in ("$set", "a.b"):
        with pytest.raises(ParameterError, match="no dot"):
            await place.session.bulk_upsert(place.table, ["id", name], [(1, 2)], key="id")
    with pytest.raises(ParameterError, match="compared"):
        await place.session.bulk_delete(place.table, "id", [{"$gt": 0}])
    await place.session.bulk_insert(place.table, ["id", "name"], [(1, "a")])
    await place.session.bulk_upsert(place.table, ["id", "name"], [(1, {"$gt": ""})], key="id")
    assert (await place.session.get_many(place.table, [1]))[0]["name"] == {"$gt": ""}


async def test_batch_rows_is_at_least_one(place: Place) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        await place.session.bulk_insert(place.table, COLUMNS, [], batch_rows=0)
