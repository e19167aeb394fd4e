"""Group replication, and the words of older servers."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from asyncmy.errors import ProgrammingError

from sillar.engines.mysql import probe
from sillar.engines.node import NodeRole
from sillar.testing.servers import MariaDBServer, MySQLServer
from sillar.testing.servers.port import PortReservation

from .conftest import connected, run


class Older:
    """A connection to a server of today that greets as an older MySQL."""

    server_version = "5.7.44"

    def __init__(self, raw: Any) -> None:
        self.raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


async def test_a_member_of_a_group_says_what_it_is() -> None:
    port = PortReservation()
    name = str(uuid.uuid4())
    settings = {
        "plugin-load": "group_replication.so",
        "group-replication-group-name": name,
        "group-replication-start-on-boot": "OFF",
        "group-replication-local-address": f"127.0.0.1:{port.port}",
        "group-replication-single-primary-mode": "OFF",
    }
    async with MySQLServer(own=True, settings=settings) as server, connected(server, superuser=True) as connection:
        outside = await connection.probe()
        assert (outside.role, outside.history) == (NodeRole.PRIMARY, "")  # a server by itself
        await run(connection, "set global group_replication_bootstrap_group = 1")
        port.release()
        await run(connection, "start group_replication")
        async with asyncio.timeout(60):  # it is the first member at once, and online a little later
            while (status := await connection.probe()).role is NodeRole.UNKNOWN:
                await asyncio.sleep(0.02)
        assert (status.role, status.history, status.several_primaries) == (NodeRole.PRIMARY, name, True)
        assert await connection.members() == [(server.host, server.port)]
        assert status.position is not None
        usual = (await run(connection, "select @@group_replication_consistency")).rows
        assert await connection.catch_up() is not None
        assert (await run(connection, "select @@group_replication_consistency")).rows == usual
        async with connected(server) as plain:  # this user may not see the members
            assert (await plain.probe()).role is NodeRole.PRIMARY
        await run(connection, "set global super_read_only = 1")
        assert (await connection.probe()).role is NodeRole.UNKNOWN
        await run(connection, "stop group_replication")
        left = await connection.probe()
        assert (left.role, left.read_only, left.history) == (NodeRole.UNKNOWN, True, "")


def test_a_group_without_its_majority_has_no_primary() -> None:
    """The answers are made up: three members take more than a test has."""
    own, gone = (True, "ONLINE", "PRIMARY"), (False, "UNREACHABLE", "SECONDARY")
    role = probe._role_in_group
    assert role([own, gone, gone], read_only=False, otherwise=NodeRole.PRIMARY) is NodeRole.UNKNOWN
    online = (False, "ONLINE", "SECONDARY")
    assert role([own, gone, online], read_only=False, otherwise=NodeRole.PRIMARY) is NodeRole.PRIMARY
    second = [(True, "ONLINE", "SECONDARY"), (False, "ONLINE", "PRIMARY"), online]
    assert role(second, read_only=True, otherwise=NodeRole.REPLICA) is NodeRole.REPLICA
    recovering = [(True, "RECOVERING", "SECONDARY"), (False, "ONLINE", "PRIMARY"), online]
    assert role(recovering, read_only=True, otherwise=NodeRole.REPLICA) is NodeRole.UNKNOWN


async def test_older_servers_are_asked_in_their_words(mariadb: MariaDBServer) -> None:
    """MariaDB knows the words of MySQL before 8.0.22."""
    unknown = ProgrammingError(1064, "You have an error in your SQL syntax")
    async with connected(mariadb, superuser=True) as connection:
        assert await probe._sources_after(connection.raw, unknown) == []
        assert await probe.members(Older(connection.raw), await connection.probe()) == []
    async with connected(mariadb) as connection:
        assert await probe._sources_after(connection.raw, unknown) is None  # it may not ask
