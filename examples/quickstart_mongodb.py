"""MongoDB: documents in, typed objects out, an aggregation pipeline."""

import asyncio
import os
from dataclasses import dataclass

from sillar import DatabaseManager

URL = os.environ.get("SILLAR_EXAMPLE_MONGODB_URL", "mongodb://localhost/quickstart")


@dataclass
class Bird:
    name: str
    grams: int


@dataclass
class Weight:
    family: str
    grams: int


async def main() -> None:
    async with DatabaseManager.from_url(URL) as manager:
        session = await manager.get_session()
        birds = session.documents("birds")
        await birds.delete_many({})
        await birds.insert_many(
            [
                {"name": "Hornero", "family": "Furnariidae", "grams": 49},
                {"name": "Remolinera", "family": "Furnariidae", "grams": 33},
                {"name": "Zorzal", "family": "Turdidae", "grams": 78},
            ]
        )

        for bird in await birds.find({"grams": {"$gt": 40}}, sort=[("grams", 1)], into=Bird):
            print(f"{bird.name}: {bird.grams} g")

        heaviest = await birds.aggregate(
            [
                {"$group": {"_id": "$family", "grams": {"$sum": "$grams"}}},
                {"$project": {"_id": 0, "family": "$_id", "grams": 1}},
                {"$sort": {"grams": -1, "family": 1}},
            ],
            into=Weight,
        )
        print(", ".join(f"{each.family} {each.grams} g" for each in heaviest))


asyncio.run(main())
