"""The MongoDB stand-in's gateway within this process, over a server of its own, shared by the tests of it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import asyncpg
import pytest_asyncio
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from sillar.testing.servers.mongodb import DocumentDBServer
from sillar.testing.servers.mongodb_gateway.gateway import Gateway, GatewayOptions
from sillar.testing.servers.port import PortReservation

Document = dict[str, Any]
Database = AsyncDatabase[Document]
Client = AsyncMongoClient[Document]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def documents() -> AsyncIterator[DocumentDBServer]:
    async with DocumentDBServer() as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def options(documents: DocumentDBServer) -> AsyncIterator[GatewayOptions]:
    """Options for a second gateway, with a port that nobody else uses."""
    reservation = PortReservation()
    yield GatewayOptions(
        port=reservation.port,
        postgresql_port=documents.port,
        postgresql_user=documents.superuser,
        postgresql_password=documents.superuser_password,
    )
    reservation.release()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gateway(options: GatewayOptions) -> AsyncIterator[Gateway]:
    reservation = PortReservation()
    async with Gateway(replace(options, port=reservation.port)) as gateway:
        yield gateway
    reservation.release()


def connect(gateway: Gateway, **keywords: Any) -> Client:
    return AsyncMongoClient(f"mongodb://{gateway.options.announced}", serverSelectionTimeoutMS=3000, **keywords)


@pytest_asyncio.fixture(loop_scope="session")
async def client(gateway: Gateway) -> AsyncIterator[Client]:
    async with connect(gateway) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def database(client: Client) -> AsyncIterator[Database]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield client[name]
    # Only after a failed test does something still hold the collections.
    await client.admin.command("killAllSessions", [])
    await asyncio.wait_for(client.drop_database(name), 20)


@pytest_asyncio.fixture(loop_scope="session")
async def backend(options: GatewayOptions) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(
        host=options.postgresql_host,
        port=options.postgresql_port,
        user=options.postgresql_user,
        password=options.postgresql_password,
        database=options.postgresql_database,
    )
    yield connection
    await connection.close()


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)
