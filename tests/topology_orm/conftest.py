"""A primary and replicas with SQLAlchemy and Tortoise on them; the tests of this folder leave the shared ones as they
were."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from tests.replicated import Replicated

from sillar import DatabaseManager
from sillar.errors import DatabaseError
from sillar.integrations.sqlalchemy import SQLAlchemyIntegration
from sillar.integrations.tortoise import TortoiseIntegration
from sillar.pool import Node, RoutedPool
from sillar.testing.servers import MariaDBServer, PostgreSQLServer

TABLE = "create table note (id int primary key, text varchar(50) not null)"
MODELS = "tests.topology_orm.models"
_ids = count(1_000_000)


@dataclass
class Site:
    """Servers, a manager that knows all of them, and both ORMs on it."""

    manager: DatabaseManager
    sql: SQLAlchemyIntegration
    tortoise: TortoiseIntegration
    primary: Any
    replicas: tuple[Any, ...]
    reported: list[DatabaseError] = field(default_factory=list)

    @property
    def pool(self) -> RoutedPool:
        pool = self.manager.pools["default"]
        assert isinstance(pool, RoutedPool)
        return pool

    @property
    def replica_names(self) -> set[str]:
        return {f"{each.host}:{each.port}" for each in self.replicas}

    @property
    def primary_name(self) -> str:
        return f"{self.primary.host}:{self.primary.port}"

    def new_id(self) -> int:
        return next(_ids)

    def node(self, server: Any) -> Node:
        [found] = [node for node in self.pool.topology if node.name == f"{server.host}:{server.port}"]
        return found

    def acquired(self) -> Counter[str]:
        return Counter({node.name: node.pool.stats().acquired_total for node in self.pool.topology})

    @contextmanager
    def served(self) -> Iterator[Counter[str]]:
        """Filled at the end of the block: how many connections which node has given."""
        before, found = self.acquired(), Counter[str]()
        yield found
        found.update(self.acquired() - before)

    async def caught_up(self) -> None:
        """Forget what was written, once all replicas have it: a line of work that is new."""
        for _ in range(1000):
            poll = self.pool.topology.position
            assert poll is not None
            reached = await poll.wait_for(poll.note_write())
            for node in self.pool.topology.readers:
                node.poll.request()
            await asyncio.sleep(0.01)
            if all(
                node.poll.position is not None and node.poll.position.covers(reached)
                for node in self.pool.topology.readers
            ):
                return
        raise AssertionError(f"the replicas do not catch up: {self.pool}")


@asynccontextmanager
async def opened(primary: Any, *replicas: Any, **overrides: Any) -> AsyncIterator[Site]:
    hosts = ",".join(f"{each.host}:{each.port}" for each in (*replicas, primary))
    url = f"{primary.scheme}://{primary.user}:{primary.password}@{hosts}/{primary.database}"
    async with DatabaseManager.from_url(url, overrides=overrides) as manager:
        tortoise = TortoiseIntegration(manager)
        await tortoise.open(modules={"models": [MODELS]})
        site = Site(manager, SQLAlchemyIntegration(manager), tortoise, primary, replicas)
        for node in site.pool.topology:
            _note_reports(node, site.reported)
        yield site


def _note_reports(node: Node, reported: list[DatabaseError]) -> None:
    own = node.pool.on_error
    assert own is not None

    def on_error(connection: Any, error: DatabaseError) -> None:
        reported.append(error)
        own(connection, error)

    node.pool.on_error = on_error


@asynccontextmanager
async def paused(*replicas: Any) -> AsyncIterator[None]:
    """They show nothing new; afterwards they do again, whatever happened: others share them."""
    try:
        for replica in replicas:
            await replica.pause_replay()
        yield
    finally:
        for replica in replicas:
            await replica.resume_replay()


async def a_primary(site: Site, *, other_than: Any = None) -> None:
    """Wait until the manager has one."""
    async with asyncio.timeout(30):
        while site.pool.topology.primary in (None, other_than and site.node(other_than)):
            await asyncio.sleep(0.05)


async def with_replicas(server: Any, replicas: int) -> tuple[Any, ...]:
    """A server that has just started, and its replicas, with the table."""
    made = [await server.add_replica() for _ in range(replicas)]
    await server.execute_as_superuser(TABLE, database=server.database)
    if isinstance(server, PostgreSQLServer):
        await server.execute_as_superuser("grant all on note to public", database=server.database)
    return (server, *made)


@pytest.fixture(scope="package")
async def mariadb_servers() -> AsyncIterator[tuple[Any, ...]]:
    async with MariaDBServer(own=True) as server:
        yield await with_replicas(server, 1)


@pytest.fixture
async def site(replicated: Replicated) -> AsyncIterator[Site]:
    """On PostgreSQL."""
    async with opened(replicated.primary, *replicated.replicas) as each:
        await each.caught_up()
        yield each
        assert each.pool.stats().leased == 0


@pytest.fixture
async def mariadb_site(mariadb_servers: tuple[Any, ...]) -> AsyncIterator[Site]:
    """On MariaDB."""
    async with opened(*mariadb_servers) as each:
        await each.caught_up()
        yield each
        assert each.pool.stats().leased == 0


@pytest.fixture(params=["postgresql", "mariadb"])
def any_site(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("site" if request.param == "postgresql" else "mariadb_site")
