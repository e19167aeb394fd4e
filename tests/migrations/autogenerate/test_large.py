from __future__ import annotations

import pytest
import sqlalchemy as sa
from tests.migrations.autogenerate.conftest import ENGINES
from tests.migrations.autogenerate.large import large_schema
from tests.migrations.autogenerate.place import Place

TABLES = {"sqlite": 150, "postgresql18": 150}
"""The others have as many of each kind, and fewer of the same."""


@pytest.mark.parametrize("place", [*ENGINES, "postgresql18"], indirect=True)
async def test_what_was_created_from_the_models_has_no_differences(place: Place) -> None:
    models = large_schema(place.name, TABLES.get(place.name, 20))
    await place.create(models)
    assert await place.differences(models) == []


@pytest.mark.parametrize("place", ENGINES, indirect=True)
async def test_what_was_generated_from_nothing_is_what_the_models_say(place: Place) -> None:
    models, nothing = large_schema(place.name, 8), sa.MetaData()
    up, down = await place.migrate(models)
    assert "sillar" not in up + down
    assert await place.differences(models) == []
    await place.undo(down)
    assert await place.differences(nothing) == []
