"""PostgreSQL: typed rows with RETURNING, an array, a bulk insert by COPY."""

import asyncio
import os
from dataclasses import dataclass
from datetime import datetime

from sillar import Capability, DatabaseManager

URL = os.environ.get("SILLAR_EXAMPLE_POSTGRESQL_URL", "postgresql://localhost/postgres")


@dataclass
class Reading:
    id: int
    sensor: str
    celsius: list[float]
    taken_at: datetime


async def main() -> None:
    async with DatabaseManager.from_url(URL) as manager:
        session = await manager.get_session()
        await session.execute("DROP TABLE IF EXISTS reading")
        await session.execute(
            "CREATE TABLE reading (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, sensor text NOT NULL,"
            " celsius float8[] NOT NULL, taken_at timestamptz NOT NULL DEFAULT now())"
        )

        reading = await session.fetch_one(
            "INSERT INTO reading (sensor, celsius) VALUES (:sensor, :celsius) RETURNING *",
            {"sensor": "roof", "celsius": [18.5, 19.25]},
            into=Reading,
        )
        assert reading is not None
        print(f"{reading.sensor}: {reading.celsius} at {reading.taken_at:%Z}")

        inserted = await session.bulk_insert(
            "reading", ["sensor", "celsius"], ((f"sensor {n}", [n / 2]) for n in range(10_000))
        )
        print(f"{inserted} rows by COPY, notifications: {session.capabilities.has(Capability.NOTIFICATIONS)}")


asyncio.run(main())
