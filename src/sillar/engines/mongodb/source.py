"""The driver's pool, as a source of connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, ClassVar

import structlog

from sillar import errors
from sillar.capabilities import Capabilities
from sillar.config import DatabaseCredentials, MongoDBConfig
from sillar.consistency import CausalContext, Need
from sillar.engines.connection import DriverConnection
from sillar.engines.health import PoolHealth
from sillar.engines.mongodb.client import MongoDBClient
from sillar.engines.mongodb.connection import MongoDBConnection
from sillar.engines.mongodb.login import ClientLogin
from sillar.engines.mongodb.members import figures_of_members
from sillar.engines.mongodb.reading import ReadRules

_log = structlog.get_logger("sillar.mongodb")
_PING_SECONDS = 1.5


class MongoDBSource:
    """Leases on one client, whose driver pools the sockets and follows the topology.

    A lease costs nothing and is had at once. ``max_connections`` bounds the commands in flight; each waits its turn for
    at most ``connection_timeout``. The driver has besides one socket for killing sessions and health checks, and two
    for each server's monitor. It knows no lifetime of connections, so ``max_lifetime`` is not used.

    Args:
        config: the database.
        capabilities: what the engine can do at best.
        credentials: the credentials of this moment; asked when the source opens, and after :meth:`clear`.
        other_credentials: told which ones the server has refused; others to try at once, or None.
        name: configured name of the database; empty: its own.

    Attributes:
        listeners: told of changes of the deployment: kind, member, and why; as ``TopologyActivity.listeners``.
    """

    is_routed: ClassVar[bool] = True

    def __init__(
        self,
        config: MongoDBConfig,
        capabilities: Capabilities,
        credentials: Callable[[], Awaitable[DatabaseCredentials]],
        other_credentials: Callable[[DatabaseCredentials], Awaitable[DatabaseCredentials | None]],
        *,
        name: str = "",
    ) -> None:
        self.config = config
        self.name = name or config.database
        self._rules = ReadRules(self.name, config)
        self._capabilities = capabilities
        self._credentials, self._other_credentials = credentials, other_credentials
        self.listeners: list[Callable[[str, str | None, str], None]] = []
        self._client: MongoDBClient | None = None
        self._login: ClientLogin | None = None
        self._is_up = False
        self._closing = False
        self._idle: list[MongoDBConnection] = []
        self._leased: set[DriverConnection[Any]] = set()
        self._returned = asyncio.Event()
        self._connecting = asyncio.Lock()
        self._restoring: set[asyncio.Task[None]] = set()

    @property
    def client(self) -> MongoDBClient:
        """The client, while the source is open.

        Raises:
            PoolClosedError: it is not.
        """
        if self._client is None or self._closing:
            raise errors.PoolClosedError(f"the pool of {self.name!r} is closed").at(database=self.name)
        return self._client

    # --- life -------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect the driver's client and log in.

        Raises:
            ConnectError: or one of its kinds; for servers that are down only if ``on_unavailable`` is ``fail``.
        """
        client = MongoDBClient(self.config, await self._credentials(), self._capabilities)
        client.topology.listeners.append(self._tell)
        login = ClientLogin(client, self._credentials, self._other_credentials, lambda: len(self._leased))
        self._client, self._login, self._closing = client, login, False
        try:
            await login.log_in()
            self._is_up = True
        except errors.ConnectError as error:
            if client.pool_config.on_unavailable == "fail" or error.permanent:
                await self.close(0.0)
                raise
        except BaseException:
            await self.close(0.0)
            raise

    async def close(self, drain_seconds: float | None = None) -> None:
        """Refuse new callers, wait for the leases, close the client. Once more does nothing."""
        client = self._client
        if client is None:
            return
        self._closing = True
        drain = client.pool_config.drain_timeout if drain_seconds is None else drain_seconds
        deadline = time.monotonic() + drain
        while self._leased and (left := deadline - time.monotonic()) > 0:
            self._returned.clear()
            try:
                await asyncio.wait_for(self._returned.wait(), left)
            except TimeoutError:
                break
        self._client = None
        client.topology.closing()
        if self._login is not None:
            await self._login.close()
        if self._restoring:
            await asyncio.wait(tuple(self._restoring))
        for connection in [*self._idle, *self._leased]:
            connection.terminate() if connection.leased else await connection.close()
        self._idle.clear()
        await client.close()

    def clear(self, reason: str) -> None:
        """The credentials have changed: idle sockets are closed soon, busy ones when their command is over."""
        if self._login is not None and not self._closing:
            _log.info("pool cleared", database=self.name, reason=reason)
            self._login.change()

    # --- leases -----------------------------------------------------------------------------------------------------

    def try_acquire(self, read: Need | None = None) -> DriverConnection[Any] | None:
        """A lease, or None while no server has been reached yet."""
        login = self._login
        if self._client is None or self._closing or not self._is_up or login is None or not login.is_settled:
            return None
        return self._lend(self._client, read)

    def _lend(self, client: MongoDBClient, need: Need | None) -> DriverConnection[Any]:
        connection = self._idle.pop() if self._idle else MongoDBConnection(client)
        connection.leased = True
        connection.borrowed_at = time.monotonic()
        self._leased.add(connection)
        if need is not None:
            if need.is_read:
                connection.begin_reading(self._rules.reading(need))
            else:
                connection.causality = need.causality
                connection.begin_writing()
        return connection

    async def acquire_connection(
        self, timeout_seconds: float | None = None, read: Need | None = None
    ) -> DriverConnection[Any]:
        """A lease; waits only until a server has been reached for the first time, and while the login changes.

        Raises:
            PoolClosedError: the source is closed or closing.
            ConnectError: no server can be reached, or they refuse the login.
        """
        client, login = self.client, self._login
        assert login is not None  # there is one for each client
        if not self._is_up:
            async with self._connecting:
                if not self._is_up:
                    try:
                        await login.log_in(timeout_seconds)
                    except errors.DatabaseError as error:
                        raise error.at(database=self.name) from error.__cause__
                    self._is_up = True
        if not login.is_settled:
            limit = client.pool_config.connection_timeout
            await login.settle(limit if timeout_seconds is None else min(limit, timeout_seconds))
        return self._lend(self.client, read)

    def release_connection(self, connection: DriverConnection[Any]) -> None:
        """Give a lease back.

        Raises:
            UsageError: it is not leased.
        """
        if not connection.leased:
            raise errors.UsageError(f"a lease of {self.name!r} was released twice")
        connection.leased = False
        connection.holder = None
        connection.place = None
        self._leased.discard(connection)
        self._returned.set()
        causality, connection.causality = connection.causality, None
        if not isinstance(connection, MongoDBConnection):
            return
        if causality is not None:
            written = connection.written
            if written is not None:
                self._rules.note(causality, written)
        elif connection.reads_only:
            connection.end_reading()
        if connection.is_closed():
            return
        if connection.dirty or connection.in_transaction:
            task = asyncio.get_running_loop().create_task(self._restore(connection))
            self._restoring.add(task)
            task.add_done_callback(self._restoring.discard)
        else:
            self._idle.append(connection)

    async def _restore(self, connection: MongoDBConnection) -> None:
        await connection.reset()
        self._idle.append(connection)

    def _tell(self, kind: str, node: str | None, detail: str) -> None:
        for listener in self.listeners:
            listener(kind, node, detail)

    # --- causality --------------------------------------------------------------------------------------------------

    async def token_position(self, causality: CausalContext) -> str | None:
        """The time that a reader elsewhere has to wait for; None where nothing was written."""
        return self._rules.token_position(causality)

    def accept_position(self, causality: CausalContext, text: str) -> None:
        """Have a line of work read what somebody else has written.

        Raises:
            UsageError: it is no time of MongoDB's.
        """
        self._rules.accept_position(causality, text)

    # --- figures ----------------------------------------------------------------------------------------------------

    def stats(self) -> PoolHealth:
        """The figures of the driver's pools, all servers together."""
        client = self._client
        if client is None:
            return PoolHealth(self.name, healthy=False, reason="closed")
        activity, gate, pool = client.activity, client.gate, client.pool_config
        servers = client.raw.topology_description.server_descriptions().values()
        known = sum(each.is_server_type_known for each in servers)
        oldest = min((each.borrowed_at for each in self._leased), default=None)
        return PoolHealth(
            name=self.name,
            healthy=known > 0,
            reason="" if known else "no server answers",
            connections_min=pool.min_connections,
            connections_max=pool.max_connections,
            open=activity.open,
            idle=max(0, activity.open - activity.leased),
            leased=activity.leased,
            restoring=len(self._restoring),
            connecting=activity.connecting,
            waiting=gate.waiting,
            opened_total=activity.opened,
            closed_total=activity.closed,
            lost_total=activity.lost,
            connect_failures_total=activity.connect_failures,
            acquired_total=activity.acquired,
            waited_total=gate.waited,
            timeouts_total=gate.timeouts,
            refused_total=gate.refused,
            wait_seconds_total=gate.wait_seconds,
            oldest_lease_seconds=0.0 if oldest is None else time.monotonic() - oldest,
            nodes=figures_of_members(client.raw.topology_description, activity),
            detail={
                "leases": len(self._leased),
                "commands": gate.running,
                "servers": len(servers),
                "servers_known": known,
                "has_primary": sum(each.is_writable for each in servers),
                "primary_changes_total": client.topology.primary_changes,
                "pools_cleared_total": activity.clears,
                "sessions_killed_total": client.killer.killed,
            },
        )

    async def health_check(self) -> PoolHealth:
        """The figures, and whether a server answers. It does not pass the gate: the driver has a socket more for it."""
        client = self._client
        if client is None:
            return self.stats()
        try:
            await client.connect(_PING_SECONDS)
        except errors.DatabaseError as error:
            return replace(self.stats(), healthy=False, reason=str(error))
        return self.stats()

    def __repr__(self) -> str:
        return f"<MongoDBSource of {self.config.display_name}, {'open' if self._client is not None else 'closed'}>"
