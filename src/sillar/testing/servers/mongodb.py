"""Throwaway MongoDB servers, and the stand-in for where no ``mongod`` is at hand."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from sillar.testing.servers.errors import ServerStartError
from sillar.testing.servers.installation import Installation, find_documentdb, find_mongod
from sillar.testing.servers.postgresql import DEFAULT_SETTINGS, PostgreSQLServer
from sillar.testing.servers.process import Identity
from sillar.testing.servers.server import Server

if TYPE_CHECKING:
    from pymongo import AsyncMongoClient

    from sillar.testing.servers.certificates import ServerCertificate

GATEWAY_MODULE = "sillar.testing.servers.mongodb_gateway"


class DocumentDBServer(PostgreSQLServer):
    """PostgreSQL 18 with the extension DocumentDB: what the MongoDB stand-in keeps its documents in."""

    product = "PostgreSQL with DocumentDB"
    default_settings: ClassVar[Mapping[str, str]] = {
        **DEFAULT_SETTINGS,
        "shared_preload_libraries": "pg_cron,pg_documentdb_core,pg_documentdb",
        # Its jobs would log in by TCP otherwise, without a password.
        "cron.use_background_workers": "on",
        "max_worker_processes": "16",
    }

    def __init__(self) -> None:
        super().__init__(18, own=True)
        self.documentdb_version = ""

    def _find(self) -> Installation:
        return find_documentdb()

    def _command(self) -> list[str]:
        # The extension logs in to its own server for some of its work; by the socket that takes no password.
        back = f"host={self._inside(self.socket_folder)}"
        return [*super()._command(), "-c", f"documentdb.localhost_connection_string={back}"]

    async def _populate(self) -> None:
        await self.execute_as_superuser("create extension documentdb cascade")
        rows = await self.execute_as_superuser("select extversion from pg_extension where extname = 'documentdb'")
        self.documentdb_version = str(rows[0][0])


class MongoDBServer(Server):
    """A throwaway server that speaks MongoDB's protocol, as the primary of a replica set of one.

    It is a real MongoDB where the environment names one or a ``mongod`` is on this machine. Otherwise it is a stand-in,
    PostgreSQL 18 with DocumentDB behind a gateway, and ``is_stand_in``, ``version`` and ``how_found`` say so. Killing,
    freezing and stopping the stand-in mean the gateway and PostgreSQL together.

    Args:
        settings: command-line options without the dashes, of ``mongod`` or of the gateway, whichever it is; an empty
            value stands for an option without one.
        connections_max: it refuses further connections.

    Attributes:
        user, password: who may log in, against the database ``admin``; a ``mongod`` of ours asks nobody, and both are
            empty.
        database: a database that does not exist yet.
        is_stand_in: known after start() or locate().
    """

    product = "MongoDB"
    system_user = ""
    url_variable = "SILLAR_TEST_MONGODB_URL"

    def __init__(
        self,
        *,
        settings: Mapping[str, str] | None = None,
        tls: bool | ServerCertificate = False,
        own: bool = False,
        connections_max: int | None = None,
    ) -> None:
        super().__init__(settings=settings, tls=tls, own=own or connections_max is not None)
        self.user, self.password, self.database = "sillar", secrets.token_hex(12), "sillar"
        self.connections_max = connections_max
        self.is_stand_in = False
        self._documents: DocumentDBServer | None = None

    @property
    def url(self) -> str:
        """``mongodb://user:password@host:port/database?authSource=admin``."""
        if self._external_url is not None:
            return self._external_url
        if not self.user:
            return f"mongodb://{self.host}:{self.port}/{self.database}"
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return f"mongodb://{login}@{self.host}:{self.port}/{self.database}?authSource=admin"

    async def stop(self) -> None:
        """Shut it down in good order; its data stays for the next start()."""
        await super().stop()
        if self._documents is not None:
            await self._documents.stop()

    async def kill(self) -> None:
        """Kill all its processes at once (SIGKILL); its data stays for the next start()."""
        await super().kill()
        if self._documents is not None:
            await self._documents.kill()

    async def freeze(self) -> None:
        """Stop all its processes from running (SIGSTOP): connections stay open and nothing answers."""
        await super().freeze()
        if self._documents is not None:
            await self._documents.freeze()

    async def thaw(self) -> None:
        """Let a frozen server run on (SIGCONT)."""
        if self._documents is not None:
            await self._documents.thaw()
        await super().thaw()

    async def close(self) -> None:
        """End it for good and remove its folders."""
        await super().close()
        if self._documents is not None:
            await self._documents.close()
            self._documents = None

    def log_tail(self) -> str:
        """The end of what it printed since its last start; for the stand-in that of PostgreSQL as well."""
        if self._documents is None:
            return super().log_tail()
        return f"{super().log_tail()}\nand its {self._documents.product}:\n{self._documents.log_tail()}"

    # --- how it is started ---

    @property
    def _identity(self) -> Identity:
        return Identity()

    @property
    def _environment(self) -> dict[str, str]:
        if self._documents is None:
            return {}
        # By the environment, because everybody on this machine may read a command line.
        passwords = {"PGPASSWORD": self._documents.superuser_password, "MONGODB_GATEWAY_PASSWORD": self.password}
        # The gateway imports what this process imports.
        return {**passwords, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}

    def _find(self) -> Installation:
        if real := find_mongod():
            return real
        self.is_stand_in = True
        documents = find_documentdb()
        return Installation(
            f"stand-in: PostgreSQL {documents.version} with DocumentDB",
            f"stand-in for MongoDB on the {documents.how_found}",
            str(Path(sys.executable).parent),
        )

    async def _create(self) -> None:
        if self.is_stand_in:
            self._documents = DocumentDBServer()
            return
        self.user = self.password = ""
        self._make_folder("data")
        if self._tls:
            pair = self._path / "server-pair.pem"
            pair.touch(mode=0o600)
            pair.write_bytes((self._path / "server.pem").read_bytes() + (self._path / "server.key").read_bytes())

    async def _launch(self, *, may_move: bool) -> None:
        if self._documents is not None and not self._documents.is_running:
            await self._documents.start()
        await super()._launch(may_move=may_move)

    def _command(self) -> list[str]:
        command = self._mongod_command() if self._documents is None else self._gateway_command(self._documents)
        for name, value in self.settings.items():
            command += [f"--{name}", value] if value else [f"--{name}"]
        return command

    def _gateway_command(self, documents: DocumentDBServer) -> list[str]:
        command = [sys.executable, "-m", GATEWAY_MODULE, "--port", str(self.port), "--user", self.user]
        command += ["--postgresql-port", str(documents.port), "--postgresql-user", documents.superuser]
        if self._tls:
            _, certificate, key = self._tls_files()
            command += ["--certificate", certificate, "--key", key]
        if self.connections_max is not None:
            command += ["--max-connections", str(self.connections_max)]
        return command

    def _mongod_command(self) -> list[str]:
        command = [self._binaries.binary("mongod"), "--bind_ip", self.host, "--port", str(self.port)]
        command += ["--dbpath", str(self._path / "data"), "--nounixsocket", "--replSet", "sillar"]
        if self._tls:
            command += ["--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(self._path / "server-pair.pem")]
            command += ["--tlsCAFile", str(self._path / "ca.pem"), "--tlsAllowConnectionsWithoutCertificates"]
        if self.connections_max is not None:
            command += ["--maxConns", str(self.connections_max)]
        return command

    async def _populate(self) -> None:
        if self.is_stand_in:
            return
        async with self._client() as client:
            member = {"_id": 0, "host": f"{self.host}:{self.port}"}
            await client.admin.command("replSetInitiate", {"_id": "sillar", "members": [member]})
            deadline = time.monotonic() + 30
            while not (await client.admin.command("hello"))["isWritablePrimary"]:
                if time.monotonic() > deadline:
                    raise ServerStartError(f"{self!r} did not become primary within 30 s\n{self.log_tail()}")
                await asyncio.sleep(0.02)

    def _client(self) -> AsyncMongoClient[dict[str, Any]]:
        from pymongo import AsyncMongoClient

        # Whether it is up is the question here; verifying its certificate is what clients under test do.
        options: dict[str, Any] = {"tls": True, "tlsAllowInvalidCertificates": True} if self._tls else {}
        if not self.is_external:
            options["directConnection"] = True
        return AsyncMongoClient(self.url, serverSelectionTimeoutMS=2000, **options)

    async def _ask_version(self) -> str:
        if not self.is_external:
            # The driver waits half a second before it tries again; a refused connection says at once that it is early.
            _, writer = await asyncio.open_connection(self.host, self.port)
            writer.close()
        async with self._client() as client:
            version = str((await client.admin.command("buildInfo"))["version"])
            if not self.is_external and not self.password:
                answering = (await client.admin.command("serverStatus"))["pid"]
                if answering != self.pid:
                    raise ConnectionError(f"somebody else's MongoDB, process {answering}, answers on port {self.port}")
        if self._documents is None:
            return version
        documents = f"PostgreSQL {self._documents.version} with DocumentDB {self._documents.documentdb_version}"
        return f"{version} (stand-in: {documents})"
