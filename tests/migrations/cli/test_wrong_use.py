"""Wrong use and bad input: one clear message each, exit status 2 (the command) or 1 (what it found)."""

from __future__ import annotations

from importlib import util
from pathlib import Path

import pytest
from tests.migrations.cli.conftest import Project

from sillar.cli.application import run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("heads", "--nonsense"), "(sillar heads --help)"),
        (("nonsense",), "No such command"),
        (("revision",), "--message"),
        (("upgrade", "-d", "nowhere"), "there is no database 'nowhere'"),
        (("upgrade", "-d", "default", "--all"), "either --database or --all"),
        (("upgrade", "--all", "--url", "sqlite:///x.db"), "--url is one database"),
        (("upgrade", "nowhere"), "there is no revision 'nowhere'"),
        (("upgrade", "--create"), "name a tenant"),
        (("upgrade", "-t", "acme"), "tenants have neither schemas nor databases"),
        (("upgrade", "-t", "all"), "no tenants are configured"),
        (("revision", "-m", "x", "--rename", "stone.name"), "write table.old=new"),
    ],
)
async def test_is_told(quarry: Project, arguments: tuple[str, ...], said: str) -> None:
    ended = await quarry.sillar(*arguments)
    assert ended.status == 2
    assert said in ended.complained
    assert ended.complained.startswith("sillar: ")
    assert ended.printed == ""


async def test_no_folder(project: Project) -> None:
    ended = await project.sillar("current", "--url", "sqlite:///quarry.db")
    assert ended.status == 2
    assert "make it with `sillar init`" in ended.complained


async def test_no_configuration(project: Project) -> None:
    ended = await project.sillar("current")
    assert ended.status == 2
    assert "SILLAR__URL" in ended.complained


async def test_a_broken_configuration_file(quarry: Project) -> None:
    quarry.configure("[databases\n")
    ended = await quarry.sillar("current", "--url", "sqlite:///other.db")
    assert ended.status == 2
    assert "sillar.toml" in ended.complained


async def test_a_broken_migration(quarry: Project) -> None:
    path = quarry.migration("three", "two")
    path.write_text(path.read_text() + "\n(((")
    ended = await quarry.sillar("upgrade")
    assert ended.status == 2
    assert "three.py:" in ended.complained
    assert "cannot be read" in ended.complained


async def test_an_unreachable_database(quarry: Project) -> None:
    ended = await quarry.sillar("upgrade", "--url", "postgresql://mason@127.0.0.1:1/quarry")
    assert ended.status == 1
    assert "127.0.0.1:1" in ended.complained


async def test_without_alembic(quarry: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    find = util.find_spec
    monkeypatch.setattr(
        "sillar.cli.migrations_choice.find_spec", lambda name: None if name == "alembic" else find(name)
    )
    ended = await quarry.sillar("upgrade")
    assert ended.status == 2
    assert "pip install 'sillar[migrations]'" in ended.complained


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    printed = capsys.readouterr().out
    for command in ("init", "revision", "upgrade", "downgrade", "current", "history", "heads", "branches", "merge",
                    "stamp", "show", "check", "chaos"):  # fmt: skip
        assert f"\n  {command} " in printed


def test_help_of_a_command_has_its_own_and_the_common_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["upgrade", "--help"]) == 0
    printed = capsys.readouterr().out
    for option in ("--sql", "--dry-run", "--database", "--all", "--tenant", "--environment", "--config", "--url",
                   "--json", "--keep-going"):  # fmt: skip
        assert option in printed


async def test_interrupted(quarry: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sillar.cli.migrations_choice.choice_of", interrupted)
    ended = await quarry.sillar("current")
    assert ended.status == 130
    assert ended.complained == "sillar: interrupted\n"


async def test_models_are_found_where_the_command_was_typed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [each for each in __import__("sys").path if each])
    await project.well("init", "--url", "sqlite:///quarry.db")
    assert str(Path.cwd()) in __import__("sys").path
