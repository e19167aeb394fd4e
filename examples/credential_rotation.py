"""A password is replaced three times while requests go on: two users take turns, and nobody is refused.

The secret lives in an encrypted file here. Whoever may change passwords is in ``SILLAR_EXAMPLE_ADMIN_URL``.
"""

import asyncio
import os
import tempfile

from pydantic import SecretStr

from sillar import DatabaseConfig, DatabaseConnectionConfig, DatabaseCredentials, DatabaseManager
from sillar.security import (
    AlternatingUsersRotation,
    DatabaseCredentialManager,
    EncryptedStoreSource,
    StoreKeys,
    secret_text,
)

ADMIN_URL = os.environ["SILLAR_EXAMPLE_ADMIN_URL"]
USERS = ("example_a", "example_b")


async def main() -> None:
    admin = DatabaseConfig.from_url(ADMIN_URL).connection()
    async with DatabaseManager.from_url(ADMIN_URL) as manager:
        for user in USERS:
            await manager.session().execute(f"DROP ROLE IF EXISTS {user}")
            await manager.session().execute(f"CREATE ROLE {user} LOGIN PASSWORD 'first'")

    with tempfile.TemporaryDirectory() as folder:
        store = EncryptedStoreSource(f"{folder}/secrets", StoreKeys.from_text(StoreKeys.generate("2026-11")))
        first = admin.credentials.model_copy(update={"user": USERS[0], "password": SecretStr("first")})
        await store.write("shop/database", secret_text(first))

        config = DatabaseConfig(
            databases={
                "default": DatabaseConnectionConfig(
                    engine=admin.engine,
                    host=admin.host,
                    port=admin.port,
                    database=admin.database,
                    credentials=DatabaseCredentials(password_secret="shop/database"),
                )
            }
        )
        rotation = AlternatingUsersRotation(admin, USERS, administrator=admin.credentials)
        credentials = DatabaseCredentialManager(store, rotations={"default": rotation})
        async with DatabaseManager(config, secrets=credentials) as manager:
            await serve_and_rotate(manager, credentials)


async def serve_and_rotate(manager: DatabaseManager, credentials: DatabaseCredentialManager) -> None:
    served = failed = 0
    over = asyncio.Event()

    async def requests() -> None:
        nonlocal served, failed
        while not over.is_set():
            try:
                await manager.session().fetch_value("SELECT 1")
                served += 1
            except Exception:
                failed += 1

    workers = [asyncio.create_task(requests()) for _ in range(4)]
    for _ in range(3):
        await credentials.rotate_credentials("default")
        print("now:", await manager.session().fetch_value("SELECT session_user"))
    over.set()
    await asyncio.gather(*workers)
    print(f"served: {served > 0}, failed: {failed}")


asyncio.run(main())
