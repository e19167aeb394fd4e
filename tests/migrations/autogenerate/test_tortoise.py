"""What Tortoise creates has no differences from its models, and Tortoise works on what migrations create."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.migrations.autogenerate import tortoise_shop as shop
from tests.migrations.autogenerate.conftest import ENGINES
from tests.migrations.autogenerate.place import Place
from tortoise import fields
from tortoise.models import Model

from sillar import DatabaseManager
from sillar.errors import UsageError
from sillar.integrations.tortoise import TortoiseIntegration
from sillar.integrations.tortoise.metadata import models_metadata, schema_type
from sillar.migrations.autogenerate import load_models

MODULE = "tests.migrations.autogenerate.tortoise_shop"


@pytest.fixture
def without_partial_indexes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tortoise's own statement fails where the engine has none."""
    meta: Any = shop.Live._meta
    declared = meta.indexes
    if request.getfixturevalue("place").name in ("mysql", "mariadb"):
        meta.indexes = ()
    yield
    meta.indexes = declared


@pytest.mark.parametrize("place", ENGINES, indirect=True)
async def test_what_tortoise_creates_is_what_its_models_say(place: Place, without_partial_indexes: None) -> None:
    url = place.engine.url.set(drivername=place.name).render_as_string(hide_password=False)
    async with DatabaseManager.from_url(url) as manager:
        orm = TortoiseIntegration(manager)
        await orm.open({"models": [MODULE]})
        await orm.generate_schemas()
        (metadata,) = load_models([MODULE])
        assert await place.differences(metadata) == []

        for table in reversed(metadata.sorted_tables):
            await place.execute(f"DROP TABLE {table.name}")
        up, _ = await place.migrate(metadata)
        assert "tortoise" not in up
        assert "sillar" not in up
        assert await place.differences(metadata) == []

        maker = await shop.Maker.create(name="m", code="c")
        thing = await shop.Thing.create(title="x", maker=maker)
        await thing.tags.add(await shop.Tag.create(word="w"))
        assert await shop.Thing.filter(tags__word="w").values_list("title", "amount", "word") == [("x", 3, "it")]
        await shop.Passport.create(thing=thing, token="4b0e3a5e-0b5e-4f0a-8f3c-0d0f6a3b9c11")


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_a_copied_table_keeps_what_sqlalchemy_does_not_read_of_it(place: Place) -> None:
    url = place.engine.url.set(drivername="sqlite").render_as_string(hide_password=False)
    async with DatabaseManager.from_url(url) as manager:
        orm = TortoiseIntegration(manager)
        await orm.open({"models": [MODULE]})
        await orm.generate_schemas()
    (metadata,) = load_models([MODULE])
    metadata.tables["maker"].c.name.type.length = 80
    metadata.tables["tg_thing"].c.word.type.length = 30
    _, down = await place.migrate(metadata)
    assert await place.differences(metadata) == []  # UNIQUE of maker.name, ON DELETE of tg_thing's keys
    tables = {row[0]: row[1] for row in await place.rows("SELECT name, sql FROM sqlite_master WHERE type = 'table'")}
    assert "AUTOINCREMENT" in tables["maker"]
    assert "ON DELETE RESTRICT" in tables["tg_thing"]
    await place.undo(down)
    assert await place.differences(*load_models([MODULE])) == []


class Lost(Model):
    id = fields.IntField(primary_key=True)
    other: Any = fields.ForeignKeyField("models.NobodyHere")


class Two(Model):
    id = fields.IntField(primary_key=True)
    other: Any = fields.ForeignKeyField("first.NobodyHere")
    another: Any = fields.ForeignKeyField("second.NobodyHere")


class VectorField(fields.Field[Any]):
    SQL_TYPE = "int[]"

    class _db_mysql:  # noqa: N801
        SQL_TYPE = "VARCHAR(90)"

    class _db_sqlite:  # noqa: N801
        SQL_TYPE = "TEXT"


class StrangeField(fields.Field[Any]):
    SQL_TYPE = "whatever(x)"


def test_relations_that_lead_nowhere_are_refused() -> None:
    with pytest.raises(UsageError, match=r"lead nowhere.*NobodyHere"):
        models_metadata([Lost])
    with pytest.raises(UsageError, match=r"several apps.*init_models"):
        models_metadata([Two])


def test_a_field_of_ones_own_has_the_types_that_it_spells() -> None:
    assert repr(schema_type(VectorField())) == "ARRAY(INTEGER(), dimensions=1)"
    variants = {name: repr(kind) for name, kind in schema_type(VectorField())._variant_mapping.items()}
    assert variants == {"mysql": "VARCHAR(length=90)", "mariadb": "VARCHAR(length=90)", "sqlite": "TEXT()"}
    with pytest.raises(UsageError, match=r"StrangeField.SQL_TYPE is 'whatever"):
        schema_type(StrangeField())
