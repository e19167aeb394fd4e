"""SQLAlchemy, Tortoise and raw statements in one transaction, on one physical connection."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, text
from tests.integrations.sqlalchemy.conftest import Shelves
from tests.integrations.sqlalchemy.shelves.authors import Author
from tortoise import fields
from tortoise.connection import get_connection
from tortoise.models import Model

from sillar.integrations.tortoise import TortoiseIntegration


class TortoiseAuthor(Model):
    id = fields.IntField(primary_key=True)
    name = fields.CharField(max_length=80)
    notes = fields.TextField(null=True)

    class Meta:
        table = "sa_author"


@pytest.fixture
async def tortoise(shelves: Shelves) -> TortoiseIntegration:
    integration = TortoiseIntegration(shelves.manager)
    await integration.open({"models": [TortoiseAuthor.__module__]})
    return integration


@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("tortoise_first", [True, False])
async def test_one_transaction_for_all(
    shelves: Shelves, tortoise: TortoiseIntegration, fails: bool, tortoise_first: bool
) -> None:
    try:
        async with shelves.orm.transaction() as tx:
            if tortoise_first:
                await TortoiseAuthor.create(name="tortoise")
            session = await shelves.orm.create_session()
            session.add(Author(name="sqlalchemy"))
            await session.flush()
            await tx.execute("INSERT INTO sa_author (name) VALUES ('raw')")
            if not tortoise_first:
                await TortoiseAuthor.create(name="tortoise")
            counts = {
                await tx.fetch_value("SELECT count(*) FROM sa_author"),
                await session.scalar(select(func.count()).select_from(Author)),
                await TortoiseAuthor.all().count(),
            }
            assert counts == {3}
            if shelves.engine != "sqlite":
                sql = "SELECT connection_id() AS id"
                if shelves.engine == "postgresql":
                    sql = "SELECT pg_backend_pid()::text || ' ' || pg_current_xact_id()::text AS id"
                ids = {
                    await tx.fetch_value(sql),
                    await session.scalar(text(sql.replace("::text", "\\:\\:text"))),
                    (await get_connection("default").execute_query_dict(sql))[0]["id"],
                }
                assert len(ids) == 1
            await session.commit()  # ends a savepoint, not the transaction
            if fails:
                raise LookupError
    except LookupError:
        assert fails
    assert await shelves.names() == ([] if fails else ["raw", "sqlalchemy", "tortoise"])
    async with await shelves.orm.create_session() as later:
        assert await later.scalar(select(func.count()).select_from(Author)) == (0 if fails else 3)
    assert await TortoiseAuthor.all().count() == (0 if fails else 3)
