"""What can be set on one engine only: ``connection_options`` of a connection."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from sillar.config.faults import fault
from sillar.config.model import ConfigurationModel, Sealed


class DatabaseEngine(StrEnum):
    """The engines that ship with Sillar. MariaDB is ``mysql``: the server says which of the two it is."""

    POSTGRESQL = "postgresql"
    MYSQL = "mysql"
    MONGODB = "mongodb"
    SQLITE = "sqlite"


class EngineOptions(ConfigurationModel, frozen=True):
    """The parent of the options of the engines: what every engine has."""

    statement_timeout: float | None = Field(default=None, gt=0)
    """Seconds a statement may run before it is cancelled on the server; None: no limit of ours."""


class PostgreSQLOptions(EngineOptions, frozen=True):
    """Options of a PostgreSQL connection."""

    application_name: str = "sillar"
    """Name shown in ``pg_stat_activity``."""

    lock_timeout: float | None = Field(default=None, gt=0)
    """Seconds a statement waits for a lock; None: the server's setting."""

    idle_in_transaction_timeout: float | None = Field(default=None, gt=0)
    """Seconds after which the server ends a session that idles inside a transaction; None: the server's setting."""

    search_path: str | None = None
    """Schemas to search, comma-separated; None: the role's setting."""

    pgbouncer: bool = False
    """Behind PgBouncer in transaction mode: no named prepared statements, no start-up parameters that it refuses."""

    prepared_statements: int = Field(default=200, ge=0)
    """Statements kept prepared per connection; 0 with ``pgbouncer``."""

    server_settings: Sealed[str, str] = Field(default_factory=dict)
    """Further server parameters for the session, by name, such as ``{"work_mem": "64MB"}``."""

    @field_validator("prepared_statements")
    @classmethod
    def _none_behind_pgbouncer(cls, value: int, info: ValidationInfo) -> int:
        if not info.data.get("pgbouncer"):
            return value
        if value not in (0, cls.model_fields["prepared_statements"].default):
            raise fault(
                "prepared statements cannot be kept with pgbouncer", "remove prepared_statements, or pgbouncer",
                value=value,
            )  # fmt: skip
        return 0

    @field_validator("server_settings")
    @classmethod
    def _no_second_spelling(cls, value: dict[str, str]) -> dict[str, str]:
        for name, field in _OPTION_OF_SETTING.items():
            if name in value:
                raise fault(f"has {name}, which has a field of its own", f"use connection_options.{field}")
        return value


_OPTION_OF_SETTING = {
    "application_name": "application_name",
    "statement_timeout": "statement_timeout",
    "lock_timeout": "lock_timeout",
    "idle_in_transaction_session_timeout": "idle_in_transaction_timeout",
    "search_path": "search_path",
}


class MySQLOptions(EngineOptions, frozen=True):
    """Options of a MySQL or MariaDB connection."""

    charset: str = Field(default="utf8mb4", min_length=1)
    """Character set of the connection."""

    sql_mode: str | None = None
    """``sql_mode`` of the session; None: the server's setting."""

    lock_timeout: float | None = Field(default=None, ge=1)
    """Seconds a statement waits for a row lock (``innodb_lock_wait_timeout``, whole seconds); None: the server's."""

    init_command: str | None = None
    """A statement to run on every new connection."""


class SQLiteOptions(EngineOptions, frozen=True):
    """Options of a SQLite database."""

    readers: int = Field(default=2, ge=1, le=64)
    """Read connections, each with a thread, besides the one writer."""

    busy_timeout: float = Field(default=5.0, ge=0)
    """Seconds to wait for a lock that another process holds."""

    journal_mode: Literal["wal", "delete", "truncate", "persist", "memory", "off"] = "wal"
    """``PRAGMA journal_mode``; readers run beside the writer only with ``wal``."""

    synchronous: Literal["off", "normal", "full", "extra"] = "normal"
    """``PRAGMA synchronous``: ``normal`` with WAL never corrupts, but a power cut may lose the last commits."""

    cache_kib: int = Field(default=16_384, ge=0)
    """Page cache of each connection in KiB."""

    foreign_keys: bool = True
    """Whether foreign keys are enforced."""

    mmap_bytes: int = Field(default=0, ge=0)
    """Bytes of the file to read through memory mapping; 0: none."""

    inline_reads: bool = True
    """Run proven single-row lookups on the event loop instead of a reader thread."""

    batch_max: int = Field(default=256, ge=1)
    """Statements of several callers that the writer runs in one transaction at most."""


class MongoDBOptions(EngineOptions, frozen=True):
    """Options of a MongoDB client."""

    replica_set: str | None = Field(default=None, min_length=1)
    """Name that the replica set must have."""

    read_preference: Literal["primary", "primaryPreferred", "secondary", "secondaryPreferred", "nearest"] = "primary"
    """Which members serve reads."""

    write_concern: int | str = "majority"
    """Members that must have a write before it is acknowledged: ``majority``, a number, or a tag set's name."""

    retry_writes: bool = True
    """Let the driver repeat a write once after a failover (needs a replica set)."""

    retry_reads: bool = True
    """Let the driver repeat a read once after a failover."""

    server_selection_timeout: float = Field(default=5.0, gt=0)
    """Seconds to look for a suitable member."""

    auth_source: str | None = Field(default=None, min_length=1)
    """Database that holds the user; None: the driver's rule."""

    auth_mechanism: (
        Literal["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "MONGODB-X509", "MONGODB-AWS", "GSSAPI", "MONGODB-OIDC"] | None
    ) = None
    """How the client proves who it is; None: negotiated."""

    app_name: str = Field(default="sillar", max_length=128)
    """Name shown in ``$currentOp``."""

    direct_connection: bool | None = None
    """Talk to this one member only instead of its replica set; None: the driver's rule."""

    srv: bool = False
    """The host is a DNS seed list (``mongodb+srv://``)."""

    @field_validator("write_concern", mode="before")
    @classmethod
    def _number_where_it_is_one(cls, value: object) -> object:
        return int(value) if isinstance(value, str) and value.isdigit() else value
