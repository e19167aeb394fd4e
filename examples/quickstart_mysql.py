"""MySQL and MariaDB: generated keys, exact decimals, a bulk insert."""

import asyncio
import os
from dataclasses import dataclass
from decimal import Decimal

from sillar import DatabaseManager

URL = os.environ.get("SILLAR_EXAMPLE_MYSQL_URL", "mysql://root@localhost/test")


@dataclass
class Invoice:
    id: int
    customer: str
    amount: Decimal


async def main() -> None:
    async with DatabaseManager.from_url(URL) as manager:
        session = await manager.get_session()
        await session.execute("DROP TABLE IF EXISTS invoice")
        await session.execute(
            "CREATE TABLE invoice (id BIGINT AUTO_INCREMENT PRIMARY KEY, customer VARCHAR(80) NOT NULL,"
            " amount DECIMAL(12, 2) NOT NULL)"
        )

        result = await session.execute(
            "INSERT INTO invoice (customer, amount) VALUES (:customer, :amount)",
            {"customer": "Ñandutí 🕸", "amount": Decimal("1234.50")},
        )
        invoice = await session.fetch_one(
            "SELECT id, customer, amount FROM invoice WHERE id = :id", {"id": result.last_insert_id}, into=Invoice
        )
        assert invoice is not None
        print(f"{invoice.customer} owes {invoice.amount}")

        rows = ((f"customer {n}", Decimal(n) / 100) for n in range(10_000))
        print(f"{await session.bulk_insert('invoice', ['customer', 'amount'], rows)} rows in bulk")


asyncio.run(main())
