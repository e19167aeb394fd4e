"""The migrating process is killed at each point of a migration of many steps: the next run comes to the same end."""

from __future__ import annotations

import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from tests.children import ended
from tests.migrations.running.project import Place

_EVERY = 3
"""One of three points; each statement has four, so all kinds have their turn."""


@pytest.mark.parametrize("place", ["postgresql", "mariadb", "mysql", "sqlite"], indirect=True)
async def test_a_killed_migrator_is_followed_by_one_that_goes_on(
    place: Place, tmp_path: Path, every_point: bool
) -> None:
    status, output, _ = await ended(
        *(sys.executable, "-m", "tests.migrations.running.killed_run"),
        *(place.name, json.dumps(place.settings), str(tmp_path), str(1 if every_point else _EVERY)),
        stdout=PIPE,
    )
    assert status == 0
    result = json.loads(output.splitlines()[-1])
    assert result["wrong"] == []
    assert result["kills"] >= 10
