"""INSERT, UPDATE, DELETE and upserts change what they change on PostgreSQL, and count alike."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    DateTime,
    Float,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    UniqueConstraint,
    Uuid,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.dialects import postgresql as postgresql_dialect
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import CreateTable
from sqlalchemy.types import NullType
from tests.mongodb.compiler import shelf
from tests.mongodb.compiler.sides import Sides, rows_of

from sillar import DatabaseSession
from sillar.errors import (
    DatabaseError,
    DataError,
    ParameterError,
    UniqueViolationError,
    UnsupportedCapabilityError,
)
from sillar.query.upsert import incoming, with_upsert

ledger = Table(
    "ledger",
    MetaData(),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("code", String(8)),
    Column("kind", String, default="plain"),
    Column("total", Integer, nullable=False, default=lambda: 7),
    Column("price", Numeric(10, 2)),
    Column("share", Float),
    Column("at", DateTime),
    Column("seen", Integer, onupdate=1),
    UniqueConstraint("code"),
)
new = incoming(ledger)


class Base(DeclarativeBase):
    pass


class Entry(Base):
    __tablename__ = "ledger"
    number: Mapped[int] = mapped_column("id", primary_key=True, autoincrement=False)
    code: Mapped[str | None]
    sum_: Mapped[int] = mapped_column("total")


@pytest.fixture
async def ledgers(sides: Sides) -> AsyncIterator[Sides]:
    """Both servers with a ledger of three entries."""
    sql, documents = sides
    await sql.execute("drop table if exists ledger")
    await sql.execute(str(CreateTable(ledger).compile(dialect=postgresql_dialect.dialect())))
    collection = documents.documents("ledger")
    await collection.drop()
    await collection.create_index("code", unique=True, partialFilterExpression={"code": {"$type": "string"}})
    for side in sides:
        rows = [
            {"id": 1, "code": "a", "total": 1, "price": Decimal("1.10")},
            {"id": 2, "code": "b", "total": 2},
            {"id": 3},
        ]
        assert sum([(await side.execute(insert(ledger).values(**row))).rows_affected for row in rows]) == 3
    yield sides
    await sql.execute("drop table ledger")
    await collection.drop()


async def changed(sides: Sides, statement: Any, params: Any = None) -> Any:
    """Run it on both; the table afterwards, which is the same, and the number of rows, which is the same."""
    counts = [(await side.execute(statement, params)).rows_affected for side in sides]
    expected, found = [await rows_of(side, select(ledger).order_by(ledger.c.id)) for side in sides]
    assert found == expected
    assert counts[0] == counts[1]
    return counts[1]


CHANGES: dict[str, tuple[Any, int]] = {
    "update constants": (update(ledger).where(ledger.c.id < 3).values(kind="$kind", price=None), 2),
    "update that changes nothing": (update(ledger).where(ledger.c.id == 1).values(total=1, seen=None), 1),
    "update expressions": (update(ledger).values(total=ledger.c.total * 2 + 1, kind="$x", code=ledger.c.code + "!"), 3),
    "update from another kind": (
        update(ledger)
        .values(total=ledger.c.price * 3, share=ledger.c.total, price=ledger.c.total / literal(3, Integer))
        .where(ledger.c.price.is_not(None)),
        1,
    ),
    "update by a case": (update(ledger).values(total=case((ledger.c.total > 1, 0), else_=ledger.c.total)), 3),
    "update to null": (update(ledger).values(code=func.nullif(ledger.c.code, "a")), 3),
    "update nobody": (update(ledger).where(ledger.c.id > 9).values(total=1), 0),
    "update the time": (update(ledger).values(at=dt.datetime(2024, 1, 2, 3, 4, 5, 678000)), 3),
    "update in parentheses": (
        update(ledger).values(total=(ledger.c.total + 1).self_group(), kind=literal(None, String)),
        3,
    ),
    "update where an expression": (update(ledger).where(ledger.c.total + 1 == 3).values(total=9), 1),
    "update of a model": (update(Entry).where(Entry.sum_ > 1).values(sum_=Entry.sum_ + 1), 2),
    "delete": (delete(ledger).where(ledger.c.code.in_(["a", "b"])), 2),
    "delete where an expression": (delete(ledger).where(ledger.c.total + 1 == 2), 1),
    "delete nobody": (delete(ledger).where(ledger.c.code == literal(None, String)), 0),
    "delete all": (delete(ledger), 3),
    "delete of a model": (delete(Entry).where(Entry.number == 1), 1),
    "insert several": (insert(ledger).values([{"id": 8, "code": "x"}, {"id": 9, "code": "y", "total": 5}]), 2),
    "insert of a model": (insert(Entry).values(number=8, sum_=3), 1),
    "insert null": (insert(ledger).values(id=8, code=None, price=literal(None, Numeric)), 1),
    "insert rounds": (insert(ledger).values(id=8, price=Decimal("2.345"), share=1), 1),
    "upsert inserts": (with_upsert(insert(ledger).values(id=9, code="n"), ["id"], {"code": new.c.code}), 1),
    "upsert updates": (
        with_upsert(
            insert(ledger).values(id=2, code="n", total=5), ["id"], {"code": new.c.code, "kind": literal("k", String)}
        ),
        1,
    ),
    "upsert changes nothing": (with_upsert(insert(ledger).values(id=2, code="b"), ["id"], {"code": new.c.code}), 1),
    "upsert does nothing": (with_upsert(insert(ledger).values(id=2, code="n"), ["id"], {}), 0),
    "upsert does nothing but insert": (with_upsert(insert(ledger).values(id=5, code="n"), ["id"], {}), 1),
    "upsert by another key": (
        with_upsert(insert(ledger).values(id=9, code="b", total=5), ["code"], {"total": new.c.total}),
        1,
    ),
    "upsert of a null key": (with_upsert(insert(ledger).values(id=9, code=None), ["code"], {"total": new.c.total}), 1),
    "upsert adds": (
        with_upsert(
            insert(ledger).values(id=2, code="z", total=5),
            ["id"],
            {"total": ledger.c.total + new.c.total, "kind": new.c.kind},
        ),
        1,
    ),
    "upsert adds to nothing": (
        with_upsert(
            insert(ledger).values(id=9, code="z", total=5),
            ["id"],
            {"total": ledger.c.total + new.c.total, "code": literal("q", String)},
        ),
        1,
    ),
    "upsert adds by another key": (
        with_upsert(
            insert(ledger).values([{"id": 9, "code": "b", "total": 5}, {"id": 10, "code": "c", "total": 6}]),
            ["code"],
            {"total": ledger.c.total + new.c.total},
        ),
        2,
    ),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_changes_as_on_postgresql(ledgers: Sides, name: str) -> None:
    statement, count = CHANGES[name]
    assert await changed(ledgers, statement) == count


async def test_parameters_and_columns_by_name(ledgers: Sides) -> None:
    assert await changed(ledgers, insert(ledger), {"id": 7, "code": "$c", "total": 1}) == 1
    statement = update(ledger).where(ledger.c.id == bindparam("key"))
    assert await changed(ledgers, statement, {"key": 7, "total": 12}) == 1
    with pytest.raises(ParameterError, match="superfluous: colour"):
        await ledgers[1].execute(insert(ledger), {"id": 8, "colour": "red"})
    with pytest.raises(ParameterError, match="missing: key"):
        await ledgers[1].execute(statement, {"total": 12})


async def test_many_sets_are_one_command(ledgers: Sides) -> None:
    for side in ledgers:
        assert await side.execute_many(insert(ledger), [{"id": number, "total": 1} for number in range(10, 40)]) == 30
        change = update(ledger).where(ledger.c.id == bindparam("key")).values(kind=bindparam("new"))
        assert await side.execute_many(change, [{"key": 10, "new": "$x"}, {"key": 11, "new": "plain"}]) == 2
        assert (
            await side.execute_many(delete(ledger).where(ledger.c.id == bindparam("key")), [{"key": 1}, {"key": 99}])
            == 1
        )
    expected, found = [await rows_of(side, select(ledger).order_by(ledger.c.id)) for side in ledgers]
    assert found == expected


async def test_several_rows_are_all_or_nothing(ledgers: Sides) -> None:
    for side in ledgers:
        with pytest.raises(UniqueViolationError):
            await side.execute(insert(ledger).values([{"id": 50}, {"id": 1}]))
        with pytest.raises(UniqueViolationError):
            await side.execute_many(insert(ledger), [{"id": 51}, {"id": 1}])
        assert await side.fetch_value(select(func.count()).select_from(ledger)) == 3


async def test_writes_are_seen_in_their_transaction_only(ledgers: Sides) -> None:
    documents = ledgers[1]
    with pytest.raises(UnsupportedCapabilityError):
        async with documents.transaction() as tx:
            await tx.execute(insert(ledger).values([{"id": 50}, {"id": 51}]))
            assert await tx.fetch_value(select(func.count()).select_from(ledger)) == 5
            await tx.execute(select(ledger).with_for_update())
    assert await documents.fetch_value(select(func.count()).select_from(ledger)) == 3


async def test_returning_gives_what_was_stored(ledgers: Sides) -> None:
    fine = dt.datetime(2024, 1, 2, 3, 4, 5, 678999)
    statement = insert(ledger).values(id=9, price=Decimal("1.005"), at=fine)
    found = await ledgers[1].execute(
        statement.returning(ledger.c.id, ledger.c.price, ledger.c.at, ledger.c.code.label("c"))
    )
    assert found.rows == [{"id": 9, "price": Decimal("1.01"), "at": fine.replace(microsecond=678000), "c": None}]
    assert found.rows_affected == 1
    stored = await ledgers[1].fetch_one(select(ledger.c.at, ledger.c.kind).where(ledger.c.at == fine))
    assert stored == {"at": fine.replace(microsecond=678000), "kind": "plain"}


async def test_generated_keys_come_back(sides: Sides) -> None:
    documents = sides[1]
    free = Table("free", MetaData(), Column("id", NullType, primary_key=True), Column("x", Integer))
    try:
        first = await documents.execute(insert(free).values(x=1).returning(free.c.id))
        assert first.scalar() == first.last_insert_id
        assert await documents.fetch_value(select(free.c.x).where(free.c.id == first.scalar())) == 1
    finally:
        await documents.documents("free").drop()


async def test_nested_fields_and_other_keys(sides: Sides) -> None:
    documents = sides[1]
    name = f"nested_{uuid.uuid4().hex[:8]}"
    nested = Table(
        name,
        MetaData(),
        Column("key", Uuid, primary_key=True),
        Column("city", String, info={"sillar_field": "address.city"}),
        Column("street", String, info={"sillar_field": "address.street"}),
        info={"sillar_id": "key"},
    )
    key = uuid.uuid4()
    try:
        await documents.execute(insert(nested).values(key=key, city="$x", street="y"))
        raw = await documents.documents(name).find_one({})
        assert raw == {"_id": key, "address": {"city": "$x", "street": "y"}}
        await documents.execute(update(nested).where(nested.c.city == "$x").values(street=nested.c.city + "!"))
        assert await documents.fetch_all(select(nested), into=tuple) == [(key, "$x", "$x!")]
        assert await documents.execute(delete(nested).where(nested.c.key == key)) is not None
    finally:
        await documents.documents(name).drop()


REFUSED: dict[str, tuple[Any, type[DatabaseError], str]] = {
    "NOT NULL in insert": (insert(ledger).values(id=1, total=None), ParameterError, "total is NOT NULL"),
    "NOT NULL in update": (update(ledger).values(total=None), ParameterError, "total is NOT NULL"),
    "no key": (insert(ledger).values(code="x"), UnsupportedCapabilityError, "a generated integer for id"),
    "no such column": (insert(Entry.__table__).values(number=1), Exception, "Unconsumed|no column"),
    "too long": (insert(ledger).values(id=1, code="x" * 9), ParameterError, "8 characters"),
    "the wrong type": (insert(ledger).values(id="1"), ParameterError, "type str was given where an integer"),
    "a boolean for an integer": (insert(ledger).values(id=8, total=True), ParameterError, "type bool was given"),
    "expression in insert": (
        insert(ledger).values(id=literal(1, Integer) + 1),
        UnsupportedCapabilityError,
        "an expression",
    ),
    "insert from select": (
        insert(ledger).from_select(["id"], select(ledger.c.id)),
        UnsupportedCapabilityError,
        "INSERT … SELECT",
    ),
    "on conflict": (
        postgresql_insert(ledger).values(id=1).on_conflict_do_nothing(),
        UnsupportedCapabilityError,
        "ON CONFLICT",
    ),
    "change of the key": (update(ledger).values(id=5), UnsupportedCapabilityError, "a change of the key"),
    "update returning": (
        update(ledger).values(total=1).returning(ledger.c.id),
        UnsupportedCapabilityError,
        "RETURNING of UPDATE",
    ),
    "delete returning": (delete(ledger).returning(ledger.c.id), UnsupportedCapabilityError, "RETURNING of DELETE"),
    "returning an expression": (
        insert(ledger).values(id=1).returning(ledger.c.id + 1),
        UnsupportedCapabilityError,
        "RETURNING an expression",
    ),
    "update from": (
        update(ledger).values(total=1).where(ledger.c.id == shelf.items.c.id),
        UnsupportedCapabilityError,
        "UPDATE with several tables",
    ),
    "update where in a select": (
        update(ledger).values(total=1).where(ledger.c.id.in_(select(shelf.items.c.id))),
        UnsupportedCapabilityError,
        "a subquery in UPDATE",
    ),
    "update without values": (update(ledger).values({}).where(ledger.c.id == 1), ParameterError, "nothing to set"),
    "a kind that does not convert": (
        update(ledger).values(total=ledger.c.at),
        UnsupportedCapabilityError,
        "timestamp as integer",
    ),
    "upsert returning": (
        with_upsert(insert(ledger).values(id=1), ["id"], {}).returning(ledger.c.id),
        UnsupportedCapabilityError,
        "RETURNING of an upsert",
    ),
    "upsert without its key": (
        with_upsert(insert(ledger).values(id=1), ["code"], {}),
        ParameterError,
        "lacks its key: code",
    ),
    "upsert of what is not given": (
        with_upsert(insert(ledger).values(id=1), ["id"], {"share": new.c.share}),
        ParameterError,
        "excluded.share",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_refused_before_anything_is_sent(ledgers: Sides, name: str) -> None:
    statement, kind, words = REFUSED[name]
    if name == "update without values":
        statement = update(Entry.__table__).where(Entry.number == 1)
    with pytest.raises(kind, match=words):
        await ledgers[1].execute(statement)
    assert await ledgers[1].fetch_value(select(func.count()).select_from(ledger)) == 3


async def test_null_for_a_column_that_is_not_null_fails_at_the_server(ledgers: Sides) -> None:
    statement = update(ledger).values(total=func.nullif(ledger.c.total, 2))
    for side in ledgers:
        with pytest.raises(DatabaseError):
            await side.execute(statement.where(ledger.c.id == 2))
        assert await side.fetch_value(select(ledger.c.total).where(ledger.c.id == 2)) == 2


async def test_a_read_only_database_refuses_writes(sides: Sides, documents_read_only: DatabaseSession) -> None:
    with pytest.raises(DatabaseError, match="read_only"):
        await documents_read_only.execute(delete(ledger))
    assert await documents_read_only.fetch_value(select(func.count()).select_from(shelf.items)) == shelf.ITEMS


async def test_defaults_of_the_server_are_refused(sides: Sides) -> None:
    stamped = Table(
        "stamped",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("at", DateTime, server_default=func.now()),
    )
    with pytest.raises(UnsupportedCapabilityError, match="server's default of the column at"):
        await sides[1].execute(insert(stamped).values(id=1))
    computed = Table(
        "computed", MetaData(), Column("id", Integer, primary_key=True), Column("at", DateTime, default=func.now())
    )
    with pytest.raises(UnsupportedCapabilityError, match="which the server computes"):
        await sides[1].execute(insert(computed).values(id=1))
    required = Table(
        "required", MetaData(), Column("id", Integer, primary_key=True), Column("x", String, nullable=False)
    )
    with pytest.raises(ParameterError, match="x is NOT NULL and is given no value"):
        await sides[1].execute(insert(required).values(id=1))


async def test_an_integer_that_grew_too_large_is_an_error(ledgers: Sides) -> None:
    documents = ledgers[1]
    await documents.execute(update(ledger).where(ledger.c.id == 1).values(total=2**62))
    with pytest.raises(DataError, match="out of range"):
        await documents.fetch_all(select(ledger.c.total * 4).where(ledger.c.id == 1))
