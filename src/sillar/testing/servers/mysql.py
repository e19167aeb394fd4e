"""Throwaway MySQL servers, with GTID replicas."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sillar.testing.servers.errors import ServerStartError
from sillar.testing.servers.installation import Installation, find_mysql
from sillar.testing.servers.process import run_command
from sillar.testing.servers.sql_server import SQLServer
from sillar.testing.servers.template import DataTemplate

if TYPE_CHECKING:
    import aiomysql

    from sillar.testing.servers.certificates import ServerCertificate

COMMON_SETTINGS = {
    "character-set-server": "utf8mb4",
    "skip-name-resolve": "ON",
    "log-bin": "bin",
    "binlog-format": "ROW",
    "relay-log": "relay",
    "sync-binlog": "0",
    # What is committed survives a kill of the server, not a power cut.
    "innodb-flush-log-at-trx-commit": "2",
    "innodb-flush-method": "nosync",
    "innodb-doublewrite": "OFF",
    "innodb-buffer-pool-size": "128M",
    "innodb-buffer-pool-dump-at-shutdown": "OFF",
}
MYSQL_SETTINGS = {
    **COMMON_SETTINGS,
    "gtid-mode": "ON",
    "enforce-gtid-consistency": "ON",
    "mysqlx": "OFF",
    "secure-file-priv": "",
    # The package was not configured, so the server does not find its messages by itself.
    "lc-messages-dir": "/usr/share/mysql",
    # For synchronous replicas; off until they are asked for.
    "plugin-load": "semisync_source.so;semisync_replica.so",
}
DIVERGED = 1236  # the primary's log does not have what the replica says it has
REPLAY_SECONDS = 60
MYSQL_SETTINGS.pop("binlog-format")  # ROW is its only one to stay, and naming it is a warning


class MySQLServer(SQLServer):
    """A throwaway MySQL server.

    Args:
        settings: server options by their names on the command line, such as ``{"max-connections": "20"}``.

    The other arguments and attributes are those of `SQLServer`.
    """

    product = "MySQL"
    scheme = "mysql"
    superuser_name = "root"
    system_user = "mysql"
    url_variable = "SILLAR_TEST_MYSQL_URL"
    default_settings: ClassVar[Mapping[str, str]] = MYSQL_SETTINGS
    server_binary: ClassVar[str] = "mysqld"
    # Where MariaDB has other words.
    replica_word: ClassVar[str] = "replica"
    read_only: ClassVar[str] = "super_read_only"
    semisync_source: ClassVar[str] = "rpl_semi_sync_source_"
    semisync_replica: ClassVar[str] = "rpl_semi_sync_replica_"

    def __init__(
        self,
        *,
        settings: Mapping[str, str] | None = None,
        tls: bool | ServerCertificate = False,
        own: bool = False,
    ) -> None:
        super().__init__(settings=settings, tls=tls, own=own)
        self._primary: MySQLServer | None = None
        self._replicas: list[MySQLServer] = []
        self._synchronous: list[MySQLServer] = []
        self._copies = 0
        self._is_populated = False
        self._is_synchronous = False
        self._altering = asyncio.Lock()

    @property
    def socket_file(self) -> Path:
        """Its Unix socket; for root and its own user only, and passwords are checked there as well."""
        return self._path / "socket" / "server.sock"

    @property
    def _data(self) -> Path:
        return self._path / "data"

    async def add_replica(self, *, synchronous: bool = False, settings: Mapping[str, str] | None = None) -> MySQLServer:
        """Start a read-only replica that follows this server by GTID and has caught up with it.

        It is closed with this server at the latest.

        Args:
            synchronous: commits on this server then wait for one of its synchronous replicas, see `set_synchronous`.
            settings: options that differ from this server's.
        """
        self._require_process("add_replica")
        replica = type(self)(settings={**self.settings, **(settings or {})}, tls=self._tls, own=True)
        replica._primary, replica._authority = self, self._authority
        replica.user, replica.password, replica.database = self.user, self.password, self.database
        replica.superuser_password = self.superuser_password
        self._replicas.append(replica)
        await replica.start()
        if synchronous:
            await self.set_synchronous(*self._synchronous, replica)
        return replica

    async def set_synchronous(self, *replicas: MySQLServer) -> None:
        """Make commits on this server wait until any one of these replicas has them; without replicas, for none.

        Semisynchronous replication without a timeout, waiting before others see the commit (``AFTER_SYNC``): after the
        loss of this server, the replica with the highest `received_position` has every acknowledged commit. While all
        of them are gone, commits hang. Returns once they follow so.
        """
        self._require_process("set_synchronous")
        former, self._synchronous = self._synchronous, list(replicas)
        async with self._altering:
            wanted = list(self._synchronous)
            for replica in {*former, *wanted}:
                if replica.is_running and replica._is_synchronous != (replica in wanted):
                    await replica._acknowledge(replica in wanted)
            await self._set_variable(self.semisync_source + "timeout", 2**31)
            await self._set_variable(self.semisync_source + "enabled", int(bool(wanted)))
            deadline = time.monotonic() + 30
            question = f"show global status like '{self.semisync_source}clients'"
            while wanted and int((seen := await self.execute_as_superuser(question))[0][1]) < len(wanted):
                if time.monotonic() > deadline:
                    raise ServerStartError(f"{self!r} waits for {len(wanted)} synchronous replicas: {seen}")
                await asyncio.sleep(0.02)

    async def received_position(self) -> int:
        """How many transactions are safe on this replica, applied or not."""
        status = await self._status("show replica status")
        intervals = f"{status['Executed_Gtid_Set']},{status['Retrieved_Gtid_Set']}"
        # Sets look like `uuid:1-7:9,uuid:1-3`; of each server the last one counts, as there are no gaps.
        last: dict[str, int] = {}
        for server, numbers in re.findall(r"([0-9a-f-]{36}):([\d:-]+)", intervals):
            last[server] = max(last.get(server, 0), int(re.split(r"[:-]", numbers)[-1]))
        return sum(last.values())

    async def stop_receiving(self) -> None:
        """Receive nothing more from the primary, and stay its replica.

        Before one of several replicas is promoted, all stop: the one with the highest `received_position` is then ahead
        of the others for certain. `follow` goes on.
        """
        self._require_process("stop_receiving")
        await self.execute_as_superuser(f"stop {self.replica_word} io_thread")

    async def pause_replay(self) -> None:
        """Let this replica go on receiving, and show nothing new."""
        self._require_process("pause_replay")
        await self.execute_as_superuser(f"stop {self.replica_word} sql_thread")

    async def resume_replay(self) -> None:
        """Let this replica show what it has received again."""
        self._require_process("resume_replay")
        await self.execute_as_superuser(f"start {self.replica_word} sql_thread")

    async def set_read_only(self) -> None:
        """Refuse writes (1290) on every session, the open ones included, as a primary demoted with sockets left open.

        Waits for commits that are under way; holds until the next start.
        """
        self._require_process("set_read_only")
        await self.execute_as_superuser(f"set global {self.read_only}=1")

    async def set_writable(self) -> None:
        """Take writes again after `set_read_only`."""
        self._require_process("set_writable")
        await self.execute_as_superuser("set global read_only=0")

    async def promote(self) -> None:
        """Make this replica a primary: apply all that it has received, stop following, take writes."""
        self._require_process("promote")
        await self.resume_replay()
        await self._stop_following()
        self._primary = None

    async def follow(self, primary: MySQLServer) -> None:
        """Make this server a replica of another one of its family, after a failover; returns once it has caught up.

        A running server turns to the new primary, read-only from then on, and keeps its sessions. One that does not
        run, or that has transactions which its new primary lacks, loses its data and starts with a fresh copy.

        Raises:
            ServerStartError: it does not follow.
        """
        primary._require_process("follow")
        self._primary, self._synchronous, self._is_synchronous = primary, [], False
        if self.is_running:
            await self.set_read_only()
            if await self._turn_to(primary):
                return
            await self.kill()
        await asyncio.to_thread(shutil.rmtree, self._data)
        self._is_populated = False
        self._copies += 1
        await self._make_data()
        await self.start()
        await self._populate()

    async def close(self) -> None:
        """End it and its replicas for good and remove their folders."""
        await asyncio.gather(*(replica.close() for replica in self._replicas))
        await super().close()

    async def execute_as_superuser(self, statement: str, *, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run one statement on a fresh connection with autocommit; returns its rows."""
        connection = await self._connect(database)
        try:
            async with connection.cursor() as cursor:
                await cursor.execute(statement)
                return list(await cursor.fetchall())
        finally:
            connection.close()

    # --- where MariaDB has other words ---

    async def _initialize(self, data: Path) -> None:
        options = [
            f"--lc-messages-dir={self.default_settings['lc-messages-dir']}",
            "--innodb-flush-method=nosync",
            "--innodb-doublewrite=OFF",
            "--skip-log-bin",
        ]
        template = DataTemplate("mysql", self._binaries.version, *options)
        if await template.copy_to(data):
            return
        command = [self._binaries.binary(self.server_binary), "--no-defaults", "--initialize-insecure"]
        await run_command([*command, f"--datadir={self._inside(data)}", *options], identity=self._identity)
        # The server's identity, which no two of one replication may share; a new one is made at the start.
        (data / "auto.cnf").unlink(missing_ok=True)
        await template.fill_from(data)

    async def _turn_to(self, primary: MySQLServer) -> bool:
        """Follow another primary without a restart; returns whether that is possible."""
        [(own,)] = await self.execute_as_superuser("select @@global.gtid_executed")
        [(theirs,)] = await primary.execute_as_superuser("select @@global.gtid_executed")
        [(is_known,)] = await self.execute_as_superuser(f"select gtid_subset('{own}', '{theirs}')")
        if is_known:
            await self.execute_as_superuser("stop replica")
            await self._follow(primary)
        return bool(is_known)

    async def _acknowledge(self, wanted: bool) -> None:
        """Take part in synchronous commits, or no longer."""
        await self._set_variable(self.semisync_replica + "enabled", int(wanted))
        await self.execute_as_superuser(f"stop {self.replica_word} io_thread")
        await self.execute_as_superuser(f"start {self.replica_word} io_thread")
        self._is_synchronous = wanted

    async def _set_variable(self, name: str, value: int) -> None:
        await self.execute_as_superuser(f"set global {name}={value}")

    async def _follow(self, primary: MySQLServer) -> None:
        await self.execute_as_superuser(
            f"change replication source to source_host='{primary.host}', source_port={primary.port}, "
            f"source_user='{self.superuser}', source_password='{self.superuser_password}', source_auto_position=1, "
            "source_connect_retry=1, get_source_public_key=1"
        )
        await self.execute_as_superuser("start replica")
        await self._await_replication("show replica status", "Replica_IO_Running", "Replica_SQL_Running")
        [(position,)] = await primary.execute_as_superuser("select @@global.gtid_executed")
        await self._await_transactions(f"select wait_for_executed_gtid_set('{position}', {REPLAY_SECONDS})")
        await self.execute_as_superuser("set global super_read_only=1")

    async def _stop_following(self) -> None:
        await self.execute_as_superuser("stop replica io_thread")
        status = await self._status("show replica status")
        received = status["Retrieved_Gtid_Set"]
        await self._await_transactions(f"select wait_for_executed_gtid_set('{received}', {REPLAY_SECONDS})")
        for statement in (
            "stop replica",
            "reset replica all",
            "set global super_read_only=0",
            "set global read_only=0",
        ):
            await self.execute_as_superuser(statement)

    def _replica_options(self) -> list[str]:
        return ["--super-read-only=ON"]

    def _first_statements(self) -> list[str]:
        return [f"alter user 'root'@'localhost' identified by '{self.superuser_password}'"]

    # --- both ---

    def _find(self) -> Installation:
        return find_mysql()

    async def _create(self) -> None:
        self._make_folder("socket")
        await self._make_data()

    async def _make_data(self) -> None:
        await self._initialize(self._make_folder("data"))
        file = self._path / "first.sql"
        statements = [
            # The replica gets the same by its own first start; replication begins after it.
            "set sql_log_bin=0",
            *self._first_statements(),
            f"create user '{self.superuser}'@'%' identified by '{self.superuser_password}'",
            f"grant all on *.* to '{self.superuser}'@'%' with grant option",
            f"create database {self.database}",
            f"create user '{self.user}'@'%' identified by '{self.password}'",
            f"grant all on {self.database}.* to '{self.user}'@'%'",
        ]
        file.write_text("".join(f"{statement};\n" for statement in statements))
        self._identity.give(file)

    async def _populate(self) -> None:
        (self._path / "first.sql").unlink()
        self._is_populated = True
        if self._primary is not None:
            await self._follow(self._primary)

    def _command(self) -> list[str]:
        own = {
            "datadir": self._inside(self._data),
            "tmpdir": self._inside(self._data),
            "port": str(self.port),
            "bind-address": self.host,
            "socket": self._inside(self.socket_file),
            "pid-file": f"{self._inside(self._path / 'data')}/server.pid",
            # A new one with each copy: a replica leaves out what its own number once wrote.
            "server-id": str(self.port + self._copies * 100_000),
            "report-host": self.host,
            "report-port": str(self.port),
        }
        if self._tls:
            own["ssl-ca"], own["ssl-cert"], own["ssl-key"] = self._tls_files()
        if not self._is_populated:
            own["init-file"] = self._inside(self._path / "first.sql")
        options = {**self.default_settings, **self.settings, **own}
        command = [self._binaries.binary(self.server_binary), "--no-defaults"]
        command += [f"--{name}={value}" for name, value in options.items()]
        if self._primary is not None and self._is_populated:
            command += self._replica_options()
        if self._is_synchronous:
            command.append(f"--{self.semisync_replica}enabled=ON")
        if self._synchronous:
            command += [f"--{self.semisync_source}enabled=ON", f"--{self.semisync_source}timeout={2**31}"]
        return command

    async def _connect(self, database: str | None = None) -> aiomysql.Connection:
        import aiomysql

        return await aiomysql.connect(
            host=self.host,
            port=self.port or 3306,
            user=self.superuser,
            password=self.superuser_password,
            db=database or (self.database or None if self.is_external else None),
            autocommit=True,
            connect_timeout=5,
            # Notes that replication with a password is insecure would become Python warnings in every test run.
            init_command="set sql_notes=0",
        )

    async def _ask_version(self) -> str:
        rows = await self.execute_as_superuser("select version()")
        return str(rows[0][0]).split("-")[0]

    async def _status(self, statement: str) -> dict[str, Any]:
        import aiomysql

        connection = await self._connect()
        try:
            async with connection.cursor(aiomysql.DictCursor) as cursor:
                await cursor.execute(statement)
                row: dict[str, Any] | None = await cursor.fetchone()
        finally:
            connection.close()
        if row is None:
            raise ServerStartError(f"{self!r} is no replica: `{statement}` has no row")
        return row

    async def _await_transactions(self, question: str) -> None:
        """Ask the server to wait until it has replayed something."""
        answered = await self.execute_as_superuser(question)
        if answered != [(0,)]:
            waited = f"{self!r} has not replayed within {REPLAY_SECONDS} s what it received"
            raise ServerStartError(f"{waited}\n{self.log_tail()}")

    async def _await_replication(self, statement: str, *running: str) -> None:
        """Wait until the replication threads run."""
        deadline = time.monotonic() + 30
        while True:
            status = await self._status(statement)
            if all(status[name] == "Yes" for name in running):
                return
            if time.monotonic() > deadline or status["Last_SQL_Errno"] or status["Last_IO_Errno"] == DIVERGED:
                trouble = {name: value for name, value in status.items() if name in running or name.endswith("_Error")}
                raise ServerStartError(f"{self!r} does not follow its primary: {trouble}\n{self.log_tail()}")
            await asyncio.sleep(0.02)
