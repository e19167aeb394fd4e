"""Throwaway PostgreSQL servers, with streaming replicas."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sillar.testing.servers.errors import ServerStartError
from sillar.testing.servers.installation import Installation, find_postgresql
from sillar.testing.servers.process import run_command
from sillar.testing.servers.sql_server import SQLServer

if TYPE_CHECKING:
    import asyncpg

    from sillar.testing.servers.certificates import ServerCertificate

DEFAULT_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "logical",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "max_prepared_transactions": "20",
    "wal_keep_size": "256MB",
    # Kept in the data folder, so that a killed server leaves nothing behind in /dev/shm.
    "dynamic_shared_memory_type": "mmap",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


class PostgreSQLServer(SQLServer):
    """A throwaway PostgreSQL server.

    Args:
        version: the major version; None for what PATH or the distribution has.
        settings: entries of ``postgresql.conf``. By default ``fsync`` is off, ``wal_level`` logical and
            ``max_prepared_transactions`` 20.

    Attributes:
        socket_folder: the folder of its Unix socket (no password asked there; for root and its own user only).

    The other arguments and attributes are those of `SQLServer`.
    """

    product = "PostgreSQL"
    scheme = "postgresql"
    superuser_name = "postgres"
    system_user = "postgres"
    stop_signal = signal.SIGINT
    # An immediate shutdown; killed by force it would leave a System V segment behind.
    end_signal = signal.SIGQUIT
    default_settings: ClassVar[Mapping[str, str]] = DEFAULT_SETTINGS

    def __init__(
        self,
        version: int | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        tls: bool | ServerCertificate = False,
        own: bool = False,
    ) -> None:
        self.major = version
        super().__init__(settings=settings, tls=tls, own=own)
        self._primary: PostgreSQLServer | None = None
        self._replicas: list[PostgreSQLServer] = []

    @property
    def url_variable(self) -> str:
        """``SILLAR_TEST_POSTGRESQL_URL``, or ``…18_URL`` for version 18."""
        return "SILLAR_TEST_POSTGRESQL18_URL" if self.major == 18 else "SILLAR_TEST_POSTGRESQL_URL"

    @property
    def socket_folder(self) -> Path:
        """Where its Unix socket is."""
        return self._path / "socket"

    async def add_replica(self, *, settings: Mapping[str, str] | None = None) -> PostgreSQLServer:
        """Start a streaming replica of this server; it is closed with this server at the latest.

        Args:
            settings: entries of ``postgresql.conf`` that differ from this server's.
        """
        self._require_process("add_replica")
        replica = type(self)(self.major, settings=settings, tls=self._tls, own=True)
        replica._primary, replica._authority = self, self._authority
        replica.user, replica.password, replica.database = self.user, self.password, self.database
        replica.superuser_password = self.superuser_password
        self._replicas.append(replica)
        await replica.start()
        return replica

    async def promote(self) -> None:
        """Make this replica a primary; returns once it takes writes.

        Raises:
            ServerStartError: it did not leave recovery within a minute.
        """
        self._require_process("promote")
        promoted = await self.execute_as_superuser("select pg_promote(true, 60)")
        if promoted != [(True,)]:
            raise ServerStartError(f"{self!r} was not promoted within 60 s:\n{self.log_tail()}")
        self._primary = None

    async def close(self) -> None:
        """End it and its replicas for good and remove their folders."""
        for replica in self._replicas:
            await replica.close()
        segment = self._shared_memory_segment()
        await super().close()
        if segment is not None:
            # Left behind by a kill(); gone already after every other end.
            await asyncio.to_thread(subprocess.run, ["ipcrm", "-m", segment], capture_output=True, check=False)

    async def execute_as_superuser(self, statement: str, *, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run one statement on a fresh connection, outside a transaction; returns its rows."""
        connection = await self._connect(database)
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    async def _connect(self, database: str | None = None) -> asyncpg.Connection[asyncpg.Record]:
        import asyncpg

        return await asyncpg.connect(
            host=self.host,
            port=self.port or 5432,
            user=self.superuser,
            password=self.superuser_password,
            database=database or (self.database if self.is_external else "postgres"),
            ssl="prefer" if self.is_external else False,
            timeout=5,
        )

    async def _ask_version(self) -> str:
        connection = await self._connect()
        try:
            version: str = await connection.fetchval("show server_version")
            return version.split()[0]
        finally:
            await connection.close()

    def _find(self) -> Installation:
        return find_postgresql(self.major, variable=self.url_variable)

    async def _create(self) -> None:
        self._make_folder("socket")
        data = self._make_folder("data")
        if self._primary is None:
            await self._initialize(data)
        else:
            await self._copy_primary(data, self._primary)
        chosen = self.settings if self._primary else {**self.default_settings, **self.settings}
        with (data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{_quoted(value)}'\n" for name, value in chosen.items())

    async def _initialize(self, data: Path) -> None:
        password = self._path / "superuser"
        password.write_text(self.superuser_password)
        self._identity.give(password)
        await run_command(
            [
                self._binaries.binary("initdb"),
                f"--pgdata={self._inside(data)}",
                f"--username={self.superuser}",
                f"--pwfile={self._inside(password)}",
                "--auth-local=trust",
                "--auth-host=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
                "--no-instructions",
            ],
            identity=self._identity,
        )
        password.unlink()

    async def _copy_primary(self, data: Path, primary: PostgreSQLServer) -> None:
        name = f"replica_{self.port}"
        await run_command(
            [
                self._binaries.binary("pg_basebackup"),
                f"--dbname=host={primary.host} port={primary.port} user={self.superuser} application_name={name}",
                f"--pgdata={self._inside(data)}",
                "--write-recovery-conf",
                "--wal-method=stream",
                "--checkpoint=fast",
                "--create-slot",
                f"--slot={name}",
                "--no-sync",
            ],
            identity=self._identity,
            environment={"PGPASSWORD": self.superuser_password},
        )

    def _command(self) -> list[str]:
        own = {"unix_socket_directories": self._inside(self.socket_folder), "listen_addresses": self.host}
        if self._tls:
            authority, certificate, key = self._tls_files()
            own |= {"ssl": "on", "ssl_ca_file": authority, "ssl_cert_file": certificate, "ssl_key_file": key}
        command = [self._binaries.binary("postgres"), "-D", self._inside(self._path / "data"), "-p", str(self.port)]
        for name, value in own.items():
            command += ["-c", f"{name}={value}"]
        return command

    async def _populate(self) -> None:
        if self._primary is not None:
            return
        await self.execute_as_superuser(f"create role {self.user} login password '{self.password}'")
        await self.execute_as_superuser(f"create database {self.database} owner {self.user}")

    def _shared_memory_segment(self) -> str | None:
        """The System V segment that a killed server leaves behind: the last field of line 7 of ``postmaster.pid``."""
        if self._folder is None or self.is_running:
            return None
        try:
            lines = (self._path / "data" / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        return lines[6].split()[-1] if len(lines) > 6 and lines[6].split() else None


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")
