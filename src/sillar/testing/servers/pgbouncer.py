"""Throwaway PgBouncer poolers in front of PostgreSQL servers."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from sillar.testing.servers.installation import Installation, find_pgbouncer
from sillar.testing.servers.postgresql import PostgreSQLServer
from sillar.testing.servers.server import Server

if TYPE_CHECKING:
    from sillar.testing.servers.certificates import ServerCertificate

DEFAULT_SETTINGS = {
    "pool_mode": "transaction",
    "max_client_conn": "1000",
    "default_pool_size": "20",
    "ignore_startup_parameters": "extra_float_digits",
    # How soon it tries again to reach a server that refused (15 s otherwise).
    "server_login_retry": "0.2",
}
ADMINISTRATOR = "sillar_pooler"


class PgBouncerServer(Server):
    """A throwaway PgBouncer in transaction mode, in front of one PostgreSQL server.

    Passwords are looked up in that server (``auth_query``), so one that is changed there is known here as well.
    ``restart()`` cuts every client, as an upgrade of a pooler does.

    Args:
        target: the server behind it; None for one of its own, which ends with it.
        settings: entries of the section ``[pgbouncer]`` of ``pgbouncer.ini``.
        tls: clients may then speak TLS.

    Attributes:
        target: the server behind it.

    The other attributes are those of `Server`. It is never taken from the environment.
    """

    product = "PgBouncer"
    system_user = "postgres"
    url_variable = ""

    def __init__(
        self,
        target: PostgreSQLServer | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        tls: bool | ServerCertificate = False,
    ) -> None:
        super().__init__(settings=settings, tls=tls, own=True)
        self.target = target or PostgreSQLServer(own=True)
        self._owns_target = target is None
        self._administrator_password = secrets.token_hex(12)

    @property
    def url(self) -> str:
        """The address of the target's plain user and database through the pooler; ``pgbouncer=true`` is for Sillar."""
        target = self.target
        login = f"{quote(target.user, safe='')}:{quote(target.password, safe='')}"
        return f"postgresql://{login}@{self.host}:{self.port}/{quote(target.database, safe='')}?pgbouncer=true"

    async def point_to(self, target: PostgreSQLServer) -> None:
        """Send what comes to another server from now on, after a failover; connections to the former one end when idle.

        The other server has to know the same users, as a replica does.
        """
        process = self._require_process("point_to")
        self.target, self._owns_target = target, False
        await asyncio.to_thread(self._configure)
        await process.signal(signal.SIGHUP)

    async def start(self) -> None:
        """Start it; the first time, the server of its own before it."""
        if self._owns_target and self._folder is None:
            await self.locate()
            await self.target.start()
        await super().start()

    async def revive(self) -> None:
        """Start again what does not run: itself, the server of its own."""
        if self._owns_target:
            await self.target.revive()
        await super().revive()

    async def close(self) -> None:
        """End it for good, and the server of its own."""
        await super().close()
        if self._owns_target:
            await self.target.close()

    def _find(self) -> Installation:
        return find_pgbouncer()

    async def _create(self) -> None:
        self._configure()

    def _configure(self) -> None:
        target = self.target
        users = {ADMINISTRATOR: self._administrator_password, target.superuser: target.superuser_password}
        list_of_users = self._path / "users.txt"
        list_of_users.write_text("".join(f'"{user}" "{password}"\n' for user, password in users.items()))
        own = {
            "listen_addr": self.host,
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": str(list_of_users),
            "auth_user": target.superuser,
            "auth_query": "SELECT usename, passwd FROM pg_shadow WHERE usename = $1",
            "admin_users": ADMINISTRATOR,
        }
        if self._tls:
            authority, certificate, key = self._tls_files()
            own |= {"client_tls_sslmode": "allow", "client_tls_ca_file": authority}
            own |= {"client_tls_cert_file": certificate, "client_tls_key_file": key}
        configuration = self._path / "pgbouncer.ini"
        lines = ["[databases]", f"* = host={target.host} port={target.port}", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in {**DEFAULT_SETTINGS, **self.settings, **own}.items()]
        configuration.write_text("\n".join(lines) + "\n")
        self._identity.give(list_of_users, configuration)

    def _command(self) -> list[str]:
        # The port may have moved since the file was written.
        self._configure()
        return [self._binaries.binary("pgbouncer"), str(self._path / "pgbouncer.ini")]

    async def _ask_version(self) -> str:
        import asyncpg

        # Its own console: it answers whether or not the server behind it does, and nobody else has this password.
        connection = await asyncpg.connect(
            host=self.host,
            port=self.port,
            user=ADMINISTRATOR,
            password=self._administrator_password,
            database="pgbouncer",
            ssl=False,
            timeout=5,
        )
        try:
            return str(connection.get_settings().server_version).split("/")[0]
        finally:
            await connection.close()
