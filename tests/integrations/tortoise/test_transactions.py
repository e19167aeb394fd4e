"""One transaction for Tortoise and everything else, and Tortoise's own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.integrations.tortoise.conftest import Library
from tests.integrations.tortoise.library import Author, Book, Seat, Tag
from tortoise.connection import get_connection
from tortoise.exceptions import IntegrityError, OperationalError, TransactionManagementError
from tortoise.signals import pre_save
from tortoise.transactions import atomic, in_transaction

from sillar import current_session, detached
from sillar.errors import UniqueViolationError, UsageError

SESSION_ID = {
    "postgresql": "SELECT pg_backend_pid()::text || ' ' || pg_current_xact_id()::text AS id",
    "mariadb": "SELECT CONNECTION_ID() AS id",
    "mysql": "SELECT CONNECTION_ID() AS id",
    "sqlite": "SELECT count(*) AS id FROM tt_author",
}


async def id_of_session(library: Library) -> Any:
    return (await get_connection("default").execute_query_dict(SESSION_ID[library.engine]))[0]["id"]


@pytest.mark.parametrize("fails", [True, False])
async def test_tortoise_works_in_a_transaction_of_sillars(library: Library, fails: bool) -> None:
    try:
        async with library.manager.session().transaction() as tx:
            await Author.create(name="tortoise")
            await tx.execute("INSERT INTO tt_author (name) VALUES ('raw')")
            assert await Author.all().count() == 2
            assert await tx.fetch_value("SELECT count(*) FROM tt_author") == 2
            assert await id_of_session(library) == await tx.fetch_value(SESSION_ID[library.engine])
            await Author.bulk_create([Author(name="several"), Author(name="more")])
            if library.engine != "sqlite":  # there a second one would wait for this writer
                with detached():
                    assert await library.titles() == []
            if fails:
                raise LookupError
    except LookupError:
        assert fails
    assert await library.titles() == ([] if fails else ["tortoise", "raw", "several", "more"])
    assert library.leased == 0


async def test_in_transaction_is_a_savepoint_in_a_transaction_of_sillars(library: Library) -> None:
    async with library.manager.session().transaction() as tx:
        await Author.create(name="outer")
        with pytest.raises(LookupError):
            async with in_transaction():
                await Author.create(name="undone")
                raise LookupError
        async with in_transaction() as inner:
            await Author.create(name="kept", using_db=inner)
            async with in_transaction():
                await Author.create(name="deeper")
        with pytest.raises(UniqueViolationError):
            async with in_transaction():
                await Author.create(name="outer")
        assert tx.is_open
        if library.engine != "sqlite":
            with detached():
                assert await library.titles() == []
    assert await library.titles() == ["outer", "kept", "deeper"]


async def test_an_outer_rollback_undoes_what_tortoise_has_committed(library: Library) -> None:
    with pytest.raises(LookupError):
        async with library.manager.session().transaction():
            async with in_transaction():
                await Author.create(name="Ada")
            got, created = await Author.get_or_create(name="Bo")
            assert (got.name, created) == ("Bo", True)
            raise LookupError
    assert await library.titles() == []


async def test_transactions_of_tortoises_own(library: Library) -> None:
    async with in_transaction() as connection:
        await Author.create(name="Ada")
        await Author.create(name="Bo", using_db=connection)
        await connection.execute_query("INSERT INTO tt_author (name) VALUES ('text')")
        await current_session().execute("INSERT INTO tt_author (name) VALUES ('raw')")  # shares it
        assert library.leased == 1
        if library.engine == "postgresql":
            assert await id_of_session(library) == await current_session().fetch_value(SESSION_ID["postgresql"])
    assert await library.titles() == ["Ada", "Bo", "text", "raw"]
    with pytest.raises(IntegrityError):
        async with in_transaction():
            await Author.create(name="undone")
            await Author.create(name="Ada")

    @atomic()
    async def both(second: str) -> None:
        await Author.create(name="first")
        await Author.create(name=second)

    with pytest.raises(UniqueViolationError):
        await both("Ada")
    await both("second")
    assert await library.titles() == ["Ada", "Bo", "text", "raw", "first", "second"]
    assert library.leased == 0


async def test_ended_by_hand(library: Library) -> None:
    async with in_transaction() as connection:
        await Author.create(name="undone")
        await connection.rollback()
        with pytest.raises(TransactionManagementError):
            await connection.commit()
        with pytest.raises(UsageError, match="has ended"):
            await Author.create(name="after the end")
        with pytest.raises(UsageError, match="has ended"):
            await Author.create(name="after the end", using_db=connection)
    async with in_transaction() as connection:
        async with in_transaction() as inner:
            await Author.create(name="undone, too")
            await inner.savepoint_rollback()
        async with in_transaction() as inner:
            await Author.create(name="kept")
            await inner.release_savepoint()
        await connection.commit()
    assert await library.titles() == ["kept"]
    client: Any = library.orm.client
    own = client.transaction_class(client)
    with pytest.raises(TransactionManagementError, match="has not begun"):
        await own.rollback()
    await own.savepoint()  # as Tortoise's own context does
    await Author.create(name="rolled back")
    await own.rollback()
    await own.leave(None, None, None)
    assert await library.titles() == ["kept"]


async def test_another_task_and_a_late_caller_are_refused(library: Library) -> None:
    async with library.manager.session().transaction() as tx:
        await Author.create(name="Ada")
        with pytest.raises(UsageError, match="belongs to the task"):
            await asyncio.create_task(Author.create(name="of another task"))  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="belongs to the task"):
            await asyncio.create_task(in_a_transaction())
        await tx.commit()
        with pytest.raises(UsageError, match="has ended"):
            await Author.create(name="late")
        with pytest.raises(UsageError, match="has ended"):
            await in_a_transaction()
    assert await library.titles() == ["Ada"]


async def in_a_transaction() -> None:
    async with in_transaction():
        await Author.create(name="never")


async def test_tasks_share_a_transaction_of_tortoises_as_with_the_stock_clients(library: Library) -> None:
    async with in_transaction() as connection:
        await asyncio.gather(*(Author.create(name=f"author {number}") for number in range(20)))
        await asyncio.gather(*(Tag.create(word=f"tag {number}", using_db=connection) for number in range(20)))
        assert library.leased == 1
        with pytest.raises(UsageError, match="belongs to the task"):  # savepoints nest, tasks do not
            await asyncio.create_task(in_a_transaction())
    assert len(await library.titles()) == 20
    assert await Tag.all().count() == 20


async def test_prefetches_stay_in_the_transaction(library: Library) -> None:
    async with library.manager.session().transaction():
        ada = await Author.create(name="Ada")
        book = await Book.create(title="First", author=ada)
        await book.tags.add(await Tag.create(word="red"))
        await Seat.create(number=3, owner=ada)
        author = await Author.get(id=ada.id).prefetch_related("books__tags", "seat")
        assert [[tag.word for tag in book.tags] for book in author.books] == [["red"]]
        await author.fetch_related("books__author")
        assert author.books[0].author == ada
        raise_free = await Author.all()
        assert raise_free == [ada]


async def test_a_handler_of_signals_works_in_a_transaction_of_tortoises(postgresql_library: Library) -> None:
    @pre_save(Tag)
    async def note(sender: Any, instance: Tag, using_db: Any, update_fields: Any) -> None:
        await Author.create(name=f"for {instance.word}")

    try:
        with pytest.raises(LookupError):
            async with in_transaction():
                await Tag.create(word="red")
                raise LookupError
        assert await postgresql_library.titles() == []
        async with postgresql_library.manager.session().transaction():
            with pytest.raises(
                UsageError, match="belongs to the task"
            ):  # Tortoise calls handlers in tasks of their own
                await Tag.create(word="blue")
    finally:
        Tag._listeners[next(iter(Tag._listeners))].clear()
        for handlers in Tag._listeners.values():
            handlers.pop(Tag, None)


async def test_sessions_that_are_ended_by_hand(library: Library) -> None:
    session = await library.orm.create_session()
    await Author.create(name="committed")
    assert library.leased == 1
    await session.commit()
    with pytest.raises(UsageError, match="has ended"):
        await session.commit()
    await session.begin()
    with pytest.raises(UsageError, match="open"):
        await session.begin()
    await Author.create(name="rolled back", using_db=session.client)
    await session.rollback()
    await Author.create(name="outside")
    async with await library.orm.create_session() as another:
        await Author.create(name="forgotten")
        assert await library.orm.execute_query(Author.all().count()) == 3
    await another.close()
    assert await library.titles() == ["committed", "outside"]
    async with library.orm.transaction():
        inner = await library.orm.create_session()
        await Author.create(name="inside")
        await inner.commit()
        inner = await library.orm.create_session()
        await Author.create(name="not kept")
        await inner.close()
    assert await library.titles() == ["committed", "outside", "inside"]
    assert library.leased == 0


async def test_a_session_that_begins_by_itself_is_joined(library: Library) -> None:
    async with library.manager.session(autobegin=True) as session:
        await Author.create(name="Ada")
        await session.rollback()
        await Author.create(name="Bo")
    assert await library.titles() == ["Bo"]


async def test_a_plain_session_around_changes_nothing(library: Library) -> None:
    async with library.manager.session():
        await Author.create(name="Ada")
        with pytest.raises(LookupError):
            async with in_transaction():
                await Author.create(name="Bo")
                raise LookupError
    assert await library.titles() == ["Ada"]


async def test_a_commit_that_is_refused(postgresql_library: Library) -> None:
    await postgresql_library.manager.session().execute(
        "ALTER TABLE tt_book ALTER CONSTRAINT tt_book_author_id_fkey DEFERRABLE INITIALLY DEFERRED"
    )
    with pytest.raises(IntegrityError):
        async with in_transaction():
            await Book.create(title="of nobody", author_id=77)
    with pytest.raises(IntegrityError):
        session = await postgresql_library.orm.create_session()
        await Book.create(title="of nobody", author_id=77)
        await session.commit()
    assert await Book.all().count() == 0
    assert postgresql_library.leased == 0
    with pytest.raises(OperationalError):
        await get_connection("default").execute_query("nonsense")
