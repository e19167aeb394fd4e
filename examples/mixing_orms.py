"""SQLAlchemy, Tortoise, the query builder and plain statements in one transaction.

The same code runs on PostgreSQL, MySQL, MariaDB and SQLite.

python examples/mixing_orms.py                                   # SQLite, in a file
SILLAR_EXAMPLE_URL=postgresql://me@localhost/quarry python examples/mixing_orms.py
"""

import asyncio
import os

from sqlalchemy import ForeignKey, String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from tortoise import fields
from tortoise.models import Model
from tortoise.transactions import in_transaction

from sillar import DatabaseManager, QueryBuilder, column
from sillar.errors import UniqueViolationError
from sillar.integrations.sqlalchemy import SQLAlchemyIntegration
from sillar.integrations.tortoise import TortoiseIntegration

URL = os.environ.get("SILLAR_EXAMPLE_URL", "sqlite:///quarry.db")


class Base(DeclarativeBase):
    pass


class Quarry(Base):
    __tablename__ = "example_mixed_quarry"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(40), unique=True)


class Block(Base):
    __tablename__ = "example_mixed_block"
    id: Mapped[int] = mapped_column(primary_key=True)
    stone: Mapped[str] = mapped_column(String(40))
    quarry_id: Mapped[int] = mapped_column(ForeignKey("example_mixed_quarry.id"))


class BlockModel(Model):
    """The same table, as the older half of the service knows it."""

    id = fields.IntField(primary_key=True)
    stone = fields.CharField(max_length=40)
    quarry_id = fields.IntField()

    class Meta:
        table = "example_mixed_block"


async def main() -> None:
    async with DatabaseManager.from_url(URL) as manager:
        sqlalchemy, tortoise = SQLAlchemyIntegration(manager), TortoiseIntegration(manager)
        sqlalchemy.register_models(Quarry, Block)
        await sqlalchemy.drop_tables()
        await sqlalchemy.create_tables()
        await tortoise.open({"models": ["__main__"]})

        async with manager.session().transaction() as tx:
            await tx.execute("INSERT INTO example_mixed_quarry (id, name) VALUES (1, 'Killa')")
            session = await sqlalchemy.create_session()  # joins
            session.add(Block(stone="basalt", quarry_id=1))
            await session.commit()  # a savepoint: the block alone commits
            await BlockModel.create(stone="tuff", quarry_id=1)
            await QueryBuilder(Block).insert({"stone": "marl", "quarry_id": 1}).execute(tx)
            print(await BlockModel.all().count(), "blocks, of three kinds of code")

        try:
            async with sqlalchemy.errors(), in_transaction():  # begun by Tortoise, joined by the others
                await BlockModel.all().delete()
                session = await sqlalchemy.create_session()
                session.add(Quarry(name="Killa"))
                await session.flush()
        except UniqueViolationError as error:
            print(f"{type(error).__name__}: the blocks are still there")

        named = QueryBuilder(Block).where(column(Block, "quarry_id") == 1).order_by("id")
        print(await named.select(Block.stone).scalars(manager.session()))
        async with await sqlalchemy.create_session(read_only=True) as session:
            print(
                sorted(await session.scalars(select(Block.stone)))
                == sorted(block.stone for block in await BlockModel.all())
            )


asyncio.run(main())
