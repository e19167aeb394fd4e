"""``sillar copy``, as somebody types it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sillar import DatabaseManager
from sillar.cli.application import run

Typed = Callable[..., Any]


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Runs a command in an empty folder: its exit status, what it printed, what it complained about."""
    monkeypatch.chdir(tmp_path)

    async def sillar(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = await asyncio.to_thread(run, arguments)
        return (status, *capsys.readouterr())

    return sillar


@pytest.fixture
async def shop(typed: Typed, tmp_path: Path) -> str:
    """A database of two tables."""
    url = f"sqlite:///{tmp_path}/shop.db"
    async with DatabaseManager.from_url(url) as manager:
        session = manager.session()
        await session.execute("CREATE TABLE stone (id INTEGER PRIMARY KEY, kind TEXT)")
        await session.execute("CREATE TABLE note (line TEXT)")
        await session.bulk_insert("stone", ["id", "kind"], [(number, "tuff") for number in range(20)])
    return url


async def test_copy_says_what_it_does(typed: Typed, shop: str, tmp_path: Path) -> None:
    target = f"sqlite:///{tmp_path}/target.db"
    status, printed, _ = await typed("copy", "--from", shop, "--to", target, "--dry-run")
    assert status == 0
    assert "dry run: nothing was written" in printed
    assert "note: it has no primary key" in printed
    status, printed, _ = await typed("copy", "--from", shop, "--to", target, "--batch-rows", "7")
    assert status == 0
    assert [line.split()[:4] for line in printed.splitlines() if line.startswith("stone")] == [
        ["stone", "20", "the", "same"]
    ]
    assert "20 rows in" in printed
    status, _, complained = await typed("copy", "--from", shop, "--to", target)
    assert status == 1
    assert "has tables of these names already: note, stone" in complained


async def test_json_and_a_difference(typed: Typed, shop: str, tmp_path: Path) -> None:
    target = f"sqlite:///{tmp_path}/target.db"
    status, printed, _ = await typed("copy", "--from", shop, "--to", target, "--table", "stone", "--json")
    document = json.loads(printed)
    assert (status, document["verified"], document["rows"]) == (0, True, 20)
    assert document["tables"][0]["columns"][0] == {"name": "id", "from": "INTEGER", "to": "INTEGER"}
    async with DatabaseManager.from_url(target) as manager:
        await manager.session().execute("UPDATE stone SET kind = 'x' WHERE id = 3")
    status, printed, _ = await typed(
        "copy", "--from", shop, "--to", target, "--table", "stone", "--compare-only", "--json"
    )
    document = json.loads(printed)
    assert (status, document["verified"]) == (1, False)
    assert document["differences"][0]["keys"] == [["id=3", "different"]]
    status, printed, complained = await typed(
        "copy", "--from", shop, "--to", target, "--exclude", "note", "--compare-only"
    )
    assert (status, "DIFFERENT" in printed) == (1, True)
    assert "different: stone: 20 rows in the source, 20 in the target: id=3 different" in complained


async def test_names_come_from_the_configuration(typed: Typed, shop: str, tmp_path: Path) -> None:
    text = f'default_database = "shop"\n[databases.shop]\nurl = "{shop}"\n[databases.other]\nurl = "sqlite:///{tmp_path}/o.db"\n'
    (tmp_path / "sillar.toml").write_text(text, encoding="utf-8")
    assert (await typed("copy", "--from", "shop", "--to", "other", "--schema-only"))[0] == 0
    assert (await typed("copy", "--from", "shop", "--to", "other", "--data-only", "-c", "sillar.toml"))[0] == 0
    status, printed, _ = await typed(
        "copy", "--from", "shop", "--to", "other", "--replace", "--no-verify", "--no-survey"
    )
    assert (status, "not compared" in printed) == (0, True)
    status, _, complained = await typed("copy", "--from", "shop", "--to", "othr")
    assert (status, "there is no database 'othr': did you mean 'other'" in complained) == (2, True)


WRONG = [
    (("--from", "nothing", "--to", "sqlite:///x.db"), "'nothing' is a configured name, and there is no"),
    (("--from", "sqlite:///missing.db", "--to", "sqlite:///x.db"), "there is no database file"),
    (("--from", "{shop}", "--to", "{shop}"), "the same database"),
    (("--from", "{shop}", "--to", "sqlite:///x.db", "--table", "stones"), "did you mean 'stone'"),
    (("--from", "{shop}", "--to", "sqlite:///x.db", "--schema-only", "--data-only"), "either --schema-only or"),
    (("--from", "{shop}", "--to", "sqlite:///x.db", "-c", "missing.toml"), "no configuration file missing.toml"),
    (("--from", "{shop}"), "--to"),
]


@pytest.mark.parametrize(("arguments", "complaint"), WRONG)
async def test_wrong_use(arguments: tuple[str, ...], complaint: str, typed: Typed, shop: str) -> None:
    status, _, complained = await typed("copy", *(each.format(shop=shop) for each in arguments))
    assert status == 2
    assert complaint in complained
    assert not Path("missing.db").exists()


async def test_an_unreachable_server(typed: Typed, shop: str) -> None:
    status, _, complained = await typed("copy", "--from", shop, "--to", "postgresql://x:y@127.0.0.1:9/none")
    assert status == 1
    assert complained.startswith("sillar: ")


async def test_values_that_do_not_fit_are_refused(typed: Typed, shop: str, tmp_path: Path) -> None:
    async with DatabaseManager.from_url(shop) as manager:
        await manager.session().execute("UPDATE stone SET kind = x'00' WHERE id = 3")
    status, _, complained = await typed("copy", "--from", shop, "--to", f"sqlite:///{tmp_path}/target.db")
    assert status == 1
    assert "stone.kind: 1 value, in row id=3: it is bytes in a column of text" in complained
