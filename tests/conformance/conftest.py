from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.mongodb_subject import MongoDBSubject
from tests.conformance.mysql_subject import MySQLSubject
from tests.conformance.postgresql_subject import PostgreSQLSubject
from tests.conformance.sqlite_subject import SQLiteSubject

from sillar.testing.conformance import ConformanceSubject
from sillar.testing.servers import MongoDBServer, MySQLServer, PostgreSQLServer, ServerFleet


async def subject_of(name: str, fleet: ServerFleet, folder: Path) -> ConformanceSubject:
    """The engine of that name; a file of its own is in the folder."""
    if name == "sqlite":
        return SQLiteSubject(str(folder / "conformance.db"), "sqlite")
    if name == "memory":
        return SQLiteSubject(":memory:", "memory")
    server = await fleet.get(name)
    if isinstance(server, MongoDBServer):
        return MongoDBSubject(server, name)
    if isinstance(server, MySQLServer):
        return MySQLSubject(server, name)
    assert isinstance(server, PostgreSQLServer)
    return PostgreSQLSubject(server, name)


@pytest.fixture
async def subject(request: pytest.FixtureRequest, fleet: ServerFleet, tmp_path: Path) -> ConformanceSubject:
    """The engine named by an indirect parameter."""
    return await subject_of(request.param, fleet, tmp_path)
