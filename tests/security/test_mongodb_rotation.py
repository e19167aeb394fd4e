"""The login of MongoDB's driver changes while commands, transactions and cursors are under way.

The server is the stand-in unless a real one is there: its users are its own, and it does not tie sessions to users as
MongoDB does.
"""

from __future__ import annotations

import asyncio
from typing import Any

from structlog.testing import capture_logs
from tests.security.load import under_load
from tests.security.users import Safe, administrator, configured, database, login, new_user, set_password

from sillar import DatabaseManager, DatabaseSession
from sillar.engines import open_adapter
from sillar.errors import AuthenticationError, DatabaseError
from sillar.query.document import DocumentCommand
from sillar.security.credential_manager import DatabaseCredentialManager
from sillar.security.rotation import AlternatingUsersRotation, CredentialRotation, SameUserRotation
from sillar.testing.servers import MongoDBServer

COUNT = DocumentCommand("rotation", "count", {"filter": {}})


async def count(session: DatabaseSession) -> None:
    await session.execute(COUNT)


async def transact(session: DatabaseSession) -> None:
    async with session.transaction():
        await session.execute(COUNT)
        await asyncio.sleep(0.005)
        await session.execute(COUNT)


def managed(safe: Safe, rotation: CredentialRotation | None = None) -> DatabaseCredentialManager:
    rotations = {} if rotation is None else {"default": rotation}
    return DatabaseCredentialManager(safe, rotations=rotations, poll_seconds=0.05)


async def rotate_under_load(server: MongoDBServer, safe: Safe, rotation: CredentialRotation, times: int) -> None:
    credentials = managed(safe, rotation)
    async with DatabaseManager(configured(server, max_connections=3), secrets=credentials) as manager:
        client = manager.pools["default"].client  # type: ignore[attr-defined]
        async with under_load(manager, count, transact, workers=2) as load:
            for _ in range(times):
                await credentials.rotate_credentials("default")
                await load.more(6)
            assert manager.pools["default"].client is client  # type: ignore[attr-defined]
        assert load.failures == []
        stats = manager.pools["default"].stats()
        assert stats.opened_total > times


async def test_passwords_of_one_user(mongodb: MongoDBServer) -> None:
    user = await new_user(mongodb)
    rotation = SameUserRotation(database(mongodb), administrator=administrator(mongodb))
    await rotate_under_load(mongodb, Safe(main=login(user, "first")), rotation, 12)


async def test_two_users_take_turns(mongodb: MongoDBServer) -> None:
    users = [await new_user(mongodb), await new_user(mongodb)]
    rotation = AlternatingUsersRotation(database(mongodb), users, administrator=administrator(mongodb))
    await rotate_under_load(mongodb, Safe(main=login(users[0], "first")), rotation, 6)


async def test_a_password_changed_elsewhere_is_found_within_the_request(mongodb: MongoDBServer) -> None:
    user = await new_user(mongodb)
    safe = Safe(main=login(user, "first"))
    credentials = DatabaseCredentialManager(safe, refresh_seconds=3600)
    async with DatabaseManager(configured(mongodb), secrets=credentials) as manager:
        await count(manager.session())
        for turn in range(3):
            await set_password(mongodb, user, f"pw{turn}")
            safe.values["main"] = login(user, f"pw{turn}")
            await drop_sockets(manager)
            await asyncio.gather(*(count(manager.session()) for _ in range(6)))


async def test_a_password_is_found_at_the_start(mongodb: MongoDBServer) -> None:
    user = await new_user(mongodb)

    class Late(Safe):
        async def get_secret(self, name: str) -> str:
            value = await super().get_secret(name)
            self.values[name] = login(user, "first")
            return value

    async with DatabaseManager(configured(mongodb), secrets=Late(main=login(user, "old"))) as manager:
        await count(manager.session())


async def test_a_wrong_password_is_tried_once_per_back_off_and_healed(mongodb: MongoDBServer) -> None:
    user = await new_user(mongodb)
    safe = Safe(main=login(user, "first"))
    config = configured(mongodb, backoff_initial=0.3, backoff_max=0.6, max_connections=2)
    async with DatabaseManager(config, secrets=managed(safe)) as manager:
        await count(manager.session())
        await set_password(mongodb, user, "second")
        before = await refused_logins(mongodb)
        await drop_sockets(manager)
        started, failed = asyncio.get_running_loop().time(), 0
        with capture_logs() as logs:
            while sum(each["event"] == "login refused" for each in logs) < 3:
                results = await asyncio.gather(
                    *(manager.session().execute(COUNT) for _ in range(10)), return_exceptions=True
                )
                failed += sum(isinstance(each, AuthenticationError) for each in results)
                assert all(isinstance(each, DatabaseError) for each in results)
                await asyncio.sleep(0.02)
                assert asyncio.get_running_loop().time() < started + 30
        assert failed >= 10
        passed = asyncio.get_running_loop().time() - started
        refused = await refused_logins(mongodb) - before
        assert 2 <= refused <= 6 + passed / 0.15
        safe.values["main"] = login(user, "second")
        async with asyncio.timeout(10):
            while True:
                try:
                    await count(manager.session())
                    break
                except DatabaseError:
                    await asyncio.sleep(0.02)


async def test_a_source_that_is_down_when_the_login_changes(mongodb: MongoDBServer) -> None:
    user = await new_user(mongodb)

    class Fragile(Safe):
        is_down = False

        async def get_secret(self, name: str) -> str:
            if self.is_down:
                raise OSError("away")
            return await super().get_secret(name)

    safe = Fragile(main=login(user, "first"))
    credentials = DatabaseCredentialManager(safe, refresh_seconds=0, grace_seconds=0)
    async with DatabaseManager(configured(mongodb), secrets=credentials) as manager:
        source: Any = manager.pools["default"]
        await count(manager.session())
        safe.is_down = True
        with capture_logs() as logs:
            source.clear("a test")
            source.clear("a test")  # while the first is under way
            await count(manager.session())
        assert [each["event"] for each in logs].count("login not changed") >= 1


async def drop_sockets(manager: DatabaseManager) -> None:
    """Have the driver close its sockets, as a server that was restarted would."""
    raw: Any = manager.pools["default"].client.raw  # type: ignore[attr-defined]
    for server in raw._topology._servers.values():
        await server.pool.reset_without_pause()


async def refused_logins(server: MongoDBServer) -> int:
    connection = await open_adapter(database(server)).open_connection(administrator(server))
    status = await connection.raw.admin.command("serverStatus")
    await connection.close()
    counts = status["security"]["authentication"]["mechanisms"]["SCRAM-SHA-256"]["authenticate"]
    return int(counts["received"] - counts["successful"])
