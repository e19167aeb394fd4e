"""Throwaway MariaDB servers, with GTID replicas."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from sillar.testing.servers.errors import ServerStartError
from sillar.testing.servers.installation import Installation, find_mariadb
from sillar.testing.servers.mysql import COMMON_SETTINGS, REPLAY_SECONDS, MySQLServer
from sillar.testing.servers.process import run_command
from sillar.testing.servers.template import DataTemplate


class MariaDBServer(MySQLServer):
    """A throwaway MariaDB server; arguments and attributes as for `MySQLServer`."""

    product = "MariaDB"
    scheme = "mariadb"
    url_variable = "SILLAR_TEST_MARIADB_URL"
    default_settings: ClassVar[Mapping[str, str]] = {
        **COMMON_SETTINGS,
        "debug-no-sync": "ON",  # its DDL waits for the disk otherwise
        "gtid-strict-mode": "1",
        "log-slave-updates": "ON",
    }
    server_binary = "mariadbd"
    replica_word = "slave"
    read_only = "read_only"
    semisync_source = "rpl_semi_sync_master_"
    semisync_replica = "rpl_semi_sync_slave_"

    async def received_position(self) -> int:
        """The number of the last transaction that is safe on this replica, applied or not."""
        status = await self._status("show slave status")
        # A position is `domain-server-number`, and these servers have one domain.
        return max(int(position.rpartition("-")[2] or 0) for position in status["Gtid_IO_Pos"].split(","))

    def _find(self) -> Installation:
        return find_mariadb()

    async def _initialize(self, data: Path) -> None:
        options = [
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
            "--innodb-flush-method=nosync",
        ]
        template = DataTemplate("mariadb", self._binaries.version, *options)
        if await template.copy_to(data):
            return
        inside = self._inside(data)
        # At its start a server removes what others keep in a shared temporary folder.
        places = [f"--datadir={inside}", f"--tmpdir={inside}"]
        await run_command(["/usr/bin/mariadb-install-db", "--no-defaults", *places, *options], identity=self._identity)
        await template.fill_from(data)

    async def _turn_to(self, primary: MySQLServer) -> bool:
        if await self.execute_as_superuser("show slave status"):
            await self.execute_as_superuser("stop slave")
        else:
            # What it wrote as a primary counts as received from now on (MariaDB: MASTER_DEMOTE_TO_SLAVE).
            [(position,)] = await self.execute_as_superuser("select @@global.gtid_binlog_pos")
            await self.execute_as_superuser(f"set global gtid_slave_pos='{position}'")
        try:
            await self._follow(primary)
        except ServerStartError:
            return False
        return True

    async def _follow(self, primary: MySQLServer) -> None:
        await self.execute_as_superuser(
            f"change master to master_host='{primary.host}', master_port={primary.port}, "
            f"master_user='{self.superuser}', master_password='{self.superuser_password}', "
            "master_connect_retry=1, master_use_gtid=slave_pos"
        )
        await self.execute_as_superuser("start slave")
        await self._await_replication("show slave status", "Slave_IO_Running", "Slave_SQL_Running")
        [(position,)] = await primary.execute_as_superuser("select @@global.gtid_binlog_pos")
        await self._await_transactions(f"select master_gtid_wait('{position}', {REPLAY_SECONDS})")
        await self.execute_as_superuser("set global read_only=1")

    async def _stop_following(self) -> None:
        await self.execute_as_superuser("stop slave io_thread")
        status = await self._status("show slave status")
        await self._await_transactions(f"select master_gtid_wait('{status['Gtid_IO_Pos']}', {REPLAY_SECONDS})")
        for statement in ("stop slave", "reset slave all", "set global read_only=0"):
            await self.execute_as_superuser(statement)

    def _replica_options(self) -> list[str]:
        return ["--read-only=ON"]

    def _first_statements(self) -> list[str]:
        return [
            # The installation leaves further superusers without a password, reachable by TCP.
            "delete from mysql.global_priv where user = '' or user = 'root' and host <> 'localhost'",
            "flush privileges",
            f"alter user 'root'@'localhost' identified by '{self.superuser_password}'",
        ]
