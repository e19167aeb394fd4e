"""Every form of database URL, into the settings it stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from sillar.config import (
    DatabaseConfig,
    MongoDBConfig,
    MongoDBOptions,
    MySQLConfig,
    MySQLOptions,
    PostgreSQLConfig,
    PostgreSQLOptions,
    SQLiteConfig,
    SQLiteOptions,
)
from sillar.errors import ConfigurationError


def read(url: str) -> Any:
    return DatabaseConfig.from_url(url).databases["default"]


@pytest.mark.parametrize(
    ("url", "model", "expected"),
    [
        ("postgresql://db.example/shop", PostgreSQLConfig, {"host": "db.example", "port": 5432, "database": "shop"}),
        ("postgres://db.example:6000/shop", PostgreSQLConfig, {"port": 6000}),
        ("postgresql+asyncpg://h/d", PostgreSQLConfig, {"database": "d"}),
        ("postgresql+psycopg://h/d", PostgreSQLConfig, {}),
        ("PostgreSQL://h/d", PostgreSQLConfig, {}),
        ("  postgresql://h/d\n", PostgreSQLConfig, {"database": "d"}),
        ("mysql://h/d", MySQLConfig, {"port": 3306}),
        ("mariadb://h/d", MySQLConfig, {}),
        ("mysql+pymysql://h/d", MySQLConfig, {}),
        ("mongodb://h/d", MongoDBConfig, {"port": 27017}),
        ("postgresql://[2001:db8::1]:5/d", PostgreSQLConfig, {"host": "2001:db8::1", "port": 5}),
        ("postgresql://[::1]/d", PostgreSQLConfig, {"host": "::1", "port": 5432}),
        ("postgresql://h/my%20db%2Fx", PostgreSQLConfig, {"database": "my db/x"}),
        ("postgresql:///d?host=/run/postgresql", PostgreSQLConfig, {"unix_socket": Path("/run/postgresql")}),
        ("postgresql:///d?host=/run/postgresql&port=6000", PostgreSQLConfig, {"port": 6000}),
        (
            "postgresql://%2Frun%2Fpostgresql/d",
            PostgreSQLConfig,
            {"unix_socket": Path("/run/postgresql"), "host": None},
        ),
        ("postgresql:///?host=h&port=7&dbname=d", PostgreSQLConfig, {"host": "h", "port": 7, "database": "d"}),
        ("postgresql:///d?host=fe80::1", PostgreSQLConfig, {"host": "fe80::1"}),
        (
            "postgresql://h/d?read_only=true&source_address=127.0.0.2",
            PostgreSQLConfig,
            {"read_only": True, "source_address": "127.0.0.2"},
        ),
        (
            "mysql://localhost/d?unix_socket=/run/m.sock",
            MySQLConfig,
            {"unix_socket": Path("/run/m.sock"), "host": None},
        ),
        ("sqlite://", SQLiteConfig, {"database": ":memory:"}),
        ("sqlite:///", SQLiteConfig, {"database": ":memory:"}),
        ("sqlite:///:memory:", SQLiteConfig, {"database": ":memory:"}),
        ("sqlite+aiosqlite:///a/b%20c.db", SQLiteConfig, {"database": "a/b c.db"}),
        ("sqlite:////var/x@y.db", SQLiteConfig, {"database": "/var/x@y.db"}),
        ("sqlite:///x.db?mode=ro", SQLiteConfig, {"read_only": True}),
        ("sqlite:///x.db?mode=memory", SQLiteConfig, {"database": ":memory:"}),
    ],
)
def test_forms(url: str, model: type[Any], expected: dict[str, Any]) -> None:
    connection = read(url)
    assert type(connection) is model
    assert {name: getattr(connection, name) for name in expected} == expected


@pytest.mark.parametrize("scheme", ["postgresql://", "mysql://", "mongodb://"])
def test_credentials_are_decoded(scheme: str) -> None:
    credentials = read(f"{scheme}m%40e:p%2Fa%3Fs%25s%C3%A9:@x@h/d").credentials
    assert credentials.user == "m@e"
    assert credentials.password == SecretStr("p/a?s%sé:@x")
    assert read(f"{scheme}me@h/d").credentials.password is None
    assert read(f"{scheme}h/d").credentials.user is None


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("postgresql://h/d?application_name=a%20b+c", PostgreSQLOptions(application_name="a b+c")),
        ("postgresql://h/d?pgbouncer=true", PostgreSQLOptions(pgbouncer=True)),
        ("postgresql://h/d?statement_cache_size=0", PostgreSQLOptions(prepared_statements=0)),
        ("postgresql://h/d?statement_timeout=1.5", PostgreSQLOptions(statement_timeout=1.5)),
        (
            "postgresql://h/d?options=-c%20search_path%3Da,b%20-cwork_mem%3D4MB%20--statement-timeout%3D1500"
            "%20-c%20lock_timeout%3D0",
            PostgreSQLOptions(search_path="a,b", server_settings={"work_mem": "4MB"}, statement_timeout=1.5),
        ),
        ("mysql+asyncmy://h/d?charset=utf8mb3", MySQLOptions(charset="utf8mb3")),
        ("mysql+aiomysql://h/d?init_command=SELECT%201", MySQLOptions(init_command="SELECT 1")),
        (
            "sqlite:///x?timeout=2&readers=4&foreign_keys=off",
            SQLiteOptions(busy_timeout=2, readers=4, foreign_keys=False),
        ),
        ("mongodb+srv://h/d", MongoDBOptions(srv=True)),
        (
            "mongodb://h/d?replicaset=rs0&authSource=admin&authMechanism=SCRAM-SHA-256&w=2&retryWrites=false"
            "&readPreference=secondaryPreferred&serverSelectionTimeoutMS=1500&appName=x&directConnection=true",
            MongoDBOptions(
                replica_set="rs0",
                auth_source="admin",
                auth_mechanism="SCRAM-SHA-256",
                write_concern=2,
                retry_writes=False,
                read_preference="secondaryPreferred",
                server_selection_timeout=1.5,
                app_name="x",
                direct_connection=True,
            ),
        ),
    ],
)
def test_parameters_become_options(url: str, options: Any) -> None:
    assert read(url).connection_options == options


@pytest.mark.parametrize(
    ("url", "pool"),
    [
        ("postgresql://h/d?connect_timeout=3", {"connect_timeout": 3.0}),
        ("mysql://h/d?connect_timeout=3", {"connect_timeout": 3.0}),
        (
            "mongodb://h/d?maxPoolSize=7&minPoolSize=2&connectTimeoutMS=250&waitQueueTimeoutMS=1500&maxIdleTimeMS=9000"
            "&maxConnecting=4",
            {
                "max_connections": 7,
                "min_connections": 2,
                "connect_timeout": 0.25,
                "connection_timeout": 1.5,
                "idle_timeout": 9.0,
                "handshakes_max": 4,
            },
        ),
    ],
)
def test_parameters_become_pool_limits(url: str, pool: dict[str, float]) -> None:
    found = read(url).pool
    assert {name: getattr(found, name) for name in found.model_fields_set} == pool


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        ("postgresql://h/d", "verify-full"),
        ("postgresql://localhost/d", "disable"),
        ("postgresql://localhost/d?sslmode=require", "require"),
        ("postgresql://h/d?sslmode=disable", "disable"),
        ("postgresql://h/d?sslmode=verify-full&sslrootcert=system", "verify-full"),
        ("postgresql+asyncpg://h/d?ssl=verify-ca", "verify-ca"),
        ("postgresql+asyncpg://localhost/d?ssl=true", "verify-full"),
        ("mysql://h/d?ssl-mode=VERIFY_IDENTITY", "verify-full"),
        ("mysql://h/d?ssl_mode=REQUIRED", "require"),
        ("mysql://h/d?ssl_mode=VERIFY_CA", "verify-ca"),
        ("mysql://h/d?ssl_mode=DISABLED", "disable"),
        ("mongodb://localhost/d?tls=true", "verify-full"),
        ("mongodb://h/d?tls=false", "disable"),
        ("mongodb://h/d?tls=true&tlsAllowInvalidHostnames=true", "verify-ca"),
        ("mongodb://h/d?tlsInsecure=true", "require"),
        ("mongodb://h/d?tlsAllowInvalidCertificates=false", "verify-full"),
    ],
)
def test_tls_words_of_each_engine(url: str, mode: str) -> None:
    assert read(url).tls.mode == mode


def test_tls_files(tmp_path: Path) -> None:
    pem = tmp_path / "x.pem"
    pem.write_text("")
    urls = [
        f"postgresql://h/d?sslrootcert={pem}&sslcert={pem}&sslkey={pem}&sslpassword=k&ssl_min_protocol_version=TLSv1.3",
        f"mysql://h/d?ssl_ca={pem}&ssl_cert={pem}&ssl_key={pem}",
        f"mongodb://h/d?tlsCAFile={pem}&tlsCertificateKeyFile={pem}&tlsCertificateKeyFilePassword=k",
    ]
    for url in urls:
        tls = read(url).tls
        assert (tls.mode, tls.ca_file, tls.certificate_file) == ("verify-full", pem, pem)
        assert tls.key_password == (None if "mysql" in url else SecretStr("k"))
    assert read(urls[0]).tls.minimum_version == "TLSv1.3"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://a:1,b,[::1]:3/d",
        "postgresql:///d?host=a,b,::1&port=1,,3",
        "postgresql://a:1,b:5432,%3A%3A1:3/d",
    ],
)
def test_several_hosts_are_nodes_of_unknown_role(url: str) -> None:
    connection = read(url)
    assert connection.host is None
    assert [str(address) for address in connection.addresses] == ["a:1", "b:5432", "[::1]:3"]
    assert {address.role for address in connection.addresses} == {"auto"}
    several = read("postgresql:///d?host=a,b&port=7")
    assert [str(address) for address in several.addresses] == ["a:7", "b:7"]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("h/d", "is not a URL"),
        ("postgrsql://h/d", "unknown scheme 'postgrsql'; did you mean 'postgresql'?"),
        ("oracle://h/d", "known here: mariadb, mongodb"),
        ("a b c://h/d", "has no scheme; begin with one of"),
        ("postgresql+asynpg://h/d", "a driver that is not known for postgresql; did you mean 'asyncpg'?"),
        ("mongodb+motor://h/d", "write mongodb://"),
        ("postgresql://me:s/cret@h/d", "percent-encode the user, the password"),
        ("postgresql://me:s?cret@h/d", "percent-encode the user, the password"),
        ("postgresql://me:s@x/cret@h/d", "percent-encode the user, the password"),
        ("postgresql://::1/d", "put an IPv6 address in brackets"),
        ("postgresql://h:port/d", "a port that is not a number at the host"),
        ("postgresql://a:1,b:x/d", "a port that is not a number at host 2"),
        ("postgresql://a,,b/d", "leaves host 2 empty"),
        ("postgresql://me:100%@h/d", "write a % itself as %25"),
        ("postgresql://me:%ff@h/d", "write a % itself as %25"),
        ("postgresql://h/d?pool_size=5", "set pool.max_connections"),
        ("mysql://h/d?max_overflow=5", "it is the whole limit"),
        ("postgresql://h/d?aplication_name=x", "unknown parameter 'aplication_name'; did you mean 'application_name'?"),
        ("postgresql://h/d?target_session_attrs=read-write", "learned from the servers"),
        ("postgresql://h/d?sslmode=prefer", "write verify-full, require or disable"),
        ("postgresql://h/d?sslmode=require&sslmode=disable", "has the parameter 'sslmode' twice"),
        ("postgresql://h/d?options=work_mem", "write options=-c name=value"),
        ("postgresql://h/d?read_only=maybe", "write true or false"),
        ("postgresql:///d?host=a,b&port=1,2,3", "2 hosts and 3 ports"),
        ("postgresql:///d?port=1,2", "write one number"),
        ("mongodb://h/d?replicaSt=x", "did you mean 'replicaSet'?"),
        ("mongodb://h/d?connectTimeoutMS=1s", "is not a number of milliseconds"),
        ("mongodb://h/d?tls=maybe", "write true or false"),
        ("sqlite://x.db", "write sqlite:///file for a relative path"),
        ("sqlite://me:s?cret@h/d", "has a host, and SQLite has none"),
        ("sqlite:///file:x?mode=ro", "write the path alone"),
        ("sqlite:///x?mode=new", "write ro, rw, rwc or memory"),
        ("sqlite:///x?cache=shared", "share their database anyway"),
    ],
)
def test_each_fault_of_a_url(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        DatabaseConfig.from_url(url)
    (fault,) = refused.value.faults
    assert (fault.where, fault.source) == ("databases.default.url", "argument url")
    assert says in f"{fault.problem}; {fault.remedy}"


def test_faults_of_values_name_the_url_and_hide_the_value() -> None:
    with pytest.raises(ConfigurationError) as refused:
        DatabaseConfig.from_url("postgresql://h:99999/d?sslmode=verfy-full&pool_size=3&sslcert=/no/such")
    found = {fault.where: (fault.source, fault.problem) for fault in refused.value.faults}
    assert found == {
        "databases.default.url": ("argument url", "the URL has the parameter 'pool_size', which is not one"),
        "databases.default.port": ("URL in argument url", "the value is out of range"),
        "databases.default.ssl_config.mode": ("URL in argument url", "the value is not one of the choices"),
        "databases.default.ssl_config.certificate_file": ("URL in argument url", "the value is not a file that exists"),
    }
