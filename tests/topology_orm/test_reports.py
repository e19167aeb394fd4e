"""Whoever looks after a node hears of every error of an ORM, once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import event, insert, select, text

from sillar.errors import (
    CommitUnknownError,
    ConnectionLostError,
    DatabaseError,
    ReadOnlyError,
    UniqueViolationError,
    UnknownStatementError,
)
from sillar.testing.faults import Direction, FaultProxy

from .conftest import Site, a_primary, opened
from .models import Memo, Note


async def failing(site: Site, statement: Any) -> DatabaseError:
    with pytest.raises(DatabaseError) as caught:
        async with site.sql.errors():
            async with site.sql.engine.begin() as connection:
                await connection.execute(statement)
    return caught.value


async def test_statements_of_sqlalchemy(any_site: Site) -> None:
    site, number = any_site, any_site.new_id()
    await site.sql.execute_query(insert(Note).values(id=number, text="there"))
    site.reported.clear()
    error = await failing(site, insert(Note).values(id=number, text="again"))
    assert isinstance(error, UniqueViolationError)
    assert site.reported == [error]
    site.reported.clear()
    await failing(site, text("select missing from note"))
    assert len(site.reported) == 1
    site.reported.clear()
    with pytest.raises(UniqueViolationError):  # the slow lane: SQLAlchemy runs it on a lease of Sillar's
        await site.manager.session().execute(insert(Note).values([{"id": number, "text": "x"}]))
    assert len(site.reported) == 1


async def test_a_refusal_as_read_only(site: Site) -> None:
    async with await site.sql.create_session(read_only=True) as session:
        with pytest.raises(ReadOnlyError):
            async with site.sql.errors():
                await session.execute(insert(Note).values(id=-1, text="never"))
    assert [type(error) for error in site.reported] == [ReadOnlyError]
    assert site.pool.topology.primary is site.node(site.primary)  # of a reader nothing else was expected


async def test_the_end_of_a_transaction(site: Site) -> None:
    await site.primary.execute_as_superuser(
        "create table if not exists deferred (id int unique deferrable initially deferred)", database="sillar"
    )
    await site.primary.execute_as_superuser("grant all on deferred to public", database="sillar")
    error = await failing(site, text("insert into deferred values (1), (1)"))
    assert isinstance(error, UniqueViolationError)
    assert site.reported == [error]


async def test_a_stream(site: Site) -> None:
    async with site.sql.engine.connect() as connection:
        with pytest.raises(DatabaseError):
            async with site.sql.errors():
                result = await connection.stream(text("select 1 / (100 - i) from generate_series(1, 200) as i"))
                await result.all()
    assert len(site.reported) == 1


async def lose(site: Site, connection: Any) -> None:
    """End the session of a connection of SQLAlchemy's on the server."""
    lent = (await connection.get_raw_connection()).dbapi_connection
    number = lent.physical.server_id
    if site.primary.scheme == "postgresql":
        await site.primary.execute_as_superuser(f"select pg_terminate_backend({number}, 5000)")
    else:
        await site.primary.execute_as_superuser(f"kill {number}")


async def test_a_connection_that_breaks_in_a_transaction_says_that_it_may_be_run_again(any_site: Site) -> None:
    site, number = any_site, any_site.new_id()
    async with site.sql.engine.connect() as connection:
        await connection.execute(insert(Note).values(id=number, text="lost"))
        await lose(site, connection)
        site.reported.clear()
        with pytest.raises(ConnectionLostError) as caught:
            async with site.sql.errors():
                await connection.execute(select(Note))
        assert caught.value.safe_to_retry
        await connection.rollback()
        assert await connection.scalar(select(Note.id).where(Note.id == number)) is None  # on another connection
    assert [type(error) for error in site.reported] == [ConnectionLostError]


async def test_a_connection_that_is_closed_before_commit_commits_nothing(any_site: Site) -> None:
    site, number = any_site, any_site.new_id()
    async with site.sql.engine.connect() as connection:
        await connection.execute(insert(Note).values(id=number, text="lost"))
        (await connection.get_raw_connection()).dbapi_connection.physical.terminate()
        site.reported.clear()
        with pytest.raises(ConnectionLostError) as caught:
            async with site.sql.errors():
                await connection.commit()
        assert caught.value.safe_to_retry
    assert [type(error) for error in site.reported] == [ConnectionLostError]
    assert await site.manager.session().fetch_value("select count(*) from note where id = :id", {"id": number}) == 0


async def test_a_commit_whose_reply_is_lost_is_unknown(any_site: Site) -> None:
    number, primary = any_site.new_id(), any_site.primary
    async with FaultProxy(primary.host, primary.port) as proxy:
        behind = SimpleNamespace(**{**_login(primary), "host": proxy.host, "port": proxy.port})
        async with opened(behind, *any_site.replicas) as site:
            with pytest.raises(CommitUnknownError) as caught:
                async with site.sql.errors(), site.sql.engine.connect() as connection:
                    await connection.execute(insert(Note).values(id=number, text="unknown"))
                    site.reported.clear()
                    proxy.cut_after(1, Direction.TO_CLIENT)
                    await connection.commit()
            assert not caught.value.safe_to_retry
            assert [type(error) for error in site.reported] == [CommitUnknownError]
            await proxy.heal()
            await a_primary(site)
            async with await site.sql.create_session(read_only=True) as session:  # it was applied, and is seen at once
                assert await session.scalar(select(Note.text).where(Note.id == number)) == "unknown"


def _login(server: Any) -> dict[str, Any]:
    return {name: getattr(server, name) for name in ("scheme", "user", "password", "database")}


async def test_what_cannot_be_known_of_a_commit_is_said_though_it_was_answered(site: Site) -> None:
    with pytest.raises(CommitUnknownError, match="synchronous replication"):
        async with site.sql.errors(), site.sql.engine.connect() as connection:
            await connection.execute(insert(Note).values(id=site.new_id(), text="unconfirmed"))
            raw = (await connection.get_raw_connection()).driver_connection

            @event.listens_for(site.sql.engine.sync_engine, "commit", once=True)
            def _warned(_: Any) -> None:
                warned = {"C": "01000", "R": "SyncRepWaitForLSN", "S": "WARNING", "V": "WARNING", "M": "cancelled"}
                raw._loop.call_soon(raw._process_log_message, warned, "COMMIT")

            await connection.commit()


async def test_statements_of_tortoise_and_raw_connections(any_site: Site) -> None:
    site, number = any_site, any_site.new_id()
    await Memo.create(id=number, text="there")
    with pytest.raises(UniqueViolationError):
        await Memo.create(id=number, text="again")
    assert [type(error) for error in site.reported] == [UniqueViolationError]
    site.reported.clear()
    client = site.tortoise.client
    with pytest.raises(Exception, match="missing"):
        async with client.acquire_connection() as outer:  # type: ignore[attr-defined]
            if hasattr(outer, "execute"):
                await outer.execute("select missing from note")
            else:
                async with outer.cursor() as cursor:
                    await cursor.execute("select missing from note")
    assert len(site.reported) == 1
    assert not isinstance(site.reported[0], UnknownStatementError)
    site.reported.clear()
    with pytest.raises(LookupError):
        async with client.acquire_connection():  # type: ignore[attr-defined]
            raise LookupError
    assert not site.reported
