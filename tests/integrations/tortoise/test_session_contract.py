"""The same connections as everything else, and nothing left on them."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
import structlog
from tests.children import left
from tests.integrations.tortoise.conftest import ENGINES, Library, fresh, opened, url_of
from tests.integrations.tortoise.library import Author, Book, Every, Tag
from tortoise.connection import get_connection
from tortoise.exceptions import IntegrityError
from tortoise.transactions import in_transaction

from sillar import DatabaseManager, Execution, correlation, deadline, load_config
from sillar.errors import StatementTimeoutError
from sillar.testing.servers import ServerFleet

PID = {"postgresql": "SELECT pg_backend_pid() AS id", "mysql": "SELECT CONNECTION_ID() AS id"}
PID["mariadb"] = PID["mysql"]
OTHERS = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity"
    " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
    "mysql": "SELECT count(*) FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND command <> 'Daemon'",
}
OTHERS["mariadb"] = OTHERS["mysql"]
SLOW = {
    "postgresql": "SELECT {} AS n FROM pg_sleep(0.002)",
    "mysql": "SELECT {} AS n WHERE SLEEP(0.002) = 0",
    "sqlite": "SELECT {} AS n",
}
SLOW["mariadb"] = "SELECT {} AS n FROM (SELECT SLEEP(0.002) AS s) AS t WHERE s = 0"
SLEEP = {"postgresql": "SELECT pg_sleep(20)", "mysql": "SELECT SLEEP(20)", "mariadb": "SELECT SLEEP(20)"}


async def usual_work() -> None:
    """What a service does all day with Tortoise."""
    ada = await Author.create(name=f"Ada {random.random()}")
    book = await Book.create(title="One", author=ada)
    await book.tags.add(await Tag.create(word="red"))
    await Author.get(id=ada.id).prefetch_related("books__tags")
    await Author.filter(name__icontains="ada", id__in=[1, 2]).count()
    await Author.filter(id=ada.id).update(name="Bo")
    await Author.filter(id=ada.id).exists()
    await Every.create(document={"a": 1})
    await Every.filter(document__isnull=False).order_by("-id").limit(3).offset(1).values("id", "document")
    await Author.bulk_create([Author(name=f"several {random.random()}") for _ in range(3)])
    async with in_transaction():
        await Author.get_or_create(name=f"late {random.random()}")
    await book.delete()
    await Author.all().delete()


async def test_usual_statements_leave_the_session_clean(library: Library) -> None:
    await usual_work()  # creating the tables has left something to reset
    before = library.manager.pools["default"].stats().resets_total
    await usual_work()
    assert library.manager.pools["default"].stats().resets_total == before
    await get_connection("default").execute_script("CREATE TABLE tt_left_over (i int)")
    await get_connection("default").execute_script("DROP TABLE tt_left_over")
    await Author.all()
    if library.engine != "sqlite":  # which has one connection for all writes, and nothing to reset after these
        assert library.manager.pools["default"].stats().resets_total > before


async def test_settings_do_not_outlive_their_statement(postgresql_library: Library) -> None:
    client = get_connection("default")
    await client.execute_query("SET search_path = pg_catalog")
    await client.execute_query("SELECT set_config('lock_timeout', '17', false)")
    async with client.acquire_connection() as connection:
        await connection.execute("SET statement_timeout = 12345")
        await connection.execute("BEGIN")
    rows = [
        await client.execute_query_dict(
            "SELECT current_setting('search_path') AS a, current_setting('lock_timeout') AS b,"
            " current_setting('statement_timeout') AS c"
        )
        for _ in range(4)
    ]
    assert all(row == [{"a": '"$user", public', "b": "0", "c": "0"}] for row in rows)


async def test_json_stays_text_on_the_wire_and_no_codec_is_left(postgresql_library: Library) -> None:
    document = {"a": [1, None, "two"]}
    await Every.create(document=document)
    session = postgresql_library.manager.session()
    for _ in range(3):
        assert await session.fetch_value("SELECT document FROM tt_every") == document
        assert (await Every.all().first()).document == document  # type: ignore[union-attr]
        async with get_connection("default").acquire_connection() as connection:
            assert await connection.fetchval("SELECT document FROM tt_every") == '{"a": [1, null, "two"]}'
    await session.execute("UPDATE tt_every SET document = :one", {"one": {"b": 2}})
    assert (await Every.all().first()).document == {"b": 2}  # type: ignore[union-attr]


async def sample(manager: DatabaseManager, engine: str, counts: list[int]) -> None:
    """The number of other sessions on the server, every 10 ms."""
    session = manager.session()
    while True:
        counts.append(await session.fetch_value(OTHERS[engine]))
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("engine", ["postgresql", "mariadb", "mysql"])
async def test_one_budget_for_direct_and_tortoise_traffic(engine: str, fleet: ServerFleet, tmp_path: Path) -> None:
    url = await url_of(engine, fleet, tmp_path)
    async with opened(url) as watching, opened(url) as manager:
        await fresh(manager)
        counts: list[int] = []
        before = await watching.session().fetch_value(OTHERS[engine]) - manager.pools["default"].stats().open
        sampling = asyncio.create_task(sample(watching, engine, counts))
        ids: set[int] = set()

        async def direct() -> None:
            ids.add(await manager.session().fetch_value(PID[engine]))

        async def tortoise() -> None:
            ids.add((await get_connection("default").execute_query_dict(PID[engine]))[0]["id"])
            await Author.create(name=f"author {random.random()}")

        async def transaction() -> None:
            async with in_transaction() as connection:
                ids.add((await connection.execute_query_dict(PID[engine]))[0]["id"])
                await Author.all().count()

        async with left(sampling):
            await asyncio.gather(*((direct, tortoise, transaction)[number % 3]() for number in range(600)))
            assert not sampling.done()
        assert len(ids) == 3
        assert manager.pools["default"].stats().opened_total == 3
        assert len(counts) > 3
        assert max(counts) - before <= 3


@pytest.mark.parametrize("engine", ENGINES)
async def test_cancelled_callers_leave_nothing_and_nobody_reads_another_ones_reply(
    engine: str, fleet: ServerFleet, tmp_path: Path
) -> None:
    async with opened(await url_of(engine, fleet, tmp_path)) as manager:
        await fresh(manager)
        await Author.bulk_create([Author(name=f"author {number}") for number in range(1, 201)])
        ids = dict(await Author.all().values_list("name", "id"))
        wrong: list[Any] = []
        before = manager.pools["default"].stats()

        async def caller(number: int) -> None:
            name = f"author {number}"
            for _ in range(12):
                author = await Author.get(name=name).prefetch_related("books")
                if author.id != ids[name]:
                    wrong.append(author)
                async with in_transaction():
                    rows = await get_connection("default").execute_query_dict(SLOW[engine].format(number))
                    if rows != [{"n": number}]:
                        wrong.append(rows)

        callers = [asyncio.create_task(caller(number)) for number in range(1, 61)]
        for _ in range(60):
            await asyncio.sleep(random.random() * 0.01)
            random.choice(callers).cancel()
        results = await asyncio.gather(*callers, return_exceptions=True)
        assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}
        assert wrong == []
        names = [author.name for author in await Author.all().order_by("id")]
        assert names == [f"author {number}" for number in range(1, 201)]
        stats = manager.pools["default"].stats()
        assert stats.leased == 0
        assert stats.open <= (3 if engine != "sqlite" else before.open)


async def test_a_raw_connection_left_by_a_cancellation_is_given_up(library: Library) -> None:
    client = get_connection("default")

    async def leave() -> None:
        async with client.acquire_connection() as connection:
            if library.engine == "postgresql":
                await connection.fetch(SLEEP["postgresql"])
            elif library.engine == "sqlite":
                await connection.execute("INSERT INTO tt_author (name) VALUES ('undone')")
                await asyncio.sleep(20)
            else:
                async with connection.cursor() as cursor:
                    await cursor.execute(SLEEP[library.engine])

    for _ in range(3):
        task = asyncio.create_task(leave())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await client.execute_query_dict("SELECT 4711 AS n") == [{"n": 4711}]
    assert library.leased == 0
    assert await library.titles() == []


class Seen:
    """An observer."""

    def __init__(self) -> None:
        self.executions: list[tuple[str, str | None]] = []
        self.transactions: list[str] = []

    def executed(self, execution: Execution, error: BaseException | None) -> None:
        self.executions.append((execution.fingerprint, None if error is None else type(error).__name__))

    def transaction_ended(self, database: str, outcome: str, duration_seconds: float) -> None:
        self.transactions.append(outcome)


async def test_every_statement_is_observed(tmp_path: Path) -> None:
    seen = Seen()
    config = load_config(url=f"sqlite:///{tmp_path}/library.db", environment={})
    async with DatabaseManager(config, observers=[seen]) as manager:
        await fresh(manager)
        seen.executions.clear()
        with structlog.testing.capture_logs() as logs, correlation("request 7"):
            async with in_transaction():
                await Author.create(name="Ada")
            with pytest.raises(IntegrityError):
                await Author.create(name="Ada")
            await Author.bulk_create([Author(name="Bo")])
    insert = 'INSERT INTO "tt_author" ("name") VALUES (?)'
    assert seen.executions == [(insert, None), (insert, "UniqueViolationError"), (insert, None)]
    assert seen.transactions == ["commit"]
    failed = [entry for entry in logs if entry["event"] == "statement failed"]
    assert [(entry["correlation_id"], entry["statement"]) for entry in failed] == [("request 7", insert)]


async def test_a_deadline_holds_for_tortoise(postgresql_library: Library) -> None:
    with deadline(0.2), pytest.raises(StatementTimeoutError):
        await get_connection("default").execute_query(SLEEP["postgresql"])
    assert await Author.all().count() == 0


async def test_the_raw_connection(library: Library) -> None:
    client = get_connection("default")
    if library.engine == "sqlite":
        async with client.acquire_connection() as connection:
            await connection.execute("INSERT INTO tt_author (name) VALUES (?)", ("Ada",))
            async with connection.execute("SELECT count(*) FROM tt_author") as cursor:
                assert await cursor.fetchone() == (1,)
        with pytest.raises(LookupError):
            async with client.acquire_connection() as connection:
                await connection.execute("DELETE FROM tt_author")
                raise LookupError
        async with library.manager.session().transaction():
            await Author.create(name="Bo")
            async with client.acquire_connection() as connection:
                await connection.execute("INSERT INTO tt_author (name) VALUES ('Cy')")
            await Author.create(name="Di")
    else:
        async with client.acquire_connection() as connection:
            await insert(library.engine, connection, "Ada")
        async with library.manager.session().transaction():
            await Author.create(name="Bo")
            async with client.acquire_connection() as connection:
                await insert(library.engine, connection, "Cy")
            await Author.create(name="Di")
        async with in_transaction() as transaction:
            async with transaction.acquire_connection() as connection:
                await insert(library.engine, connection, "undone")
            await transaction.rollback()
    assert await library.titles() == ["Ada", "Bo", "Cy", "Di"]
    assert library.leased == 0


async def insert(engine: str, connection: Any, name: str) -> None:
    if engine == "postgresql":
        await connection.execute("INSERT INTO tt_author (name) VALUES ($1)", name)
    else:
        async with connection.cursor() as cursor:
            await cursor.execute("INSERT INTO tt_author (name) VALUES (%s)", (name,))
