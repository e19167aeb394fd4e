"""A transaction that is run again where nothing of it stays, and a COMMIT that is never in doubt.

The same code runs on PostgreSQL, MySQL, MariaDB and SQLite.
"""

import asyncio
import os

from sillar import DatabaseManager, Isolation, Transaction
from sillar.errors import SerializationError
from sillar.execution.commit_outcome import CommitMarkers, CommitResolution

URL = os.environ.get("SILLAR_EXAMPLE_URL", "sqlite://")


async def take_one(tx: Transaction) -> int:
    """Read, decide, write: the whole of it is repeated, so that it decides on what is true then."""
    left = await tx.fetch_value("SELECT blocks FROM quarry WHERE id = 1", into=int) or 0
    await tx.execute("UPDATE quarry SET blocks = :blocks WHERE id = 1", {"blocks": left - 1})
    return left - 1


async def main() -> None:
    async with DatabaseManager.from_url(URL) as manager:
        session = manager.session()
        await session.execute("DROP TABLE IF EXISTS quarry")
        await session.execute("CREATE TABLE quarry (id INT PRIMARY KEY, blocks INT)")
        await session.execute("INSERT INTO quarry VALUES (1, 100)")

        async def mason() -> int:
            return await manager.session().run_in_transaction(
                take_one, isolation=Isolation.SERIALIZABLE, attempts_max=100
            )

        left = await asyncio.gather(*(mason() for _ in range(8)))
        print("each mason took another block:", sorted(left, reverse=True))

        attempts = 0

        async def unlucky(tx: Transaction) -> str:
            nonlocal attempts
            attempts += 1
            await tx.execute("UPDATE quarry SET blocks = blocks - 1 WHERE id = 1")
            if attempts < 3:
                raise SerializationError("as the server would say")
            return f"in attempt {attempts}"

        print(await session.run_in_transaction(unlucky))

        # A row in the same transaction tells afterwards, on whichever node is the primary then, what became of it.
        await CommitMarkers(session).create_table()
        blocks = await session.run_in_transaction(take_one, resolve_commit=CommitResolution.MARKER)
        print("left:", blocks)
        print("markers too young to be deleted:", await CommitMarkers(session).delete() == 0)


asyncio.run(main())
