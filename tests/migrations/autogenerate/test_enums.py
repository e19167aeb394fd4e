"""Enum types of PostgreSQL: values added, renamed and removed, with the rows that have them."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from tests.migrations.autogenerate.place import Place

from sillar.errors import MigrationRefusedError
from sillar.migrations.autogenerate import View


def moods(*labels: str, **info: dict[str, str]) -> sa.MetaData:
    metadata = sa.MetaData()
    mood = sa.Enum(*labels, name="mood")
    sa.Table(
        "person",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("mood", mood, server_default=labels[-1], info=info),
        sa.Column("before", postgresql.ARRAY(mood)),
    )
    return metadata


LABELS = "SELECT enumlabel FROM pg_enum ORDER BY enumtypid, enumsortorder"


async def labels(place: Place) -> list[str]:
    return [row[0] for row in await place.rows(LABELS)]


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
async def test_added_values_stand_where_the_model_has_them(place: Place) -> None:
    _, to_nothing = await place.migrate(moods("b", "d"))
    await place.execute("INSERT INTO person (mood, before) VALUES ('b', '{b,d}')")
    wanted = moods("a", "b", "c", "d", "it's")
    found = await place.differences(wanted)
    assert found[0] == ("change_enum", None, "mood", ("b", "d"), ("a", "b", "c", "d", "it's"))
    assert [each[0] for each in found[1]] == ["modify_default"]
    up, down = await place.migrate(wanted)
    assert "with op.get_context().autocommit_block():" in up
    assert await labels(place) == ["a", "b", "c", "d", "it's"]
    assert await place.differences(wanted) == []

    await place.undo(down)
    assert await labels(place) == ["b", "d"]
    assert await place.rows("SELECT mood::text, before::text FROM person") == [("b", "{b,d}")]
    assert await place.differences(moods("b", "d")) == []
    await place.undo(to_nothing)
    assert await labels(place) == []


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
async def test_renamed_values_keep_their_rows(place: Place) -> None:
    await place.create(moods("happy", "sad", "bored"))
    await place.execute("INSERT INTO person (mood) VALUES ('happy')")
    hinted = moods("glad", "sad", "bored", renamed_values={"happy": "glad"})
    _, down = await place.migrate(hinted)
    assert await place.rows("SELECT mood::text FROM person") == [("glad",)]
    assert await place.differences(hinted) == []
    await place.undo(down)
    assert await place.rows("SELECT mood::text FROM person") == [("happy",)]

    with pytest.raises(MigrationRefusedError, match="enum value happy of mood is gone and hapy is new"):
        await place.differences(moods("hapy", "sad", "bored"))
    await place.migrate(moods("hapy", "sad", "bored"), renames={"mood.happy": "hapy"})
    assert await place.rows("SELECT mood::text FROM person") == [("hapy",)]
    await place.execute("UPDATE person SET mood = 'sad'")
    _, back = await place.migrate(moods("other", "sad"), drops=["mood.hapy"])
    assert await labels(place) == ["other", "sad"]
    await place.undo(back)
    assert await labels(place) == ["hapy", "sad", "bored"]


def guarded(*names: str) -> sa.MetaData:
    metadata = moods(*names)
    View("moods", "SELECT mood FROM person", metadata)  # in the way of the type
    person = metadata.tables["person"]
    person.append_constraint(sa.CheckConstraint("mood <> 'sad' OR id > 0", name="ck_person_mood"))
    sa.Index("ix_person_sad", person.c.id, postgresql_where=sa.text("mood = 'sad'"))
    sa.Index("ix_person_mood", person.c.mood)
    return metadata


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
async def test_a_value_is_removed_beneath_checks_and_partial_indexes(place: Place) -> None:
    await place.migrate(guarded("happy", "sad", "bored"))
    await place.execute("INSERT INTO person (mood) VALUES ('sad')")
    _, down = await place.migrate(guarded("happy", "sad"))
    assert await labels(place) == ["happy", "sad"]
    assert await place.differences(guarded("happy", "sad")) == []
    await place.undo(down)
    assert await place.differences(guarded("happy", "sad", "bored")) == []
    _, down = await place.migrate(guarded("happy", "sad", "bored", "more"))
    await place.undo(down)
    assert await place.differences(guarded("happy", "sad", "bored")) == []


def shared(extra: bool) -> sa.MetaData:
    """One type in several tables, of which one is new, and a column that is new."""
    metadata = sa.MetaData()
    kind: Any = sa.Enum("a", "b", name="kind")
    items = [sa.Column("kind", kind)] if extra else []
    sa.Table("one", metadata, sa.Column("id", sa.Integer, primary_key=True), *items)
    if extra:
        sa.Table("two", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("kind", kind))
        sa.Table("three", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("kind", kind))
    return metadata


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
async def test_a_type_that_several_tables_have_is_made_once(place: Place) -> None:
    await place.create(shared(False))
    up, down = await place.migrate(shared(True))
    assert up.count("CREATE TYPE") == 1
    assert await place.differences(shared(True)) == []
    await place.undo(down)
    assert await labels(place) == []
    assert await place.differences(shared(False)) == []
