"""What an environment allows: downgrades, approvals by file, and what the safety lint says."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.exc import NoSuchTableError
from tests.migrations.cli.conftest import Project

from sillar.config import MigrationConfig, MigrationPolicy, load_config
from sillar.errors import MigrationRefusedError, MigrationStateError
from sillar.migrations import MigrationManager, examination
from sillar.migrations.lint import report
from sillar.migrations.policy import Gate, read_approvals

POLICIES = """
[databases.default]
url = "sqlite:///quarry.db"
[migration_config.policies.prod]
allow_downgrade = false
lint = "off"
approvals = "approved.txt"
[migration_config.policies.staging]
lint = "error"
[migration_config.policies.test]
lint = "off"
"""
RISKY = "ALTER TABLE stone RENAME COLUMN name TO title"


async def filled(project: Project) -> Project:
    """A project with policies, whose database has a table with a row."""
    project.configure(POLICIES)
    project.migration("three", "two", RISKY, "ALTER TABLE stone RENAME COLUMN title TO name")
    await project.well("upgrade", "two")
    with sqlite3.connect(project.folder / "quarry.db") as database:
        database.execute("INSERT INTO stone VALUES (1, 'corner')")
    return project


def columns(project: Project) -> list[str]:
    with sqlite3.connect(project.folder / "quarry.db") as database:
        return [row[1] for row in database.execute("PRAGMA table_info(stone)")]


async def test_only_what_is_approved_runs(quarry: Project) -> None:
    quarry.configure(POLICIES)
    ended = await quarry.sillar("upgrade", "-e", "prod")
    assert ended.status == 1
    assert "approved.txt cannot be read (FileNotFoundError)" in ended.complained
    approved = quarry.folder / "approved.txt"
    approved.write_text("# who has read what\none  killa  2026-11-26  reviewed in 17\n\n")
    ended = await quarry.sillar("upgrade", "-e", "prod", "--json")
    assert ended.status == 1
    assert ended.document["error"] == "MigrationRefusedError"
    assert (
        "nobody has approved two for 'prod': add a line `two name` for each to approved.txt" in ended.result["message"]
    )
    assert ended.result["findings"] == ["two"]
    assert (await quarry.well("current", "--json")).result["current"] == []
    await quarry.well("upgrade", "one", "-e", "prod")
    approved.write_text("one killa\ntwo\n")
    ended = await quarry.sillar("upgrade", "-e", "prod")
    assert "approved.txt:2 does not say who approved two: write `two name`" in ended.complained
    approved.write_text("one killa\ntwo inti\n")
    await quarry.well("upgrade", "-e", "prod")
    ended = await quarry.sillar("downgrade", "-1", "-e", "prod")
    assert ended.status == 1
    assert "migration_config.policies.prod.allow_downgrade" in ended.complained
    await quarry.well("downgrade", "-1")


def test_an_approval_has_a_note(tmp_path: Path) -> None:
    file = tmp_path / "approved"
    file.write_text("a1  killa 2026-11-26 looked at twice # not part of it\n")
    approval = read_approvals(file)["a1"]
    assert (approval.who, approval.note) == ("killa", "2026-11-26 looked at twice")


async def test_unsafe_is_warned_of(quarry: Project) -> None:
    await filled(quarry)
    ended = await quarry.well("upgrade")
    assert "warning: migrations/versions/three.py:11: error: " in ended.complained
    assert columns(quarry) == ["id", "title"]


async def test_unsafe_is_refused(quarry: Project) -> None:
    await filled(quarry)
    ended = await quarry.sillar("upgrade", "-e", "staging", "--json")
    assert ended.status == 1
    assert ended.document["error"] == "MigrationRefusedError"
    [finding] = ended.result["findings"]
    assert finding["severity"] == "error"
    assert finding["table"] == "stone"
    assert columns(quarry) == ["id", "name"]
    ended = await quarry.sillar("upgrade", "-e", "staging")
    assert (
        "the safety lint refuses this in 'staging'; nothing was run:\n  three: migrations/versions/three.py:11: error: "
        in ended.complained
    )


async def test_what_is_acknowledged_runs(quarry: Project) -> None:
    await filled(quarry)
    path = quarry.folder / "migrations/versions/three.py"
    [finding] = (await quarry.sillar("upgrade", "-e", "staging", "--json")).result["findings"]
    path.write_text(path.read_text() + f"\n# sillar: acknowledge {finding['rule']} on stone: nobody reads it yet\n")
    ended = await quarry.well("upgrade", "-e", "staging")
    assert ended.complained == ""
    assert columns(quarry) == ["id", "title"]


async def test_the_lint_can_be_off(quarry: Project) -> None:
    await filled(quarry)
    ended = await quarry.well("upgrade", "-e", "test")
    assert ended.complained == ""


async def test_what_reads_the_database_is_said_to_be_not_linted(quarry: Project) -> None:
    await filled(quarry)
    path = quarry.migration("three", "two")
    body = "    rows = op.get_bind().exec_driver_sql('SELECT id FROM stone').all()\n    assert rows"
    path.write_text(path.read_text().replace("    pass", body, 1))
    ended = await quarry.well("upgrade", "-e", "staging")
    assert "warning: three is not linted: its statements depend on what it reads" in ended.complained


async def test_an_empty_database_is_not_linted(quarry: Project) -> None:
    quarry.configure(POLICIES)
    quarry.migration("three", "two", RISKY)
    ended = await quarry.well("upgrade", "-e", "staging")
    assert ended.complained == ""


def test_the_gate_lets_nothing_through_that_was_not_examined() -> None:
    gate = Gate(MigrationPolicy(lint="error"), "prod", examined=frozenset(["b"]))
    gate.check(["b"], "up")
    gate.check([], "down")
    with pytest.raises(MigrationStateError, match="somebody undid a, which was not looked at"):
        gate.check(["a", "b"], "up")


async def test_a_migration_object_meets_the_gate_too(quarry: Project) -> None:
    quarry.configure(POLICIES)
    await quarry.well("upgrade")
    manager = MigrationManager.of(load_config(file="sillar.toml", profile="prod"))
    [_, two] = manager.migrations()
    with pytest.raises(MigrationRefusedError):
        await two.down()
    assert await manager.current() == ("two",)


@pytest.mark.parametrize(("failures", "held"), [(2, True), (99, False)])
async def test_tables_that_change_while_they_are_read_are_read_again(
    quarry: Project, monkeypatch: pytest.MonkeyPatch, failures: int, held: bool
) -> None:
    """The failure is put in the place of another migrator's DROP TABLE, which is too quick to be met."""
    await filled(quarry)
    read, calls = report.read_plan_facts, 0

    async def failing(manager: MigrationManager) -> object:
        nonlocal calls
        calls += 1
        if calls <= failures:
            raise NoSuchTableError("stone")
        return await read(manager)

    monkeypatch.setattr(report, "read_plan_facts", failing)
    monkeypatch.setattr(examination, "_PAUSE_SECONDS", 0.001)
    migrations = MigrationManager.of(load_config(file="sillar.toml"))
    if held:
        assert [entry.version for entry in await migrations.apply_migrations()] == ["three"]
    else:
        with pytest.raises(NoSuchTableError):
            await migrations.apply_migrations()


async def test_a_manager_of_what_is_configured_here(quarry: Project) -> None:
    """The shape of the specification: a configuration of migrations is enough."""
    migrations = MigrationManager(MigrationConfig())
    assert migrations.migration_table == "_migrations"
    [one, two] = await migrations.plan()
    assert [each.sql for each in one.operations] == ["CREATE TABLE stone (id INTEGER PRIMARY KEY)"]
    await one.up()
    with pytest.raises(MigrationStateError):
        await two.down()
    await two.up()
    assert await migrations.pending() == []
    [undone] = await migrations.rollback_migration("one")
    assert undone.version == "two"
