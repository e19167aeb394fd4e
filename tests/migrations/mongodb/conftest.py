"""Folders of migrations on a database of their own, on the shared server and on one without transactions."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.migrations.mongodb.ground import Ground, NewGround

from sillar import DatabaseManager, load_config
from sillar.migrations.scripts import Scripts
from sillar.testing.servers import MongoDBServer
from sillar.testing.servers.mongodb import DocumentDBServer
from sillar.testing.servers.mongodb_gateway.gateway import Gateway, GatewayOptions
from sillar.testing.servers.mongodb_gateway.stand_in_set import StandInReplicaSet
from sillar.testing.servers.port import PortReservation


@pytest.fixture
async def gateway_options(mongodb: MongoDBServer) -> AsyncIterator[GatewayOptions]:
    """For a stand-in over the documents of the shared one; a real MongoDB leaves it its own."""
    async with AsyncExitStack() as stack:
        documents = mongodb._documents or await stack.enter_async_context(DocumentDBServer())
        reservation = PortReservation()
        stack.callback(reservation.release)
        yield GatewayOptions(
            port=reservation.port,
            postgresql_port=documents.port,
            postgresql_user=documents.superuser,
            postgresql_password=documents.superuser_password,
            postgresql_connections_max=20,
        )


@pytest.fixture
async def standalone_url(gateway_options: GatewayOptions) -> AsyncIterator[str]:
    """A stand-in without transactions."""
    async with Gateway(replace(gateway_options, standalone=True)) as gateway:
        yield f"mongodb://{gateway.options.announced}/sillar?retryWrites=false"


@pytest.fixture
async def two_members(gateway_options: GatewayOptions) -> AsyncIterator[StandInReplicaSet]:
    """A primary and a secondary."""
    async with StandInReplicaSet(gateway_options) as members:
        yield members


@pytest.fixture
async def new_ground(tmp_path: Path) -> AsyncIterator[NewGround]:
    """Makes a database of its own on a server, and an empty folder."""
    async with AsyncExitStack() as stack:

        async def make(url: str, *, is_shared: bool = True, **options: Any) -> Ground:
            database = f"m{uuid.uuid4().hex[:12]}"
            url = re.sub(r"/[^/?]*(?=[?]|$)", f"/{database}", url)
            Scripts.create(tmp_path / "migrations", "mongodb")
            config = load_config(overrides={"databases": {"default": {"url": url, **options}}}, environment={})
            manager = await stack.enter_async_context(DatabaseManager(config))
            ground = Ground(url, tmp_path / "migrations", manager)
            if is_shared:
                stack.push_async_callback(ground.driver.client.drop_database, database)
            return ground

        yield make


@pytest.fixture
async def ground(mongodb: MongoDBServer, new_ground: NewGround) -> Ground:
    """On a replica set."""
    made: Ground = await new_ground(mongodb.url)
    return made


@pytest.fixture
async def plain_ground(standalone_url: str, new_ground: NewGround) -> Ground:
    """On a server without transactions."""
    made: Ground = await new_ground(standalone_url)
    return made


@pytest.fixture(params=["replica set", "standalone"])
async def each_ground(
    request: pytest.FixtureRequest, mongodb: MongoDBServer, standalone_url: str, new_ground: NewGround
) -> Ground:
    """On both, one after the other."""
    made: Ground = await new_ground(standalone_url if request.param == "standalone" else mongodb.url)
    return made
