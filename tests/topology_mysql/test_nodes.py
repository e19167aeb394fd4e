"""What a server says of itself, and the errors that say more."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from sillar import CausalTokens
from sillar.capabilities import Capabilities
from sillar.engines.mysql import probe
from sillar.engines.mysql.errors import server_error
from sillar.engines.mysql.position import DomainPosition, GtidSet
from sillar.engines.node import NodeRole
from sillar.errors import (
    ConnectionLostError,
    DatabaseError,
    ReadOnlyError,
    StatementError,
    UnknownStatementError,
    UsageError,
)

from .conftest import CLASSES, Nobody, Replicated, connected, eventually, manager_of, paused, pool_of, run


class Counting:
    """A driver's connection whose requests are counted."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.requests = 0

    def __getattr__(self, name: str) -> Any:
        self.requests += name == "query"
        return getattr(self._raw, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("_raw", "requests"):
            object.__setattr__(self, name, value)
        else:
            setattr(self._raw, name, value)


@pytest.mark.parametrize("superuser", [True, False])
async def test_roles_and_positions_come_with_one_look(replicated: Replicated, superuser: bool) -> None:
    async with connected(replicated.primary, superuser=superuser) as connection:
        status = await connection.probe()
        assert (status.role, status.read_only, status.lag_seconds) == (NodeRole.PRIMARY, False, 0.0)
        assert (status.history, status.term, status.several_primaries) == ("", None, False)
        assert isinstance(status.position, DomainPosition if replicated.is_mariadb else GtidSet)
        counting = Counting(connection.raw)
        await probe.probe(counting, Capabilities("MySQL", []), "here")
        written = await probe.position(counting, status)
        assert counting.requests == 2
    async with connected(replicated.replicas[0], superuser=superuser) as connection:
        async with asyncio.timeout(20):  # it may have something to apply yet
            while not (await connection.position()).covers(written):  # type: ignore[union-attr]
                await asyncio.sleep(0.02)
        status = await connection.probe()
        assert (status.role, status.read_only) == (NodeRole.REPLICA, True)
        assert status.lag_seconds == (0.0 if superuser else None)


async def test_a_replica_says_what_it_has_replayed(replicated: Replicated) -> None:
    replica = replicated.replicas[0]
    async with connected(replicated.primary) as primary, connected(replica, superuser=True) as copy:
        before = await primary.position()
        assert before is not None
        async with paused(replica):
            await run(primary, "insert into note (text) values ('seen late')")
            written = await primary.position()
            assert written.covers(before)
            assert not before.covers(written)
            await asyncio.sleep(0.3)
            status = await copy.probe()
            assert (status.role, status.lag_seconds) == (NodeRole.REPLICA, None)  # a replica, though it stands still
            assert not status.position.covers(written)
            assert not (await copy.position()).covers(written)
        due = time.monotonic() + 20
        while not (await copy.position()).covers(written):
            assert time.monotonic() < due
        [(text,)] = (await run(copy, "select text from note order by id desc limit 1")).rows
        assert text == "seen late"


async def test_a_server_that_refuses_writes_and_follows_nobody_is_no_primary(replicated: Replicated) -> None:
    try:
        await replicated.primary.set_read_only()
        async with connected(replicated.primary, superuser=True) as connection:
            status = await connection.probe()
            assert (status.role, status.read_only) == (NodeRole.UNKNOWN, True)
        async with connected(replicated.primary) as connection:  # this user may not ask whether it follows
            status = await connection.probe()
            assert (status.role, status.read_only) == (NodeRole.REPLICA, True)
            reported: list[DatabaseError] = []
            connection.on_error = lambda _, error: reported.append(error)
            with pytest.raises(ReadOnlyError) as refused:
                await run(connection, "insert into note (text) values ('no')")
            assert reported == [refused.value]
    finally:
        await replicated.primary.set_writable()


async def test_refusals_that_say_nothing_of_the_server_are_not_reported(replicated: Replicated) -> None:
    async with connected(replicated.primary) as connection:
        reported: list[DatabaseError] = []
        connection.on_error = lambda _, error: reported.append(error)
        await run(connection, "set session transaction read only")
        with pytest.raises(ReadOnlyError):
            await run(connection, "insert into note (text) values ('no')")
        assert reported == []


def test_1290_of_another_option_is_no_read_only_server() -> None:
    """Made up: the servers of the tests have no secure_file_priv."""
    text = "The MySQL server is running with the {} option so it cannot execute this statement"
    assert type(server_error(1290, text.format("--secure-file-priv"))) is UnknownStatementError
    for option in ("--read-only", "--super-read-only", "--innodb-read-only", "READ_ONLY"):
        assert type(server_error(1290, text.format(option))) is ReadOnlyError


async def test_the_primary_names_its_replicas(replicated: Replicated) -> None:
    async with connected(replicated.primary, superuser=True) as connection:
        assert sorted(await connection.members()) == sorted((each.host, each.port) for each in replicated.replicas)
        await connection.probe()
        assert len(await connection.members()) == 2
    async with connected(replicated.replicas[0], superuser=True) as connection:
        assert await connection.members() == []
    async with connected(replicated.primary) as connection:
        with pytest.raises(StatementError, match="privilege"):
            await connection.members()


@pytest.mark.parametrize("engine", ["mariadb", "mysql"])
async def test_a_replica_that_logs_nothing_has_a_position_too(engine: str) -> None:
    option = {"mariadb": "log-slave-updates", "mysql": "log-replica-updates"}[engine]
    async with CLASSES[engine](own=True) as server:
        replica = await server.add_replica(settings={option: "OFF"})
        await server.execute_as_superuser("create table note (id int primary key)", database="sillar")
        async with connected(server) as primary, connected(replica) as copy:
            for number in range(5):
                await run(primary, f"insert into note values ({number})")
                written = await primary.position()
                due = time.monotonic() + 20
                while not (await copy.position()).covers(written):
                    assert time.monotonic() < due
                [(count,)] = (await run(copy, "select count(*) from note")).rows
                assert count == number + 1


@pytest.mark.parametrize("engine", ["mariadb", "mysql"])
async def test_own_writes_are_read_from_a_primary_without_gtids(engine: str) -> None:
    settings = {"mysql": {"gtid-mode": "OFF", "enforce-gtid-consistency": "OFF"}, "mariadb": {"skip-log-bin": "1"}}
    async with CLASSES[engine](own=True, settings=settings[engine]) as server:
        await server.execute_as_superuser("create table note (id int primary key)", database="sillar")
        async with connected(server) as connection:
            assert (await connection.probe()).position is None
            await run(connection, "insert into note values (0)")
            assert await connection.position() is None
        async with manager_of(server, Nobody()) as manager, manager.session() as session:
            await session.execute("insert into note values (1)")
            assert await session.fetch_value("select count(*) from note") == 2
            with pytest.raises(UsageError, match="no replication positions"):
                await CausalTokens(manager, "k" * 32).issue()
            assert pool_of(manager).topology.primary is not None


@pytest.mark.parametrize("engine", ["mariadb", "mysql"])
async def test_whoever_waits_on_a_frozen_server_is_told_when_the_pool_severs(engine: str) -> None:
    async with CLASSES[engine](own=True) as server:
        await server.execute_as_superuser("create table note (id int primary key)", database="sillar")
        async with manager_of(server, Nobody(), check_interval=0.1, check_timeout=0.5) as manager:
            pool = pool_of(manager)

            async def wait(sql: str) -> BaseException | None:
                try:  # a transaction, because a read by itself is run again and waits for a node
                    async with manager.session() as session, session.transaction():
                        await session.execute(sql)
                except ConnectionLostError as error:
                    return error
                return None

            async with connected(server) as holder:
                await run(holder, "lock tables note write")
                waiting = [asyncio.create_task(wait("select * from note")) for _ in range(3)]
                waiting.append(asyncio.create_task(wait("insert into note values (1)")))
                schema = {"mariadb": "information_schema", "mysql": "performance_schema"}[engine]
                blocked = f"select count(*) from {schema}.processlist where state like 'Waiting for table%lock'"
                async with asyncio.timeout(20):
                    while await server.execute_as_superuser(blocked) != [(len(waiting),)]:
                        await asyncio.sleep(0.02)
                await server.freeze()
                begin = time.monotonic()
                errors = await asyncio.wait_for(asyncio.gather(*waiting), 30)
                took = time.monotonic() - begin
            assert [error is not None and error.safe_to_retry for error in errors] == [True] * 4
            assert took < 10.0  # two looks of half a second each
            assert pool.topology.primary is None
            await server.thaw()
            await eventually(lambda: pool.topology.primary is not None)
