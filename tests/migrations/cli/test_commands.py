"""The commands on SQLite: what they do, and what they say."""

from __future__ import annotations

import re
import sqlite3

from tests.migrations.cli.conftest import Project


def columns(project: Project, file: str = "quarry.db") -> list[str]:
    with sqlite3.connect(project.folder / file) as database:
        return [row[1] for row in database.execute("PRAGMA table_info(stone)")]


async def test_init_makes_the_folder_and_a_configuration_without_the_password(project: Project) -> None:
    ended = await project.well("init", "--url", "postgresql://mason:s3cret@db.example/quarry", "--models", "app:Base")
    written = re.findall(r"written: (\S+)", ended.printed)
    assert written == ["sillar.toml", "alembic.ini", "migrations/env.py", "migrations/script.py.mako"]
    text = (project.folder / "sillar.toml").read_text()
    assert "s3cret" not in text
    assert "SILLAR__DATABASES__DEFAULT__CREDENTIALS__PASSWORD" in text
    assert 'host = "db.example"\nport = 5432\ncredentials.user = "mason"' in text
    assert 'models = ["app:Base"]' in text
    assert "sillar revision --autogenerate" in ended.printed


async def test_init_leaves_what_is_there(quarry: Project) -> None:
    ended = await quarry.sillar("init")
    assert ended.status == 2
    assert "is not empty" in ended.complained
    ended = await quarry.sillar("init", "--models", "app:Base")
    assert ended.status == 2
    assert "set migration_config.models in it" in ended.complained


async def test_upgrade_says_what_was_applied_and_where_it_stands(quarry: Project) -> None:
    ended = await quarry.well("upgrade", "+1")
    assert re.search(r"applied +one +make one +\d\.\d{3} s\n", ended.printed)
    assert "at one make one\n1 pending:\n  two  make two\n" in ended.printed
    assert columns(quarry) == ["id"]
    ended = await quarry.well("upgrade")
    assert "at two make two (head)\n" in ended.printed
    assert columns(quarry) == ["id", "name"]
    ended = await quarry.well("upgrade")
    assert ended.printed == "nothing to apply\nat two make two (head)\n"
    assert ended.complained == ""


async def test_downgrade_by_one_and_to_base(quarry: Project) -> None:
    await quarry.well("upgrade")
    ended = await quarry.well("downgrade", "-1")
    assert re.search(r"undone +two +make two", ended.printed)
    assert columns(quarry) == ["id"]
    ended = await quarry.well("downgrade", "base")
    assert "at base: nothing is applied\n2 pending:" in ended.printed
    assert columns(quarry) == []
    assert (await quarry.well("downgrade", "base")).printed.startswith("nothing to undo\n")


async def test_a_dry_run_changes_nothing(quarry: Project) -> None:
    ended = await quarry.well("upgrade", "--dry-run")
    assert re.findall(r"tried +(\w+)", ended.printed) == ["one", "two"]
    assert "nothing is changed" in ended.printed
    assert columns(quarry) == []
    assert (await quarry.well("current", "--json")).result["current"] == []
    await quarry.well("upgrade")
    ended = await quarry.well("downgrade", "base", "--dry-run")
    assert re.findall(r"tried +(\w+)", ended.printed) == ["two", "one"]
    assert columns(quarry) == ["id", "name"]
    ended = await quarry.well("upgrade", "--dry-run")
    assert ended.printed == "nothing to do\n"


async def test_current_warns_of_what_was_edited(quarry: Project) -> None:
    await quarry.well("upgrade")
    quarry.migration("two", "one", "ALTER TABLE stone ADD COLUMN colour TEXT")
    ended = await quarry.well("current")
    assert "warning: two was edited after it was applied (migrations/versions/two.py)" in ended.complained
    ended = await quarry.sillar("check")
    assert ended.status == 1
    assert "FAIL  applied migrations are unedited" in ended.printed


async def test_history_and_its_log(quarry: Project) -> None:
    ended = await quarry.well("history", "--log")
    assert ended.printed == "nothing was done yet\n"
    await quarry.well("upgrade", "one")
    ended = await quarry.well("history")
    assert re.search(r"one +applied +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +\d\.\d{3} s +make one +current", ended.printed)
    assert re.search(r"two +pending +make two +head", ended.printed)
    await quarry.well("upgrade")
    states = [each["state"] for each in (await quarry.well("history", "--json")).result["migrations"]]
    assert states == ["applied", "applied"]
    await quarry.well("downgrade", "base")
    ended = await quarry.well("history", "--log")
    assert re.findall(r" (up|down) +one +make one", ended.printed) == ["up", "down"]


async def test_show_has_the_statements_of_both_directions(quarry: Project) -> None:
    await quarry.well("upgrade")
    ended = await quarry.well("show", "two")
    assert "follows  one\nstate    applied\n" in ended.printed
    assert "up:\n  ALTER TABLE stone ADD COLUMN name TEXT\n" in ended.printed
    assert "down:\n  ALTER TABLE stone DROP COLUMN name\n" in ended.printed
    ended = await quarry.well("show", "one")
    assert "follows  nothing: it is the first" in ended.printed


async def test_show_says_what_needs_a_database(quarry: Project) -> None:
    path = quarry.migration("three", "two")
    path.write_text(path.read_text().replace("    pass", "    op.get_bind().scalar_one_or_whatever()", 1))
    ended = await quarry.well("show", "three", "--json")
    assert ended.result["up"] is None
    assert ended.result["down"] == []
    assert "cannot be shown without running it (up)" in ended.result["warnings"][0]


async def test_heads_branches_and_merge(quarry: Project) -> None:
    assert (await quarry.well("branches")).printed == "the history has no branches\n"
    assert (await quarry.sillar("merge")).status == 2
    quarry.migration("other", "one", "CREATE TABLE mason (id INTEGER PRIMARY KEY)", "DROP TABLE mason")
    ended = await quarry.well("heads")
    assert set(ended.printed.split()) >= {"two", "other"}
    assert "2 heads: join them" in ended.complained
    ended = await quarry.well("branches")
    assert re.search(r"one +make one\n.*→ (two|other)", ended.printed)
    ended = await quarry.sillar("upgrade", "head")
    assert ended.status == 2
    assert "several heads" in ended.complained
    ended = await quarry.well("upgrade")
    assert "there are 2 heads" in ended.complained
    ended = await quarry.well("merge", "-m", "both", "--rev-id", "both")
    assert "which follows" in ended.printed
    ended = await quarry.well("upgrade", "head")
    assert "at both both (head)" in ended.printed


async def test_stamp_and_purge(quarry: Project) -> None:
    ended = await quarry.well("stamp", "one")
    assert "at one make one\n1 pending" in ended.printed
    assert columns(quarry) == []
    with sqlite3.connect(quarry.folder / "quarry.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'gone'")
    ended = await quarry.sillar("current")
    assert ended.status == 2
    assert "the database is at gone, and no file" in ended.complained
    await quarry.well("stamp", "head", "--purge")
    assert (await quarry.well("current", "--json")).result["current"] == ["two"]


async def test_revision_by_hand(quarry: Project) -> None:
    ended = await quarry.well("revision", "-m", "Add masons", "--rev-id", "three", "--branch-label", "masons")
    [path] = re.findall(r"written: (\S+)", ended.printed)
    text = (quarry.folder / path).read_text()
    assert "'three'" in text
    assert "branch_labels: str | Sequence[str] | None = ('masons',)" in text
    assert (await quarry.sillar("revision", "-m", "x", "--head", "one")).status == 2
    await quarry.well("revision", "-m", "x", "--head", "one", "--splice")
    assert len((await quarry.well("heads", "--json")).result["heads"]) == 2


async def test_what_is_empty_is_said(project: Project) -> None:
    await project.well("init", "--url", "sqlite:///quarry.db")
    assert (await project.well("history")).printed == "there are no migrations yet\n"
    assert (await project.well("heads")).printed == "there are no migrations yet\n"
    assert (await project.well("current")).printed == "at base: nothing is applied\n"


async def test_scripts_for_somebody_else_to_run(quarry: Project) -> None:
    ended = await quarry.well("upgrade", "--sql")
    with sqlite3.connect(quarry.folder / "by_hand.db") as database:
        database.executescript(ended.printed)
    assert columns(quarry, "by_hand.db") == ["id", "name"]
    assert columns(quarry) == []
    ended = await quarry.well("downgrade", "two:one", "--sql")
    with sqlite3.connect(quarry.folder / "by_hand.db") as database:
        database.executescript(ended.printed)
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [("one",)]
    assert columns(quarry, "by_hand.db") == ["id"]
    ended = await quarry.well("upgrade", "one:head", "--sql")
    assert "CREATE TABLE" not in ended.printed
    assert "ADD COLUMN name" in ended.printed
    ended = await quarry.sillar("downgrade", "base", "--sql")
    assert ended.status == 2
    assert "sillar downgrade FROM:TO --sql" in ended.complained
    ended = await quarry.sillar("upgrade", "--sql", "--dry-run")
    assert ended.status == 2
