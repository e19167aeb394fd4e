"""Equality, ranges and sorting are said in the form that an index serves: ``explain`` shows the scan."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    Column,
    Integer,
    MetaData,
    String,
    Table,
    and_,
    any_,
    delete,
    exists,
    literal,
    or_,
    select,
    update,
)
from tests.mongodb.compiler.sides import Sides

from sillar import DatabaseSession, DocumentCommand
from sillar.engines.mongodb.compiler import CommandPlan, DocumentPlanCompiler
from sillar.query.composed import Composed

big = Table(
    "indexed",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("owner", Integer),
    Column("rank", Integer, nullable=False),
    Column("name", String),
    Column("tags", ARRAY(Integer)),
    Column("plain", Integer),
)
SERVED: dict[str, Any] = {
    "equality": select(big.c.id).where(big.c.owner == 5),
    "the key": select(big).where(big.c.id == 5),
    "equality and more": select(big.c.id).where(big.c.owner == 5, big.c.plain + 1 > 2),
    "range": select(big.c.id).where(big.c.owner > 5, big.c.owner <= 7),
    "between": select(big.c.id).where(big.c.owner.between(5, 7)),
    "in": select(big.c.id).where(big.c.owner.in_([5, 7])),
    "or": select(big.c.id).where(or_(big.c.owner == 5, big.c.owner == 9)),
    "text": select(big.c.id).where(big.c.name == "$name5"),
    "element of an array": select(big.c.id).where(literal(5, Integer) == any_(big.c.tags)),
    "a page after a key": select(big.c.id).where(big.c.rank > 100).order_by(big.c.rank).limit(5),
    "update": update(big).where(big.c.owner == 5).values(plain=1),
    "delete": delete(big).where(big.c.owner == 5),
}
NOT_SERVED: dict[str, Any] = {
    "no index": select(big.c.id).where(big.c.plain == 5),
    "an expression": select(big.c.id).where(big.c.owner + 1 == 5),
}


@pytest.fixture(scope="module")
async def indexed(sides: Sides) -> AsyncIterator[DatabaseSession]:
    documents = sides[1]
    collection = documents.documents("indexed")
    await collection.drop()
    rows = [
        {"_id": n, "owner": n % 500, "rank": n, "name": f"$name{n}", "tags": [n, n + 1], "plain": n}
        for n in range(4000)
    ]
    await collection.insert_many(rows)
    for field in ("owner", "rank", "name", "tags"):
        await collection.create_index(field)
    yield documents
    await collection.drop()


async def stages_of(session: DatabaseSession, statement: Any) -> list[str]:
    plan = DocumentPlanCompiler().plan(Composed.of(statement))
    command, (arguments,) = plan.bound(plan.values(Composed.of(statement).binds))
    assert isinstance(command, CommandPlan)
    explained = {"command": command.explained(arguments), "verbosity": "queryPlanner"}
    reply = await session.execute(DocumentCommand(command.collection, "explain", explained))
    return list(stages_in(reply.rows[0]["queryPlanner"]["winningPlan"]))


def stages_in(node: Any) -> Any:
    if isinstance(node, dict):
        if "stage" in node:
            yield node["stage"]
        for inner in node.values():
            yield from stages_in(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from stages_in(inner)


@pytest.mark.parametrize("name", SERVED)
async def test_an_index_serves(indexed: DatabaseSession, name: str) -> None:
    stages = await stages_of(indexed, SERVED[name])
    assert "IXSCAN" in stages
    assert "COLLSCAN" not in stages


@pytest.mark.parametrize("name", NOT_SERVED)
async def test_the_check_sees_a_scan_of_the_collection(indexed: DatabaseSession, name: str) -> None:
    assert "COLLSCAN" in await stages_of(indexed, NOT_SERVED[name])


async def test_a_page_by_the_key_is_not_sorted(indexed: DatabaseSession) -> None:
    stages = await stages_of(indexed, select(big.c.id).where(big.c.id > 100).order_by(big.c.id).limit(5))
    assert "IXSCAN" in stages
    assert "SORT" not in stages


SORTED = {
    "not null": (big.c.rank, {"rank": 1}),
    "not null descending": (big.c.rank.desc(), {"rank": -1}),
    "nulls where MongoDB has them": (big.c.owner.nulls_first(), {"owner": 1}),
    "and at the end": (big.c.owner.desc().nulls_last(), {"owner": -1}),
}


@pytest.mark.parametrize("name", SORTED)
def test_sorting_is_by_the_field_itself(name: str) -> None:
    """The form that MongoDB serves with an index; DocumentDB does for ``_id`` alone, so no ``explain`` shows it."""
    element, order = SORTED[name]
    plan = DocumentPlanCompiler().plan(Composed.of(select(big.c.id).order_by(element)))
    assert plan.command.arguments["pipeline"][0] == {"$sort": order}


async def test_lookups_use_indexes(indexed: DatabaseSession) -> None:
    other = big.alias("other")
    joined = select(big.c.id, other.c.id).join(other, other.c.owner == big.c.id).where(big.c.id.in_([5, 6]))
    assert "COLLSCAN" not in await stages_of(indexed, joined)
    found = select(big.c.id).where(big.c.owner == 5, exists().where(and_(other.c.id == big.c.rank)))
    assert len(await indexed.fetch_all(found)) == 8
