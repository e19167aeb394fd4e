"""Transactions, savepoints, isolation, and what is all or nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sillar import DatabaseManager, Isolation
from sillar.engines import TransactionOptions
from sillar.engines.mysql.connection import MySQLConnection
from sillar.errors import ParameterError, UniqueViolationError, UnsupportedCapabilityError

Ask = Callable[..., Awaitable[Any]]
Table = Callable[[str], Awaitable[str]]
Open = Callable[..., Awaitable[MySQLConnection]]


async def test_commit_rollback_and_savepoints(open_connection: Open, ask: Ask, table: Table) -> None:
    name = await table("id INT PRIMARY KEY")
    mine, other = await open_connection(), await open_connection()
    await mine.begin()
    assert mine.in_transaction
    await ask(mine, f"INSERT INTO {name} VALUES (1)")
    assert await ask(other, f"SELECT COUNT(*) FROM {name}") == [(0,)]
    await mine.savepoint("a `b`")
    await ask(mine, f"INSERT INTO {name} VALUES (2)")
    await mine.rollback_to_savepoint("a `b`")
    await mine.savepoint("kept")
    await ask(mine, f"INSERT INTO {name} VALUES (3)")
    await mine.release_savepoint("kept")
    await mine.commit()
    assert not mine.in_transaction
    assert await ask(other, f"SELECT id FROM {name} ORDER BY id") == [(1,), (3,)]
    await mine.begin()
    await ask(mine, f"DELETE FROM {name}")
    await mine.rollback()
    assert await ask(mine, f"SELECT COUNT(*) FROM {name}") == [(2,)]
    await ask(mine, f"DELETE FROM {name}")
    assert await ask(other, f"SELECT COUNT(*) FROM {name}") == [(0,)], "autocommit again"


@pytest.mark.parametrize("level", list(Isolation))
async def test_isolation_holds_for_one_transaction(
    open_connection: Open, ask: Ask, table: Table, level: Isolation
) -> None:
    """Seen by what the levels do, since a server does not show the level of the running transaction."""
    name = await table("id INT PRIMARY KEY, n INT")
    mine, other = await open_connection(), await open_connection(connection_options={"lock_timeout": 1})
    await ask(mine, f"INSERT INTO {name} VALUES (1, 0)")
    await mine.begin(TransactionOptions(isolation=level))
    assert await ask(mine, f"SELECT n FROM {name}") == [(0,)]
    await other.begin()
    if level is Isolation.SERIALIZABLE:
        with pytest.raises(Exception, match="lock"):
            await ask(other, f"UPDATE {name} SET n = 1")
        await other.rollback()
    else:
        await ask(other, f"UPDATE {name} SET n = 1")
        uncommitted = 1 if level is Isolation.READ_UNCOMMITTED else 0
        assert await ask(mine, f"SELECT n FROM {name}") == [(uncommitted,)]
        await other.commit()
        committed = 0 if level is Isolation.REPEATABLE_READ else 1
        assert await ask(mine, f"SELECT n FROM {name}") == [(committed,)]
    await mine.commit()
    await mine.begin()  # the next one has the server's default again: repeatable read
    before = await ask(mine, f"SELECT n FROM {name}")
    await ask(other, f"UPDATE {name} SET n = 7")
    assert await ask(mine, f"SELECT n FROM {name}") == before
    await mine.rollback()


async def test_local_settings_are_refused(connection: MySQLConnection) -> None:
    with pytest.raises(UnsupportedCapabilityError, match="settings"):
        await connection.begin(TransactionOptions(settings=(("a", "b"),)))


@pytest.mark.parametrize("inside", [False, True])
async def test_many_are_all_or_nothing(open_connection: Open, ask: Ask, table: Table, inside: bool) -> None:
    name = await table("id INT PRIMARY KEY, t TEXT")
    connection, other = await open_connection(), await open_connection()
    insert, _ = connection_statement(f"INSERT INTO {name} (id, t) VALUES (%s, %s)")
    update, _ = connection_statement(f"UPDATE {name} SET id = %s WHERE id = %s")
    if inside:
        await connection.begin()
        await ask(connection, f"INSERT INTO {name} VALUES (-1, 'before')")
    rows = [(number, "x" * 300) for number in range(9_000)]  # several chunks
    with pytest.raises(UniqueViolationError):
        await connection.run_many(insert, [*rows, (8_999, "again")])
    with pytest.raises(UniqueViolationError):
        await connection.bulk_insert(name, ["id", "t"], [*rows, (0, "again")])
    with pytest.raises(ParameterError, match="row 9001"):
        await connection.bulk_insert(name, ["id", "t"], [*rows, (0,)])
    with pytest.raises(ParameterError, match="parameter :t"):
        await connection.bulk_insert(name, ["id", "t"], [*rows, (9_001, float("nan"))])
    assert await ask(connection, f"SELECT COUNT(*) FROM {name}") == [(1 if inside else 0,)]
    assert await connection.run_many(insert, rows) == 9_000
    with pytest.raises(UniqueViolationError):
        await connection.run_many(update, [(-10, 0), (-11, 1), (2, 3)])
    assert await connection.run_many(update, [(-10, 0), (-11, 1)]) == 2
    if inside:
        assert await ask(other, f"SELECT COUNT(*) FROM {name}") == [(0,)]
        await connection.commit()
    assert await ask(other, f"SELECT COUNT(*) FROM {name}") == [(9_001 if inside else 9_000,)]
    assert await ask(other, f"SELECT MIN(id) FROM {name}") == [(-11,)]


def connection_statement(sql: str) -> Any:
    from sillar.query.text import LexicalRules, Placeholder, StatementTexts

    return StatementTexts(LexicalRules(Placeholder.FORMAT, backslash_escapes=True)).bound(sql, None)


async def test_sessions_nest(open_manager: Callable[..., Awaitable[DatabaseManager]], table: Table) -> None:
    name = await table("id INT PRIMARY KEY")
    session = (await open_manager()).session()
    async with session.transaction(isolation=Isolation.READ_COMMITTED):
        await session.execute(f"INSERT INTO {name} VALUES (1)")
        with pytest.raises(UniqueViolationError):
            async with session.transaction():
                await session.execute(f"INSERT INTO {name} VALUES (2)")
                await session.execute(f"INSERT INTO {name} VALUES (1)")
        await session.execute(f"INSERT INTO {name} VALUES (3)")
    assert await session.fetch_all(f"SELECT id FROM {name} ORDER BY id", into=int) == [1, 3]
