from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import pytest
from tests.migrations.autogenerate.cases import CASES, models
from tests.migrations.autogenerate.conftest import ENGINES
from tests.migrations.autogenerate.place import Place


def table_of(difference: Any) -> tuple[str, str]:
    """The kind of a difference, and the table that it is about."""
    if isinstance(difference, list):
        return difference[0][0], difference[0][2]
    kind, *what = difference
    if kind in ("add_column", "remove_column"):
        return kind, what[1]
    if isinstance(what[0], str):
        return kind, what[0]
    return kind, getattr(getattr(what[0], "table", None), "name", getattr(what[0], "name", str(what)))


@pytest.mark.filterwarnings("ignore:Cannot correctly sort tables")  # two of them refer to each other
@pytest.mark.filterwarnings("ignore:Did not recognize type 'jsonpath'")
@pytest.mark.parametrize("place", ENGINES, indirect=True)
async def test_every_change_is_found_made_and_undone(place: Place) -> None:
    before, after = models(place.name, after=False), models(place.name, after=True)
    await place.create(before)
    assert await place.differences(models(place.name, after=False)) == []

    found: dict[str, Counter[str]] = defaultdict(Counter)
    for each in await place.differences(after, refuse_renames=False):
        kind, table = table_of(each)
        found[table][kind] += 1
        if isinstance(each, list):
            found[table].update(more[0] for more in each[1:])
    missed = {
        case.table: (case.found, dict(found[case.table]))
        for case in CASES
        if place.name in case.engines and case.found and Counter(case.found) != found[case.table]
    }
    assert missed == {}

    up, down = await place.migrate(after, refuse_renames=False)
    assert "sillar" not in up + down
    assert await place.differences(models(place.name, after=True)) == []
    await place.undo(down)
    assert await place.differences(models(place.name, after=False)) == []
