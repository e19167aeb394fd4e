"""The table that bulk work is tested on, and how it is looked at."""

from __future__ import annotations

from typing import Any

from sillar import DatabaseManager, DatabaseSession

COLUMNS = ["id", "name", "qty"]


class Place:
    """A table: ``id`` is its key, ``name`` is unique, ``qty`` may not be negative."""

    def __init__(self, manager: DatabaseManager, engine: str, table: str, url: str) -> None:
        self.url = url
        self.manager, self.engine, self.table = manager, engine, table
        self.session: DatabaseSession = manager.session()

    async def create(self) -> None:
        await self.drop()
        text = "text" if self.engine in ("sqlite", "postgresql") else "varchar(300)"
        await self.session.execute(
            f"CREATE TABLE {self.table} (id integer NOT NULL PRIMARY KEY, name {text} UNIQUE,"
            " qty integer NOT NULL DEFAULT 0 CHECK (qty >= 0))"
        )

    async def drop(self) -> None:
        await self.manager.session().execute(f"DROP TABLE IF EXISTS {self.table}")

    async def rows(self) -> dict[int, tuple[Any, Any]]:
        return await self.rows_within(self.manager.session())

    async def rows_within(self, session: DatabaseSession | None = None) -> dict[int, tuple[Any, Any]]:
        """What the session of this place sees."""
        found = await (session or self.session).fetch_all(f"SELECT id, name, qty FROM {self.table}")
        return {row["id"]: (row["name"], row["qty"]) for row in found}


class DocumentPlace(Place):
    """A collection with the same two unique fields; a validator is more than the stand-in has."""

    async def create(self) -> None:
        await self.drop()
        collection = self.session.documents(self.table)
        await collection.create_index("id", unique=True)
        await collection.create_index("name", unique=True, partialFilterExpression={"name": {"$type": "string"}})

    async def drop(self) -> None:
        await self.manager.session().documents(self.table).drop()

    async def rows(self) -> dict[int, tuple[Any, Any]]:
        found = await self.manager.session().documents(self.table).find()
        return {row["id"]: (row.get("name"), row.get("qty")) for row in found}
