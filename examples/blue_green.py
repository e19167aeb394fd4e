"""Old and new code serve at once, on one schema, while a column is replaced: `price` (whole coins) by `cents`.

Four versions of a service, each beside the one before it; the schema changes under them in the order expand, migrate,
contract. No request may fail or read a wrong value, and no row may be lost. In a project the three changes of the
schema are three revisions; the calls of the second are the same there, with `op` for the connection.

The same code runs on PostgreSQL, MySQL, MariaDB and SQLite.
"""

import asyncio
import os
import random
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import structlog

from sillar import DatabaseManager
from sillar.migrations.data import Throttle, batched_update, run_batched

URL = os.environ.get("SILLAR_EXAMPLE_URL", "sqlite:///blue_green.db")
TABLE = "example_sale"


@dataclass(frozen=True)
class Version:
    """What one version of the code reads, and what it writes."""

    reads: str
    writes: tuple[str, ...]


OLD = Version("price", ("price",))
BOTH = Version("price", ("price", "cents"))  # writes what the next version reads; reads what the last one wrote
SWITCHED = Version("cents", ("price", "cents"))  # reads the new column; going back to BOTH is still possible
NEW = Version("cents", ("cents",))


@dataclass
class Service:
    """The processes that serve, and what they know to be true."""

    manager: DatabaseManager
    truth: dict[int, int] = field(default_factory=dict)
    idle: list[int] = field(default_factory=list)
    served: int = 0
    failures: list[str] = field(default_factory=list)
    longest_seconds: float = 0.0
    running: dict[Version, list[asyncio.Task[None]]] = field(default_factory=dict)
    stopping: set[Version] = field(default_factory=set)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    def deploy(self, version: Version, processes: int = 2) -> None:
        self.running[version] = [asyncio.create_task(self._serve(version)) for _ in range(processes)]

    async def drain(self, version: Version) -> None:
        self.stopping.add(version)
        await asyncio.gather(*self.running.pop(version))

    async def requests(self, count: int) -> None:
        wanted = self.served + count
        while self.served < wanted:
            self.heard.clear()
            await self.heard.wait()

    async def _serve(self, version: Version) -> None:
        while version not in self.stopping:
            began = perf_counter()
            try:
                await random.choice((self._sell, self._change, self._read))(version)
            except Exception as error:
                self.failures.append(repr(error))
            self.served += 1
            self.heard.set()
            self.longest_seconds = max(self.longest_seconds, perf_counter() - began)
            await asyncio.sleep(0.001)

    async def _sell(self, version: Version) -> None:
        number, price = len(self.truth) + 1, random.randint(0, 999)
        self.truth[number] = price
        names = ", ".join(version.writes)
        slots = ", ".join(f":{name}" for name in version.writes)
        sql = f"INSERT INTO {TABLE} (id, {names}) VALUES (:id, {slots})"
        await self.manager.session().execute(sql, {"id": number, **self._values(version, price)})
        self.idle.append(number)

    async def _change(self, version: Version) -> None:
        number, price = self.idle.pop(random.randrange(len(self.idle))), random.randint(0, 999)
        self.truth[number] = price
        sets = ", ".join(f"{name} = :{name}" for name in version.writes)
        sql = f"UPDATE {TABLE} SET {sets} WHERE id = :id"
        await self.manager.session().execute(sql, {"id": number, **self._values(version, price)})
        self.idle.append(number)

    async def _read(self, version: Version) -> None:
        number = self.idle.pop(random.randrange(len(self.idle)))
        sql = f"SELECT {version.reads} FROM {TABLE} WHERE id = :id"
        found = await self.manager.session().fetch_value(sql, {"id": number})
        wanted = self._values(version, self.truth[number])[version.reads]
        if found != wanted:
            self.failures.append(f"sale {number}: {version.reads} is {found}, and should be {wanted}")
        self.idle.append(number)

    @staticmethod
    def _values(version: Version, price: int) -> dict[str, Any]:
        both = {"price": price, "cents": price * 100}
        return {name: both[name] for name in version.writes}


async def main() -> None:
    async with DatabaseManager.from_url(URL) as manager:
        session, service = manager.session(), Service(manager)
        for table in (TABLE, "_migration_batches"):
            await session.execute(f"DROP TABLE IF EXISTS {table}")
        # A default: code that does not know the column any more can insert, until it is dropped.
        await session.execute(f"CREATE TABLE {TABLE} (id INTEGER PRIMARY KEY, price INTEGER NOT NULL DEFAULT 0)")
        service.truth = {number: number % 1000 for number in range(1, 1001)}
        service.idle = list(service.truth)
        await session.bulk_insert(TABLE, ["id", "price"], service.truth.items())

        service.deploy(OLD)
        await service.requests(40)
        await session.execute(
            f"ALTER TABLE {TABLE} ADD COLUMN cents INTEGER"
        )  # expand: nullable, so nothing is rewritten
        await service.requests(40)
        print("expanded under the old code")

        service.deploy(BOTH)  # beside the old code, which goes on writing the old column alone
        await service.requests(40)

        async def backfill() -> Any:
            return await run_batched(
                manager, batched_update, TABLE, key="id", values={"cents": "price * 100"}, where="cents IS NULL",
                remaining="cents IS NULL OR cents <> price * 100",  # what the old code changes behind the cursor, too
                batch_rows=200, throttle=Throttle(pause_seconds=0.01), passes_max=1000, name="cents of sales",
            )  # fmt: skip

        filling = asyncio.create_task(backfill())
        await service.requests(40)
        await service.drain(OLD)
        await filling
        report = await backfill()  # what the old code wrote after the last pass
        print(f"backfilled beside both, {report.rows_remaining} rows remaining")

        service.deploy(SWITCHED)
        await service.requests(40)
        await service.drain(BOTH)
        service.deploy(NEW)
        await service.requests(40)
        await service.drain(SWITCHED)
        print("reads and writes are switched")

        await session.execute(f"ALTER TABLE {TABLE} DROP COLUMN price")  # contract: nobody names it any more
        await service.requests(40)
        await service.drain(NEW)
        rows = await session.fetch_all(f"SELECT id, cents FROM {TABLE}")
        kept = {row["id"]: row["cents"] for row in rows}
        lost = [number for number, price in service.truth.items() if kept.get(number) != price * 100]
        print(f"contracted; failed requests: {len(service.failures)}, rows lost or wrong: {len(lost)}")
        for failure in service.failures[:5]:
            print(failure)
        structlog.get_logger().info(
            "figures", requests=service.served, longest_request_ms=round(service.longest_seconds * 1000, 1),
            rows=len(rows), rows_filled=report.rows_done, passes=report.passes,
        )  # fmt: skip


asyncio.run(main())
