"""Transactions: commit and rollback, savepoints, isolation, and what a constraint does.

The same code runs on PostgreSQL, MySQL, MariaDB and SQLite.
"""

import asyncio
import os

from sillar import DatabaseManager, DatabaseSession, Isolation, Transaction
from sillar.errors import CheckViolationError

URL = os.environ.get("SILLAR_EXAMPLE_URL", "sqlite://")


class TooRichError(Exception):
    pass


async def balance(session: DatabaseSession, owner: str) -> int | None:
    return await session.fetch_value("SELECT cents FROM account WHERE owner = :owner", {"owner": owner}, into=int)


async def pay(session: DatabaseSession, cents: int) -> None:
    async with session.transaction(isolation=Isolation.SERIALIZABLE):
        for owner, change in (("ana", -cents), ("beto", cents)):
            await session.execute(
                "UPDATE account SET cents = cents + :change WHERE owner = :owner", {"change": change, "owner": owner}
            )


async def main() -> None:
    async with DatabaseManager.from_url(URL) as manager, manager.session() as session:
        await session.execute("DROP TABLE IF EXISTS account")
        await session.execute("CREATE TABLE account (owner VARCHAR(20) PRIMARY KEY, cents INT CHECK (cents >= 0))")
        await session.bulk_insert("account", ["owner", "cents"], [("ana", 1000), ("beto", 0)])

        await pay(session, 300)
        print("after a payment:", await balance(session, "ana"), await balance(session, "beto"))

        try:
            await pay(session, 5000)  # the CHECK refuses, and nothing of it stays
        except CheckViolationError as error:
            print(f"refused ({type(error).__name__}):", await balance(session, "ana"), await balance(session, "beto"))

        async with session.transaction():
            await session.execute("UPDATE account SET cents = 1 WHERE owner = 'ana'")
            try:
                async with session.transaction():  # inside a transaction: a savepoint
                    await session.execute("UPDATE account SET cents = 999999 WHERE owner = 'beto'")
                    raise TooRichError
            except TooRichError:
                print("inside, after the savepoint:", await balance(session, "ana"), await balance(session, "beto"))

        # By hand, where no block fits. A lost reply to COMMIT raises CommitUnknownError and is never retried blindly.
        transaction: Transaction = await manager.begin_transaction()
        await transaction.execute("UPDATE account SET cents = 5 WHERE owner = 'ana'")
        await transaction.rollback()
        print("after a rollback:", await balance(session, "ana"))


asyncio.run(main())
