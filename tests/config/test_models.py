"""The models by themselves: defaults, rules, narrowing by engine, frozen-ness."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic
import pytest

from sillar.config import (
    ConnectionPoolConfig,
    DatabaseConfig,
    DatabaseConnectionConfig,
    DatabaseCredentials,
    DatabaseEngine,
    DatabaseSecurityConfig,
    MongoDBConfig,
    MySQLConfig,
    NodeAddress,
    NodeConfig,
    PostgreSQLConfig,
    PostgreSQLOptions,
    SQLiteConfig,
    SSLConfig,
)
from sillar.errors import ConfigurationError, UsageError

NETWORK = {"engine": "postgresql", "host": "localhost", "database": "shop"}


def faults(build: Any, **settings: Any) -> dict[str, str]:
    """What is wrong with ``settings``: ``problem; remedy`` by path."""
    with pytest.raises(ConfigurationError) as refused:
        build(**settings)
    paths = [fault.where for fault in refused.value.faults]
    assert len(paths) == len(set(paths)), paths
    return {fault.where: f"{fault.problem}; {fault.remedy}" for fault in refused.value.faults}


@pytest.mark.parametrize(
    ("narrowed", "port"),
    [(PostgreSQLConfig, 5432), (MySQLConfig, 3306), (MongoDBConfig, 27017)],
)
def test_a_connection_is_of_the_class_of_its_engine(narrowed: type[DatabaseConnectionConfig], port: int) -> None:
    engine = narrowed.model_fields["engine"].default.value
    settings: dict[str, Any] = {"engine": engine, "host": "localhost", "database": "shop"}
    for connection in (
        DatabaseConnectionConfig(**settings),
        DatabaseConnectionConfig.model_validate(settings),
        DatabaseConfig(databases={"x": settings}).databases["x"],  # type: ignore[dict-item]
    ):
        assert type(connection) is narrowed
        assert connection.engine is DatabaseEngine(engine)
        assert connection.addresses == (NodeAddress("localhost", port, "auto"),)


def test_options_are_of_the_engine_and_may_be_a_table() -> None:
    settings: dict[str, Any] = {
        **NETWORK,
        "connection_options": {"application_name": "till", "statement_timeout": "2.5"},
    }
    options = DatabaseConnectionConfig(**settings).connection_options
    assert isinstance(options, PostgreSQLOptions)
    assert (options.application_name, options.statement_timeout) == ("till", 2.5)


@pytest.mark.parametrize(
    ("settings", "where", "says"),
    [
        ({"engine": "postgresq"}, "engine", "did you mean 'postgresql'?"),
        ({"host": None}, "host", "is missing; give host, or nodes, or unix_socket"),
        ({"hots": "x"}, "hots", "there is no such setting; did you mean 'host'?"),
        ({"zzzzzz": "x"}, "zzzzzz", "known here: connection_options, credentials, database"),
        ({"port": 65_536}, "port", "65536 is out of range; give a number of at most 65535"),
        ({"port": 0}, "port", "0 is out of range; give a number of at least 1"),
        ({"port": "five"}, "port", "'five' is not a whole number"),
        ({"database": ""}, "database", "'' is not a text that is not empty"),
        ({"host": "/run/postgresql"}, "host", "put the path of a Unix socket into unix_socket"),
        ({"host": "me:pw@db"}, "host", "the value is more than a host"),
        ({"unix_socket": "/run/postgresql"}, "host", "the value stands beside unix_socket"),
        ({"host": None, "unix_socket": "run"}, "unix_socket", "'run' is not an absolute path"),
        ({"nodes": [{"host": "b"}, {"host": "c", "role": "replca"}]}, "nodes.1.role", "did you mean 'replica'?"),
        ({"nodes": ["b"]}, "nodes.0", "is not a table of settings"),
        ({"credentials": {"password": "a", "password_secret": "b"}}, "credentials.password_secret", "either password"),
        ({"credentials": {"pasword": "a"}}, "credentials.pasword", "did you mean 'password'?"),
        ({"connection_options": {"lock_timeout": -1}}, "connection_options.lock_timeout", "a number above 0"),
        ({"connection_options": {"lock_timeout": float("inf")}}, "connection_options.lock_timeout", "a finite number"),
        ({"connection_options": {"pgbouncer": "perhaps"}}, "connection_options.pgbouncer", "true or false"),
        (
            {"connection_options": {"pgbouncer": True, "prepared_statements": 5}},
            "connection_options.prepared_statements",
            "cannot be kept with pgbouncer",
        ),
        (
            {"connection_options": {"server_settings": {"search_path": "a"}}},
            "connection_options.server_settings",
            "use connection_options.search_path",
        ),
        ({"ssl_config": {"mode": "verify_full"}}, "ssl_config.mode", "did you mean 'verify-full'?"),
        ({"ssl_config": {"ca_file": "/no/such.pem"}}, "ssl_config.ca_file", "'/no/such.pem' is not a file that exists"),
        ({"ssl_config": {"mode": "require", "ca_file": __file__}}, "ssl_config.ca_file", "mode require checks no cert"),
        ({"ssl_config": {"key_file": __file__}}, "ssl_config.key_file", "give certificate_file as well"),
        ({"pool": {"min_connections": 4, "max_connections": 3}}, "pool.max_connections", "raise max_connections to 4"),
        ({"pool": {"backoff_max": 0.01}}, "pool.backoff_max", "0.01 is below backoff_initial (0.1)"),
        ({"pool": {"on_unavailable": "hope"}}, "pool.on_unavailable", "known here: fail, wait"),
        ({"slow_statement_seconds": 0}, "slow_statement_seconds", "a number above 0"),
    ],
)
def test_each_fault_has_its_path_and_remedy(settings: dict[str, Any], where: str, says: str) -> None:
    found = faults(DatabaseConnectionConfig, **{**NETWORK, **settings})
    assert list(found) == [where]
    assert says in found[where]


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"host": "db"}, "host"),
        ({"port": 1}, "port"),
        ({"nodes": [{"host": "b"}]}, "nodes"),
        ({"unix_socket": "/x"}, "unix_socket"),
        ({"source_address": "127.0.0.1"}, "source_address"),
        ({"ssl_config": {}}, "ssl_config"),
        ({"credentials": {"user": "me"}}, "credentials"),
    ],
)
def test_sqlite_has_no_server(settings: dict[str, Any], where: str) -> None:
    found = faults(DatabaseConnectionConfig, **{"engine": "sqlite", "database": "a.db", **settings})
    assert list(found) == [where]
    assert "SQLite has none" in found[where]


def test_all_faults_are_listed_at_once() -> None:
    found = faults(
        DatabaseConfig,
        databases={
            "main": {"engine": "postgresql", "hots": "db", "port": 70_000, "credentials": {"user": ""}},
            "mongo": {"engine": "mongodb", "host": "db.example", "database": "d", "connection_options": {"w": 1}},
            "what": "postgresql://me:hunter2@db/x",
            "odd": {"engine": "oracle", "host": "h", "database": "d", "prot": 1, "connection_options": {"a": 1}},
        },
        default_database="mian",
        profile="prod",
        connection_pools={"max_connections": 0},
        migration_config={"tabel": "x"},
        metrics="perhaps",
        extra=1,
    )
    assert set(found) == {
        "databases.main.hots",
        "databases.main.host",
        "databases.main.port",
        "databases.main.database",
        "databases.main.credentials.user",
        "databases.main.credentials.password",
        "databases.mongo.connection_options.w",
        "databases.mongo.credentials.password",
        "databases.what",
        "databases.odd.engine",
        "databases.odd.prot",
        "default_database",
        "connection_pools.max_connections",
        "migration_config.tabel",
        "metrics",
        "extra",
    }
    assert found["default_database"] == "'mian' is not one of the databases; did you mean 'main'?"


def test_pydantic_validation_speaks_alike_and_shows_no_input() -> None:
    with pytest.raises(pydantic.ValidationError) as refused:
        DatabaseConfig.model_validate({"databases": {"a": {**NETWORK, "pasword": "hunter2"}}})
    assert "did you mean" not in str(refused.value) or "hunter2" not in str(refused.value)
    assert "there is no such setting" in str(refused.value)
    assert "hunter2" not in str(refused.value) + repr(refused.value.errors())


REMOTE = {"engine": "postgresql", "host": "db.example.com", "database": "shop", "credentials": {"password": "x"}}


@pytest.mark.parametrize(
    ("changes", "settings", "expected"),
    [
        ({}, {}, set()),
        ({"credentials": {}}, {}, {"credentials.password"}),
        ({"credentials": {"password": ""}}, {}, {"credentials.password"}),
        ({"credentials": {}}, {"security_config": {"allow_passwordless": True}}, set()),
        ({"credentials": {}}, {"profile": "staging"}, set()),
        (
            {"credentials": {}},
            {"profile": "dev", "security_config": {"allow_passwordless": "no"}},
            {"credentials.password"},
        ),
        ({"credentials": {"password_secret": "db"}}, {}, set()),
        ({"credentials": {}, "host": None, "unix_socket": "/run/postgresql"}, {}, set()),
        ({"credentials": {}, "host": "localhost"}, {}, {"credentials.password"}),
        ({"credentials": {}, "ssl_config": {"certificate_file": __file__}}, {}, set()),
        ({"engine": "mongodb", "credentials": {}, "connection_options": {"auth_mechanism": "MONGODB-X509"}}, {}, set()),
        ({"ssl_config": {"mode": "require"}}, {}, {"ssl_config.mode"}),
        ({"ssl_config": {"mode": "disable"}}, {}, {"ssl_config.mode"}),
        ({"ssl_config": {"mode": "verify-ca"}}, {}, {"ssl_config.mode"}),
        ({"ssl_config": {"mode": "require"}}, {"security_config": {"allow_weak_tls": True}}, set()),
        ({"ssl_config": {"mode": "require"}}, {"profile": "staging"}, set()),
        ({"ssl_config": {"mode": "disable"}, "host": "127.0.0.1"}, {}, set()),
        ({"ssl_config": {"mode": "disable"}, "host": "127.0.0.1", "nodes": [{"host": "b"}]}, {}, {"ssl_config.mode"}),
        (
            {"ssl_config": {"mode": "disable"}, "host": "127.0.0.1"},
            {"profile": "dev", "security_config": {"require_tls": True}},
            {"ssl_config.mode"},
        ),
        (
            {"ssl_config": {"minimum_version": "TLSv1.2"}},
            {"security_config": {"minimum_tls_version": "TLSv1.3"}},
            {"ssl_config.minimum_version"},
        ),
    ],
)
def test_rules_of_the_profile_and_of_security(
    changes: dict[str, Any], settings: dict[str, Any], expected: set[str]
) -> None:
    whole: dict[str, Any] = {"databases": {"main": {**REMOTE, **changes}}, "profile": "prod", **settings}
    if expected:
        assert set(faults(DatabaseConfig, **whole)) == {f"databases.main.{path}" for path in expected}
    else:
        assert list(DatabaseConfig(**whole).databases) == ["main"]


def test_rules_hold_for_models_as_for_tables() -> None:
    found = faults(
        DatabaseConfig,
        profile="prod",
        databases={
            "main": MySQLConfig(
                host="db.example", database="d", ssl_config=SSLConfig(mode="require"), credentials=DatabaseCredentials()
            )
        },
    )
    assert set(found) == {"databases.main.credentials.password", "databases.main.ssl_config.mode"}


@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        ({"host": "localhost"}, "disable"),
        ({"host": "127.0.0.1", "nodes": [NodeConfig(host="::1")]}, "disable"),
        ({"host": "127.0.0.1", "nodes": [NodeConfig(host="10.0.0.2")]}, "verify-full"),
        ({"host": "10.0.0.2"}, "verify-full"),
        ({"unix_socket": Path("/run/postgresql")}, "disable"),
        ({"host": "10.0.0.2", "ssl_config": SSLConfig(mode="require")}, "require"),
        ({"host": "localhost", "ssl_config": SSLConfig()}, "verify-full"),
    ],
)
def test_tls_by_default_is_by_address(settings: dict[str, Any], mode: str) -> None:
    connection = PostgreSQLConfig(database="d", **settings)
    assert connection.tls.mode == mode
    decided = DatabaseConfig(databases={"x": connection}).connection("x")
    assert decided.ssl_config is not None
    assert decided.ssl_config.mode == mode


def test_connection_decides_everything() -> None:
    config = DatabaseConfig(
        databases={
            "local": PostgreSQLConfig(host="localhost", database="d"),
            "own": MySQLConfig(host="10.0.0.1", database="d", pool=ConnectionPoolConfig(max_connections=50)),
            "file": SQLiteConfig(database=":memory:"),
        },
        default_database="own",
        connection_pools=ConnectionPoolConfig(min_connections=3, connection_timeout=2.0),
        security_config=DatabaseSecurityConfig(require_tls=True, minimum_tls_version="TLSv1.3"),
    )
    own, local, file = config.connection(), config.connection("local"), config.connection("file")
    assert own.pool is not None
    assert (own.pool.min_connections, own.pool.max_connections, own.pool.connection_timeout) == (3, 50, 2.0)
    assert local.pool == config.connection_pools
    assert isinstance(own, MySQLConfig)
    for network in (own, local):
        assert network.ssl_config is not None
        assert (network.ssl_config.mode, network.ssl_config.minimum_version) == ("verify-full", "TLSv1.3")
    assert file.tls.mode == "disable"
    with pytest.raises(UsageError, match="no database 'loca': did you mean 'local'"):
        config.connection("loca")


def test_a_pool_that_conflicts_with_the_common_limits_is_refused() -> None:
    settings = {**NETWORK, "pool": {"min_connections": 20}}
    found = faults(DatabaseConfig, databases={"main": settings})
    assert "10 is below min_connections (20)" in found["databases.main.pool.max_connections"]
    model = PostgreSQLConfig(host="h", database="d", pool=ConnectionPoolConfig(max_connections=2))
    found = faults(DatabaseConfig, databases={"main": model}, connection_pools=ConnectionPoolConfig(min_connections=3))
    assert "2 is below min_connections (3)" in found["databases.main.pool.max_connections"]
    fits = DatabaseConfig(databases={"main": settings}, connection_pools={"max_connections": 20})  # type: ignore[dict-item,arg-type]
    assert fits.databases["main"].pool == ConnectionPoolConfig(min_connections=20, max_connections=20)


def test_pgbouncer_keeps_no_prepared_statements() -> None:
    assert PostgreSQLOptions(pgbouncer=True).prepared_statements == 0
    assert PostgreSQLOptions().prepared_statements == 200


def test_the_only_database_is_the_default() -> None:
    one = PostgreSQLConfig(host="localhost", database="d")
    assert DatabaseConfig(databases={"shop": one}).default_database == "shop"
    assert DatabaseConfig(databases={"default": one, "b": one}).default_database == "default"
    assert set(faults(DatabaseConfig, databases={"a": one, "b": one})) == {"default_database"}
    assert set(faults(DatabaseConfig, databases={})) == {"databases"}
    assert set(faults(DatabaseConfig)) == {"databases"}


def test_nodes_and_addresses() -> None:
    connection = PostgreSQLConfig(
        host="[fe80::1]",
        port=6000,
        database="d",
        nodes=(NodeConfig(host="b"), NodeConfig(host="c", port=1, role="replica")),
    )
    assert [str(address) for address in connection.addresses] == ["[fe80::1]:6000", "b:6000", "c:1"]
    assert [address.role for address in connection.addresses] == ["primary", "auto", "replica"]
    socket = PostgreSQLConfig(unix_socket=Path("/run/postgresql"), database="d").addresses[0]
    assert (socket.is_unix_socket, str(socket), socket.port) == (True, "/run/postgresql", 5432)
    assert SQLiteConfig(database="x").addresses == ()
    assert connection.display_name == "postgresql://[fe80::1]:6000,b:6000,c:1/d"


def test_frozen_all_the_way_down() -> None:
    config = DatabaseConfig(
        databases={
            "a": PostgreSQLConfig(
                host="h", database="d", connection_options=PostgreSQLOptions(server_settings={"work_mem": "4MB"})
            )
        }
    )
    options = config.databases["a"].connection_options
    assert isinstance(options, PostgreSQLOptions)
    for model in (config, config.databases["a"], options, config.connection_pools, config.databases["a"].credentials):
        with pytest.raises(pydantic.ValidationError, match="frozen"):
            setattr(model, next(iter(type(model).model_fields)), "other")
    tables: tuple[dict[str, Any], ...] = (config.databases, options.server_settings)
    changes: tuple[Callable[[dict[str, Any]], Any], ...] = (
        lambda table: table.__setitem__("b", 1),
        lambda table: table.__delitem__(next(iter(table))),
        lambda table: table.update(b=1),
        lambda table: table.pop(next(iter(table))),
        lambda table: table.popitem(),
        lambda table: table.clear(),
        lambda table: table.setdefault("b", 1),
        lambda table: table.__ior__({"b": 1}),
    )
    for table in tables:
        before = dict(table)
        for change in changes:
            with pytest.raises(TypeError, match="frozen"):
                change(table)
        assert dict(table) == before


def test_copies_and_dumps_hold_everything() -> None:
    config = DatabaseConfig(databases={"a": PostgreSQLConfig(host="h", database="d")})
    assert copy.deepcopy(config) == config
    assert pickle.loads(pickle.dumps(config)) == config
    dumped = config.model_dump(mode="json")
    assert dumped["databases"]["a"]["connection_options"]["application_name"] == "sillar"
    assert DatabaseConfig.model_validate(dumped) == config
