from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.migrations.running.project import Place, Project, place_of

from sillar.testing.servers import ServerFleet


@pytest.fixture
async def place(request: pytest.FixtureRequest, fleet: ServerFleet, tmp_path: Path) -> AsyncIterator[Place]:
    """An empty database on the server named by an indirect parameter."""
    async with place_of(request.param, fleet, tmp_path) as found:
        yield found


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)
