"""Which database Tortoise works on: aliases, several databases, several managers, and the end of them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.integrations.tortoise import library as models
from tests.integrations.tortoise.conftest import MODELS, fresh, opened
from tests.integrations.tortoise.library import Author, Every
from tortoise import Tortoise, fields
from tortoise.connection import get_connection, get_connections
from tortoise.context import TortoiseContext, get_current_context
from tortoise.exceptions import ParamsError
from tortoise.models import Model
from tortoise.transactions import in_transaction

from sillar import DatabaseManager, load_config
from sillar.engines import open_adapter
from sillar.errors import UsageError
from sillar.execution import Executor
from sillar.integrations.tortoise import TortoiseIntegration
from sillar.integrations.tortoise.context import connection_settings


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[DatabaseManager]:
    """A manager with the databases ``main``, which is the default one, and ``archive``."""
    databases = {name: {"engine": "sqlite", "database": str(tmp_path / f"{name}.db")} for name in ("main", "archive")}
    config = load_config(overrides={"databases": databases, "default_database": "main"}, environment={})
    async with DatabaseManager(config) as manager:
        yield manager


class Letter(Model):
    id = fields.IntField(primary_key=True)
    text = fields.TextField()

    class Meta:
        table = "tt_letter"


async def test_the_default_database_has_two_names_and_counts_once(two: DatabaseManager) -> None:
    orm = await fresh(two)
    assert (orm.alias, orm.database_name) == ("default", "main")
    await Author.create(name="Ada")
    assert len(await get_connection("main").execute_query_dict("SELECT * FROM tt_author")) == 1
    async with in_transaction():  # no name needed
        await Author.create(name="Bo")
    async with in_transaction("main"):
        await Author.create(name="Cy")
    assert await Author.all().count() == 3


async def test_several_databases_of_one_manager(two: DatabaseManager) -> None:
    await fresh(two)
    archive = TortoiseIntegration(two, "archive")
    archive.register_models(Letter, app="letters")
    await archive.open()
    await archive.generate_schemas()
    await asyncio.gather(Author.create(name="Ada"), Letter.create(text="Dear Ada"))
    with pytest.raises(ParamsError):
        in_transaction()  # as with Tortoise alone: which one?
    with pytest.raises(LookupError):
        async with in_transaction("archive"):
            await Letter.create(text="torn")
            await Author.create(name="kept")
            raise LookupError
    assert await two.session("archive").fetch_value("SELECT count(*) FROM tt_letter") == 1
    assert await two.session("main").fetch_value("SELECT count(*) FROM tt_author") == 2
    async with two.session("main").transaction(), two.session("archive").transaction() as inner:
        await Author.create(name="in main")
        await Letter.create(text="in archive")
        assert await inner.fetch_value("SELECT count(*) FROM tt_letter") == 2
    assert get_connection("archive") is archive.client


async def test_other_tasks_and_threads_of_control_find_it(two: DatabaseManager) -> None:
    orm = await fresh(two)

    async def elsewhere() -> Any:
        return (await Author.create(name="Ada")).id

    import contextvars

    assert await asyncio.get_running_loop().create_task(elsewhere(), context=contextvars.Context()) == 1
    await orm.close()
    await orm.close()
    assert get_current_context() is None
    with pytest.raises(RuntimeError, match="No TortoiseContext"):
        await Author.all()
    with pytest.raises(UsageError, match="not initialised"):
        _ = orm.client
    await orm.open(MODELS)
    assert await Author.all().count() == 1


async def test_a_second_manager_is_current_where_it_was_opened(two: DatabaseManager, tmp_path: Path) -> None:
    first = await fresh(two)
    await Author.create(name="of the first")

    async def of_the_second() -> list[str]:
        async with opened(f"sqlite:///{tmp_path}/second.db") as manager:
            second = await fresh(manager)
            await Author.create(name="of the second")
            with first.entered():
                assert [author.name for author in await Author.all()] == ["of the first"]
            assert await second.execute_query(Author.all().count()) == 1
            return [author.name for author in await Author.all()]

    assert await asyncio.create_task(of_the_second()) == ["of the second"]
    assert [author.name for author in await Author.all()] == ["of the first"]


async def test_closing_the_manager_closes_tortoise(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/library.db") as manager:
        orm = await fresh(manager)
        client = orm.client
    assert get_current_context() is None
    with pytest.raises(UsageError, match="not open"):
        await client.execute_query("SELECT 1")
    with pytest.raises(UsageError, match="not open"):
        await client.create_connection(with_db=True)
    with pytest.raises(UsageError, match="not open"):
        await orm.open(MODELS)


async def test_tortoise_may_close_its_connections_itself(two: DatabaseManager) -> None:
    orm = await fresh(two)
    with orm.entered():
        await Tortoise.close_connections()
    assert two.pools["main"].stats().healthy
    await orm.open(MODELS)
    await Author.create(name="Ada")
    assert await Author.all().count() == 1


async def test_tortoise_may_be_initialised_by_its_own_means(two: DatabaseManager) -> None:
    orm = await fresh(two)
    await orm.close()
    async with TortoiseContext() as context:
        await context.init(config=orm.config(MODELS))
        await Author.create(name="Ada")
        async with two.session().transaction() as tx:
            await Author.create(name="Bo")
            assert await tx.fetch_value("SELECT count(*) FROM tt_author") == 2
    assert two.pools["main"].stats().leased == 0


async def test_another_event_loop_is_refused(two: DatabaseManager) -> None:
    await fresh(two)
    handler = get_connections()

    def in_a_thread() -> None:
        async def work() -> None:
            with pytest.raises(UsageError, match="belongs to"):
                await handler.get("default").execute_query("SELECT 1")

        asyncio.run(work())

    await asyncio.to_thread(in_a_thread)


async def test_models_are_registered_as_classes_modules_and_packages(two: DatabaseManager, tmp_path: Path) -> None:
    package = tmp_path / "tt_parts"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helpers.py").write_text("from tests.integrations.tortoise.library import Author\n")
    (package / "listed.py").write_text("from tests.integrations.tortoise.library import Every\n__models__ = [Every]\n")
    sys.path.insert(0, str(tmp_path))
    try:
        orm = TortoiseIntegration(two)
        orm.register_models("tt_parts", Author, models)
        assert orm.config()["apps"] == {
            "models": {
                "models": ["tt_parts.listed", "tests.integrations.tortoise.library"],
                "default_connection": "default",
            }
        }
        assert orm.config({"more": "tt_parts.listed"})["apps"]["more"]["models"] == ["tt_parts.listed"]
        await orm.open()
        await orm.generate_schemas()
        await Every.create(whole=4)
    finally:
        sys.path.remove(str(tmp_path))
        for name in [name for name in sys.modules if name.partition(".")[0] == "tt_parts"]:
            del sys.modules[name]


async def test_what_cannot_be_registered(two: DatabaseManager) -> None:
    class Hidden(Model):
        class Meta:
            table = "tt_hidden"

    orm = TortoiseIntegration(two)
    with pytest.raises(UsageError, match="there are no models"):
        await orm.open()
    for models_given, reason in (
        (Hidden, "no attribute of its module"),
        ("no.such.module", "there is no module"),
        (4, "not as int"),
    ):
        refusing = TortoiseIntegration(two)
        refusing.register_models(models_given)
        with pytest.raises(UsageError, match=reason):
            refusing.config()
    with pytest.raises(UsageError, match="no database 'nowhere'"):
        TortoiseIntegration(two, "nowhere")
    with pytest.raises(UsageError, match="cannot be imported by its name"):
        await orm.open({"models": [ModuleType("nothing_here")]})


def test_an_engine_that_tortoise_does_not_know() -> None:
    adapter = open_adapter(load_config(url="mongodb://localhost/nowhere", environment={}).connection("default"))
    source = adapter.own_source()
    assert source is not None  # never opened
    with pytest.raises(UsageError, match="use Beanie"):
        connection_settings(Executor("default", adapter, source))
