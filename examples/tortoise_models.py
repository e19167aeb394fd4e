"""Tortoise models, raw statements and one transaction for both.

python examples/tortoise_models.py                                   # SQLite, in memory
SILLAR_EXAMPLE_URL=postgresql://me@localhost/quarry python examples/tortoise_models.py
"""

from __future__ import annotations

import asyncio
import os

from tortoise import fields
from tortoise.models import Model
from tortoise.transactions import in_transaction

from sillar import DatabaseManager
from sillar.errors import UniqueViolationError
from sillar.integrations.tortoise import TortoiseIntegration


class Mason(Model):
    stones: fields.ReverseRelation[Stone]
    id = fields.IntField(primary_key=True)
    name = fields.CharField(max_length=50, unique=True)

    class Meta:
        table = "example_mason"


class Stone(Model):
    id = fields.IntField(primary_key=True)
    kind = fields.CharField(max_length=50)
    laid_by: fields.ForeignKeyRelation[Mason] = fields.ForeignKeyField("models.Mason", related_name="stones")

    class Meta:
        table = "example_stone"


async def main() -> None:
    async with DatabaseManager.from_url(os.environ.get("SILLAR_EXAMPLE_URL", "sqlite:///:memory:")) as manager:
        orm = TortoiseIntegration(manager)
        orm.register_models(Mason, Stone)
        await orm.open()
        for table in ("example_stone", "example_mason"):
            await manager.session().execute(f"DROP TABLE IF EXISTS {table}")
        await orm.generate_schemas()

        async with manager.session().transaction() as tx:
            killa = await Mason.create(name="Killa")
            await tx.execute("INSERT INTO example_stone (kind, laid_by_id) VALUES ('basalt', :id)", {"id": killa.id})
            try:
                async with in_transaction():  # a savepoint of the transaction around it
                    await Stone.create(kind="granite", laid_by=killa)
                    await Mason.create(name="Killa")
            except UniqueViolationError as error:
                print(f"{type(error).__name__}: the savepoint is undone")
        mason = await Mason.get(name="Killa").prefetch_related("stones")
        print(mason.name, [stone.kind for stone in mason.stones])


asyncio.run(main())
