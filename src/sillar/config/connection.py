"""One database: where it is, who connects, how, and with which options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    Field,
    SecretStr,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.functional_validators import ModelWrapValidatorHandler

from sillar.config.faults import fault
from sillar.config.model import ConfigurationModel
from sillar.config.options import (
    DatabaseEngine,
    EngineOptions,
    MongoDBOptions,
    MySQLOptions,
    PostgreSQLOptions,
    SQLiteOptions,
)
from sillar.config.pool import ConnectionPoolConfig
from sillar.config.retry import RetryConfig
from sillar.config.tls import SSLConfig, is_on_this_machine
from sillar.config.topology import TopologyConfig

NodeRole = Literal["primary", "replica", "auto"]


class DatabaseCredentials(ConfigurationModel, frozen=True):
    """Who connects. Passwords are never part of a repr or an error."""

    user: str | None = Field(default=None, min_length=1)
    """Name of the user (role)."""

    password: SecretStr | None = None
    """Password of the user."""

    password_secret: str | None = Field(default=None, min_length=1)
    """Name under which the host's ``SecretsManager`` has the password; asked again for each connect."""

    @field_validator("password_secret")
    @classmethod
    def _one_password(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("password") is not None:
            raise fault("stands beside a password", "give either password or password_secret", value=value)
        return value


class NodeConfig(ConfigurationModel, frozen=True):
    """One server of a database."""

    host: str = Field(min_length=1)
    """Host name or address."""

    port: int | None = Field(default=None, ge=1, le=65_535)
    """TCP port; None: the connection's ``port``."""

    role: NodeRole = "auto"
    """What the server is meant to be, as a hint for people: what counts is what the server itself says."""

    weight: float = Field(default=1.0, gt=0)
    """Share of the reads that it gets with ``load_balancing = weighted``, in proportion to the others'."""

    zone: str | None = Field(default=None, min_length=1)
    """Where it runs, for ``load_balancing = zone``."""

    @field_validator("host")
    @classmethod
    def _is_a_host(cls, value: str) -> str:
        return _plain_host(value)


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """Where one node listens: ``host`` is a name, an address, or the absolute path of a Unix socket.

    Two addresses are equal when they lead to the same place, whatever else is said of it.
    """

    host: str
    port: int
    role: NodeRole = field(default="auto", compare=False)
    weight: float = field(default=1.0, compare=False)
    zone: str | None = field(default=None, compare=False)

    @property
    def is_unix_socket(self) -> bool:
        """Whether ``host`` is a path."""
        return self.host.startswith("/")

    def __str__(self) -> str:
        if self.is_unix_socket:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _plain_host(value: str) -> str:
    if value.startswith("/"):
        raise fault("is a path, not a host", "put the path of a Unix socket into unix_socket")
    if "://" in value or "@" in value:
        raise fault("is more than a host", "give a URL in url, and a host name or address alone here")
    return value.removeprefix("[").removesuffix("]")


class DatabaseConnectionConfig(ConfigurationModel, frozen=True):
    """One database. ``DatabaseConnectionConfig(engine="postgresql", …)`` is a ``PostgreSQLConfig``, and so on."""

    engine: DatabaseEngine
    """``postgresql``, ``mysql`` (MariaDB, too), ``mongodb`` or ``sqlite``."""

    unix_socket: Path | None = None
    """Path of a Unix socket (PostgreSQL: its directory, too) in place of ``host``."""

    nodes: tuple[NodeConfig, ...] = ()
    """Further servers of the same data: replicas, or all members where nobody is known to be the primary."""

    host: str | None = Field(default=None, min_length=1)
    """Host name or address of the primary."""

    port: int | None = Field(default=None, ge=1, le=65_535)
    """TCP port of every node that names none; 5432, 3306 and 27017 by engine."""

    source_address: str | None = Field(default=None, min_length=1)
    """Local address to connect from."""

    database: str = Field(min_length=1)
    """Name of the database; for SQLite the path of the file or ``:memory:``."""

    credentials: DatabaseCredentials = DatabaseCredentials()
    """Who connects."""

    ssl_config: SSLConfig | None = None
    """TLS; None: ``verify-full`` if any node is off this machine, none on it."""

    connection_options: SerializeAsAny[EngineOptions] = EngineOptions()
    """Options of the engine."""

    pool: ConnectionPoolConfig | None = None
    """Limits of this database's pools; what is not set here is as in ``connection_pools``."""

    topology: TopologyConfig = TopologyConfig()
    """How several nodes are used."""

    retry: RetryConfig = RetryConfig()
    """How often, and after which pauses, statements and transactions are run again."""

    read_only: bool = False
    """Refuse writes: sessions are opened read-only."""

    slow_statement_seconds: float | None = Field(default=1.0, gt=0)
    """Seconds from which a statement counts as slow; None: never."""

    def __new__(cls, /, **settings: Any) -> Self:
        narrowed: type[Self] = _narrowed(cls, settings)
        return super().__new__(narrowed)

    @model_validator(mode="wrap")
    @classmethod
    def _of_its_engine(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(value, Mapping):
            narrowed = _narrowed(cls, value)
            if narrowed is not cls:
                instance: Self = narrowed.model_validate(value)
                return instance
            if cls is DatabaseConnectionConfig:  # no engine, and so nothing that its options could be held against
                value = {name: setting for name, setting in value.items() if name != "connection_options"}
        return handler(value)

    @field_validator("unix_socket")
    @classmethod
    def _is_absolute(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_absolute():
            raise fault("is not an absolute path", "begin the path with /", value=str(value))
        return value

    @field_validator("host")
    @classmethod
    def _is_reachable(cls, value: str | None, info: ValidationInfo) -> str | None:
        # A field that failed is absent from info.data: it is reported for itself, and this one is not guessed at.
        if (
            not {"unix_socket", "nodes"} <= info.data.keys()
            or info.data.get("engine", DatabaseEngine.SQLITE) == "sqlite"
        ):
            return value
        socket, nodes = info.data["unix_socket"], info.data["nodes"]
        if value is None and socket is None and not nodes:
            raise fault("is missing", "give host, or nodes, or unix_socket", absent=True)
        if socket is not None and (value is not None or nodes):
            raise fault("stands beside unix_socket", "give either a Unix socket or hosts")
        return value if value is None else _plain_host(value)

    @property
    def addresses(self) -> tuple[NodeAddress, ...]:
        """All nodes with their ports, ``host`` first (a Unix socket: as the only one). Empty for SQLite."""
        if self.port is None:
            return ()
        if self.unix_socket is not None:
            return (NodeAddress(str(self.unix_socket), self.port),)
        first: tuple[NodeAddress, ...] = ()
        if self.host is not None:
            first = (NodeAddress(self.host, self.port, "primary" if self.nodes else "auto"),)
        return first + tuple(
            NodeAddress(node.host, node.port or self.port, node.role, node.weight, node.zone) for node in self.nodes
        )

    @property
    def is_on_this_machine(self) -> bool:
        """Whether every node is a loopback address, a Unix socket or a file."""
        return all(is_on_this_machine(node.host) for node in self.addresses)

    @property
    def tls(self) -> SSLConfig:
        """What holds: ``ssl_config``, or the rule for the addresses."""
        if self.ssl_config is not None:
            return self.ssl_config
        return SSLConfig(mode="disable" if self.is_on_this_machine else "verify-full")

    @property
    def display_name(self) -> str:
        """Engine, addresses and database for people to read; no user, no password."""
        where = ",".join(map(str, self.addresses))
        return f"{self.engine.value}://{where}/{self.database}"


class PostgreSQLConfig(DatabaseConnectionConfig, frozen=True):
    """A PostgreSQL database."""

    engine: Literal[DatabaseEngine.POSTGRESQL] = DatabaseEngine.POSTGRESQL
    port: int = Field(default=5432, ge=1, le=65_535)
    connection_options: PostgreSQLOptions = PostgreSQLOptions()


class MySQLConfig(DatabaseConnectionConfig, frozen=True):
    """A MySQL or MariaDB database."""

    engine: Literal[DatabaseEngine.MYSQL] = DatabaseEngine.MYSQL
    port: int = Field(default=3306, ge=1, le=65_535)
    connection_options: MySQLOptions = MySQLOptions()


class MongoDBConfig(DatabaseConnectionConfig, frozen=True):
    """A MongoDB database."""

    engine: Literal[DatabaseEngine.MONGODB] = DatabaseEngine.MONGODB
    port: int = Field(default=27_017, ge=1, le=65_535)
    connection_options: MongoDBOptions = MongoDBOptions()


class SQLiteConfig(DatabaseConnectionConfig, frozen=True):
    """A SQLite database: a file, or ``:memory:``."""

    engine: Literal[DatabaseEngine.SQLITE] = DatabaseEngine.SQLITE
    connection_options: SQLiteOptions = SQLiteOptions()

    @field_validator("unix_socket", "nodes", "host", "port", "source_address", "ssl_config")
    @classmethod
    def _has_no_server(cls, value: Any) -> Any:
        if value:
            raise fault("is for a server, and SQLite has none", "remove it; the path of the file goes into database")
        return value

    @field_validator("credentials")
    @classmethod
    def _has_no_users(cls, value: DatabaseCredentials) -> DatabaseCredentials:
        if value != DatabaseCredentials():
            raise fault("are for a server, and SQLite has none", "remove them")
        return value


_BY_ENGINE: dict[DatabaseEngine, type[DatabaseConnectionConfig]] = {
    DatabaseEngine.POSTGRESQL: PostgreSQLConfig,
    DatabaseEngine.MYSQL: MySQLConfig,
    DatabaseEngine.MONGODB: MongoDBConfig,
    DatabaseEngine.SQLITE: SQLiteConfig,
}


def _narrowed(cls: type[Any], settings: Mapping[str, Any]) -> type[Any]:
    """The class for the engine that ``settings`` name, where ``cls`` is open to it."""
    if cls is not DatabaseConnectionConfig or settings.get("engine") not in list(DatabaseEngine):
        return cls
    return _BY_ENGINE[DatabaseEngine(settings["engine"])]
