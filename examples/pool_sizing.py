"""Pool sizing: which size meets a wait target, and a pool that changes its size by itself.

A pool of two serves random callers, who need five connections on average.
"""

import asyncio
import os
import random

from sillar import ConnectionPool, DatabaseManager
from sillar.pool import AutoScale, PoolOptimizer

URL = os.environ.get("SILLAR_EXAMPLE_POSTGRESQL_URL", "postgresql://localhost/postgres")


async def request(manager: DatabaseManager) -> None:
    async with manager.session() as session:
        await session.fetch_value("SELECT pg_sleep(:seconds)", {"seconds": random.expovariate(40)})


async def traffic(manager: DatabaseManager, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    async with asyncio.TaskGroup() as requests:
        while loop.time() < ends:
            requests.create_task(request(manager))
            await asyncio.sleep(random.expovariate(200))


async def main() -> None:
    pools = {"min_connections": 2, "max_connections": 2, "connection_timeout": 30}
    async with DatabaseManager.from_url(URL, overrides={"connection_pools": pools}) as manager:
        pool = manager.pools["default"]
        assert isinstance(pool, ConnectionPool)

        # Only ask. All connection time was used, so how much is wanted cannot be seen: more than there is, at least.
        async with PoolOptimizer(pool, wait_p99_seconds=0.050) as optimizer:
            await traffic(manager, seconds=1.5)
            answer = await optimizer.optimize_size()  # print(answer) explains it in a table
        print("saturated:", answer.usage.is_saturated)
        print("at least one more is needed:", (answer.connections_at_least or 0) > pool.max_connections)

        # Let it scale.
        limits = AutoScale(min_connections=2, max_connections=16, wait_p99_seconds=0.050, interval_seconds=0.25)
        async with PoolOptimizer(pool, auto_scale=limits) as optimizer:
            await traffic(manager, seconds=2)
        print("grown within the limits:", optimizer.steps[0].before < pool.max_connections <= limits.max_connections)


asyncio.run(main())
