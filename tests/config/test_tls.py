"""The TLS context of each mode against a real TLS server on loopback, with certificates of a throwaway authority."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from sillar.config import (
    DatabaseSecurityConfig,
    SSLConfig,
    TLSVersion,
    default_ssl_mode,
    is_on_this_machine,
    ssl_context,
)
from sillar.errors import ConfigurationError, UsageError
from sillar.security import DatabaseSecurityManager
from sillar.testing.servers.certificates import CertificateAuthority, ServerCertificate


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("db.localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("/run/postgresql", True),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("192.168.1.1", False),
        ("::ffff:10.0.0.1", False),
        ("localhost.example.com", False),
        ("notlocalhost", False),
        ("127.0.0.1.example.com", False),
        ("cache", False),
    ],
)
def test_the_default_is_verify_full_off_the_machine(host: str, local: bool) -> None:
    assert is_on_this_machine(host) is local
    assert default_ssl_mode(host) == ("disable" if local else "verify-full")


class Folder:
    """The files of one authority, and a stranger's."""

    def __init__(self, path: Path) -> None:
        authority = CertificateAuthority()
        self.ca = path / "ca.pem"
        self.ca.write_bytes(authority.certificate)
        self.stranger = path / "stranger.pem"
        self.stranger.write_bytes(CertificateAuthority("stranger").certificate)
        self.servers = {kind: authority.issue_server(kind).write(path, kind.name) for kind in ServerCertificate}
        client = authority.issue("me", client=True)
        self.client, self.client_key = client.write(path, "client")
        key = serialization.load_pem_private_key(client.key, None)
        self.locked_key = path / "locked.key"
        self.locked_key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"open sesame"),
            )
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("tls"))


def talk(
    folder: Folder,
    client: ssl.SSLContext | None,
    *,
    shows: ServerCertificate = ServerCertificate.VALID,
    wants_client: bool = False,
    newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> str:
    """Connect to a server as asyncio drivers do and say hello; returns the protocol version."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.maximum_version = newest
    server_context.load_cert_chain(*folder.servers[shows])
    if wants_client:
        server_context.verify_mode = ssl.CERT_REQUIRED
        server_context.load_verify_locations(folder.ca)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    async def run() -> str:
        async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_context) as server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
            writer.write(b"hello\n")
            # With TLS 1.3 a server refuses a client's certificate only after the client's side of the handshake.
            if await reader.readline() != b"hello\n":
                raise ConnectionResetError("the server said nothing")
            version: str = writer.get_extra_info("ssl_object").version()
            writer.close()
            return version

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("settings", "shows", "accepted"),
    [
        ({"mode": "verify-full"}, ServerCertificate.VALID, True),
        ({}, ServerCertificate.VALID, True),
        ({"mode": "verify-full"}, ServerCertificate.EXPIRED, False),
        ({"mode": "verify-full"}, ServerCertificate.WRONG_HOST, False),
        ({"mode": "verify-full", "server_hostname": "elsewhere.example"}, ServerCertificate.WRONG_HOST, True),
        ({"mode": "verify-full", "server_hostname": "elsewhere.example"}, ServerCertificate.VALID, False),
        ({"mode": "verify-ca"}, ServerCertificate.WRONG_HOST, True),
        ({"mode": "verify-ca"}, ServerCertificate.EXPIRED, False),
    ],
)
def test_modes(folder: Folder, settings: dict[str, Any], shows: ServerCertificate, accepted: bool) -> None:
    context = ssl_context(SSLConfig(ca_file=folder.ca, **settings))
    if accepted:
        assert talk(folder, context, shows=shows) == "TLSv1.3"
    else:
        with pytest.raises(ssl.SSLCertVerificationError):
            talk(folder, context, shows=shows)


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_an_unknown_authority_is_refused(folder: Folder, mode: Any) -> None:
    for ca_file in (folder.stranger, None):
        with pytest.raises(ssl.SSLCertVerificationError):
            talk(folder, ssl_context(SSLConfig(mode=mode, ca_file=ca_file)))


def test_require_encrypts_and_checks_nothing(folder: Folder) -> None:
    context = ssl_context(SSLConfig(mode="require"))
    for shows in ServerCertificate:
        assert talk(folder, context, shows=shows) == "TLSv1.3"
    assert ssl_context(SSLConfig(mode="disable")) is None


def test_the_minimum_version_is_held(folder: Folder) -> None:
    older = ssl_context(SSLConfig(ca_file=folder.ca))
    assert talk(folder, older, newest=ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    newer = ssl_context(SSLConfig(ca_file=folder.ca, minimum_version="TLSv1.3"))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        talk(folder, newer, newest=ssl.TLSVersion.TLSv1_2)


def test_the_security_manager_raises_the_minimum(folder: Folder) -> None:
    strict = DatabaseSecurityManager(DatabaseSecurityConfig(minimum_tls_version="TLSv1.3"))
    versions: tuple[TLSVersion | None, ...] = (None, "TLSv1.2", "TLSv1.3")
    for own in versions:
        context = strict.create_ssl_context(SSLConfig(ca_file=folder.ca, minimum_version=own))
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    lax = DatabaseSecurityManager(DatabaseSecurityConfig())
    assert lax.create_ssl_context(SSLConfig(minimum_version="TLSv1.3")).minimum_version is ssl.TLSVersion.TLSv1_3
    assert talk(folder, lax.create_ssl_context(SSLConfig(ca_file=folder.ca))) == "TLSv1.3"
    with pytest.raises(UsageError, match="mode is disable"):
        lax.create_ssl_context(SSLConfig(mode="disable"))


@pytest.mark.parametrize("locked", [False, True])
def test_a_client_certificate(folder: Folder, locked: bool) -> None:
    key: dict[str, Any] = {"key_file": folder.client_key}
    if locked:
        key = {"key_file": folder.locked_key, "key_password": "open sesame"}
    context = ssl_context(SSLConfig(ca_file=folder.ca, certificate_file=folder.client, **key))
    assert talk(folder, context, wants_client=True) == "TLSv1.3"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        talk(folder, ssl_context(SSLConfig(ca_file=folder.ca)), wants_client=True)


def test_files_that_are_not_what_they_should_be(folder: Folder, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"ca_file": empty}, "ssl_config.ca_file"),
        ({"certificate_file": empty}, "ssl_config.certificate_file"),
        (
            {"certificate_file": folder.client, "key_file": folder.servers[ServerCertificate.VALID][1]},
            "ssl_config.certificate_file",
        ),
        (
            {"certificate_file": folder.client, "key_file": folder.locked_key, "key_password": "hunter2"},
            "ssl_config.certificate_file",
        ),
        ({"certificate_file": folder.client, "key_file": folder.locked_key}, "ssl_config.certificate_file"),
    ]
    for settings, where in cases:
        with pytest.raises(ConfigurationError) as refused:
            ssl_context(SSLConfig(**settings))
        assert [fault.where for fault in refused.value.faults] == [where]
        assert "hunter2" not in str(refused.value)
