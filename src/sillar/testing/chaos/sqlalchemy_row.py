"""A row of the scratch table, as SQLAlchemy maps it."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Column, Integer, Table
from sqlalchemy.orm import registry


@cache
def row_class(table: str) -> type[Any]:
    """The mapped class of a scratch table. The token counts as its key, though nothing in the table says so: a write
    that is applied twice has to be seen, not refused."""
    mappings = registry()
    row = type("ChaosRow", (), {})
    columns = Column("token", BigInteger, primary_key=True, autoincrement=False), Column("worker", Integer)
    mappings.map_imperatively(row, Table(table, mappings.metadata, *columns))
    return row
