"""Which side fits a database: by what it can do, and for SQL by its dialect's name."""

from __future__ import annotations

from typing import Final

from sillar.capabilities import Capability
from sillar.errors import UnsupportedCapabilityError
from sillar.integrations.sqlalchemy import SQLAlchemyIntegration
from sillar.manager import DatabaseManager
from sillar.migrations.copying.dialects.dialect import Dialect
from sillar.migrations.copying.dialects.mysql import MySQLDialect
from sillar.migrations.copying.dialects.postgresql import PostgreSQLDialect
from sillar.migrations.copying.dialects.sqlite import SQLiteDialect
from sillar.migrations.copying.side import Side
from sillar.migrations.copying.sql_side import SQLSide

DIALECTS: Final[dict[str, type[Dialect]]] = {
    kind.family: kind for kind in (PostgreSQLDialect, MySQLDialect, SQLiteDialect)
}


async def side_of(manager: DatabaseManager, database: str | None) -> Side:
    """The side of a database.

    Raises:
        UnsupportedCapabilityError: no engine that can be copied.
    """
    executor = manager.executor(database)
    if executor.capabilities.has(Capability.DOCUMENTS):
        from sillar.migrations.copying.document_side import DocumentSide  # which imports its driver

        return DocumentSide(manager, database)
    name = SQLAlchemyIntegration(manager, database).engine.dialect.name
    if name not in DIALECTS:
        raise UnsupportedCapabilityError(
            "copies", engine=executor.capabilities.engine, remedy=f"these can: {', '.join(sorted(DIALECTS))}"
        )
    executor.capabilities.require(Capability.TRANSACTIONS, remedy="use a deployment that has them")
    side = SQLSide(manager, database, DIALECTS[name]())
    await side.prepare()
    return side
