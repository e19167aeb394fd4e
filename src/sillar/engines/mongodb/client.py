"""The driver's client for one database, and what Sillar keeps with it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any, Final

import pymongo
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.read_preferences import make_read_preference, read_pref_mode_from_name

from sillar import errors
from sillar.capabilities import Capabilities
from sillar.config import ConnectionPoolConfig, DatabaseCredentials, MongoDBConfig, ssl_context
from sillar.context import remaining_seconds
from sillar.engines.mongodb.activity import PoolActivity, TopologyActivity
from sillar.engines.mongodb.errors import connect_error, parameter_error
from sillar.engines.mongodb.gate import CommandGate
from sillar.engines.mongodb.killer import SessionKiller
from sillar.engines.mongodb.private import use_credentials, use_ssl_context
from sillar.engines.mongodb.values import CODEC, document_shape

Document = dict[str, Any]


class MongoDBClient:
    """One ``AsyncMongoClient`` with its database, listeners and limits. It owns sockets: close it.

    Args:
        config: the database; ``config.pool`` None stands for the defaults.
        credentials: who logs in.
        capabilities: what the engine can do at best.

    Attributes:
        raw: the driver's own client.
        credentials: who logs in.
        login_refused: told when the server has refused the login of a further socket.
        database: the driver's database under Sillar's codec.
        shape: of results that are documents.
        capabilities: narrowed by a probe.
    """

    def __init__(self, config: MongoDBConfig, credentials: DatabaseCredentials, capabilities: Capabilities) -> None:
        self.config = config
        self.credentials = credentials
        self.login_refused: Callable[[errors.AuthenticationError], None] = lambda _: None
        self.pool_config = config.pool or ConnectionPoolConfig()
        self.address = ",".join(map(str, config.addresses))
        self.activity, self.topology = PoolActivity(), TopologyActivity()
        self.raw: AsyncMongoClient[Document] = _driver_client(
            config, self.pool_config, credentials, [self.activity, self.topology]
        )
        self.database: AsyncDatabase[Document] = self.raw.get_database(config.database, codec_options=CODEC)
        self._reading: dict[str, AsyncDatabase[Document]] = {}
        self.shape = document_shape()
        self.capabilities = capabilities
        self.statement_timeout = config.connection_options.statement_timeout
        self.killer = SessionKiller(self.raw)
        pool = self.pool_config
        self.gate = CommandGate(pool.max_connections, pool.waiting_max, pool.connection_timeout, self.numbers)
        self._tasks: set[asyncio.Task[Any]] = set()

    def reading(self, preference: str, staleness_seconds: int = -1) -> AsyncDatabase[Document]:
        """The database with another read preference.

        Args:
            preference: a mode, as MongoDB names it.
            staleness_seconds: how far members may be behind; -1: any distance.
        """
        found = self._reading.get(preference) if staleness_seconds < 0 else None
        if found is None:
            mode = make_read_preference(read_pref_mode_from_name(preference), None, staleness_seconds)
            found = self.database.with_options(read_preference=mode)
            if staleness_seconds < 0:
                self._reading[preference] = found
        return found

    def limit(self, timeout_seconds: float | None) -> float | None:
        """Seconds that a command may take; None: as long as it takes.

        A limit holds for finding a server, too: with a long one, a server that is gone is waited for so long.

        Args:
            timeout_seconds: what was asked for; None: ``statement_timeout``; infinite: none, whatever is configured.
        """
        return None if timeout_seconds == math.inf else timeout_seconds or self.statement_timeout

    def time_to_resolve(self) -> float:
        """Seconds that a commit whose reply was lost may be repeated for."""
        limit, remaining = self.config.retry.resolution_timeout, remaining_seconds()
        return limit if remaining is None else min(limit, remaining)

    async def connect(self, timeout_seconds: float | None = None) -> None:
        """Find a server, log in, and return.

        Raises:
            ConnectError: or one of its kinds.
        """
        try:
            with pymongo.timeout(timeout_seconds):
                await self.raw.admin.command("ping")
        except (pymongo.errors.PyMongoError, OSError) as error:
            seconds = timeout_seconds or self.config.connection_options.server_selection_timeout
            raise connect_error(error, node=self.address, failures=self.failures(), seconds=seconds) from error

    async def use_credentials(self, credentials: DatabaseCredentials) -> None:
        """Log in with these from the next socket on; those that are open are replaced when nobody uses them."""
        await use_credentials(self.raw, _driver_client(self.config, self.pool_config, credentials, []))
        self.credentials = credentials

    def failures(self) -> list[BaseException]:
        """What the driver's monitors met last, one for each server that does not answer."""
        descriptions = self.raw.topology_description.server_descriptions().values()
        return [each.error for each in descriptions if each.error is not None]

    def numbers(self) -> str:
        """The pool's figures for a message."""
        activity = self.activity
        return (
            f"the driver's pool of {self.pool_config.max_connections} for {self.address}: {activity.leased} leased,"
            f" {activity.open - activity.leased} idle, {activity.connecting} connecting, {self.gate.waiting} waiting"
        )

    def left_driver(self, command: asyncio.Task[Any]) -> None:
        """A command has come back from the driver; its caller may have left, so nobody else may look at its error."""
        self.gate.leave()
        if not command.cancelled():
            command.exception()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run something that nobody waits for; close() does."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End sessions on the server and close all sockets."""
        await self.killer.close()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=_GOODBYE_SECONDS)
        await self.raw.close()


_GOODBYE_SECONDS = 2.0
_SCRAM: Final = (None, "SCRAM-SHA-256", "SCRAM-SHA-1")


def _driver_client(
    config: MongoDBConfig, pool: ConnectionPoolConfig, credentials: DatabaseCredentials, listeners: list[Any]
) -> AsyncMongoClient[Document]:
    options = config.connection_options
    settings = _pool_settings(pool) | _option_settings(config) | _login(config, credentials) | _tls_settings(config)
    host: Any = (
        f"mongodb+srv://{config.addresses[0].host}/" if options.srv else [str(each) for each in config.addresses]
    )
    try:
        client: AsyncMongoClient[Document] = AsyncMongoClient(
            host, event_listeners=listeners, connect=False, **settings
        )
    except (TypeError, ValueError, pymongo.errors.PyMongoError) as error:
        raise parameter_error(error) or errors.UsageError(type(error).__name__) from None
    context = ssl_context(config.tls)
    if context is not None and not options.srv:
        use_ssl_context(client, context)
    return client


def _tls_settings(config: MongoDBConfig) -> dict[str, Any]:
    """What the driver builds its own context from.

    It is replaced by ours, except for a DNS seed list, whose options the driver reads anew once it has resolved it.
    """
    tls = config.tls
    settings: dict[str, Any] = {"tls": tls.mode != "disable"}
    if tls.mode == "verify-ca":
        settings["tlsAllowInvalidHostnames"] = True
    elif tls.mode == "require":
        settings["tlsAllowInvalidCertificates"] = True
    if config.connection_options.srv:
        if tls.ca_file is not None:
            settings["tlsCAFile"] = str(tls.ca_file)
        if tls.certificate_file is not None:
            settings["tlsCertificateKeyFile"] = str(tls.certificate_file)
    return settings


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _pool_settings(pool: ConnectionPoolConfig) -> dict[str, Any]:
    return {
        "minPoolSize": pool.min_connections,
        "maxPoolSize": pool.max_connections + 1,  # the gate keeps one free for killing sessions and health checks
        "maxConnecting": pool.handshakes_max,
        "waitQueueTimeoutMS": _milliseconds(pool.connection_timeout),
        "maxIdleTimeMS": _milliseconds(pool.idle_timeout),
        "connectTimeoutMS": _milliseconds(pool.connect_timeout),
    }


def _option_settings(config: MongoDBConfig) -> dict[str, Any]:
    options = config.connection_options
    settings: dict[str, Any] = {
        "appname": options.app_name,
        "readPreference": options.read_preference,
        "w": options.write_concern,
        "retryWrites": options.retry_writes,
        "retryReads": options.retry_reads,
        "serverSelectionTimeoutMS": _milliseconds(options.server_selection_timeout),
        "uuidRepresentation": "standard",
        "tz_aware": True,
    }
    if options.replica_set is not None:
        settings["replicaSet"] = options.replica_set
    if options.direct_connection is not None:
        settings["directConnection"] = options.direct_connection
    return settings


def _login(config: MongoDBConfig, credentials: DatabaseCredentials) -> dict[str, Any]:
    options = config.connection_options
    settings: dict[str, Any] = {}
    if credentials.user is not None:
        settings["username"] = credentials.user
    if options.auth_source is not None:
        settings["authSource"] = options.auth_source
    elif credentials.user is not None and options.auth_mechanism in _SCRAM:
        settings["authSource"] = config.database  # the driver's rule for a URL with a database
    if credentials.password is not None:
        settings["password"] = credentials.password.get_secret_value()
    if options.auth_mechanism is not None:
        settings["authMechanism"] = options.auth_mechanism
    return settings
