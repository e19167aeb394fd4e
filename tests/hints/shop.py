"""Tables with about 20,000 rows and several kinds of indexes, the same on all SQL engines as far as these go."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Boolean, Column, DateTime, ForeignKey, Integer, MetaData, String, Table

METADATA: Final = MetaData()
CUSTOMERS: Final = Table(
    "shop_customers",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("email", String(80), nullable=False),  # unique
    Column("name", String(80), nullable=False),  # an index on lower(name), where the engine has such
    Column("city", String(40), nullable=False),  # indexed
    Column("country", String(2), nullable=False),
    Column("referred_by", Integer),  # no index
)
ORDERS: Final = Table(
    "shop_orders",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("customer_id", ForeignKey("shop_customers.id"), nullable=False),  # indexed
    Column("status", String(10), nullable=False),  # indexed, though 85 % are alike
    Column("created", DateTime, nullable=False),  # indexed
    Column("region", String(4), nullable=False),  # (region, total)
    Column("total", Integer, nullable=False),
    Column("reference", String(20), nullable=False),  # indexed for LIKE
    Column("channel", String(8)),  # no index
    Column("weight", Integer),  # indexed for rows with archived alone, where the engine has such
    Column("archived", Boolean, nullable=False),
)
ITEMS: Final = Table(
    "shop_items",
    METADATA,
    Column("order_id", Integer, primary_key=True, autoincrement=False),
    Column("line", Integer, primary_key=True, autoincrement=False),
    Column("sku", String(12), nullable=False),  # indexed
    Column("parent_order", Integer),  # no index
    Column("quantity", Integer, nullable=False),
)
TABLES: Final = (CUSTOMERS, ORDERS, ITEMS)

_INDEXES: Final = (
    "CREATE UNIQUE INDEX shop_customers_email ON shop_customers (email)",
    "CREATE INDEX shop_customers_city ON shop_customers (city)",
    "CREATE INDEX shop_orders_customer ON shop_orders (customer_id)",
    "CREATE INDEX shop_orders_status ON shop_orders (status)",
    "CREATE INDEX shop_orders_created ON shop_orders (created)",
    "CREATE INDEX shop_orders_region ON shop_orders (region, total)",
    "CREATE INDEX shop_items_sku ON shop_items (sku)",
)
_LIKE: Final = "CREATE INDEX shop_orders_reference ON shop_orders (reference{})"
_EXPRESSION: Final = "CREATE INDEX shop_customers_name ON shop_customers ({})"
_PARTIAL: Final = "CREATE INDEX shop_orders_weight ON shop_orders (weight) WHERE archived"
_FURTHER: Final = {
    "postgresql": [_LIKE.format(" varchar_pattern_ops"), _EXPRESSION.format("lower(name)"), _PARTIAL, "ANALYZE"],
    "sqlite": [_LIKE.format(" COLLATE NOCASE"), _EXPRESSION.format("lower(name)"), f"{_PARTIAL} = 1", "ANALYZE"],
    "mysql": [_LIKE.format(""), _EXPRESSION.format("(lower(name))")],
    "mariadb": [_LIKE.format("")],
}
_ANALYZE: Final = "ANALYZE TABLE shop_customers, shop_orders, shop_items"
_BEGAN: Final = datetime(2025, 1, 1)


async def open_shop(session: Any, engine: str, rows_max: int | None = None) -> None:
    """Create, fill and index the tables.

    Args:
        session: a session or transaction.
        engine: name of the engine.
        rows_max: at most so many rows in each table.
    """
    for table in reversed(TABLES):
        await session.execute(f"DROP TABLE IF EXISTS {table.name}")
    for table in TABLES:
        await session.execute(_created(table))
    for table, rows in ((CUSTOMERS, customers()), (ORDERS, orders()), (ITEMS, items())):
        await session.bulk_insert(table.name, [column.name for column in table.c], rows[:rows_max])
    for statement in (*_INDEXES, *_FURTHER[engine.removesuffix("18")]):
        await session.execute(statement)
    if engine in ("mysql", "mariadb"):
        await session.execute(_ANALYZE)


def _created(table: Table) -> str:
    """CREATE TABLE in words that all take; no foreign keys, with which MySQL creates indexes."""
    names = {"INTEGER": "INTEGER", "DATETIME": "TIMESTAMP", "BOOLEAN": "BOOLEAN"}
    columns = [
        f"{column.name} {names.get(str(column.type), str(column.type))} {'NULL' if column.nullable else 'NOT NULL'}"
        for column in table.c
    ]
    key = ", ".join(column.name for column in table.primary_key)
    return f"CREATE TABLE {table.name} ({', '.join(columns)}, PRIMARY KEY ({key}))"


def customers() -> list[tuple[Any, ...]]:
    return [
        (number, f"c{number}@example.org", f"Name {number}", f"City {number % 200}", "PE" if number % 3 else "CL", None)
        for number in range(1, 2001)
    ]


def orders() -> list[tuple[Any, ...]]:
    return [
        (
            number,
            number % 2000 + 1,
            "done" if number % 20 else "open" if number % 3 else "failed",
            _BEGAN + timedelta(minutes=17 * number),
            f"R{number % 40}",
            number * 7 % 5000,
            f"REF-{number:06d}",
            "web" if number % 4 else "shop",
            number % 900,
            number % 50 == 0,
        )
        for number in range(1, 20_001)
    ]


def items() -> list[tuple[Any, ...]]:
    return [(number // 2, number % 2, f"SKU{number % 3000}", number % 700, number % 9) for number in range(2, 20_002)]
