"""Several schemas of PostgreSQL at once."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from tests.migrations.autogenerate.place import Place

from sillar.migrations.autogenerate import View


def models(length: int = 20, *more: str) -> sa.MetaData:
    metadata = sa.MetaData()
    kind = sa.Enum("a", "b", *more, name="kind", schema="other")
    sa.Table("p", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("k", kind), schema="other")
    child = sa.Table(
        "c",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("s", sa.String(length), server_default="x"),
        sa.Column("p_id", sa.ForeignKey("other.p.id")),
        sa.CheckConstraint("length(s) IN (1, 2, 3)", name="ck"),
        schema="other",
    )
    sa.Index("ix_lower", sa.func.lower(child.c.s))
    sa.Table(
        "c", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("p_id", sa.ForeignKey("other.p.id"))
    )
    View("v", "SELECT s FROM other.c WHERE id > 3", metadata, schema="other")
    return metadata


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
async def test_tables_of_several_schemas_are_compared(place: Place) -> None:
    await place.execute("CREATE SCHEMA other")
    _, to_nothing = await place.migrate(models(), include_schemas=True)
    assert await place.differences(models(), include_schemas=True) == []
    _, down = await place.migrate(models(30, "c"), include_schemas=True)
    assert await place.differences(models(30, "c"), include_schemas=True) == []
    await place.undo(down)
    assert await place.differences(models(), include_schemas=True) == []
    await place.undo(to_nothing)
    assert await place.differences(sa.MetaData(), include_schemas=True) == []


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
async def test_the_default_schema_by_its_name(place: Place) -> None:
    def named(ondelete: str | None = None) -> sa.MetaData:
        metadata = sa.MetaData(schema="public")
        sa.Table("p", metadata, sa.Column("id", sa.Integer, primary_key=True))
        key = sa.ForeignKey("public.p.id", ondelete=ondelete)
        sa.Table("c", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("p_id", key))
        return metadata

    await place.migrate(named())
    assert await place.differences(named()) == []
    assert [each[0] for each in await place.differences(named("CASCADE"))] == ["remove_fk", "add_fk"]
