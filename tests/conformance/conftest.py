from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.mongodb_subject import MongoDBSubject
from tests.conformance.mysql_subject import MySQLSubject
from tests.conformance.postgresql_subject import PostgreSQLSubject
from tests.conformance.sqlite_subject import SQLiteSubject

from sillar.testing.conformance import ConformanceSubject
from sillar.testing.servers import MongoDBServer, MySQLServer, PostgreSQLServer, ServerFleet


@pytest.fixture
async def subject(request: pytest.FixtureRequest, fleet: ServerFleet, tmp_path: Path) -> ConformanceSubject:
    """The engine named by an indirect parameter."""
    if request.param == "sqlite":
        return SQLiteSubject(str(tmp_path / "conformance.db"), "sqlite")
    if request.param == "memory":
        return SQLiteSubject(":memory:", "memory")
    server = await fleet.get(request.param)
    if isinstance(server, MongoDBServer):
        return MongoDBSubject(server, request.param)
    if isinstance(server, MySQLServer):
        return MySQLSubject(server, request.param)
    assert isinstance(server, PostgreSQLServer)
    return PostgreSQLSubject(server, request.param)
