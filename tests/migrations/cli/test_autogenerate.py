"""``revision --autogenerate``: what it writes, the lint's findings, and who is asked about renames."""

from __future__ import annotations

import sys

import pytest
from tests.migrations.cli.conftest import Project

MODELS = """
from sqlalchemy import Column, Integer, MetaData, String, Table
metadata = MetaData()
Table("stone", metadata, Column("id", Integer, primary_key=True), Column("{}", String(20)))
"""


@pytest.fixture
async def modelled(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose only migration is the models' table, applied."""
    monkeypatch.syspath_prepend(str(project.folder))
    await write_models(project, "name", monkeypatch)
    await project.well("init", "--url", "sqlite:///quarry.db", "--models", "asked_models:metadata")
    await project.well("revision", "-m", "first", "--autogenerate")
    await project.well("upgrade")
    return project


async def write_models(project: Project, column: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "asked_models", raising=False)
    (project.folder / "asked_models.py").write_text(MODELS.format(column) + "#" * len(column))


async def test_a_rename_is_refused_unless_somebody_answers(modelled: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    await write_models(modelled, "denomination", monkeypatch)
    ended = await modelled.sillar("revision", "-m", "x", "--autogenerate", "--json")
    assert ended.status == 1
    assert ended.document["error"] == "MigrationRefusedError"
    assert "--rename stone.name=denomination" in ended.document["message"]
    assert len(list((modelled.folder / "migrations/versions").glob("*.py"))) == 1
    ended = await modelled.well("revision", "-m", "x", "--autogenerate", "--drop", "stone.name", "--json")
    text = (modelled.folder / ended.result["file"]).read_text()
    assert "drop_column('name')" in text
    ended = await modelled.well("upgrade", "--dry-run")


@pytest.mark.parametrize(
    ("answer", "expected"), [(True, "RENAME COLUMN name TO denomination"), (False, "depend on the tables as they are")]
)
async def test_on_a_terminal_somebody_is_asked(
    modelled: Project, monkeypatch: pytest.MonkeyPatch, answer: bool, expected: str
) -> None:
    """The terminal and the answer are put in their place: a real one needs a person."""
    asked: list[str] = []

    def confirm(question: str, **_: object) -> bool:
        asked.append(question)
        return answer

    await write_models(modelled, "denomination", monkeypatch)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", confirm)
    ended = await modelled.well("revision", "-m", "x", "--autogenerate")
    assert asked == ["column name of stone is gone and denomination is new: was it renamed?"]
    assert expected in ended.printed


async def test_it_wants_a_database_at_head(modelled: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    await modelled.well("revision", "-m", "more")
    ended = await modelled.sillar("revision", "-m", "x", "--autogenerate")
    assert ended.status == 1
    assert "upgrade it first" in ended.complained
