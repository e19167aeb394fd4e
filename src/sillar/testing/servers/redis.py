"""Throwaway Redis servers."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from sillar.testing.servers.errors import ServerCommandError
from sillar.testing.servers.installation import Installation, find_redis
from sillar.testing.servers.server import Server

DEFAULT_SETTINGS = {"save": "", "appendonly": "no", "repl-diskless-sync-delay": "0"}


class RedisServer(Server):
    """A throwaway Redis server that keeps nothing on disk.

    Args:
        settings: entries of ``redis.conf``, such as ``{"maxmemory": "64mb"}``.
        tls: its port then speaks TLS only (client certificates are not asked for).

    The other arguments and attributes are those of `Server`.
    """

    product = "Redis"
    system_user = "redis"
    url_variable = "SILLAR_TEST_REDIS_URL"
    password = ""

    @property
    def url(self) -> str:
        """``redis://host:port/0``, with TLS ``rediss://``."""
        return self._external_url or f"{'rediss' if self._tls else 'redis'}://{self.host}:{self.port}/0"

    def _find(self) -> Installation:
        return find_redis()

    async def _create(self) -> None:
        self._make_folder("data")

    def _command(self) -> list[str]:
        own = {"bind": self.host, "dir": self._inside(self._path / "data"), "port": str(self.port)}
        if self._tls:
            authority, certificate, key = self._tls_files()
            own |= {"port": "0", "tls-port": str(self.port), "tls-auth-clients": "no"}
            own |= {"tls-ca-cert-file": authority, "tls-cert-file": certificate, "tls-key-file": key}
        command = [self._binaries.binary("redis-server")]
        for name, value in {**DEFAULT_SETTINGS, **self.settings, **own}.items():
            command += [f"--{name}", value]
        return command

    def _take_login(self, user: str, password: str, database: str) -> None:
        self.password = password

    async def execute(self, *words: str) -> Any:
        """Run one command on a fresh connection; returns its reply: text, a number, a list of replies, or None.

        Raises:
            ServerCommandError: Redis refuses it.
            OSError: Redis does not answer.
        """
        context = None
        if self._tls or self.url.startswith("rediss:"):
            # A question of being up; verifying is what clients under test do.
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(self.host, self.port or 6379, ssl=context)
            try:
                if password := self.password or self.settings.get("requirepass"):
                    writer.write(_encoded("AUTH", password))
                    await _reply(reader)
                writer.write(_encoded(*words))
                return await _reply(reader)
            finally:
                writer.close()

    async def _ask_version(self) -> str:
        text: str = await self.execute("INFO", "server")
        fields: dict[str, str] = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        if not self.is_external and fields["process_id"] != str(self.pid):
            raise ConnectionError(f"somebody else's Redis, process {fields['process_id']}, answers on port {self.port}")
        return fields["redis_version"]


def _encoded(*words: str) -> bytes:
    """A command in RESP, Redis' protocol: an array of strings, each behind its length."""
    parts = [f"*{len(words)}\r\n".encode()]
    parts += [b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words]
    return b"".join(parts)


async def _reply(reader: asyncio.StreamReader) -> Any:
    line = (await reader.readuntil(b"\r\n"))[:-2].decode()
    kind, rest = line[:1], line[1:]
    if kind == "-":
        raise ServerCommandError(f"Redis refuses: {rest}")
    if kind == "+":
        return rest
    length = int(rest)
    if kind == ":":
        return length
    if length < 0:
        return None
    if kind == "*":
        return [await _reply(reader) for _ in range(length)]
    return (await reader.readexactly(length + 2))[:-2].decode()
