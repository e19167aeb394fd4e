"""What the scenarios have found, each by itself."""

from __future__ import annotations

from contextlib import suppress

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from sillar import DatabaseManager
from sillar.integrations.sqlalchemy import SQLAlchemyIntegration
from sillar.testing.faults import FaultProxy
from sillar.testing.servers import MariaDBServer, PostgreSQLServer, ServerFleet


@pytest.mark.parametrize("engine", ["mariadb", "postgresql"])
@pytest.mark.parametrize("read_only", [True, False])
async def test_a_connection_that_breaks_before_its_return_comes_back(
    fleet: ServerFleet, engine: str, read_only: bool
) -> None:
    """SQLAlchemy restores the isolation level of a read-only session at its end, and gives the connection back only
    after that: the lease was lost for good where it broke just then."""
    server = await fleet.get(engine)
    assert isinstance(server, (MariaDBServer, PostgreSQLServer))
    async with FaultProxy(server.host, server.port) as proxy:
        url = server.url.replace(f":{server.port}", f":{proxy.port}").replace(server.host, proxy.host)
        async with DatabaseManager.from_url(url) as manager:
            orm = SQLAlchemyIntegration(manager)
            session = await orm.create_session(read_only=read_only)
            await session.execute(text("select 1"))
            proxy.cut_after(0)
            with suppress(DBAPIError):  # of a session that writes: its ROLLBACK fails
                await session.close()
            assert manager.pools["default"].stats().leased == 0
            await proxy.heal()
            async with await orm.create_session(read_only=read_only) as session:
                assert await session.scalar(text("select 1")) == 1
