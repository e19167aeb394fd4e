"""The checks on an empty database: what is sound passes on every SQL engine, and each fault is found."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.migrations.checks.conftest import ADD_WEIGHT, CREATE_STONE, DROP_STONE, Checked, database_on

from sillar.errors import UsageError
from sillar.migrations import MigrationManager
from sillar.migrations.throwaway import (
    differences,
    downgrades_exist,
    empty,
    models_match,
    offline_equals_online,
    round_trip,
    single_head,
    stairway,
    state_of,
)
from sillar.testing.servers import ServerFleet

ENGINES = ("sqlite", "postgresql", "mariadb", "mysql")
TWO = ("sqlite", "mariadb")


@pytest.fixture
async def url(request: pytest.FixtureRequest, fleet: ServerFleet, tmp_path: Path) -> AsyncIterator[str]:
    """URL of an empty database of each SQL engine."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'throwaway.db'}"
        return
    async with database_on(await fleet.get(request.param)) as found:
        yield found


@pytest.fixture
async def postgresql_url(fleet: ServerFleet) -> AsyncIterator[str]:
    async with database_on(await fleet.get("postgresql")) as found:
        yield found


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'throwaway.db'}"


@pytest.mark.parametrize("url", ENGINES, indirect=True)
async def test_what_is_sound_passes(sound: Checked, url: str) -> None:
    migrations = sound.manager(url)
    for check in (round_trip, stairway, offline_equals_online):
        result = await check(migrations)
        assert (result.is_well, result.details) == (True, ())
        assert await state_of(migrations) == {}
        assert await migrations.current() == ()
    assert single_head(migrations).is_well
    assert downgrades_exist(migrations).is_well


@pytest.mark.parametrize("url", TWO, indirect=True)
async def test_a_downgrade_that_leaves_something(checked: Checked, url: str) -> None:
    checked.write("one", None, CREATE_STONE, DROP_STONE)
    checked.write("two", "one", 'op.create_table("mason", sa.Column("id", sa.Integer, primary_key=True))')
    migrations = checked.manager(url)
    result = await round_trip(migrations)
    assert not result.is_well
    assert "after the way down to base: table mason is left, or new" in result.details
    result = await stairway(migrations)
    assert "two down: table mason is left, or new" in result.details
    assert [line for line in result.details if line.startswith("one")] == []
    result = downgrades_exist(migrations)
    assert result.details == (f"two has no downgrade: {checked.folder / 'migrations/versions/two.py'}",)
    assert await state_of(migrations) == {}


async def test_a_way_back_to_something_else(checked: Checked, sqlite: str) -> None:
    checked.write("one", None, CREATE_STONE, DROP_STONE)
    checked.write(
        "two",
        "one",
        'op.drop_index("stone_name")',
        'op.create_index("stone_name", "stone", ["name"], unique=True)',
    )
    migrations = checked.manager(sqlite)
    result = await stairway(migrations)
    [line] = result.details
    assert re.match(r"two down: index stone_name of stone was .*unique=0.* and is .*unique=1", line)
    assert (await round_trip(migrations)).is_well


async def test_a_second_way_up_that_is_another(checked: Checked, sqlite: str) -> None:
    checked.write("one", None, CREATE_STONE, DROP_STONE)
    checked.write(
        "two",
        "one",
        "\n".join(  # which depends on what is outside of the database
            [
                "from pathlib import Path",
                f"mark = Path({str(checked.folder / 'mark')!r})",
                'op.add_column("stone", sa.Column("a" if mark.exists() else "b", sa.Integer))',
                "mark.touch()",
            ]
        ),
        'op.drop_column("stone", "b")',
    )
    result = await round_trip(checked.manager(sqlite))
    assert result.details == (
        "after the second way up: column a of stone is left, or new",
        "after the second way up: column b of stone is gone",
    )


@pytest.mark.parametrize("url", TWO, indirect=True)
async def test_a_script_that_makes_something_else(checked: Checked, url: str) -> None:
    checked.write("one", None, CREATE_STONE, DROP_STONE)
    checked.write(
        "two",
        "one",
        "from alembic import context\n"
        "op.execute(\"INSERT INTO stone (id, name) VALUES (1, 'a')\")\n"
        f"if not context.is_offline_mode(): {ADD_WEIGHT}\n"
        "if not context.is_offline_mode(): op.execute(\"INSERT INTO stone (id, name) VALUES (2, 'b')\")",
    )
    result = await offline_equals_online(checked.manager(url))
    assert result.details == (
        "after the script: column weight of stone is gone",
        "after the script: rows of stone was 2 and is 1",
    )


async def test_a_migration_that_cannot_be_written_down(checked: Checked, sqlite: str) -> None:
    checked.write("one", None, 'op.get_bind().execute(sa.text("SELECT 1")).scalar_one()')
    result = await offline_equals_online(checked.manager(sqlite))
    assert not result.is_well
    assert "one.py:" in result.details[0]
    checked.write("one", None, CREATE_STONE)
    checked.write("two", "one", 'with op.batch_alter_table("stone") as batch:\n    batch.drop_column("name")')
    result = await offline_equals_online(checked.manager(sqlite))
    assert (result.is_well, result.details[0][:13]) == (True, "not compared:")


@pytest.mark.parametrize("url", TWO, indirect=True)
async def test_a_migration_that_fails(checked: Checked, url: str) -> None:
    checked.write("one", None, CREATE_STONE, 'op.drop_table("rock")')
    migrations = checked.manager(url)
    result = await round_trip(migrations)
    assert "MigrationFailedError: migration one (make one) failed at statement 1" in result.details[0]
    assert await state_of(migrations) == {}


async def test_a_second_head(sound: Checked, sqlite: str) -> None:
    sound.write("other", "two", "pass")
    migrations = sound.manager(sqlite)
    result = single_head(migrations)
    assert not result.is_well
    assert set(result.details) == {"three make three", "other make other"}
    sound.write("joined", ("three", "other"), "pass")
    migrations = sound.manager(sqlite)
    assert single_head(migrations).is_well
    assert (await stairway(migrations)).details == ()
    assert downgrades_exist(migrations).is_well


async def test_models(sound: Checked, sqlite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (sound.folder / "checked_models.py").write_text(
        "from sqlalchemy import MetaData, Table, Column, Integer, String, Index, text\n"
        "metadata = MetaData()\n"
        'Table("stone", metadata, Column("id", Integer, primary_key=True), Column("name", String(40), nullable=False),'
        ' Column("weight", Integer, server_default=text("0")), Index("stone_name", "name"))\n'
        "more = MetaData()\n"
        'Table("mason", more, Column("id", Integer, primary_key=True))\n'
    )
    monkeypatch.syspath_prepend(str(sound.folder))
    result = await models_match(sound.manager(sqlite, ["checked_models:metadata"]))
    assert (result.is_well, result.details) == (True, ())
    result = await models_match(sound.manager(sqlite, ["checked_models:metadata", "checked_models:more"]))
    assert not result.is_well
    assert "mason" in result.details[0]
    result = await models_match(sound.manager(sqlite))
    assert (result.is_well, result.details[0][:12]) == (True, "not compared")


@pytest.mark.parametrize("url", TWO, indirect=True)
async def test_a_database_with_something_in_it_is_left_alone(sound: Checked, url: str) -> None:
    migrations = sound.manager(url)
    await migrations.apply_migrations("one")
    for check in (round_trip, stairway, offline_equals_online, models_match):
        with pytest.raises(UsageError, match="is not empty"):
            await check(migrations)
    assert await migrations.current() == ("one",)
    assert "table stone" in await state_of(migrations)


async def test_postgresql_is_compared_and_emptied_as_a_whole(checked: Checked, postgresql_url: str) -> None:
    migrations = checked.manager(postgresql_url)
    statements = [
        "CREATE TYPE colour AS ENUM ('red', 'grey')",
        "CREATE SEQUENCE ticket",
        "CREATE TABLE stone (id int PRIMARY KEY, colour colour)",
        "COMMENT ON TABLE stone IS 'a block'",
        "CREATE VIEW red AS SELECT * FROM stone WHERE colour = 'red'",
        "CREATE FUNCTION one() RETURNS trigger LANGUAGE plpgsql AS 'begin return new; end'",
        "CREATE TRIGGER watch BEFORE INSERT ON stone FOR EACH ROW EXECUTE FUNCTION one()",
        "ALTER TABLE stone ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY own ON stone USING (id > 0)",
        "CREATE DOMAIN weight AS int CHECK (VALUE > 0)",
    ]
    checked.write("one", None, "\n".join(f"op.execute({each!r})" for each in statements))
    await migrations.apply_migrations()
    state = await state_of(migrations)
    assert {
        "enum colour",
        "sequence ticket",
        "table stone",
        "comment without a name of stone",
        "view red",
        "function one()",
        "trigger watch of stone",
        "policy own of stone",
        "row security of stone",
    } <= set(state)
    assert state["enum colour"] == "red, grey"
    await empty(migrations)
    assert await state_of(migrations) == {}
    assert await migrations.current() == ()
    await migrations.apply_migrations()
    assert differences(state, await state_of(migrations)) == []


async def test_many_faults_are_counted(checked: Checked, sqlite: str) -> None:
    tables = "\n".join(f'op.create_table("t{n}", sa.Column("id", sa.Integer, primary_key=True))' for n in range(30))
    checked.write("one", None, tables)
    result = await round_trip(checked.manager(sqlite))
    assert len(result.details) == 21
    assert re.fullmatch(r"… and \d+ more", result.details[-1])


async def test_a_prod_manager_may_not_undo(sound: Checked, sqlite: str) -> None:
    migrations: MigrationManager = sound.manager(sqlite, environment="prod")
    result = await round_trip(migrations)
    assert "MigrationRefusedError" in result.details[0]
