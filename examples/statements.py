"""Raw statements: parameters, results in several shapes, streams, bulk writes, limits in time.

The same code runs on PostgreSQL, MySQL, MariaDB and SQLite.
"""

import asyncio
import os
from typing import NamedTuple

import msgspec
from pydantic import BaseModel

from sillar import DatabaseManager, DocumentCommand, Json, Query, QueryResult, correlation, deadline
from sillar.errors import ParameterError, StatementSyntaxError, UnsupportedCapabilityError

URL = os.environ.get("SILLAR_EXAMPLE_URL", "sqlite://")


class Stone(NamedTuple):
    id: int
    kind: str


class StoneStruct(msgspec.Struct):
    id: int
    kind: str


class StoneModel(BaseModel):
    id: int
    kind: str


async def main() -> None:
    async with DatabaseManager.from_url(URL) as manager:
        session = await manager.get_session()
        await session.execute("DROP TABLE IF EXISTS stone")
        await session.execute("CREATE TABLE stone (id INT PRIMARY KEY, kind VARCHAR(40) NOT NULL, facts VARCHAR(200))")

        # Parameters are always bound. A mapping fills :name on every SQL engine.
        await session.execute(
            "INSERT INTO stone (id, kind, facts) VALUES (:id, :kind, :facts)",
            {"id": 1, "kind": "andesite", "facts": Json({"origin": "Cusco"}).text()},
        )
        # Many rows: all or nothing.
        await session.execute_many(
            "INSERT INTO stone (id, kind) VALUES (:id, :kind)",
            [{"id": 2, "kind": "basalt"}, {"id": 3, "kind": "granite"}],
        )
        await session.bulk_insert("stone", ["id", "kind"], ((n, "tuff") for n in range(10, 5010)))

        # Results: dicts, or the type you name.
        query = "SELECT id, kind FROM stone WHERE id < :below ORDER BY id"
        print(await session.fetch_all(query, {"below": 3}))
        print(await session.fetch_all(query, {"below": 3}, into=Stone))
        print(await session.fetch_one(query, {"below": 3}, into=StoneStruct))
        print(await session.fetch_one(query, {"below": 3}, into=StoneModel))
        print(await session.fetch_value("SELECT count(*) FROM stone", into=int))

        # A statement as a value, and everything there is to know of its result.
        result: QueryResult = await manager.execute_query(Query(query, {"below": 4}, timeout_seconds=2))
        print(result.columns, result.rows_affected, [row["kind"] for row in result])

        # More rows than memory should hold: batches of 1000, one at a time.
        seen = 0
        async with session.stream("SELECT id, kind FROM stone", into=Stone, batch_rows=1000) as stones:
            async for _ in stones:
                seen += 1
        print(f"{seen} rows streamed")

        # A deadline for everything inside, and an id that every log line carries.
        with deadline(seconds=5), correlation("import-42"):
            await session.execute("UPDATE stone SET kind = :kind WHERE id = :id", {"kind": "diorite", "id": 1})

        # Errors say who has to act; nothing was sent for the first and the last.
        for statement, params in (
            ("SELECT :id", {}),
            ("SELEC 1", None),
            (DocumentCommand("stone", "find", {"filter": {}}), None),
        ):
            try:
                await session.execute(statement, params)
            except (ParameterError, StatementSyntaxError, UnsupportedCapabilityError) as error:
                print(f"{type(error).__name__}, safe to retry: {error.safe_to_retry}")


asyncio.run(main())
