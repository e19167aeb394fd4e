"""The hint "no usable index" over sixty labelled queries: how often it is right, and how much it finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.hints.conftest import SQL_ENGINES, Shops
from tests.hints.labelled import labelled
from tests.hints.shop import open_shop

from sillar import DatabaseManager, DatabaseSession

LEAST = 0.9


@pytest.mark.parametrize(("shop", "engine"), [(each, each) for each in SQL_ENGINES], indirect=["shop"])
async def test_precision_and_recall(shop: DatabaseSession, engine: str) -> None:
    await judge(shop, engine, "20,000 rows")


async def test_small_tables_are_judged_as_large_ones(shops: Shops, tmp_path: Path) -> None:
    async with DatabaseManager.from_url(f"sqlite:///{tmp_path}/small.db") as manager:
        await open_shop(manager.session(), "sqlite", 5)
        await judge(manager.session(), "sqlite", "5 rows")
    session = (await shops.get("postgresql")).session()
    await session.execute("DROP SCHEMA IF EXISTS small_shop CASCADE")
    await session.execute("CREATE SCHEMA small_shop")
    async with session.transaction(settings=[("search_path", "small_shop")]) as transaction:
        await open_shop(transaction, "postgresql", 5)
        await judge(transaction, "postgresql", "5 rows")
        await transaction.rollback()
    await session.execute("DROP SCHEMA small_shop")


async def judge(session: Any, engine: str, size: str) -> None:
    queries = labelled()
    assert len(queries) == 60
    right = wrong = missed = 0
    faults = []
    for each in queries:
        found = [hint for hint in await each.query.hints(session) if hint.kind == "no usable index"]
        is_bad = engine in each.bad_on
        right += bool(found) and is_bad
        wrong += bool(found) and not is_bad
        missed += not found and is_bad
        if bool(found) != is_bad:
            faults.append(
                f"{'missed' if is_bad else 'wrong'}: {each.name}: {found}\n{await each.query.explain(session)}"
            )
    precision, recall = right / (right + wrong), right / (right + missed)
    print(f"\n{engine}, {size}: {right + missed} of 60 bad; precision {precision:.3f}, recall {recall:.3f}", *faults)
    assert precision >= LEAST
    assert recall >= LEAST
