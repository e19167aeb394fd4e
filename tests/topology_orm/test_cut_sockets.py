"""Sockets that break under statements of SQLAlchemy's: always a lost connection, whatever the driver makes of it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text

from sillar.errors import ConnectionLostError
from sillar.testing.faults import FaultProxy

from .conftest import Site, a_primary, opened
from .models import Note


def behind(server: Any, proxy: FaultProxy) -> Any:
    """The server, reached through a proxy."""
    login = {name: getattr(server, name) for name in ("scheme", "user", "password", "database")}
    return SimpleNamespace(**login, host=proxy.host, port=proxy.port)


async def reset_at_once(proxy: FaultProxy) -> None:
    await asyncio.sleep(0.2)
    proxy.reset()


async def test_a_socket_that_breaks_under_a_statement(any_site: Site) -> None:
    primary, number = any_site.primary, any_site.new_id()
    sleeps = "select pg_sleep(5)" if primary.scheme == "postgresql" else "select sleep(5)"
    async with FaultProxy(primary.host, primary.port) as proxy:
        async with opened(behind(primary, proxy), *any_site.replicas) as site:
            session = await site.sql.create_session()
            session.add(Note(id=number, text="lost"))
            await session.flush()
            site.reported.clear()
            breaking = asyncio.create_task(reset_at_once(proxy))
            with pytest.raises(ConnectionLostError) as caught:
                async with site.sql.errors():
                    await session.execute(text(sleeps))
            await breaking
            assert caught.value.safe_to_retry
            assert [type(error) for error in site.reported] == [ConnectionLostError]
            await session.rollback()
            await proxy.heal()
            await a_primary(site)
            assert await session.scalar(select(func.count()).where(Note.id == number)) == 0
            await session.close()
            assert site.pool.stats().leased == 0


async def test_an_error_of_the_operating_system_is_a_lost_connection(
    any_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mocked: the drivers wrap those of their sockets, in all versions that were tried."""
    site, number = any_site, any_site.new_id()
    async with site.sql.engine.connect() as connection:
        await connection.execute(insert(Note).values(id=number, text="lost"))
        physical: Any = (await connection.get_raw_connection()).dbapi_connection.physical  # type: ignore[union-attr]
        owner, name = (physical, "run_prepared") if site.primary.scheme == "postgresql" else (physical.exchange, "call")
        site.reported.clear()
        with monkeypatch.context() as patch:
            patch.setattr(type(owner), name, _reset_by_peer)
            with pytest.raises(ConnectionLostError) as caught:
                async with site.sql.errors():
                    await connection.execute(select(Note))
        assert caught.value.safe_to_retry
        assert [type(error) for error in site.reported] == [ConnectionLostError]
        await connection.rollback()
        assert await connection.scalar(select(Note.id).where(Note.id == number)) is None


async def _reset_by_peer(*_: Any, **__: Any) -> Any:
    raise ConnectionResetError("reset by peer")
