"""Servers that the environment names are found by their address, asked, and left alone."""

from __future__ import annotations

import asyncio

import pytest

from sillar.testing.servers import InventoryEntry, ServerFleet, ServerNotOursError, inventory

pytestmark = pytest.mark.asyncio

VARIABLES = {
    "postgresql18": "SILLAR_TEST_POSTGRESQL18_URL",
    "mariadb": "SILLAR_TEST_MARIADB_URL",
    "mysql": "SILLAR_TEST_MYSQL_URL",
    "redis": "SILLAR_TEST_REDIS_URL",
    "mongodb": "SILLAR_TEST_MONGODB_URL",
}


async def test_every_server_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ServerFleet() as fleet:
        real = dict(zip(VARIABLES, await asyncio.gather(*(fleet.get(name) for name in VARIABLES)), strict=True))
        for name, server in real.items():
            monkeypatch.setenv(VARIABLES[name], server.url)
        entries = {entry.name: entry for entry in await inventory()}
        for name, server in real.items():
            version = server.version.split(" ")[0]
            assert entries[name] == InventoryEntry(name, version, f"environment ({VARIABLES[name]})")
        async with ServerFleet() as external:
            for name, server in real.items():
                found = await external.get(name)
                assert (found.is_external, found.url, found.port) == (True, server.url, server.port)
                with pytest.raises(ServerNotOursError, match=VARIABLES[name]):
                    await found.kill()
        assert all(server.is_running for server in real.values())
