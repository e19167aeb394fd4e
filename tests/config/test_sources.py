"""Where settings come from, which source wins, and what each fault says about its source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sillar.config import DatabaseConfig, MongoDBConfig, PostgreSQLConfig, PostgreSQLOptions, SQLiteConfig, load_config
from sillar.errors import ConfigurationError

TOML = """
default_database = "main"

[databases.main]
url = "postgresql://shop@localhost/shop"
port = 6000

[databases.main.pool]
max_connections = 4

[databases.main.connection_options]
application_name = "till"

[connection_pools]
idle_timeout = 60

[profiles.test]
databases.main.url = "sqlite://"

[profiles.prod.databases.main]
host = "db.example.com"
credentials.password_secret = "shop/db"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sillar.toml"
    path.write_text(TOML)
    return path


def read(**arguments: Any) -> DatabaseConfig:
    return load_config(**{"environment": {}, **arguments})


def faults(**arguments: Any) -> list[tuple[str, str, str]]:
    with pytest.raises(ConfigurationError) as refused:
        read(**arguments)
    return [(fault.where, fault.source, f"{fault.problem}; {fault.remedy}") for fault in refused.value.faults]


def test_a_file(file: Path) -> None:
    config = DatabaseConfig.from_file(file)
    main = config.connection()
    assert isinstance(main, PostgreSQLConfig)
    assert (main.host, main.port, main.database, main.credentials.user) == ("localhost", 6000, "shop", "shop")
    assert main.connection_options.application_name == "till"
    assert main.pool is not None
    assert (main.pool.max_connections, main.pool.idle_timeout) == (4, 60.0)
    assert config.profile == "dev"


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_the_overlay_of_the_profile(file: Path, by: str) -> None:
    choose: dict[str, Any] = {"profile": "prod"} if by == "argument" else {"environment": {"SILLAR__PROFILE": "prod"}}
    main = read(file=file, **choose).connection("main")
    assert (main.host, main.port, main.database) == ("db.example.com", 6000, "shop")
    assert (main.credentials.user, main.credentials.password_secret) == ("shop", "shop/db")
    assert main.tls.mode == "verify-full"


def test_a_later_url_replaces_the_address_and_for_another_engine_its_options(file: Path) -> None:
    test = read(file=file, profile="test").databases["main"]
    assert isinstance(test, SQLiteConfig)
    assert test.database == ":memory:"
    assert test.pool is not None
    assert test.pool.max_connections == 4
    other = read(file=file, environment={"SILLAR__DATABASES__MAIN__URL": "postgresql://elsewhere/x"}).databases["main"]
    assert isinstance(other, PostgreSQLConfig)
    assert (other.host, other.port, other.credentials.user) == ("elsewhere", 5432, None)
    assert other.connection_options.application_name == "till"


def test_the_profile_of_the_file_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('profile="prod"\ndatabases.a.url="sqlite:///dev.db"\nprofiles.prod.databases.a.database="prod.db"')
    assert read(file=path).databases["a"].database == "prod.db"
    assert read(file=path, profile="dev").databases["a"].database == "dev.db"


def test_each_source_overrides_those_before_it(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('databases.a.url="postgresql://h/d"\ndatabases.a.port=1\nprofiles.test.databases.a.port=2')
    environment = {"SILLAR__DATABASES__A__PORT": "3"}
    tables: dict[str, Any] = {"databases": {"a": {"port": 4}}}

    def port(**arguments: Any) -> int | None:
        return read(file=path, **arguments).databases["a"].port

    assert port() == 1
    assert port(profile="test") == 2
    assert port(profile="test", environment=environment) == 3
    assert port(profile="test", environment=environment, **tables) == 4
    assert port(profile="test", environment=environment, **tables, overrides={"databases": {"a": {"port": 5}}}) == 5


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "SILLAR__DATABASES__MAIN__ENGINE": "mongodb",
        "SILLAR__DATABASES__MAIN__DATABASE": "shop",
        "SILLAR__DATABASES__MAIN__NODES": '[{"host": "a"}, {"host": "b", "port": 7, "role": "replica"}]',
        "SILLAR__DATABASES__MAIN__CREDENTIALS__USER": "me",
        "SILLAR__DATABASES__MAIN__CREDENTIALS__PASSWORD": "[p",
        "SILLAR__DATABASES__MAIN__CONNECTION_OPTIONS__RETRY_WRITES": "false",
        "SILLAR__DATABASES__MAIN__SOURCE_ADDRESS": "",
        "SILLAR__DATABASES__CACHE": "sqlite:///cache.db",
        "SILLAR__URL": "postgresql://localhost/d",
        "SILLAR__DATABASES__DEFAULT__CONNECTION_OPTIONS__SERVER_SETTINGS": '{"work_mem": "4MB"}',
        "SILLAR__METRICS": "off",
        "SILLAR_TEST_SOMETHING": "not ours",
        "UNRELATED": "x",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    config = DatabaseConfig.from_environment()
    main, default = config.databases["main"], config.connection()
    assert isinstance(main, MongoDBConfig)
    assert [str(address) for address in main.addresses] == ["a:27017", "b:7"]
    assert main.credentials.password is not None
    assert main.credentials.password.get_secret_value() == "[p"
    assert (main.connection_options.retry_writes, main.source_address) == (False, None)
    assert config.databases["cache"].database == "cache.db"
    assert isinstance(default.connection_options, PostgreSQLOptions)
    assert default.connection_options.server_settings == {"work_mem": "4MB"}
    assert config.metrics is False
    assert config == DatabaseConfig.from_environment(variables)


def test_arguments_take_models_tables_and_urls() -> None:
    model = PostgreSQLConfig(host="h", database="d")
    config = read(databases={"a": model, "b": "sqlite://", "c": {"url": "mysql://h/d", "port": 1}}, url="sqlite:///x")
    assert config.databases["a"] is model
    assert [config.databases[name].engine for name in "bc"] == ["sqlite", "mysql"]
    assert config.databases["c"].port == 1
    assert config.default_database == "default"
    assert config.databases["default"].database == "x"
    assert read(databases={"a": model}, environment={"SILLAR__DATABASES__A": "sqlite://"}).databases["a"] is model


def test_from_url_looks_at_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SILLAR__PROFILE", "nonsense")
    config = DatabaseConfig.from_url(
        "postgresql://me@localhost/d", overrides={"connection_pools": {"max_connections": 3}}
    )
    assert (config.profile, config.connection_pools.max_connections) == ("dev", 3)
    with pytest.raises(ConfigurationError):
        load_config(url="sqlite://")


def test_faults_name_their_source(file: Path) -> None:
    file.write_text(TOML + 'credentials.user = ""\n[databases.main.ssl_config]\nmode = "verfy-full"\n')
    found = faults(
        file=file,
        profile="prod",
        environment={
            "SILLAR__DATABASES__MAIN__PORT": "five",
            "SILLAR__DATABASES__MAIN__POOL__MAX_CONECTIONS": "5",
            "SILLAR__DATABSES__MAIN__PORT": "5",
        },
        overrides={"log_statements": "everything"},
    )
    assert sorted(found) == [
        (
            "databases.main.credentials.user",
            f"{file} [profiles.prod]",
            "'' is not a text that is not empty; give a text that is not empty",
        ),
        (
            "databases.main.pool.max_conections",
            "environment SILLAR__DATABASES__MAIN__POOL__MAX_CONECTIONS",
            "there is no such setting; did you mean 'max_connections'?",
        ),
        (
            "databases.main.port",
            "environment SILLAR__DATABASES__MAIN__PORT",
            "'five' is not a whole number; give a whole number",
        ),
        (
            "databases.main.ssl_config.mode",
            str(file),
            "'verfy-full' is not one of the choices; did you mean 'verify-full'?",
        ),
        (
            "databses",
            "environment SILLAR__DATABSES__MAIN__PORT",
            "there is no such setting; did you mean 'databases'?",
        ),
        ("log_statements", "argument overrides", "'everything' is not one of the choices; known here: all, off, slow"),
    ]


@pytest.mark.parametrize(
    ("content", "where", "says"),
    [
        (b"a = [1\nb = ", "file", "is not TOML: "),
        (b"a = 1\nb == 2\n", "file", "line 2"),
        (b"a = '\xff'", "file", "is not UTF-8 text at byte 5"),
        (b"profiles = 3\ndatabases.a = 'sqlite://'", "profiles", "write [profiles.prod]"),
        (b"profiles.prd.metrics = true\ndatabases.a = 'sqlite://'", "profiles.prd", "did you mean 'prod'?"),
        (b"profiles.prod = 1\ndatabases.a = 'sqlite://'", "profiles.prod", "write [profiles.prod]"),
        (b"profiles.prod.profile = 'dev'\ndatabases.a = 'sqlite://'", "profiles.prod.profile", "SILLAR__PROFILE"),
        (b"databases.a.url = 3", "databases.a.url", "the URL is not a text"),
        (b"databases = 3", "databases", "the value is not a table of settings"),
        (b"databases.a = 3", "databases.a", "is not a table of settings"),
        (b"metrics = true", "databases", "give a URL (argument url, or SILLAR__URL"),
    ],
)
def test_each_fault_of_a_file(tmp_path: Path, content: bytes, where: str, says: str) -> None:
    path = tmp_path / "sillar.toml"
    path.write_bytes(content)
    ((found, source, text),) = faults(file=path)
    assert found == where
    assert source == (str(path) if where != "databases" or b"databases" in content else "not set anywhere")
    assert says in text


def test_a_missing_file_is_one_fault(tmp_path: Path) -> None:
    ((where, source, text),) = faults(file=tmp_path / "no.toml")
    assert (where, source) == ("file", str(tmp_path / "no.toml"))
    assert "No such file" in text
    found = faults(file=tmp_path / "no.toml", environment={"SILLAR__METRICS": "perhaps"})
    assert [fault[0] for fault in found] == ["file", "metrics"]


@pytest.mark.parametrize(
    ("environment", "where", "says"),
    [
        ({"SILLAR__DATABASES__DEFAULT__NODES": "a,b"}, "databases.default.nodes", "is not JSON; write it as in NODES="),
        ({"SILLAR__DATABASES____PORT": "1"}, "databases..port", "the name has an empty part"),
        (
            {"SILLAR__CONNECTION_POOLS": "5", "SILLAR__CONNECTION_POOLS__MAX_CONNECTIONS": "5"},
            "connection_pools",
            "keep one",
        ),
        ({"SILLAR__DATABASES__DEFAULT__PORT__X": "1"}, "databases.default.port", "is not a whole number"),
        ({"SILLAR__DEFAULT_DATABASE": "main"}, "default_database", "'main' is not one of the databases"),
        ({"SILLAR__PROFILE": "production"}, "profile", "did you mean 'prod'?"),
    ],
)
def test_each_fault_of_the_environment(environment: dict[str, str], where: str, says: str) -> None:
    ((found, source, text),) = faults(environment={"SILLAR__URL": "postgresql://h/d", **environment})
    assert found == where
    assert source.startswith("environment SILLAR__")
    assert says in text


def test_a_value_and_a_table_at_one_place_across_sources() -> None:
    model = PostgreSQLConfig(host="h", database="d")
    found = faults(databases={"a": model}, overrides={"databases": {"a": {"port": 1}}})
    assert [fault[:2] for fault in found] == [("databases.a", "argument overrides")]


def test_a_wrong_url_brings_no_further_faults_about_what_it_would_have_said() -> None:
    found = faults(databases={"a": "postgrsql://h/d", "b": {"engine": "mysql", "database": "d"}}, url="sqlite://")
    assert [fault[0] for fault in found] == ["databases.a.url", "databases.b.host"]
