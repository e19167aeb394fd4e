"""The tests that a project imports in one line, run by pytest in a project of its own."""

from __future__ import annotations

import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT

import pytest
from tests.children import ended
from tests.migrations.checks.conftest import ADD_WEIGHT, CREATE_STONE, DROP_STONE, Checked, database_on

from sillar.testing.servers import ServerFleet

pytestmark = pytest.mark.slow  # a run of pytest each

SQLITE = '[databases.default]\nurl = "sqlite:///own.db"\n'


async def run_tests(project: Checked, url: str | None = None) -> tuple[int | None, str]:
    """Run the imported tests; the exit status and what was printed."""
    text = "from sillar.testing.migrations import *  # noqa: F403\n"
    if url is not None:
        text += f"import pytest\n\n@pytest.fixture\ndef throwaway_url():\n    return {url!r}\n"
    (project.folder / "test_migrations.py").write_text(text)
    status, printed, _ = await ended(
        sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "-q", "test_migrations.py",
        cwd=project.folder, stdout=PIPE, stderr=STDOUT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
    )  # fmt: skip
    return status, printed.decode()


async def test_a_sound_project_passes(sound: Checked) -> None:
    (sound.folder / "sillar.toml").write_text(SQLITE)
    status, printed = await run_tests(sound)
    assert status == 0, printed
    assert set(re.findall(r"PASSED test_migrations.py::(\w+)", printed)) == {
        "test_single_head",
        "test_downgrades_exist",
        "test_models_match",
        "test_round_trip",
        "test_stairway",
        "test_offline_equals_online",
    }
    assert not (sound.folder / "own.db").exists()


@pytest.mark.parametrize("engine", ["postgresql", "mariadb"])
async def test_a_server_is_named_by_a_fixture(sound: Checked, fleet: ServerFleet, engine: str) -> None:
    scheme = "postgresql" if engine == "postgresql" else "mysql"
    (sound.folder / "sillar.toml").write_text(f'[databases.default]\nurl = "{scheme}://127.0.0.1:1/nowhere"\n')
    async with database_on(await fleet.get(engine)) as url:
        status, printed = await run_tests(sound, url)
    assert (status, "6 passed" in printed) == (0, True), printed


async def test_each_test_fails_where_it_should(checked: Checked) -> None:
    (checked.folder / "sillar.toml").write_text(SQLITE + '[migration_config]\nmodels = ["broken_models:metadata"]\n')
    (checked.folder / "broken_models.py").write_text("from sqlalchemy import MetaData\nmetadata = MetaData()\n")
    checked.write("one", None, CREATE_STONE, DROP_STONE)
    checked.write("two", "one", f"from alembic import context\nif not context.is_offline_mode(): {ADD_WEIGHT}")
    checked.write("other", "one", "pass")
    status, printed = await run_tests(checked)
    assert status == 1
    failed = set(re.findall(r"FAILED test_migrations.py::(\w+)", printed))
    assert failed == {
        "test_single_head",
        "test_downgrades_exist",
        "test_models_match",
        "test_stairway",
        "test_offline_equals_online",
    }, printed
    assert "not so: each migration undoes what it did\ntwo down: column weight of stone is left, or new" in printed


async def test_a_round_trip_fails(checked: Checked) -> None:
    (checked.folder / "sillar.toml").write_text(SQLITE)
    checked.write("one", None, CREATE_STONE)
    status, printed = await run_tests(checked)
    assert status == 1
    assert "FAILED test_migrations.py::test_round_trip" in printed
    assert "after the way down to base: table stone is left, or new" in printed
