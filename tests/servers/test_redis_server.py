"""Redis servers, started for real."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from sillar.testing.servers import CertificateAuthority, RedisServer, ServerStartError

pytestmark = pytest.mark.asyncio


async def ask(server: RedisServer, command: str, context: ssl.SSLContext | None = None) -> str:
    reader, writer = await asyncio.open_connection(server.host, server.port, ssl=context)
    try:
        writer.write(f"{command}\r\n".encode())
        return (await asyncio.wait_for(reader.readline(), 10)).decode().strip()
    finally:
        writer.close()


async def test_life_of_a_server() -> None:
    async with RedisServer() as server:
        assert server.url == f"redis://127.0.0.1:{server.port}/0"
        assert server.version.split(".")[0].isdigit()
        assert await ask(server, "SET stone 1") == "+OK"
        await server.kill()
        with pytest.raises(ConnectionRefusedError):
            await ask(server, "PING")
        await server.start()
        # It keeps nothing on disk.
        assert await ask(server, "GET stone") == "$-1"


async def test_tls() -> None:
    async with RedisServer(tls=True) as server:
        assert server.url.startswith("rediss://")
        assert await ask(server, "PING", ssl.create_default_context(cafile=str(server.ca_file))) == "+PONG"
        strangers = CertificateAuthority().certificate.decode()
        with pytest.raises(ssl.SSLCertVerificationError):
            await ask(server, "PING", ssl.create_default_context(cadata=strangers))


async def test_password_by_settings() -> None:
    async with RedisServer(settings={"requirepass": "stone"}) as server:
        assert (await ask(server, "PING")).startswith("-NOAUTH")
        assert await ask(server, "AUTH stone") == "+OK"


async def test_bad_setting_shows_the_log() -> None:
    with pytest.raises(ServerStartError, match="maxmemory-policy"):
        await RedisServer(settings={"maxmemory-policy": "never"}).start()
