"""What ``--json`` prints: one document, with these keys (docs/migrations.md)."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from tests.migrations.cli.conftest import Project

TARGET = {"database", "tenant", "environment", "is_well", "warnings"}
STAND = {"current", "heads", "pending", "interrupted", "edited", "brief"}
APPLIED = {
    "version",
    "name",
    "direction",
    "applied_by",
    "applied_at",
    "duration_seconds",
    "checksum",
    "environment",
}


async def test_upgrade_and_downgrade(quarry: Project) -> None:
    ended = await quarry.well("upgrade", "--json")
    assert set(ended.document) == {"command", "is_well", "results"}
    assert ended.document["command"] == "upgrade"
    assert ended.document["is_well"] is True
    result = ended.result
    assert set(result) == TARGET | STAND | {"applied"}
    assert (result["database"], result["tenant"], result["environment"]) == ("default", None, "dev")
    assert [entry["version"] for entry in result["applied"]] == ["one", "two"]
    assert set(result["applied"][0]) == APPLIED
    assert datetime.fromisoformat(result["applied"][0]["applied_at"]).utcoffset() is not None
    assert result["current"] == result["heads"] == ["two"]
    assert result["pending"] == result["interrupted"] == result["edited"] == []
    result = (await quarry.well("downgrade", "-1", "--json")).result
    assert [entry["direction"] for entry in result["undone"]] == ["down"]
    assert result["pending"] == [{"version": "two", "name": "make two"}]
    assert result["brief"] == "at one, 1 pending"


async def test_looking(quarry: Project) -> None:
    await quarry.well("upgrade", "one")
    assert set((await quarry.well("current", "--json")).result) == TARGET | STAND
    [one, two] = (await quarry.well("history", "--json")).result["migrations"]
    described = {"version", "name", "follows", "file", "checksum"}
    assert set(one) == described | {"state", "is_current", "is_head", "is_edited", "applied"}
    assert (one["state"], one["applied"]["version"]) == ("applied", "one")
    assert (two["state"], two["applied"], two["is_head"], two["follows"]) == ("pending", None, True, ["one"])
    [entry] = (await quarry.well("history", "--log", "--json")).result["log"]
    assert set(entry) == APPLIED
    shown = (await quarry.well("show", "two", "--json")).result
    assert set(shown) == TARGET | described | {"state", "log", "up", "down"}
    assert shown["up"] == [{"sql": "ALTER TABLE stone ADD COLUMN name TEXT", "in_transaction": True}]
    [head] = (await quarry.well("heads", "--json")).result["heads"]
    assert set(head) == described
    quarry.migration("other", "one")
    [branch] = (await quarry.well("branches", "--json")).result["branches"]
    assert branch["version"] == "one"
    assert set(branch["followed_by"]) == {"two", "other"}


async def test_writing(quarry: Project) -> None:
    quarry.migration("other", "one")
    merged = (await quarry.well("merge", "--json")).result
    assert set(merged) == TARGET | {"version", "file", "follows"}
    assert set(merged["follows"]) == {"two", "other"}
    written = (await quarry.well("revision", "-m", "more", "--json")).result
    assert set(written) == TARGET | {"version", "file", "follows", "statements", "findings"}
    assert written["follows"] == [merged["version"]]
    script = (await quarry.well("upgrade", "one:two", "--sql", "--json")).result
    assert set(script) == TARGET | {"sql", "from", "to"}
    assert "ADD COLUMN name" in script["sql"]
    tried = (await quarry.well("upgrade", "--dry-run", "--json")).result
    assert {entry["version"] for entry in tried["would_apply"]} >= {"one", "two", "other"}
    tried = (await quarry.well("downgrade", "base", "--dry-run", "--json")).result
    assert tried["would_undo"] == []


async def test_what_failed_and_what_was_done_before(quarry: Project) -> None:
    quarry.migration("three", "two", "CREATE TABLE mason (id INTEGER)\nCREATE TABLE stone (id INTEGER)")
    ended = await quarry.sillar("upgrade", "--json")
    assert ended.status == 1
    assert ended.complained == ""
    document = ended.document
    assert document["is_well"] is False
    assert document["error"] == "MigrationFailedError"
    assert "stone" in document["message"]
    result = ended.result
    assert (result["error"], result["revision"], result["statement_number"]) == ("MigrationFailedError", "three", 2)
    assert result["rolled_back"] is True
    assert [entry["version"] for entry in result["applied"]] == ["one", "two"]
    assert result["current"] == ["two"]
    assert [each["version"] for each in result["pending"]] == ["three"]
    text = await quarry.sillar("upgrade")
    assert text.status == 1
    assert "at two make two\n1 pending" in text.printed
    assert "nothing of this migration is left" in text.complained


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("upgrade", "--sql", "--dry-run"), "UsageError"),
        (("upgrade", "--config", "nowhere.toml"), "UsageError"),
        (("upgrade", "--what"), "UsageError"),
        (("heads", "--what"), "UsageError"),
        (("current", "--url", "nonsense"), "ConfigurationError"),
    ],
)
async def test_wrong_use(quarry: Project, arguments: tuple[str, ...], error: str) -> None:
    ended = await quarry.sillar(*arguments, "--json")
    assert ended.status == 2
    document = json.loads(ended.printed)
    assert set(document) == {"error", "message"}
    assert document["error"] == error
    assert ended.complained == ""
