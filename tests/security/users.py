"""Users of real servers whose passwords may be changed, and who keeps them."""

from __future__ import annotations

import json
import secrets
from typing import Any

from pydantic import SecretStr

from sillar.config import DatabaseConfig, DatabaseConnectionConfig, DatabaseCredentials
from sillar.engines import open_adapter
from sillar.errors import AuthenticationError
from sillar.testing.servers import MongoDBServer, PostgreSQLServer


class Safe:
    """A secrets manager of a host that can be written."""

    def __init__(self, **values: str) -> None:
        self.values = values

    async def get_secret(self, name: str) -> str:
        return self.values[name]

    async def set_secret(self, name: str, value: str) -> None:
        self.values[name] = value


def login(user: str, password: str) -> str:
    """What is stored for a user."""
    return json.dumps({"username": user, "password": password})


def administrator(server: Any) -> DatabaseCredentials:
    """Who may change passwords there."""
    if isinstance(server, MongoDBServer):
        return DatabaseCredentials(user=server.user, password=SecretStr(server.password))
    return DatabaseCredentials(user=server.superuser, password=SecretStr(server.superuser_password))


def database(server: Any) -> DatabaseConnectionConfig:
    """The server's database, as it is configured."""
    return DatabaseConfig.from_url(server.url).connection()


def configured(server: Any, *, secret: str | None = "main", tls: Any = None, **pool: Any) -> DatabaseConfig:
    """A configuration of the database ``default``, whose login is the secret ``main``."""
    plain = database(server)
    settings: dict[str, Any] = {
        "engine": plain.engine,
        "host": plain.host,
        "port": plain.port,
        "database": plain.database,
        "credentials": {"password_secret": secret} if secret else plain.credentials,
        "connection_options": plain.connection_options,
    }
    if tls is not None:
        settings["ssl_config"] = tls
    return DatabaseConfig(databases={"default": settings}, connection_pools={"max_connections": 6} | pool)


async def new_user(server: Any, password: str = "first") -> str:
    """A user with all rights in the server's database; its name."""
    user = f"u_{secrets.token_hex(4)}"
    if isinstance(server, PostgreSQLServer):
        await server.execute_as_superuser(f"CREATE ROLE {user} LOGIN PASSWORD '{password}' IN ROLE {server.user}")
    elif isinstance(server, MongoDBServer):
        connection = await open_adapter(database(server)).open_connection(administrator(server))
        await connection.raw.admin.command("createUser", user, pwd=password, roles=["root"])
        await connection.close()
    else:
        for host in ("%", "127.0.0.1"):
            await server.execute_as_superuser(f"CREATE USER '{user}'@'{host}' IDENTIFIED BY '{password}'")
            await server.execute_as_superuser(f"GRANT ALL ON {server.database}.* TO '{user}'@'{host}'")
    return user


async def set_password(server: Any, user: str, password: str, *, keep_old: bool = False) -> bool:
    """Change it as an administrator; whether the old one still works."""
    adapter = open_adapter(database(server))
    connection = await adapter.open_connection(administrator(server))
    try:
        return await adapter.accounts.change_password(connection, user, password, keep_old=keep_old)
    finally:
        await connection.close()


async def may_log_in(server: Any, user: str, password: str) -> bool:
    """Whether the server lets that user in."""
    adapter = open_adapter(database(server))
    try:
        connection = await adapter.open_connection(DatabaseCredentials(user=user, password=SecretStr(password)))
    except AuthenticationError:
        return False
    await connection.close()
    return True
