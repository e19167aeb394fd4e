"""``MigrationManager.check()``: each result can be well, and not."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.migrations.checks.conftest import CREATE_STONE, DROP_STONE, Checked, database_on

from sillar.migrations.sql.tables import HistoryTables, now
from sillar.testing.servers import ServerFleet

NAMES = (
    "single head",
    "database is at head",
    "applied migrations are unedited",
    "nothing is interrupted",
    "every index is valid",
    "models and database agree",
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'checked.db'}"


async def test_everything_agrees(sound: Checked, url: str) -> None:
    async with sound.manager(url) as migrations:
        await migrations.apply_migrations()
        report = await migrations.check()
    assert tuple(result.name for result in report.results) == NAMES
    assert report.is_well
    assert str(report).count("ok    ") == len(NAMES)


async def test_two_heads(sound: Checked, url: str) -> None:
    sound.write("other", "two", "pass")
    async with sound.manager(url) as migrations:
        await migrations.apply_migrations()
        report = await migrations.check()
    assert not report.is_well
    assert set(report["single head"].details) == {"three make three", "other make other"}


async def test_something_is_pending(sound: Checked, url: str) -> None:
    async with sound.manager(url) as migrations:
        await migrations.apply_migrations("two")
        report = await migrations.check()
    assert report["database is at head"].details == ("pending: three make three",)
    assert report["models and database agree"].details == ("not compared: apply what is pending first",)
    assert "FAIL  database is at head\n        pending: three make three" in str(report)


async def test_a_file_was_edited(sound: Checked, url: str) -> None:
    async with sound.manager(url) as migrations:
        await migrations.apply_migrations()
    path = sound.write("two", "one", "pass")
    async with sound.manager(url) as migrations:
        assert await migrations.edited() == ["two"]
        [line] = (await migrations.check())["applied migrations are unedited"].details
    assert line == f"two was edited after it was applied: {path}"


async def test_comments_are_no_edit(sound: Checked, url: str) -> None:
    async with sound.manager(url) as migrations:
        await migrations.apply_migrations()
    path = sound.folder / "migrations/versions/two.py"
    path.write_text(path.read_text().replace("\n\n\ndef upgrade", "\n\n\n# why it is needed\n\ndef upgrade"))
    async with sound.manager(url) as migrations:
        assert (await migrations.check()).is_well


async def test_something_was_interrupted(sound: Checked, url: str) -> None:
    async with sound.manager(url) as migrations:
        await migrations.apply_migrations()
        async with migrations.connection() as connection:
            entry = {"version": "three", "direction": "up", "done": 1, "digested": 1, "digest": "", "at": now()}
            await connection.execute(HistoryTables("_migrations").journal.insert().values(entry))
            await connection.commit()
        report = await migrations.check()
    assert report["nothing is interrupted"].details == ("three was begun and not ended: run it again",)


async def test_an_index_is_invalid(checked: Checked, fleet: ServerFleet) -> None:
    checked.write("one", None, CREATE_STONE, DROP_STONE)
    async with database_on(await fleet.get("postgresql")) as url, checked.manager(url) as migrations:
        await migrations.apply_migrations()
        assert (await migrations.check())["every index is valid"].is_well
        async with migrations.connection() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.exec_driver_sql("INSERT INTO stone VALUES (1, 'a'), (2, 'a')")
            with pytest.raises(Exception, match="unique index"):
                await connection.exec_driver_sql("CREATE UNIQUE INDEX CONCURRENTLY twice ON stone (name)")
        report = await migrations.check()
        [line] = report["every index is valid"].details
        assert "twice" in line


async def test_models_differ(sound: Checked, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (sound.folder / "differing_models.py").write_text(
        "from sqlalchemy import MetaData, Table, Column, Integer\nmetadata = MetaData()\n"
        'Table("mason", metadata, Column("id", Integer, primary_key=True))\n'
    )
    monkeypatch.syspath_prepend(str(sound.folder))
    async with sound.manager(url, ["differing_models:metadata"]) as migrations:
        await migrations.apply_migrations()
        result = (await migrations.check())["models and database agree"]
    assert not result.is_well
    assert any("mason" in line for line in result.details)
    assert any("stone" in line for line in result.details)
