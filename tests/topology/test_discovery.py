"""Nodes that nobody has configured."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.replicated import Replicated
from tests.topology.conftest import pool_of

from sillar import Consistency, DatabaseManager
from sillar.config import DatabaseConfig, NodeAddress
from sillar.errors import ConfigurationError, ConnectError
from sillar.pool.discovery import patroni_members
from sillar.testing.servers import PostgreSQLServer


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it does not come to that")


def opened(url: str, **topology: Any) -> DatabaseManager:
    settings = {"topology": {"check_interval": 0.2, "discovery_interval": 0.2, **topology}}
    return DatabaseManager(DatabaseConfig.from_url(url, overrides={"databases": {"default": settings}}))


async def _is_streaming(primary: PostgreSQLServer, name: str) -> None:
    for _ in range(500):
        rows = await primary.execute_as_superuser("select application_name from pg_stat_replication")
        if (name,) in rows:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{name} does not stream from {primary!r}")


async def _name(replica: PostgreSQLServer, name: str) -> None:
    """Have a replica say where it listens, in its application_name."""
    [(conninfo,)] = await replica.execute_as_superuser("select current_setting('primary_conninfo')")
    words = [word for word in str(conninfo).split() if not word.startswith("application_name=")]
    conninfo = " ".join([*words, f"application_name={name}"]).replace("'", "''")
    await replica.execute_as_superuser(f"alter system set primary_conninfo = '{conninfo}'")
    await replica.execute_as_superuser("select pg_reload_conf()")


async def test_the_primary_is_asked_for_its_replicas(replicated: Replicated) -> None:
    primary, (one, two) = replicated.primary, replicated.replicas
    for replica in (one, two):
        await _name(replica, f"{replica.host}:{replica.port}")
        await _is_streaming(primary, f"{replica.host}:{replica.port}")
    async with opened(primary.url, discovery="servers") as manager:
        topology = pool_of(manager).topology
        await until(lambda: len(topology.readers) == 2)
        assert sorted(node.name for node in topology) == sorted(replicated.names)
        async with manager.session(consistency=Consistency.EVENTUAL) as session:
            assert await session.fetch_value("select count(*) from note where id < -100") == 0
        assert sum(node.pool.stats().acquired_total for node in topology.readers) == 1


@asynccontextmanager
async def rest_interface(answer: Callable[[], tuple[int, bytes]], *, missing: int = 0) -> AsyncIterator[str]:
    """A stand-in for Patroni's REST interface: answers whatever the test says, without the last bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        assert request.startswith(b"GET /cluster ")
        status, body = answer()
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body) + missing}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def member(server: PostgreSQLServer, state: str = "running") -> dict[str, Any]:
    return {"name": "n", "role": "replica", "state": state, "host": server.host, "port": server.port, "timeline": 1}


async def test_members_come_and_go_with_patronis_list(replicated: Replicated) -> None:
    primary, (one, two) = replicated.primary, replicated.replicas
    members = [member(primary), member(one)]
    async with rest_interface(lambda: (200, json.dumps({"members": members}).encode())) as url:
        async with opened(primary.url, discovery="patroni", patroni_urls=["http://127.0.0.1:9", url]) as manager:
            topology = pool_of(manager).topology
            await until(lambda: len(topology.readers) == 1)
            members.append(member(two, "streaming"))
            await until(lambda: len(topology.readers) == 2)
            gone = NodeAddress("127.0.0.1", 19)
            members.append({**member(two), "port": 19})
            await until(lambda: gone in topology.nodes)
            members.pop()
            members.append({**member(two), "port": 29, "state": "starting"})
            await until(lambda: gone not in topology.nodes)
            members.clear()
            await asyncio.sleep(1.0)
            assert len(topology.nodes) == 3  # whoever answers is not sent away for that


@pytest.mark.parametrize("body", [b"no json", b"[]", b'{"members": 3}', b'{"members": null}', b'{"members": [3]}'])
async def test_an_answer_that_is_no_list_of_members(body: bytes) -> None:
    async with rest_interface(lambda: (200, body)) as url:
        with pytest.raises(ConnectError, match="no Patroni answers"):
            await patroni_members([url])


async def test_a_search_that_breaks_is_not_the_last_one(
    replicated: Replicated, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rest_interface(lambda: (200, b'{"members": []}')) as url:
        async with opened(replicated.primary.url, discovery="patroni", patroni_urls=[url]) as manager:
            discovery = pool_of(manager)._discovery
            assert discovery is not None
            looks = 0

            async def search() -> list[NodeAddress]:
                nonlocal looks
                looks += 1
                raise RuntimeError("a defect")

            monkeypatch.setattr(discovery, "_search", search)
            await until(lambda: looks >= 2)


async def test_an_answer_that_breaks_off() -> None:
    async with rest_interface(lambda: (200, b'{"members": ['), missing=9) as url:
        with pytest.raises(ConnectError, match="IncompleteRead"):
            await patroni_members([url])


async def test_an_error_of_the_rest_interface() -> None:
    async with rest_interface(lambda: (503, b"{}")) as url:
        with pytest.raises(ConnectError, match="503"):
            await patroni_members([url])


async def test_every_address_of_a_name_is_a_node(replicated: Replicated) -> None:
    primary = replicated.primary
    hosts = f"localhost:{primary.port},nobody.invalid:{primary.port}"  # one of them is being replaced
    url = f"postgresql://{primary.user}:{primary.password}@{hosts}/sillar?sslmode=disable"
    async with opened(url, discovery="dns") as manager:
        topology = pool_of(manager).topology
        assert NodeAddress("127.0.0.1", primary.port) in topology.nodes
        assert NodeAddress("localhost", primary.port) not in topology.nodes
        await manager.session().execute("delete from note where id < -100")


async def test_a_name_that_does_not_exist_is_said_at_the_start() -> None:
    with pytest.raises(ConnectError, match=r"'nobody\.invalid' cannot be resolved"):
        async with opened("postgresql://a:b@nobody.invalid/x?sslmode=disable", discovery="dns"):
            pass


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"discovery": "patroni"}, "patroni_urls"),
        ({"discovery": "patroni", "patroni_urls": ["db1:8008"]}, "no http URL"),
        ({"load_balancing": "zone"}, "zone"),
        ({"load_balancing": "fastest"}, "load_balancing"),
        ({"check_interval": 0}, "check_interval"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        opened("postgresql://a:b@127.0.0.1/x", **settings)
