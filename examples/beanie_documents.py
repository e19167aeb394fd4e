"""Beanie over a manager: documents as they are, one transaction with raw commands, typed errors, indexes."""

import asyncio
import os
from typing import Annotated

from beanie import Document, Indexed

from sillar import DatabaseManager
from sillar.errors import UniqueViolationError
from sillar.integrations.beanie import BeanieIntegration

URL = os.environ.get("SILLAR_EXAMPLE_MONGODB_URL", "mongodb://localhost/quickstart")


class Instrument(Document):
    name: Annotated[str, Indexed(unique=True)]
    strings: int = 0

    class Settings:
        name = "instruments"


async def main() -> None:
    async with DatabaseManager.from_url(URL) as manager:
        beanie = BeanieIntegration(manager)
        await beanie.open(Instrument)
        await Instrument.delete_all()

        async with beanie.transaction() as transaction:
            await Instrument(name="charango", strings=10).insert()
            await transaction.documents("instruments").insert_one({"name": "quena", "strings": 0})
            print(
                await Instrument.count(), "inside,", await manager.session().documents("instruments").count(), "outside"
            )

        try:
            async with beanie.errors(), beanie.transaction():
                await Instrument(name="bandurria", strings=16).insert()
                await Instrument(name="quena").insert()
        except UniqueViolationError as error:
            print(f"{type(error).__name__} of {error.column}: both are undone")

        print([each.name for each in await Instrument.find(Instrument.strings >= 0).sort("name").to_list()])
        print("indexes as asked for:", await beanie.index_drift() == [])


asyncio.run(main())
