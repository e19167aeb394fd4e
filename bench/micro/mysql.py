"""MariaDB and MySQL against aiomysql's own pool with the same SQL into the same object."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import unquote, urlsplit

import aiomysql

from bench.case import SILLAR, Case, Contest
from bench.micro.postgresql import GET, POOL, ROWS, Item, concurrent, sillar_get
from bench.servers import Servers
from sillar import DatabaseManager

AIOMYSQL = "aiomysql pool"


async def aiomysql_get(pool: aiomysql.Pool, key: int) -> Item | None:
    async with pool.acquire() as connection, connection.cursor() as cursor:
        await cursor.execute(GET.format("%s"), (key,))
        row = await cursor.fetchone()
        return None if row is None else Item(*row)


@asynccontextmanager
async def get(servers: Servers, server_name: str) -> AsyncIterator[Contest]:
    server = await servers.sql(server_name)
    limits = {"min_connections": POOL, "max_connections": POOL}
    parts = urlsplit(server.url)
    async with DatabaseManager.from_url(server.url, overrides={"connection_pools": limits}) as manager:
        pool = await aiomysql.create_pool(
            host=parts.hostname,
            port=parts.port,
            user=parts.username,
            password=unquote(parts.password or ""),
            db=parts.path.lstrip("/"),
            minsize=POOL,
            maxsize=POOL,
            autocommit=True,
        )
        try:
            session = manager.session()
            await session.execute("DROP TABLE IF EXISTS bench_item")
            await session.execute(
                "CREATE TABLE bench_item (id INT PRIMARY KEY, name VARCHAR(20), qty INT, note VARCHAR(100))"
            )
            rows = [(number, f"n{number}", number % 100, "x" * 50) for number in range(1, ROWS + 1)]
            await session.bulk_insert("bench_item", ["id", "name", "qty", "note"], rows)
            yield Contest(
                2000,
                {
                    SILLAR: lambda: concurrent(partial(sillar_get, manager), 2000, tasks=50),
                    AIOMYSQL: lambda: concurrent(partial(aiomysql_get, pool), 2000, tasks=50),
                },
            )
        finally:
            pool.close()
            await pool.wait_closed()


CASES = [
    Case("mysql.get.50tasks", {AIOMYSQL: 2.0}, partial(get, server_name="mysql")),
    Case("mariadb.get.50tasks", {AIOMYSQL: 2.0}, partial(get, server_name="mariadb")),
]
