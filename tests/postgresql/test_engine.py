"""What is PostgreSQL's own: COPY, PgBouncer, kept statements, sockets, and the private names of asyncpg that are relied
on."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.postgresql.sessions import OpenManager, ended, sessions

from sillar import DatabaseConfig, DatabaseManager, Json
from sillar.engines.postgresql import PostgreSQLAdapter
from sillar.engines.postgresql import session as private
from sillar.errors import (
    AuthenticationError,
    DataError,
    ParameterError,
    StatementSyntaxError,
    TransientStatementError,
    UniqueViolationError,
)
from sillar.testing.servers import PostgreSQLServer


async def test_copy_streams_out_and_in(manager: DatabaseManager) -> None:
    session = manager.session()
    await session.execute("DROP TABLE IF EXISTS copied")
    await session.execute("CREATE TABLE copied (id int PRIMARY KEY, name text)")
    pieces: list[bytes] = []

    async def write(data: bytes) -> None:
        pieces.append(data)

    assert await session.copy_out("SELECT n, 'name ' || n FROM generate_series(1, 1000) AS n", write) == 1000
    data = b"".join(pieces)
    assert data.startswith(b"1\tname 1\n2\tname 2\n")

    async def source() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 777):  # cut anywhere
            yield data[start : start + 777]

    assert await session.copy_in("copied", ["id", "name"], source()) == 1000
    assert await session.fetch_value("SELECT name FROM copied WHERE id = 999") == "name 999"
    with pytest.raises(UniqueViolationError):
        await session.copy_in("copied", ["id", "name"], source())
    assert await session.fetch_value("SELECT count(*) FROM copied") == 1000
    await session.execute("DROP TABLE copied")


async def test_bulk_insert_is_all_or_nothing_and_encodes_json(manager: DatabaseManager) -> None:
    session = manager.session()
    await session.execute("DROP TABLE IF EXISTS bulk")
    await session.execute('CREATE TABLE bulk ("Id" int PRIMARY KEY, data jsonb, tags text[])')
    rows = [(1, {"a": 1}, ["x"]), (2, Json("text"), []), (3, None, None)]
    assert await session.bulk_insert("public.bulk", ["Id", "data", "tags"], rows) == 3
    assert await session.fetch_all('SELECT * FROM bulk ORDER BY "Id"') == [
        {"Id": 1, "data": {"a": 1}, "tags": ["x"]},
        {"Id": 2, "data": "text", "tags": []},
        {"Id": 3, "data": None, "tags": None},
    ]
    with pytest.raises(UniqueViolationError):
        await session.bulk_insert("bulk", ["Id"], [(4,), (5,), (1,)])
    assert await session.fetch_value("SELECT count(*) FROM bulk") == 3
    await session.execute("DROP TABLE bulk")


@asynccontextmanager
async def pgbouncer(server: PostgreSQLServer, folder: Path) -> AsyncIterator[int]:
    """A real PgBouncer in transaction mode in front of the server; yields its port."""
    user, _, password = server.url.removeprefix("postgresql://").split("@")[0].partition(":")
    database = server.url.rpartition("/")[2]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "users.txt").write_text(f'"{user}" "{password}"\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n{database} = host={server.host} port={server.port} dbname={database}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = md5\n"
        f"auth_file = {folder / 'users.txt'}\npool_mode = transaction\ndefault_pool_size = 3\nunix_socket_dir =\n"
    )
    command = [shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin") or "pgbouncer"]
    if os.geteuid() == 0:
        folder.parent.chmod(0o755)
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, "postgres")
        command += ["-u", "postgres"]
    process = await asyncio.create_subprocess_exec(
        *command, str(folder / "pgbouncer.ini"), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(10):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except ConnectionError:
                    await asyncio.sleep(0.02)
                    continue
                writer.close()
                break
        yield port
    finally:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:  # newer ones wait for their clients
            process.kill()
            await process.wait()


async def test_the_preset_for_pgbouncer_keeps_nothing_on_a_server_session(
    postgresql: PostgreSQLServer, open_manager: OpenManager, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("pgbouncer")
    for parent in (folder, *folder.parents[:2]):  # the third is the machine's own temporary folder
        if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
            parent.chmod(0o755)
    async with pgbouncer(postgresql, folder) as port:
        url = postgresql.url.replace(f":{postgresql.port}/", f":{port}/")
        manager = await open_manager(
            url=url, options={"pgbouncer": True}, pool={"min_connections": 10, "max_connections": 10}
        )
        session = manager.session()

        async def use(number: int) -> Any:
            if number % 5 == 0:
                async with manager.session().transaction() as transaction:
                    return await transaction.fetch_value("SELECT :number::int + 1", {"number": number})
            return await session.fetch_value("SELECT :number::int + 1", {"number": number})

        assert await asyncio.gather(*(use(number) for number in range(300))) == list(range(1, 301))
        assert await session.fetch_value("SELECT count(*) FROM pg_prepared_statements") == 0


async def test_statements_stay_prepared_up_to_a_bound(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 1}, options={"prepared_statements": 3})
    session = manager.session()
    for number in range(10):
        await session.fetch_value(f"SELECT {number}")
    assert await session.fetch_value("SELECT count(*) FROM pg_prepared_statements") <= 5
    connection = manager.pools["default"].try_acquire()
    assert connection is not None
    assert len(connection._prepared) == 3  # type: ignore[attr-defined]
    manager.pools["default"].release_connection(connection)


async def test_a_table_changed_by_somebody_else_is_met_with_a_new_plan(
    open_manager: OpenManager, observer: asyncpg.Connection
) -> None:
    manager = await open_manager(pool={"max_connections": 1})
    session = manager.session()
    await session.execute("DROP TABLE IF EXISTS altered")
    await session.execute("CREATE TABLE altered (id int)")
    await session.execute("INSERT INTO altered VALUES (1)")
    assert await session.fetch_one("SELECT * FROM altered") == {"id": 1}
    await session.execute("ALTER TABLE altered ADD name text DEFAULT 'new'")
    assert await session.fetch_one("SELECT * FROM altered") == {"id": 1, "name": "new"}
    async with session.transaction():
        await session.execute("SELECT 1")
    await session.execute("ALTER TABLE altered DROP name")
    with pytest.raises(TransientStatementError, match="run the transaction again"):
        async with session.transaction():
            await session.fetch_one("SELECT * FROM altered")
    assert await session.fetch_one("SELECT * FROM altered") == {"id": 1}
    await session.execute("DROP TABLE altered")


async def test_a_unix_socket_and_a_source_address(postgresql: PostgreSQLServer) -> None:
    user, password = postgresql.url.removeprefix("postgresql://").split("@")[0].split(":")
    database = postgresql.url.rpartition("/")[2]
    by_socket = {
        "engine": "postgresql",
        "unix_socket": str(postgresql.socket_folder),
        "port": postgresql.port,
        "database": database,
        "credentials": {"user": user, "password": password},
    }
    async with DatabaseManager(DatabaseConfig(databases={"default": by_socket})) as manager:
        assert await manager.session().fetch_value("SELECT inet_client_addr()") is None
    overrides = {"databases": {"default": {"source_address": "127.0.0.7"}}}
    manager = DatabaseManager.from_url(postgresql.url, overrides=overrides)
    with pytest.raises(
        AuthenticationError, match=r"127\.0\.0\.7"
    ):  # the server lets 127.0.0.1 in alone: it saw the address
        await manager.initialize()


async def test_the_session_contract_is_kept(open_manager: OpenManager) -> None:
    manager = await open_manager(
        pool={"max_connections": 1},
        options={"search_path": "pg_catalog", "lock_timeout": 3, "server_settings": {"work_mem": "7MB"}},
    )
    session = manager.session()
    for _ in range(2):
        settings = await session.fetch_one(
            "SELECT current_setting('timezone') AS zone, current_setting('search_path') AS path,"
            " current_setting('lock_timeout') AS lock, current_setting('work_mem') AS memory"
        )
        assert settings == {"zone": "UTC", "path": "pg_catalog", "lock": "3s", "memory": "7MB"}
        await session.execute("SET timezone = 'Asia/Tokyo'; SET search_path = public; SET work_mem = '1MB'")


async def test_positions_count_in_the_statement_as_it_was_written(manager: DatabaseManager) -> None:
    statement = "SELECT :first::int, :second::int, :first::int FORM nowhere"
    with pytest.raises(StatementSyntaxError) as caught:
        await manager.session().execute(statement, {"first": 1, "second": 2})
    position = caught.value.position
    assert position is not None
    assert statement[position - 1 :].startswith(("FORM", "nowhere"))


async def test_a_value_of_the_wrong_type_is_named_without_the_value(manager: DatabaseManager) -> None:
    with pytest.raises(ParameterError) as caught:
        await manager.session().execute("SELECT :number::int", {"number": "my-secret"})
    assert "$1" in str(caught.value)
    assert "my-secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "statement",
    ["SELECT 'my-secret'::int", "SELECT 1 / 0", "SELECT '99999999999'::int", "SELECT 3000000000::int"],
)
async def test_a_value_that_does_not_fit_is_a_data_error_without_the_value(
    manager: DatabaseManager, statement: str
) -> None:
    with pytest.raises(DataError) as caught:
        await manager.session().execute(statement)
    assert caught.value.code is not None
    assert "secret" not in str(caught.value)
    assert "99999999999" not in str(caught.value)


async def test_an_adapter_alone(postgresql: PostgreSQLServer, application: str, observer: asyncpg.Connection) -> None:
    overrides = {"databases": {"default": {"connection_options": {"application_name": application}}}}
    adapter = PostgreSQLAdapter(DatabaseConfig.from_url(postgresql.url, overrides=overrides).connection())
    raw = await adapter.connect()
    assert isinstance(raw, asyncpg.Connection)
    await raw.close()
    assert (await adapter.execute_query("SELECT $1::int AS one", [1])).rows[0]["one"] == 1
    transaction = await adapter.begin_transaction()
    assert transaction.in_transaction
    await transaction.rollback()
    await transaction.close()
    await ended(observer, application, but=1)
    assert len(await sessions(observer, application)) == 1
    await adapter.close()
    await ended(observer, application)


async def test_the_private_names_of_asyncpg_are_there(postgresql: PostgreSQLServer) -> None:
    """The contract test of ``engines/postgresql/session.py``: run at the lowest and the highest supported version."""
    connection = await asyncpg.connect(postgresql.url, connection_class=private.GatedConnection)
    try:
        statement = await connection.prepare("SELECT $1::int")
        rows, status, _ = await private.executor(connection)(private.state(statement), [7], "", 0, True, None)
        assert (rows[0][0], status) == (7, b"SELECT 1")
        transaction = private.PreludeTransaction(
            connection, "serializable", True, " SELECT set_config('app.x', 'y', true);"
        )
        await transaction.start()
        assert await connection.fetchval(
            "SELECT current_setting('app.x') || current_setting('transaction_isolation')"
        ) == ("yserializable")
        private.forget_transaction(connection)
        await connection.execute("ROLLBACK")
        connection.sillar_gate = asyncio.Semaphore(1)
        with pytest.raises(TimeoutError):
            await connection.execute("SELECT pg_sleep(60)", timeout=0.05)
        await private.settled(connection)
        assert await connection.fetchval("SELECT 1") == 1
    finally:
        await connection.close()
