from __future__ import annotations

import pytest

from sillar.testing.conformance import ConformanceSubject
from sillar.testing.servers import PostgreSQLServer, ServerFleet
from tests.conformance.postgresql_subject import PostgreSQLSubject

@pytest.fixture
async def subject(request: pytest.FixtureRequest, fleet: ServerFleet) -> ConformanceSubject:
    """The engine named by an indirect parameter."""
    server = await fleet.get(request.param)
    assert isinstance(server, PostgreSQLServer)
    return PostgreSQLSubject(server, request.param)
