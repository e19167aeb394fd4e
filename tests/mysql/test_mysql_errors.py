"""Each kind of error, provoked for real."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiomysql
import pytest

from sillar import Isolation
from sillar.engines import TransactionOptions
from sillar.engines.mysql.connection import MySQLConnection
from sillar.engines.mysql.errors import server_error
from sillar.errors import (
    CheckViolationError,
    ConnectionLostError,
    DataError,
    DeadlockError,
    DiskFullError,
    ForeignKeyViolationError,
    LockTimeoutError,
    NotNullViolationError,
    ReadOnlyError,
    SerializationError,
    StatementSyntaxError,
    StatementTimeoutError,
    UniqueViolationError,
    UnknownStatementError,
)
from sillar.testing.servers import MySQLServer

Ask = Callable[..., Awaitable[Any]]
Table = Callable[[str], Awaitable[str]]
Open = Callable[..., Awaitable[MySQLConnection]]


async def test_constraints_are_named(connection: MySQLConnection, ask: Ask, table: Table, is_mariadb: bool) -> None:
    parent = await table("id INT PRIMARY KEY")
    child = await table(
        "id INT PRIMARY KEY, code VARCHAR(20) NOT NULL, parent INT, amount INT,"
        f" UNIQUE KEY one_code (code), CONSTRAINT has_parent_{parent} FOREIGN KEY (parent) REFERENCES {parent} (id),"
        f" CONSTRAINT positive_{parent} CHECK (amount > 0)"
    )
    await ask(connection, f"INSERT INTO {parent} VALUES (1)")
    await ask(connection, f"INSERT INTO {child} VALUES (:id, :code, 1, 1)", {"id": 1, "code": "it's a code"})

    with pytest.raises(UniqueViolationError) as unique:
        await ask(connection, f"INSERT INTO {child} VALUES (:id, :code, 1, 1)", {"id": 2, "code": "it's a code"})
    assert unique.value.constraint == "one_code"
    assert unique.value.code == 1062
    assert unique.value.table == (None if is_mariadb else child)
    assert unique.value.node == connection.address
    assert unique.value.__cause__ is not None
    with pytest.raises(UniqueViolationError) as primary:
        await ask(connection, f"INSERT INTO {parent} VALUES (:id)", {"id": 1})
    assert primary.value.constraint == "PRIMARY"

    with pytest.raises(ForeignKeyViolationError) as orphan:
        await ask(connection, f"INSERT INTO {child} VALUES (3, 'c', :parent, 1)", {"parent": 99})
    assert (orphan.value.constraint, orphan.value.table, orphan.value.column) == (
        f"has_parent_{parent}",
        child,
        "parent",
    )
    with pytest.raises(ForeignKeyViolationError) as referenced:
        await ask(connection, f"DELETE FROM {parent} WHERE id = :id", {"id": 1})
    assert referenced.value.constraint == f"has_parent_{parent}"

    with pytest.raises(NotNullViolationError) as null:
        await ask(connection, f"INSERT INTO {child} VALUES (4, :code, 1, 1)", {"code": None})
    assert null.value.column == "code"
    with pytest.raises(NotNullViolationError) as absent:
        await ask(connection, f"INSERT INTO {child} (id) VALUES (5)")
    assert absent.value.column == "code"

    with pytest.raises(CheckViolationError) as check:
        await ask(connection, f"INSERT INTO {child} VALUES (6, 'd', 1, :amount)", {"amount": -5})
    assert check.value.constraint == f"positive_{parent}"
    assert not any(error.value.safe_to_retry for error in (unique, orphan, null, check))


@pytest.mark.parametrize(
    ("sql", "position"),
    [
        ("selec 1", 1),
        ("SELECT *\n  FORM t WHERE a = :value", 12),
        ("SELECT :value, :value FORM t", 28),
        ("SELECT '%', :value FORM t", 25),
        ("SELECT 1 FROM", 14),
        ("SELECT 1 FROM ;", 14),
        ("SELECT nonsense FROM (SELECT 1 AS a) AS t", 8),
        ("SELECT 1 FROM nowhere WHERE 'ключ' = :value", 15),
        ("SELECT nofunction(1)", 8),
        ("SELECT a, a FROM (SELECT 1 AS b) AS t", None),
        ("SELECT (" + "1 + " * 60 + "1", 8 + 60 * 4 + 2),
    ],
)
async def test_syntax_errors_have_their_position(
    connection: MySQLConnection, ask: Ask, sql: str, position: int | None
) -> None:
    with pytest.raises(StatementSyntaxError) as error:
        await ask(connection, sql, {"value": "secret"} if ":value" in sql else None)
    assert error.value.position == position
    assert "secret" not in str(error.value)
    if position is not None:
        assert f"character {position}" in str(error.value)
    assert await ask(connection, "SELECT 1") == [(1,)]


async def test_positions_with_the_drivers_own_placeholders(connection: MySQLConnection, ask: Ask) -> None:
    with pytest.raises(StatementSyntaxError) as error:
        await ask(connection, "SELECT %s, '100%%' FORM t", [1])
    assert error.value.position == 25


async def test_deadlock(open_connection: Open, ask: Ask, table: Table) -> None:
    name = await table("id INT PRIMARY KEY, n INT")
    one, two = await open_connection(), await open_connection()
    await one.bulk_insert(name, ["id", "n"], [(1, 0), (2, 0)])
    await one.begin()
    await two.begin()
    await ask(one, f"UPDATE {name} SET n = 1 WHERE id = 1")
    await ask(two, f"UPDATE {name} SET n = 1 WHERE id = 2")
    first = asyncio.create_task(ask(one, f"UPDATE {name} SET n = 2 WHERE id = 2"))
    await asyncio.sleep(0.1)
    second = asyncio.create_task(ask(two, f"UPDATE {name} SET n = 2 WHERE id = 1"))
    outcomes = await asyncio.gather(first, second, return_exceptions=True)
    failed = [outcome for outcome in outcomes if isinstance(outcome, DeadlockError)]
    assert len(failed) == 1
    assert failed[0].safe_to_retry
    await one.rollback()
    await two.rollback()


async def test_lock_timeout_and_nowait(open_connection: Open, ask: Ask, table: Table) -> None:
    name = await table("id INT PRIMARY KEY")
    holder = await open_connection()
    waiter = await open_connection(connection_options={"lock_timeout": 1})
    await ask(holder, f"INSERT INTO {name} VALUES (1)")
    await holder.begin()
    await ask(holder, f"SELECT id FROM {name} WHERE id = 1 FOR UPDATE")
    with pytest.raises(LockTimeoutError, match="lock_timeout") as timeout:
        await ask(waiter, f"DELETE FROM {name} WHERE id = :id", {"id": 1})
    assert timeout.value.code == 1205
    assert timeout.value.safe_to_retry
    with pytest.raises(LockTimeoutError):
        await ask(waiter, f"SELECT id FROM {name} WHERE id = 1 FOR UPDATE NOWAIT")
    await holder.rollback()


async def test_statement_timeout_of_the_server(open_connection: Open, ask: Ask, table: Table, is_mariadb: bool) -> None:
    name = await table("n INT")
    limited = await open_connection(connection_options={"statement_timeout": 0.2})
    with pytest.raises(StatementTimeoutError) as error:
        await ask(
            limited,
            "SELECT COUNT(*) FROM information_schema.columns a, information_schema.columns b WHERE SLEEP(1) = 0",
        )
    assert error.value.code == (1969 if is_mariadb else 3024)
    with pytest.raises(StatementTimeoutError):  # not only SELECT: on MySQL by our own timer
        await ask(limited, f"INSERT INTO {name} SELECT 1 FROM information_schema.columns WHERE SLEEP(1) = 0")
    assert await ask(limited, f"SELECT COUNT(*) FROM {name}") == [(0,)]
    await limited.reset()
    with pytest.raises(StatementTimeoutError):
        await ask(
            limited,
            "SELECT COUNT(*) FROM information_schema.columns a, information_schema.columns b WHERE SLEEP(1) = 0",
        )


async def test_read_only(open_connection: Open, ask: Ask, table: Table, observer: aiomysql.Connection) -> None:
    name = await table("id INT")
    connection = await open_connection()
    await connection.begin(TransactionOptions(read_only=True))
    with pytest.raises(ReadOnlyError) as transaction:
        await ask(connection, f"INSERT INTO {name} VALUES (1)")
    assert transaction.value.code == 1792
    await connection.rollback()
    careful = await open_connection(read_only=True)
    for _ in range(2):
        with pytest.raises(ReadOnlyError):
            await ask(careful, f"INSERT INTO {name} VALUES (1)")
        await careful.reset()
    assert await ask(careful, f"SELECT COUNT(*) FROM {name}") == [(0,)]
    async with observer.cursor() as cursor:
        try:
            await cursor.execute("SET GLOBAL read_only = 1")
            with pytest.raises(ReadOnlyError) as server:
                await ask(connection, f"INSERT INTO {name} VALUES (:id)", {"id": 1})
            assert server.value.code == 1290
            status = await connection.probe()
            assert status.read_only
            assert status.role != "primary"
        finally:
            await cursor.execute("SET GLOBAL read_only = 0")


async def test_disk_full(server: MySQLServer, connection: MySQLConnection, ask: Ask, table: Table) -> None:
    """A MEMORY table that reaches its limit says what a full disk says."""
    name = await table("t CHAR(255)")
    await ask(connection, f"ALTER TABLE {name} ENGINE = MEMORY")
    await ask(connection, "SET max_heap_table_size = 16384")
    await ask(connection, f"ALTER TABLE {name} MAX_ROWS = 1")
    with pytest.raises(DiskFullError) as full:
        for _ in range(100):
            await connection.bulk_insert(name, ["t"], [("x",)] * 1000)
    assert full.value.code == 1114


async def test_unknown_errors_keep_their_number(connection: MySQLConnection, ask: Ask, table: Table) -> None:
    name = await table("id INT, short VARCHAR(3), d DATE")
    with pytest.raises(DataError) as long:
        await ask(connection, f"INSERT INTO {name} VALUES (1, :v, NULL)", {"v": "too long"})
    assert (long.value.code, long.value.column) == (1406, "short")
    with pytest.raises(DataError) as wrong:
        await ask(connection, f"INSERT INTO {name} VALUES (1, NULL, :v)", {"v": "2020-13-41"})
    assert (wrong.value.code, wrong.value.column) == (1292, "d")
    assert "2020-13" not in str(wrong.value)
    with pytest.raises(UnknownStatementError) as privilege:
        await ask(connection, "SELECT * FROM mysql.user")
    assert privilege.value.code == 1142


async def test_a_session_that_the_server_ends(
    connection: MySQLConnection, ask: Ask, observer: aiomysql.Connection
) -> None:
    async def kill_soon() -> None:
        await asyncio.sleep(0.2)
        async with observer.cursor() as cursor:
            await cursor.execute(f"KILL {connection.server_id}")

    killing = asyncio.create_task(kill_soon())
    with pytest.raises(ConnectionLostError) as lost:
        await ask(connection, "SELECT COUNT(*) FROM information_schema.tables WHERE SLEEP(5) = 1")
    assert lost.value.safe_to_retry, "a read can be repeated"
    await killing
    assert connection.is_closed()
    with pytest.raises(ConnectionLostError):
        await ask(connection, "SELECT 1")


async def test_serialization_failure(open_connection: Open, ask: Ask, table: Table, is_mariadb: bool) -> None:
    """Under SERIALIZABLE both servers lock what was read: two that both go on to write deadlock."""
    name = await table("id INT PRIMARY KEY, n INT")
    one, two = await open_connection(), await open_connection()
    await ask(one, f"INSERT INTO {name} VALUES (1, 0)")
    for each in (one, two):
        await each.begin(TransactionOptions(isolation=Isolation.SERIALIZABLE))
        assert await ask(each, f"SELECT n FROM {name} WHERE id = 1") == [(0,)]
    first = asyncio.create_task(ask(one, f"UPDATE {name} SET n = n + 1"))
    await asyncio.sleep(0.1)
    outcomes = await asyncio.gather(first, ask(two, f"UPDATE {name} SET n = n + 1"), return_exceptions=True)
    failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert [type(error) for error in failed] == [DeadlockError]
    await one.rollback()
    await two.rollback()


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (1020, "Record has changed since last read in table 't'; try restarting transaction", SerializationError),
        (1180, "Got error 149 'Lock deadlock; Retry transaction' during COMMIT", SerializationError),
        (1180, "Got error 5 'Out of memory' during COMMIT", UnknownStatementError),
        (1836, "Running in read-only mode", ReadOnlyError),
        (3100, "Error on observer while running replication hook 'before_commit'.", ReadOnlyError),
        (3, "Error writing file '/x' (Errcode: 28 - No space left on device)", DiskFullError),
        (1021, "Disk full (/x); waiting for someone to free some space...", DiskFullError),
    ],
)
def test_errors_that_need_another_deployment(code: int, message: str, kind: type[Exception]) -> None:
    """Group replication, Galera and a really full disk are not at hand; their numbers are from the manuals."""
    error = server_error(code, message)
    assert type(error) is kind
    assert error.code == code
