"""Replicas: reads go to them, writes to the primary, and a transaction stays on one node.

Needs a PostgreSQL primary with replicas, all in one URL. The tables it makes are its own.
"""

import asyncio
import os

from sillar import Consistency, DatabaseManager, RoutedPool, consistency_context, primary_context, replica_context

URL = os.environ.get("SILLAR_EXAMPLE_REPLICATED_URL", "postgresql://app@db1,db2,db3/app")
# Of has_table_privilege nobody knows here that it only reads, so by itself this goes to the primary.
KIND = "SELECT pg_is_in_recovery() WHERE has_table_privilege('pg_class', 'select')"


async def main() -> None:
    async with DatabaseManager.from_url(URL) as manager:
        pool = manager.pools["default"]
        assert isinstance(pool, RoutedPool)
        print("a primary and", len(pool.topology.readers), "replicas")

        async with manager.session() as session:
            await session.execute("DROP TABLE IF EXISTS tree")
            await session.execute("CREATE TABLE tree (id int PRIMARY KEY, name text)")
            async with session.transaction() as transaction:
                await transaction.execute("INSERT INTO tree VALUES (1, 'queñua')")
                print("in a transaction:", "replica" if await transaction.fetch_value(KIND) else "primary")
            # Its own write is there, whichever node serves the read: by default a session reads what it has written.
            print("read back:", await session.fetch_value("SELECT name FROM tree WHERE id = 1"))

            # Until a replica has that write, the session's reads go to the primary; unless any state will do.
            with replica_context(), consistency_context(Consistency.EVENTUAL):
                print("said to be a read:", "replica" if await session.fetch_value(KIND) else "primary")
            with primary_context():
                async with session.transaction(read_only=True) as transaction:
                    print("sent to the primary:", "replica" if await transaction.fetch_value(KIND) else "primary")

        with consistency_context(Consistency.EVENTUAL):
            before = sum(node.pool.stats().acquired_total for node in pool.topology.readers)
            async with manager.session() as session:
                for _ in range(10):
                    await session.fetch_value("SELECT 1 FROM pg_catalog.pg_class LIMIT 1")
            served = sum(node.pool.stats().acquired_total for node in pool.topology.readers) - before
            print("of 10 eventual reads the replicas served", served)


asyncio.run(main())
