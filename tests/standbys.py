"""Which standbys the commits of a PostgreSQL server wait for, whether they are there or not."""

from __future__ import annotations

import asyncio

import asyncpg

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
    """Whether a commit comes to wait, however long it takes to come that far."""
    connection = await asyncpg.connect(server.superuser_url)
    looked_for = f"SELECT 1 FROM pg_stat_activity WHERE pid = {connection.get_server_pid()} AND wait_event = 'SyncRep'"
    commit = asyncio.create_task(connection.execute("SELECT pg_logical_emit_message(true, '', '')"))
    try:
        while not commit.done():
            if await server.execute_as_superuser(looked_for):
                return True
            await asyncio.sleep(0.02)
        await commit
        return False
    finally:
        commit.cancel()
        await asyncio.wait([commit])
        connection.terminate()
