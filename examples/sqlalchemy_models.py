"""SQLAlchemy models as they are, over the connections of a manager: sessions, and one transaction with raw statements.

The same code runs on PostgreSQL, MySQL, MariaDB and SQLite.
"""

import asyncio
import os

from sqlalchemy import ForeignKey, String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

from sillar import DatabaseManager
from sillar.errors import UniqueViolationError
from sillar.integrations.sqlalchemy import SQLAlchemyIntegration

URL = os.environ.get("SILLAR_EXAMPLE_URL", "sqlite:///quarry.db")


class Base(DeclarativeBase):
    pass


class Quarry(Base):
    __tablename__ = "example_quarry"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(40), unique=True)
    blocks: Mapped[list["Block"]] = relationship(order_by="Block.id")


class Block(Base):
    __tablename__ = "example_block"
    id: Mapped[int] = mapped_column(primary_key=True)
    stone: Mapped[str] = mapped_column(String(40))
    quarry_id: Mapped[int] = mapped_column(ForeignKey("example_quarry.id"))


async def main() -> None:
    async with DatabaseManager.from_url(URL) as manager:
        orm = SQLAlchemyIntegration(manager)
        orm.register_models(Quarry, Block)  # or the dotted name of a package
        await orm.drop_tables()
        await orm.create_tables()

        async with await orm.create_session() as session:  # a stock AsyncSession
            session.add(Quarry(name="Killa", blocks=[Block(stone="basalt"), Block(stone="tuff")]))
            await session.commit()

        try:
            async with orm.errors(), orm.transaction() as tx:  # one transaction for everybody
                await tx.execute("INSERT INTO example_quarry (name) VALUES (:name)", {"name": "Rumi"})
                session = await orm.create_session()  # joins it
                session.add(Quarry(name="Killa"))
        except UniqueViolationError as error:
            print(f"{type(error).__name__}: neither quarry is kept")

        async with await orm.create_session(read_only=True) as session:
            for quarry in await session.scalars(select(Quarry).options(selectinload(Quarry.blocks))):
                print(quarry.name, [block.stone for block in quarry.blocks])


asyncio.run(main())
