"""Which standbys the commits of a PostgreSQL server wait for, whether they are there or not."""

from __future__ import annotations

import asyncio

from sillar.testing.servers import PostgreSQLServer


async def set_standbys(server: PostgreSQLServer, names: str) -> None:
    """Set ``synchronous_standby_names``; returns once commits wait so: the processes of
    a server read its configuration one after the other."""
    await server.execute_as_superuser(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
    await server.execute_as_superuser("SELECT pg_reload_conf()")
    async with asyncio.timeout(30):
        while await _commit_waits(server) is not bool(names):
            await asyncio.sleep(0.02)


async def _commit_waits(server: PostgreSQLServer) -> bool:
    try:
        await asyncio.wait_for(server.execute_as_superuser("SELECT pg_logical_emit_message(true, '', '')"), 0.5)
    except TimeoutError:
        return True
    return False
