"""Mutual TLS, the lowest version, and certificates that are renewed while connections are opened with them."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs
from tests.security.load import read, under_load
from tests.security.users import configured

from sillar import DatabaseManager
from sillar.config import DatabaseConfig, DatabaseSecurityConfig, SSLConfig, ssl_context
from sillar.config.certificate import validity
from sillar.errors import AuthenticationError, CertificateError, ConfigurationError, ConnectError
from sillar.query.document import DocumentCommand
from sillar.security import DatabaseSecurityManager
from sillar.testing.servers import CertificateAuthority, MariaDBServer, MongoDBServer, MySQLServer, PostgreSQLServer


class Files:
    """The client's files: the authorities it trusts, its certificate and key."""

    def __init__(self, folder: Path, authority: bytes) -> None:
        self.folder, self.ca = folder, folder / "trusted.pem"
        self.ca.write_bytes(authority)

    @property
    def config(self) -> SSLConfig:
        return SSLConfig(
            ca_file=self.ca, certificate_file=self.folder / "client.pem", key_file=self.folder / "client.key"
        )

    def renew(self, authority: CertificateAuthority, name: str = "sillar") -> int:
        """A new certificate; its serial number."""
        issued = authority.issue(name, client=True)
        issued.write(self.folder, "client")
        return x509.load_pem_x509_certificate(issued.certificate).serial_number


def serving(server: Any) -> CertificateAuthority:
    authority = server._authority
    assert isinstance(authority, CertificateAuthority)
    return authority


async def reload(server: PostgreSQLServer) -> None:
    """Have a PostgreSQL server read its files again; returns once connections are taken as they say."""
    loaded = "SELECT pg_conf_load_time()"
    before = await server.execute_as_superuser(loaded)
    await server.execute_as_superuser("SELECT pg_reload_conf()")
    async with asyncio.timeout(20):
        while await server.execute_as_superuser(loaded) == before:
            await asyncio.sleep(0.02)
    await server.execute_as_superuser("SELECT 1")  # who takes this connection is done with it


@asynccontextmanager
async def demanding(kind: type[Any]) -> AsyncIterator[Any]:
    """A server that lets its user in only with a certificate of that name, besides the password."""
    async with kind(tls=True) as server:
        if isinstance(server, PostgreSQLServer):
            [(file,)] = await server.execute_as_superuser("SHOW hba_file")
            Path(file).write_text(
                "hostssl all sillar 127.0.0.1/32 scram-sha-256 clientcert=verify-full\n"
                "host all postgres 127.0.0.1/32 scram-sha-256\n"
            )
            await reload(server)
        else:
            await server.execute_as_superuser(f"ALTER USER '{server.user}'@'%' REQUIRE SUBJECT '/CN=sillar'")
        yield server


async def change_authority(server: Any, authority: CertificateAuthority) -> None:
    """The server shows a certificate of another authority from now on, and trusts that one's."""
    (server._path / "ca.pem").write_bytes(authority.certificate)
    _, key = authority.issue().write(server._path, "server")
    server._identity.give(key)
    if isinstance(server, PostgreSQLServer):
        await reload(server)
    else:
        mariadb = isinstance(server, MariaDBServer)
        await server.execute_as_superuser("FLUSH SSL" if mariadb else "ALTER INSTANCE RELOAD TLS")


@pytest.mark.parametrize("kind", [PostgreSQLServer, MariaDBServer, MySQLServer])
async def test_certificates_of_both_sides_are_renewed_under_load(kind: type[Any], tmp_path: Path) -> None:
    async with demanding(kind) as server:
        old, new = serving(server), CertificateAuthority("the next one")
        files = Files(tmp_path, old.certificate)
        without = configured(server, secret=None, tls=SSLConfig(ca_file=files.ca))
        with pytest.raises(AuthenticationError):
            await DatabaseManager(without).initialize()
        files.renew(old, "somebody_else")
        with pytest.raises(AuthenticationError):
            await DatabaseManager(configured(server, secret=None, tls=files.config)).initialize()
        files.renew(old)
        async with DatabaseManager(configured(server, secret=None, tls=files.config)) as manager:
            pool: Any = manager.pools["default"]
            async with under_load(manager, read, workers=2) as load:
                files.renew(old)  # the client's own
                pool.clear("a test")
                await load.more(10)
                files.ca.write_bytes(old.certificate + new.certificate)  # first both are trusted,
                await change_authority(server, new)  # then the server has moved,
                files.renew(new)
                pool.clear("a test")
                await load.more(10)
                files.ca.write_bytes(new.certificate)  # and then the old one goes
                pool.clear("a test")
                await load.more(10)
            assert load.failures == []
            files.ca.write_bytes(old.certificate)
            pool.clear("a test")
            with pytest.raises(CertificateError, match="not trusted"):
                await manager.session().fetch_value("SELECT 1")


async def test_the_server_sees_the_new_certificate(tmp_path: Path) -> None:
    shown = "SELECT client_serial FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    async with demanding(PostgreSQLServer) as server:
        files = Files(tmp_path, serving(server).certificate)
        first = files.renew(serving(server))
        async with DatabaseManager(configured(server, secret=None, tls=files.config)) as manager:
            pool: Any = manager.pools["default"]
            assert await manager.session().fetch_value(shown) == first
            second = files.renew(serving(server))
            assert await manager.session().fetch_value(shown) == first  # connections that are open stay as they are
            pool.clear("a test")
            assert await manager.session().fetch_value(shown) == second
            # Half of the next one is there: the last good one stays in force, and that is said once.
            certificate = files.folder / "client.pem"
            whole = serving(server).issue("sillar", client=True)
            certificate.write_bytes(whole.certificate[:300])
            with capture_logs() as logs:
                for _ in range(2):
                    pool.clear("a test")
                    assert await manager.session().fetch_value(shown) == second
            assert [each["event"] for each in logs if "certificates" in each["event"]] == [
                "renewed certificates not used, the last good ones are"
            ]
            certificate.unlink()  # replaced by removing
            pool.clear("a test")
            assert await manager.session().fetch_value(shown) == second
            whole.write(files.folder, "client")
            pool.clear("a test")
            third = x509.load_pem_x509_certificate(whole.certificate).serial_number
            assert await manager.session().fetch_value(shown) == third
        await server.execute_as_superuser("ALTER SYSTEM SET ssl_max_protocol_version = 'TLSv1.2'")
        await reload(server)
        await refuses_below_the_floor(configured(server, secret=None, tls=files.config))


OLD_SERVERS: list[tuple[type[Any], dict[str, str]]] = [
    (MariaDBServer, {"tls-version": "TLSv1.2"}),
    (MySQLServer, {"tls-version": "TLSv1.2"}),
]


@pytest.mark.parametrize(("kind", "settings"), OLD_SERVERS)
async def test_a_server_below_the_lowest_version_is_refused(kind: type[Any], settings: dict[str, str]) -> None:
    async with kind(tls=True, settings=settings) as server:
        tls = SSLConfig(ca_file=server.ca_file)
        await refuses_below_the_floor(configured(server, secret=None, tls=tls))


async def refuses_below_the_floor(config: DatabaseConfig) -> None:
    """The server speaks TLS 1.2 at best: enough by default, too little for a floor of 1.3."""
    async with DatabaseManager(config) as manager:
        assert await manager.session().fetch_value("SELECT 1") == 1
    high = config.model_copy(update={"security_config": DatabaseSecurityConfig(minimum_tls_version="TLSv1.3")})
    with pytest.raises(CertificateError, match="TLS"):
        await DatabaseManager(high).initialize()


# --- MongoDB: its driver keeps one context for all time ---------------------------------------------------------------


class Front:
    """A TLS end that demands a client certificate, in front of a MongoDB without TLS."""

    def __init__(self, server: MongoDBServer, folder: Path) -> None:
        self._server, self._folder = server, folder
        self.serials: list[int] = []
        self._listening: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def listen(self, authority: CertificateAuthority) -> None:
        """Begin to listen with a certificate of that authority; those who are connected are dropped."""
        if self._listening is not None:
            self.close()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue().write(self._folder, "front"))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=authority.certificate.decode())
        self._listening = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=context)
        self.port = self._listening.sockets[0].getsockname()[1]

    def close(self) -> None:
        assert self._listening is not None
        self._listening.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        shown = writer.get_extra_info("ssl_object").getpeercert()
        self.serials.append(int(shown["serialNumber"], 16))
        behind, to_behind = await asyncio.open_connection(self._server.host, self._server.port)
        await asyncio.gather(pump(reader, to_behind), pump(behind, writer))
        self._writers.discard(writer)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except (ConnectionError, ssl.SSLError):
        pass
    finally:
        writer.transport.abort()


async def test_mongodb_uses_renewed_certificates(mongodb: MongoDBServer, tmp_path: Path) -> None:
    old, new = CertificateAuthority("old"), CertificateAuthority("new")
    (tmp_path / "front").mkdir()
    front, files = Front(mongodb, tmp_path / "front"), Files(tmp_path, old.certificate)
    await front.listen(old)
    first = files.renew(old)
    plain = configured(mongodb, secret=None)
    options = plain.databases["default"].connection_options.model_copy(
        update={"direct_connection": True, "server_selection_timeout": 5.0}
    )
    changed = plain.databases["default"].model_copy(
        update={"host": "127.0.0.1", "port": front.port, "ssl_config": files.config, "connection_options": options}
    )
    count = DocumentCommand("tls", "count", {"filter": {}})
    async with DatabaseManager(plain.model_copy(update={"databases": {"default": changed}})) as manager:
        await manager.session().execute(count)
        assert set(front.serials) == {first}
        second = files.renew(old)
        raw: Any = manager.pools["default"].client.raw  # type: ignore[attr-defined]
        for server in raw._topology._servers.values():
            await server.pool.reset_without_pause()
        await manager.session().execute(count)
        assert front.serials[-1] == second
        files.ca.write_bytes(old.certificate + new.certificate)
        third = files.renew(new)
        await front.listen(new)
        async with asyncio.timeout(20):
            while True:
                try:
                    await manager.session().execute(count)
                    break
                except ConnectError:
                    await asyncio.sleep(0.05)
        assert front.serials[-1] == third
    front.close()


# --- the context itself -----------------------------------------------------------------------------------------------


def test_a_context_is_made_once_and_follows_its_files(tmp_path: Path) -> None:
    authority = CertificateAuthority()
    files = Files(tmp_path, authority.certificate)
    files.renew(authority)
    manager = DatabaseSecurityManager(DatabaseSecurityConfig())
    context = manager.create_ssl_context(files.config)
    assert manager.create_ssl_context(files.config) is context
    assert manager.create_ssl_context(SSLConfig(ca_file=files.ca)) is not context
    followed = context.files  # type: ignore[attr-defined]
    assert followed.context(context) is context
    files.renew(authority)
    renewed = followed.context(context)
    assert renewed is not context
    assert followed.context(context) is renewed
    assert ssl_context(SSLConfig()).files is None  # type: ignore[union-attr]  # the system's authorities
    with pytest.raises(ConfigurationError):
        files.ca.write_text("nothing")
        ssl_context(files.config)


def handshake(context: ssl.SSLContext) -> None:
    context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost")


def certificate_until(end: datetime.datetime, days: float) -> tuple[bytes, bytes]:
    """A certificate that began so many days before its end."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sillar")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(end - datetime.timedelta(days=days))
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.mark.parametrize(
    ("days_left", "days", "said"),
    [
        (29, 365, "client certificate expires soon"),
        (31, 365, None),
        (17, 90, "client certificate expires soon"),
        (19, 90, None),
        (-1, 90, "client certificate has expired"),
        (0.1, 1, "client certificate expires soon"),
    ],
)
def test_the_end_of_the_client_certificate_is_said_early(
    tmp_path: Path, days_left: float, days: float, said: str | None
) -> None:
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days_left)
    certificate, key = certificate_until(end, days)
    (tmp_path / "client.pem").write_bytes(certificate + key)
    context = ssl_context(SSLConfig(mode="require", certificate_file=tmp_path / "client.pem"))
    assert context is not None
    with capture_logs() as logs:
        handshake(context)
        handshake(context)
    assert [each["event"] for each in logs] == ([said] if said else [])
    if said:
        assert logs[0]["days_left"] == pytest.approx(days_left, abs=0.2)
        assert logs[0]["file"].endswith("client.pem")


def test_when_a_certificate_is_valid() -> None:
    end = datetime.datetime(2051, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)  # from 2050 on in another form
    pem = certificate_until(end, 365 * 30)[0].decode()
    assert validity(f"text before\n{pem}") == (end - datetime.timedelta(days=365 * 30), end)
    assert validity("no certificate") is None
    lines = pem.splitlines()
    assert validity("\n".join([lines[0], lines[1], lines[-1]])) is None
    assert validity("\n".join([lines[0], "MAMCAQE=", lines[-1]])) is None
