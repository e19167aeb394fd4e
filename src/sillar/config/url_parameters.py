"""The parameters that a database URL may have, by engine: the setting that each stands for, and how to read it.

Sources: PostgreSQL manual 34.1.2 (libpq), MySQL manual "Connecting Using URI-Like Strings", MongoDB manual "Connection
String Options", SQLAlchemy's dialect pages.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from sillar.config.options import EngineOptions, MySQLOptions, PostgreSQLOptions, SQLiteOptions


@dataclass(frozen=True, slots=True)
class Refusal:
    """A parameter's value that is not taken."""

    problem: str
    remedy: str


Reader = Callable[[str], Any]
"""Turns the text of a parameter into the value of a setting (or a ``Refusal``); a reader for the empty path into
several settings by path."""


DRIVERS: dict[str, list[str]] = {
    "postgresql": ["asyncpg", "psycopg", "psycopg_async", "psycopg2", "psycopg2cffi", "pg8000"],
    "mysql": ["aiomysql", "asyncmy", "pymysql", "mysqldb", "mysqlconnector", "mariadbconnector"],
    "mongodb": [],
    "sqlite": ["aiosqlite", "pysqlite"],
}
"""The ``+driver`` forms that are understood. Sillar uses its own driver all the same."""

REFUSED: dict[str, str] = {
    "pool_size": "set pool.max_connections",
    "max_overflow": "set pool.max_connections: it is the whole limit",
    "pool_timeout": "set pool.connection_timeout",
    "pool_recycle": "set pool.max_lifetime",
    "pool_pre_ping": "remove it: idle connections are validated (pool.validate_after_idle)",
    "min_size": "set pool.min_connections",
    "max_size": "set pool.max_connections",
    "command_timeout": "use statement_timeout",
    "target_session_attrs": "remove it: which node takes writes is learned from the servers",
    "channel_binding": "remove it: it is not supported; mode verify-full keeps strangers out of the connection",
    "gssencmode": "remove it: encryption is by TLS (sslmode)",
    "autocommit": "remove it: single statements commit by themselves, transactions are explicit",
    "uri": "remove it: write the path alone",
    "cache": "remove it: connections to :memory: share their database anyway",
}
"""Parameters of other tools, with what to do instead."""


def _text(value: str) -> str:
    return value


def _is_on(value: str) -> bool | Refusal:
    if value.lower() in ("1", "true", "yes", "on"):
        return True
    if value.lower() in ("0", "false", "no", "off"):
        return False
    return Refusal("is neither true nor false", "write true or false")


def _milliseconds(value: str) -> float | Refusal:
    if re.fullmatch(r"[0-9]{1,12}", value):
        return int(value) / 1000
    return Refusal("is not a number of milliseconds", "write a whole number")


def _ssl_mode(value: str) -> str | Refusal:
    """libpq's, MySQL's and SQLAlchemy's words for the mode."""
    mode = value.lower().replace("_", "-")
    if mode in ("allow", "prefer", "preferred"):
        return Refusal("may fall back to no encryption", "write verify-full, require or disable")
    modes = {
        "disabled": "disable", "false": "disable", "0": "disable",
        "required": "require", "true": "verify-full", "1": "verify-full",
        "verify-identity": "verify-full",
    }  # fmt: skip
    return modes.get(mode, mode)


def _tls_on(value: str) -> str | Refusal:
    on = _is_on(value)
    if isinstance(on, Refusal):
        return on
    return "verify-full" if on else "disable"


def _when_on(mode: str) -> Reader:
    """For switches that weaken the check of the certificate: false says nothing."""

    def read(value: str) -> dict[str, Any] | Refusal:
        on = _is_on(value)
        if isinstance(on, Refusal):
            return on
        return {"ssl_config.mode": mode} if on else {}

    return read


def _authorities(value: str) -> dict[str, Any]:
    """libpq's ``system`` means what leaving it out means here."""
    return {} if value == "system" else {"ssl_config.ca_file": value}


def _sqlite_mode(value: str) -> dict[str, Any] | Refusal:
    modes: dict[str, dict[str, Any]] = {
        "ro": {"read_only": True}, "rw": {}, "rwc": {}, "memory": {"database": ":memory:"}}  # fmt: skip
    return modes.get(value, Refusal("is not a SQLite mode", "write ro, rw, rwc or memory"))


_MILLISECOND_SETTINGS = {
    "statement_timeout": "connection_options.statement_timeout",
    "lock_timeout": "connection_options.lock_timeout",
    "idle_in_transaction_session_timeout": "connection_options.idle_in_transaction_timeout",
}


def _command_line_options(value: str) -> dict[str, Any] | Refusal:
    """libpq's ``options``: ``-c name=value``, ``-cname=value`` and ``--name=value``."""
    refusal = Refusal("is not understood", "write options=-c name=value (percent-encoded: -c%20name%3Dvalue)")
    settings: dict[str, Any] = {}
    server_settings: dict[str, str] = {}
    try:
        words = iter(shlex.split(value))
    except ValueError:
        return refusal
    for word in words:
        assignment = next(words, "") if word == "-c" else word[2:] if word.startswith(("--", "-c")) else ""
        name, equals, setting = assignment.partition("=")
        name = name.replace("-", "_")
        if not equals or not re.fullmatch(r"[A-Za-z_][\w.]*", name):
            return refusal
        if name in _MILLISECOND_SETTINGS and setting.isdigit():
            if int(setting):  # 0 is PostgreSQL's word for none
                settings[_MILLISECOND_SETTINGS[name]] = int(setting) / 1000
        elif name in ("search_path", "application_name"):
            settings[f"connection_options.{name}"] = setting
        else:
            server_settings[name] = setting
    if server_settings:
        settings["connection_options.server_settings"] = server_settings
    return settings


def _own(options: type[EngineOptions], *, without: tuple[str, ...] = ()) -> dict[str, tuple[str, Reader]]:
    """Every option of ours under its own name, in our units."""
    return {name: (f"connection_options.{name}", _text) for name in options.model_fields if name not in without}


_SERVER: dict[str, tuple[str, Reader]] = {
    "read_only": ("read_only", _is_on),
    "source_address": ("source_address", _text),
    "connect_timeout": ("pool.connect_timeout", _text),
    "user": ("credentials.user", _text),
    "password": ("credentials.password", SecretStr),
    "ssl": ("ssl_config.mode", _ssl_mode),
}

PARAMETERS: dict[str, dict[str, tuple[str, Reader]]] = {
    "postgresql": {
        **_own(PostgreSQLOptions, without=("server_settings",)),
        **_SERVER,
        "host": ("host", _text),
        "port": ("port", _text),
        "dbname": ("database", _text),
        "sslmode": ("ssl_config.mode", _ssl_mode),
        "sslrootcert": ("", _authorities),
        "sslcert": ("ssl_config.certificate_file", _text),
        "sslkey": ("ssl_config.key_file", _text),
        "sslpassword": ("ssl_config.key_password", SecretStr),
        "ssl_min_protocol_version": ("ssl_config.minimum_version", _text),
        "options": ("", _command_line_options),
        "statement_cache_size": ("connection_options.prepared_statements", _text),
        "prepared_statement_cache_size": ("connection_options.prepared_statements", _text),
    },
    "mysql": {
        **_own(MySQLOptions),
        **_SERVER,
        "unix_socket": ("unix_socket", _text),
        "ssl_mode": ("ssl_config.mode", _ssl_mode),
        "ssl-mode": ("ssl_config.mode", _ssl_mode),
        "sslmode": ("ssl_config.mode", _ssl_mode),
        "ssl_ca": ("ssl_config.ca_file", _text),
        "ssl_cert": ("ssl_config.certificate_file", _text),
        "ssl_key": ("ssl_config.key_file", _text),
    },
    "mongodb": {
        "replicaSet": ("connection_options.replica_set", _text),
        "authSource": ("connection_options.auth_source", _text),
        "authMechanism": ("connection_options.auth_mechanism", _text),
        "appName": ("connection_options.app_name", _text),
        "readPreference": ("connection_options.read_preference", _text),
        "w": ("connection_options.write_concern", _text),
        "retryWrites": ("connection_options.retry_writes", _is_on),
        "retryReads": ("connection_options.retry_reads", _is_on),
        "directConnection": ("connection_options.direct_connection", _is_on),
        "serverSelectionTimeoutMS": ("connection_options.server_selection_timeout", _milliseconds),
        "connectTimeoutMS": ("pool.connect_timeout", _milliseconds),
        "waitQueueTimeoutMS": ("pool.connection_timeout", _milliseconds),
        "maxIdleTimeMS": ("pool.idle_timeout", _milliseconds),
        "maxPoolSize": ("pool.max_connections", _text),
        "minPoolSize": ("pool.min_connections", _text),
        "maxConnecting": ("pool.handshakes_max", _text),
        "tls": ("ssl_config.mode", _tls_on),
        "ssl": ("ssl_config.mode", _tls_on),
        "tlsInsecure": ("", _when_on("require")),
        "tlsAllowInvalidCertificates": ("", _when_on("require")),
        "tlsAllowInvalidHostnames": ("", _when_on("verify-ca")),
        "tlsCAFile": ("ssl_config.ca_file", _text),
        "tlsCertificateKeyFile": ("ssl_config.certificate_file", _text),
        "tlsCertificateKeyFilePassword": ("ssl_config.key_password", SecretStr),
    },
    "sqlite": {
        **_own(SQLiteOptions),
        "read_only": ("read_only", _is_on),
        "mode": ("", _sqlite_mode),
        "timeout": ("connection_options.busy_timeout", _text),
    },
}
