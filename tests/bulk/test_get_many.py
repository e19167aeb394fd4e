"""``get_many`` on every engine: order, gaps, repetitions, forms of keys."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import pytest
from tests.bulk.place import COLUMNS, Place

from sillar.errors import DatabaseError, ParameterError, ResultError
from sillar.query.bulk import KeyedRead


class Item(msgspec.Struct):
    id: int
    name: str
    qty: int


class Count(msgspec.Struct):
    qty: int


async def filled(place: Place, count: int) -> Place:
    await place.session.bulk_insert(place.table, COLUMNS, [(n, f"n{n}", n % 7) for n in range(count)])
    return place


async def test_rows_come_in_the_order_of_the_keys(place: Place) -> None:
    await filled(place, 20)
    items = await place.session.get_many(place.table, [7, 99, 3, None, 7, 0], columns=COLUMNS, into=Item)
    assert items == [Item(7, "n7", 0), None, Item(3, "n3", 3), None, Item(7, "n7", 0), Item(0, "n0", 0)]
    assert items[0] is items[4]
    assert await place.session.get_many(place.table, []) == []
    assert await place.session.get_many(place.table, (None, -1)) == [None, None]


async def test_columns_as_asked_for(place: Place) -> None:
    await filled(place, 5)
    (whole,) = await place.session.get_many(place.table, [4])
    assert {name: whole[name] for name in COLUMNS} == {"id": 4, "name": "n4", "qty": 4}
    assert await place.session.get_many(place.table, [4, 9], columns=["name"]) == [{"name": "n4"}, None]
    assert await place.session.get_many(place.table, [4], columns=["qty"], into=Count) == [Count(4)]
    assert await place.session.get_many(place.table, [3], columns=["qty"], into=int) == [3]
    named = await place.session.get_many(place.table, ["n2", "n9", "n1"], key="name", columns=["id"], into=int)
    assert named == [2, None, 1]


async def test_more_keys_than_one_statement_takes(place: Place) -> None:
    await filled(place, 3000)
    keys = [*range(2999, -1, -3), *range(5000, 9000)]
    found = await place.session.get_many(place.table, keys, columns=["id"], into=int)
    assert found == [*range(2999, -1, -3), *[None] * 4000]


async def test_keys_of_several_columns(place: Place) -> None:
    await filled(place, 10)
    keys = [(3, "n3"), (3, "n4"), None, (5, "n5"), (6, None)]
    found = await place.session.get_many(place.table, keys, key=["id", "name"], columns=["qty"], into=int)
    assert found == [3, None, None, 5, None]
    for wrong in (5, (5,), (1, 2, 3)):
        with pytest.raises(ParameterError, match="tuple of 2 values"):
            await place.session.get_many(place.table, [wrong], key=["id", "name"])


async def test_one_text_serves_lists_of_many_lengths(sql_place: Place) -> None:
    place = await filled(sql_place, 40)
    bind = place.manager.executor().adapter.bind_keys
    read = KeyedRead(place.table, ("id",), ("id",))
    texts = {bind(read, list(range(count)))[0].source for count in range(17, 33)}
    assert len(texts) == 1
    for count in (1, 2, 3, 17, 33):
        assert await place.session.get_many(place.table, list(range(count)), columns=["id"], into=int) == list(
            range(count)
        )


async def test_a_key_that_is_none_is_told(place: Place) -> None:
    await filled(place, 20)
    with pytest.raises(ResultError, match="same qty"):
        await place.session.get_many(place.table, [1, 2], key="qty")
    with pytest.raises(ParameterError, match="compared"):
        await place.session.get_many(place.table, [[1]])
    for wrong in ([], "name", ["na\0me"]):
        with pytest.raises(ParameterError):
            await place.session.get_many(place.table, [1], columns=wrong)
    with pytest.raises(ParameterError):
        await place.session.get_many(place.table, [1], key=[])


async def test_a_list_is_no_key(open_place: Any) -> None:
    place = await open_place("mongodb")
    await place.session.documents(place.table).insert_one({"id": 1, "name": ["a", "b"]})
    with pytest.raises(ResultError, match="no key"):
        await place.session.get_many(place.table, ["a"], key="name")


async def test_a_column_that_is_not_there(sql_place: Place) -> None:
    place = sql_place
    for options in ({"key": "ident"}, {"columns": ["nome"]}):
        with pytest.raises(DatabaseError, match=r"ident|nome"):
            await place.session.get_many(place.table, [1], **options)


@pytest.mark.parametrize("engine", ["sqlite", "postgresql", "mariadb", "mysql"])
async def test_a_key_that_the_engine_gives_in_another_form(open_place: Any, engine: str) -> None:
    place = await open_place(engine)
    table = f"{place.table}_uuid"
    await place.session.execute(
        f"CREATE TABLE {table} (id {'uuid' if engine == 'postgresql' else 'char(36)'} PRIMARY KEY, n integer)"
    )
    try:
        ids = [uuid.uuid4() for _ in range(20)]
        await place.session.bulk_insert(table, ["id", "n"], [(each, n) for n, each in enumerate(ids)])
        for keys in (ids, [str(each) for each in ids]):
            found = await place.session.get_many(table, [*keys, uuid.uuid4()], columns=["n"], into=int)
            assert found == [*range(20), None]
        if engine == "postgresql":
            keys = [str(each).upper() for each in ids]
            assert await place.session.get_many(table, keys, columns=["n"], into=int) == list(range(20))
    finally:
        await place.session.execute(f"DROP TABLE {table}")


@pytest.mark.parametrize(
    ("engine", "kind"),
    [("sqlite", "text COLLATE NOCASE"), ("mariadb", "varchar(50)"), ("mysql", "varchar(50)")],
)
async def test_spellings_that_the_server_takes_for_equal(open_place: Any, engine: str, kind: str) -> None:
    """What a key finds does not depend on which other keys are asked for with it."""
    place = await open_place(engine)
    table = f"{place.table}_text"
    await place.session.execute(f"CREATE TABLE {table} (id {kind} PRIMARY KEY, n integer)")
    try:
        await place.session.bulk_insert(table, ["id", "n"], [("abc", 1), ("def", 2)])
        options: dict[str, Any] = {"columns": ["n"], "into": int}
        for keys in (["ABC"], ["ABC", "abc"], ["abc", "Abc", "DEF", "ghi"]):
            alone = [(await place.session.get_many(table, [key], **options))[0] for key in keys]
            assert alone == [{"a": 1, "d": 2}.get(key[0].lower()) for key in keys]
            assert await place.session.get_many(table, keys, **options) == alone
    finally:
        await place.session.execute(f"DROP TABLE {table}")
