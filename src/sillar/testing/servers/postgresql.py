"""Throwaway PostgreSQL servers, with streaming replicas."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import time
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
    # How soon a replica tries again to reach its primary, or turns to another one.
    "wal_retrieve_retry_interval": "200ms",
    # Kept in the data folder, so that a killed server leaves nothing behind in /dev/shm.
    "dynamic_shared_memory_type": "mmap",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}
REPLICA_SETTINGS = {"synchronous_standby_names": "", "default_transaction_read_only": "off"}


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
        self._synchronous: list[PostgreSQLServer] = []
        self._altering = asyncio.Lock()

    @property
    def url_variable(self) -> str:
        """``SILLAR_TEST_POSTGRESQL_URL``, or ``…18_URL`` for version 18."""
        return "SILLAR_TEST_POSTGRESQL18_URL" if self.major == 18 else "SILLAR_TEST_POSTGRESQL_URL"

    @property
    def socket_folder(self) -> Path:
        """Where its Unix socket is."""
        return self._path / "socket"

    @property
    def replica_name(self) -> str:
        """What it calls itself to its primary: its ``application_name`` and the name of its slot there."""
        return f"replica_{self.port}"

    @property
    def _data(self) -> Path:
        return self._path / "data"

    async def add_replica(
        self, *, synchronous: bool = False, settings: Mapping[str, str] | None = None
    ) -> PostgreSQLServer:
        """Start a streaming replica of this server; it is closed with this server at the latest.

        Args:
            synchronous: commits on this server then wait for one of its synchronous replicas, see `set_synchronous`.
            settings: entries of ``postgresql.conf`` that differ from this server's.
        """
        self._require_process("add_replica")
        replica = type(self)(self.major, settings=settings, tls=self._tls, own=True)
        replica._primary, replica._authority = self, self._authority
        replica.user, replica.password, replica.database = self.user, self.password, self.database
        replica.superuser_password = self.superuser_password
        self._replicas.append(replica)
        await replica.start()
        if synchronous:
            await self.set_synchronous(*self._synchronous, replica)
        return replica

    async def set_synchronous(self, *replicas: PostgreSQLServer) -> None:
        """Make commits on this server wait until any one of these replicas has them; without replicas, for none.

        The quorum commit of PostgreSQL's manual, section 27.2.8: ``synchronous_standby_names = 'ANY 1 (…)'``. After the
        loss of this server, the replica with the highest `received_position` has every acknowledged commit. While all
        of them are gone, commits hang. Returns once they stream.
        """
        self._require_process("set_synchronous")
        self._synchronous = list(replicas)
        async with self._altering:
            names = [replica.replica_name for replica in self._synchronous]
            await self._alter_system("synchronous_standby_names", f"ANY 1 ({', '.join(names)})" if names else "")
            counted = "select count(*) from pg_stat_replication where state = 'streaming' and sync_state = 'quorum'"
            await self._await_answer(counted, len(names), f"its synchronous replicas {names} stream")

    async def received_position(self) -> int:
        """The last byte of the log that is safe on this replica, counted from the beginning (``pg_lsn``)."""
        [(position,)] = await self.execute_as_superuser(
            "select greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'"
        )
        return int(position)

    async def stop_receiving(self) -> None:
        """Leave the primary, and stay a replica; returns once nothing more comes in.

        Before one of several replicas is promoted, all stop: the one with the highest `received_position` is then ahead
        of the others for certain, and what the old primary still writes is acknowledged by nobody. `follow` goes on.
        """
        self._require_process("stop_receiving")
        await self._alter_system("primary_conninfo", "")
        await self._await_answer("select count(*) from pg_stat_wal_receiver", 0, "it receives nothing")

    async def pause_replay(self) -> None:
        """Let this replica go on receiving, and show nothing new (``pg_wal_replay_pause``); returns once it does."""
        self._require_process("pause_replay")
        await self.execute_as_superuser("select pg_wal_replay_pause()")
        await self._await_answer("select pg_get_wal_replay_pause_state()", "paused", "replay has paused")

    async def resume_replay(self) -> None:
        """Let this replica show what it has received again."""
        self._require_process("resume_replay")
        await self.execute_as_superuser("select pg_wal_replay_resume()")

    async def set_read_only(self) -> None:
        """Refuse writes (25006) on every session, the open ones included, as a primary demoted with sockets left open.

        By ``default_transaction_read_only``, so a transaction that is open goes on as it began, and a session that has
        set the parameter itself is not reached.
        """
        self._require_process("set_read_only")
        await self._alter_system("default_transaction_read_only", "on")

    async def set_writable(self) -> None:
        """Take writes again after `set_read_only`."""
        self._require_process("set_writable")
        await self._alter_system("default_transaction_read_only", "off")

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

    async def follow(self, primary: PostgreSQLServer) -> None:
        """Make this server a replica of another one of the same family, after a failover; returns once it streams.

        A running replica turns to the new primary and keeps its sessions. A former primary, a server that does not run,
        and a replica that has more than its new primary lose their data and start with a fresh copy.

        Raises:
            ServerStartError: it did not begin to stream.
        """
        primary._require_process("follow")
        self._primary, self._synchronous = primary, []
        if self.is_running:
            if await self._turn_to(primary):
                return
            await self.kill()
        # What a kill left of shared memory is named in the data that is removed next.
        await _remove_segment(self._shared_memory_segment())
        await asyncio.to_thread(shutil.rmtree, self._data)
        data = self._make_folder("data")
        await self._drop_slot(primary)
        await self._copy_primary(data, primary)
        self._configure(data)
        await self.start()
        streams = "select status from pg_stat_wal_receiver"
        await self._await_answer(streams, "streaming", f"it follows {primary!r}")

    async def _turn_to(self, primary: PostgreSQLServer) -> bool:
        """Stream from another primary without a restart; returns whether that worked."""
        [(in_recovery,)] = await self.execute_as_superuser("select pg_is_in_recovery()")
        if not in_recovery:
            return False
        await self._drop_slot(primary)
        await primary.execute_as_superuser(f"select pg_create_physical_replication_slot('{self.replica_name}', true)")
        login = f"user={self.superuser} password={self.superuser_password} application_name={self.replica_name}"
        await self._alter_system("primary_slot_name", self.replica_name)
        await self._alter_system("primary_conninfo", f"host={primary.host} port={primary.port} {login}")
        # Not only that it streams: one that has more of the old timeline asks for that again and again, and gets it.
        question = "select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int"
        [(timeline,)] = await primary.execute_as_superuser(question)
        streams = "select received_tli from pg_stat_wal_receiver where status = 'streaming'"
        try:
            await self._await_answer(streams, timeline, f"it follows {primary!r}", timeout_seconds=10)
        except ServerStartError:
            # Its log forked from the new primary's before the end of what it has.
            return False
        return True

    async def _drop_slot(self, primary: PostgreSQLServer) -> None:
        await primary.execute_as_superuser(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots "  # noqa: S608 - our own name
            f"where slot_name = '{self.replica_name}' and not active"
        )

    async def close(self) -> None:
        """End it and its replicas for good and remove their folders."""
        await asyncio.gather(*(replica.close() for replica in self._replicas))
        segment = self._shared_memory_segment()
        await super().close()
        await _remove_segment(segment)

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
        self._configure(data)

    def _configure(self, data: Path) -> None:
        chosen = self.settings if self._primary else {**self.default_settings, **self.settings}
        with (data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{_quoted(value)}'\n" for name, value in chosen.items())
        if self._primary is not None:
            # The copy has what ALTER SYSTEM said on the primary; once promoted, it has replicas of its own.
            with (data / "postgresql.auto.conf").open("a") as file:
                file.writelines(f"{name} = '{value}'\n" for name, value in REPLICA_SETTINGS.items())

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
        name = self.replica_name
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
        command = [self._binaries.binary("postgres"), "-D", self._inside(self._data), "-p", str(self.port)]
        for name, value in own.items():
            command += ["-c", f"{name}={value}"]
        return command

    async def _populate(self) -> None:
        if self._primary is not None:
            return
        await self.execute_as_superuser(f"create role {self.user} login password '{self.password}'")
        await self.execute_as_superuser(f"create database {self.database} owner {self.user}")

    async def _alter_system(self, name: str, value: str) -> None:
        """Set a parameter for every session and wait until new ones have it; running ones were told before."""
        await self.execute_as_superuser(f"alter system set {name} = '{value}'")
        await self.execute_as_superuser("select pg_reload_conf()")
        await self._await_answer(f"select current_setting('{name}')", value, f"{name} is set")
        # Who answered may have been told as the first one. Whoever takes the next connection has told them all before.
        await self.execute_as_superuser("select 1")

    async def _await_answer(self, question: str, answer: object, meaning: str, *, timeout_seconds: float = 30) -> None:
        """Ask until one row of one value is the wanted one.

        Raises:
            ServerStartError: it did not become so in time.
        """
        deadline = time.monotonic() + timeout_seconds
        answered: object
        while True:
            try:
                async with asyncio.timeout(max(10.0, deadline - time.monotonic())):
                    answered = await self.execute_as_superuser(question)
            except TimeoutError:  # an answer that never comes is none, either
                answered = "no answer"
            if answered == [(answer,)]:
                return
            if time.monotonic() > deadline:
                raise ServerStartError(
                    f"{self!r}: not within {timeout_seconds:g} s: {meaning} ({answered} instead of {answer!r})\n"
                    f"{self.log_tail()}"
                )
            await asyncio.sleep(0.02)

    def _shared_memory_segment(self) -> str | None:
        """The System V segment that a killed server leaves behind: the last field of line 7 of ``postmaster.pid``."""
        if self._folder is None or self.is_running:
            return None
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        return lines[6].split()[-1] if len(lines) > 6 and lines[6].split() else None


async def _remove_segment(segment: str | None) -> None:
    """Remove what a kill() left behind; gone already after every other end."""
    if segment is not None:
        await asyncio.to_thread(subprocess.run, ["ipcrm", "-m", segment], capture_output=True, check=False)


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")
