"""The hint "no usable index" over sixty labelled queries: how often it is right, and how much it finds."""

from __future__ import annotations

import pytest
from tests.hints.conftest import SQL_ENGINES
from tests.hints.labelled import labelled

from sillar import DatabaseSession

LEAST = 0.9


@pytest.mark.parametrize(("shop", "engine"), [(each, each) for each in SQL_ENGINES], indirect=["shop"])
async def test_precision_and_recall(shop: DatabaseSession, engine: str) -> None:
    queries = labelled()
    assert len(queries) == 60
    right = wrong = missed = 0
    faults = []
    for each in queries:
        found = [hint for hint in await each.query.hints(shop) if hint.kind == "no usable index"]
        is_bad = engine in each.bad_on
        right += bool(found) and is_bad
        wrong += bool(found) and not is_bad
        missed += not found and is_bad
        if bool(found) != is_bad:
            plan = await each.query.explain(shop)
            faults.append(f"{'missed' if is_bad else 'wrong'}: {each.name}: {found}\n{plan}")
    precision, recall = right / (right + wrong), right / (right + missed)
    print(f"\n{engine}: {right + missed} of 60 are bad; precision {precision:.3f}, recall {recall:.3f}")
    print("\n".join(faults))
    assert precision >= LEAST
    assert recall >= LEAST
