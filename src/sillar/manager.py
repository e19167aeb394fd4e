"""The manager: opens the databases of a configuration, hands out sessions, closes."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from difflib import get_close_matches
from functools import partial
from types import TracebackType
from typing import Any

import structlog

from sillar.config import (
    DatabaseConfig,
    DatabaseConnectionConfig,
    DatabaseCredentials,
    EventPublisher,
    MetricsSink,
    NodeAddress,
    SecretsManager,
)
from sillar.consistency import Consistency
from sillar.engines import ConnectionSource, DatabaseAdapter, DriverConnection, open_adapter
from sillar.errors import ConnectError, DatabaseError, UsageError
from sillar.execution import DatabaseSession, Executor, Interceptor, Observer, QueryResult, Transaction
from sillar.execution.retry import Retry
from sillar.observability import DatabaseHealth, DatabaseHealthMonitor, DatabaseMonitor, MetricsRegistry, Observe
from sillar.observability.logging import StatementLog
from sillar.pool import ConnectionPool, DatabaseConnection, RoutedPool, TopologyEvent
from sillar.pool.place import calling_place
from sillar.query import Query
from sillar.security.credential_manager import CredentialAttachment, DatabaseCredentialManager
from sillar.security.credentials import resolve_credentials
from sillar.security.opening import open_with_credentials, other_credentials

_log = structlog.get_logger("sillar.manager")


class DatabaseManager:
    """Opens, closes and hands out. It belongs to the event loop that opened it.

    Args:
        config: what to open.
        interceptors: added to the pipeline of every database, at their stage.
        observers: told of every execution and transaction, besides metrics and logs.
        secrets: where passwords that the configuration names come from: a secrets manager of the host's, one of the
            sources of ``sillar.security``, or a ``DatabaseCredentialManager`` for more say.
        metrics_sink: an object of the host application that gets every figure.
        events: an object of the host application that is told when nodes go, come, or change their role:
            ``sillar.primary_changed`` and the other kinds of :class:`TopologyEvent`.

    Attributes:
        config: the configuration.
        connections: the leases that :meth:`get_connection` has handed out and that are not released, by ``name`` or
            ``name#n``.
        pools: the source of connections of each database by name.
        health_monitor: checks them.
        monitor: metrics and health together.
        credentials: who logs in, where ``secrets`` were given.
    """

    def __init__(
        self,
        config: DatabaseConfig,
        *,
        interceptors: Iterable[Interceptor] = (),
        observers: Iterable[Observer] = (),
        secrets: SecretsManager | DatabaseCredentialManager | None = None,
        metrics_sink: MetricsSink | None = None,
        events: EventPublisher | None = None,
    ) -> None:
        self.config = config
        self._events = events
        self.connections: dict[str, DatabaseConnection] = {}
        self.pools: dict[str, ConnectionSource] = {}
        self.health_monitor = DatabaseHealthMonitor()
        self.monitor = DatabaseMonitor(MetricsRegistry(metrics_sink), self.health_monitor)
        self.credentials = None if secrets is None else DatabaseCredentialManager.around(secrets)
        self._owns_credentials = self.credentials is not secrets
        self._attachments: list[CredentialAttachment] = []
        self._executors: dict[str, Executor] = {}
        self._open = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._observers = self._all_observers(observers)
        self._interceptors: list[Interceptor] = [*interceptors]
        if self._observers:
            self._interceptors.append(Observe(self._observers))

    @classmethod
    def from_url(cls, url: str, **settings: Any) -> DatabaseManager:
        """A manager of one database; ``settings`` as in ``DatabaseConfig.from_url``."""
        return cls(DatabaseConfig.from_url(url, **settings))

    # --- life -------------------------------------------------------------------------------------------------------

    async def initialize(self) -> None:
        """Open all databases, at once. If one fails, those that are open are closed again.

        Raises:
            ConnectError: a database cannot be reached or refuses (unless it is configured to wait).
            UsageError: it is open already, or an engine's driver is not installed.
        """
        if self._open:
            raise UsageError("this manager is open already")
        try:
            for name in self.config.databases:
                self._executors[name] = self._built(name)
            opened = await asyncio.gather(
                *(self._opened(each) for each in self._executors.values()), return_exceptions=True
            )
            failures = [result for result in opened if isinstance(result, BaseException)]
            if failures:
                for other in failures[1:]:
                    failures[0].add_note(f"besides: {other}")
                raise failures[0]
        except BaseException:
            await self._close_all(drain_seconds=0.0)
            raise
        self._open = True
        _open_managers.add(self)
        _log.info("databases open", databases=sorted(self._executors))

    async def shutdown(self, drain_seconds: float | None = None) -> None:
        """Refuse new work, let what runs come to its end, close everything. Once more does nothing.

        Args:
            drain_seconds: how long to wait for open transactions and leases; None is each pool's ``drain_timeout``.
        """
        if self._open:
            self._open = False
            _open_managers.discard(self)
            await self._close_all(drain_seconds)
            _log.info("databases closed", databases=sorted(self.config.databases))

    async def __aenter__(self) -> DatabaseManager:
        await self.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown()

    @asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[Mapping[str, Any]]:
        """The lifespan of a FastAPI or Starlette application: ``FastAPI(lifespan=manager.lifespan)``.

        In a lifespan of your own: ``async with manager.lifespan(app): …``.
        """
        async with self:
            state = getattr(app, "state", None)
            if state is not None:
                state.database_manager = self
            yield {}

    # --- handing out ------------------------------------------------------------------------------------------------

    def session(
        self, name: str | None = None, *, autobegin: bool = False, consistency: Consistency | None = None
    ) -> DatabaseSession:
        """A session for ``async with``; None is the default database. Nothing is leased yet.

        Args:
            name: configured name of the database.
            autobegin: the first statement begins a transaction.
            consistency: how fresh reads have to be where there are replicas; None is the database's default.

        Raises:
            UsageError: unknown name, not open, another event loop.
        """
        return DatabaseSession(self.executor(name), autobegin=autobegin, consistency=consistency)

    def executor(self, name: str | None = None) -> Executor:
        """The path of one database (None: the default one): what an ORM integration, or one of your own, is built on.

        Raises:
            UsageError: unknown name, not open, another event loop.
        """
        executor = self._executor(name)
        executor.check_loop()
        return executor

    async def get_session(self, name: str | None = None) -> DatabaseSession:
        """As :meth:`session`, under the name of the specification."""
        return self.session(name)

    async def get_connection(self, name: str | None = None) -> DatabaseConnection:
        """Lease one connection; release it when done (``async with``, or ``lease.release()``)."""
        executor = self._executor(name)
        executor.check_loop()
        connection = await executor.acquire()
        connection.place = calling_place()
        lease = DatabaseConnection(executor.source, executor.adapter, connection)
        key, number = executor.name, 1
        while key in self.connections:
            number += 1
            key = f"{executor.name}#{number}"
        self.connections[key] = lease
        lease.on_release(lambda: self.connections.pop(key, None))
        return lease

    async def execute_query(self, query: Query) -> QueryResult:
        """Run one statement on the database that the query names."""
        return await self.session(query.database).execute(
            query.statement, query.params, timeout_seconds=query.timeout_seconds
        )

    async def begin_transaction(self, name: str | None = None, **options: Any) -> Transaction:
        """Begin a transaction on one database; end it with ``commit`` or ``rollback``, or use it in ``async with``.

        Args:
            name: the database; None is the default one.
            options: as for ``session.transaction``.
        """
        return await self.session(name).transaction(**options).begin()

    async def health(self) -> DatabaseHealth:
        """The health of all databases, cached for a moment."""
        return await self.health_monitor.check()

    # --- within -----------------------------------------------------------------------------------------------------

    def _all_observers(self, observers: Iterable[Observer]) -> tuple[Observer, ...]:
        found: list[Observer] = []
        if self.config.metrics:
            found.append(self.monitor.registry)
        if self.config.log_statements != "off":
            slow = {name: database.slow_statement_seconds for name, database in self.config.databases.items()}
            found.append(StatementLog(slow, everything=self.config.log_statements == "all"))
        return (*found, *observers)

    def _built(self, name: str) -> Executor:
        config = self.config.connection(name)
        adapter = open_adapter(config)
        credentials = self.credentials
        if credentials is not None and not (config.addresses and credentials.serves(name, config.credentials)):
            credentials = None
        if credentials is not None:
            adapter.current_credentials = partial(credentials.get_credentials, name)
            adapter.other_credentials = partial(other_credentials, credentials, name)
        else:
            adapter.current_credentials = partial(resolve_credentials, config.credentials, None)
        source = adapter.own_source(name) or self._pool(name, config, adapter, credentials)
        if credentials is not None:
            self._attachments.append(credentials.attach(name, config.credentials, partial(_renew, source)))
        if isinstance(source, RoutedPool) and self._events is not None:
            source.topology.listeners.append(self._publish)
        elif self._events is not None and (listeners := getattr(source, "listeners", None)) is not None:
            listeners.append(lambda *change: self._publish(TopologyEvent(name, *change)))
        self.pools[name] = source
        self.health_monitor.sources[name] = source
        interceptors = [Retry(config.retry, read_only=config.read_only), *self._interceptors]
        executor = Executor(name, adapter, source, interceptors, self._observers)
        executor.load_slow_lane = _slow_lane
        return executor

    def _pool(
        self,
        name: str,
        config: DatabaseConnectionConfig,
        adapter: DatabaseAdapter,
        credentials: DatabaseCredentialManager | None,
    ) -> ConnectionSource:
        """A pool of one node, or one for each of several."""
        assert config.pool is not None  # decided by config.connection
        connect = _opener(name, adapter, credentials)
        if len(config.addresses) == 1 and config.topology.discovery == "none":
            return ConnectionPool(config.pool, adapter, name=name, open_connection=connect)
        return RoutedPool(name, config, adapter, connect)

    def _publish(self, event: TopologyEvent) -> None:
        self._later(self._published(event))

    async def _published(self, event: TopologyEvent) -> None:
        assert self._events is not None  # else nobody listens
        payload = {"database": event.database, "node": event.node, "detail": event.detail}
        try:
            await self._events.publish(f"sillar.{event.kind}", payload)
        except Exception as error:  # of the host application; the event is in the log in any case
            _log.error("an event could not be published", kind=event.kind, error=type(error).__name__)

    async def _opened(self, executor: Executor) -> None:
        executor.bind_to_loop()
        source = executor.source
        await source.open()
        connection = source.try_acquire()
        if connection is None and (source.can_serve() if isinstance(source, RoutedPool) else source.stats().idle):
            connection = await source.acquire_connection()  # it has to be opened, or validated, first
        if connection is None:  # the server is down and the configuration says to wait for it
            self._later(self._probe_when_up(executor))
            return
        try:
            await self._probe(executor, connection)
        finally:
            executor.source.release_connection(connection)

    async def _probe(self, executor: Executor, connection: DriverConnection[Any]) -> None:
        limits = executor.adapter.config.pool
        seconds = limits.connect_timeout if limits is not None else None
        try:
            async with asyncio.timeout(seconds):
                status = await connection.probe()
        except TimeoutError as error:
            connection.terminate()
            raise ConnectError(
                f"{connection.address} took the connection and did not answer a probe within"
                f" connect_timeout={seconds} s"
            ).at(database=executor.name, node=connection.address) from error
        executor.adapter.learn(status)
        executor.capabilities = status.capabilities

    async def _probe_when_up(self, executor: Executor) -> None:
        while True:
            try:
                connection = await executor.source.acquire_connection()
            except DatabaseError:
                await asyncio.sleep(1.0)
                continue
            try:
                await self._probe(executor, connection)
            except DatabaseError as error:
                _log.warning("probe failed", database=executor.name, error=str(error))
            else:
                return
            finally:
                executor.source.release_connection(connection)

    def _later(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close_all(self, drain_seconds: float | None) -> None:
        for task in self._tasks:
            task.cancel()
        executors = list(self._executors.values())
        try:
            await asyncio.gather(*(self._close_one(each, drain_seconds) for each in executors))
        finally:
            self._executors.clear()
            self.connections.clear()
            self.health_monitor.forget()
            self.pools.clear()
            await self._leave_credentials()

    async def _leave_credentials(self) -> None:
        """After the pools: leases of credentials are revoked when nobody is logged in with them any more."""
        attachments, self._attachments = self._attachments, []
        for attachment in attachments:
            await attachment.detach()
        if self.credentials is not None and self._owns_credentials:
            await self.credentials.close()

    async def _close_one(self, executor: Executor, drain_seconds: float | None) -> None:
        try:
            await executor.run_on_close()
            await executor.source.close(drain_seconds)
            await executor.settle()
            await executor.adapter.close()
        finally:
            executor.release_loop()

    def _executor(self, name: str | None) -> Executor:
        wanted = name or self.config.default_database
        executor = self._executors.get(wanted)
        if executor is not None:
            return executor
        if wanted in self.config.databases:
            raise UsageError(self._closed_reason())
        near = get_close_matches(wanted, self.config.databases, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(self.config.databases))}"
        raise UsageError(f"there is no database {wanted!r}; {hint}")

    _forked_from: int | None = None

    def _closed_reason(self) -> str:
        if self._forked_from is not None:
            return (
                f"this manager was opened in process {self._forked_from}, and this is its fork {os.getpid()}:"
                " connections cannot be shared; open a new manager here"
            )
        return "this manager is not open: use `async with manager`, or await manager.initialize()"

    def _abandon(self) -> None:
        """In a forked child: the sockets belong to the parent, so they are left alone, without a goodbye."""
        self._forked_from = os.getppid()
        self._open = False
        for executor in self._executors.values():
            executor.abandon(self._closed_reason())
        for lease in self.connections.values():
            lease.abandon(self._closed_reason())
        _abandoned.append((self._executors, self.pools))  # kept alive, so that nothing is closed by garbage collection
        self._executors, self.pools = {}, {}
        self.health_monitor.forget()

    def __reduce__(self) -> Any:
        raise UsageError("a manager cannot be pickled; send its configuration and open one there")

    def __repr__(self) -> str:
        return f"<DatabaseManager of {', '.join(sorted(self.config.databases))}, {'open' if self._open else 'closed'}>"


def _opener(
    name: str, adapter: DatabaseAdapter, credentials: DatabaseCredentialManager | None
) -> Callable[..., Awaitable[DriverConnection[Any]]]:
    """Opens connections, to a node if one is given, with the credentials of that moment."""

    async def open_connection(address: NodeAddress | None = None) -> DriverConnection[Any]:
        async def log_in(given: DatabaseCredentials) -> DriverConnection[Any]:
            return await adapter.open_connection(given, address)

        if credentials is None:
            return await log_in(await adapter.current_credentials())
        return await open_with_credentials(credentials, name, log_in)

    return open_connection


def _renew(source: Any, reason: str) -> None:
    """Have connections with outdated credentials replaced when they are free."""
    pools = [node.pool for node in source.topology] if isinstance(source, RoutedPool) else [source]
    for pool in pools:
        pool.clear(reason)


def _slow_lane() -> Any:
    """Who runs statements of SQLAlchemy that the fast lane does not take: imported when the first one comes."""
    from sillar.integrations.sqlalchemy import lane

    return lane


_open_managers: weakref.WeakSet[DatabaseManager] = weakref.WeakSet()
_abandoned: list[Any] = []


def _abandon_all() -> None:
    for manager in list(_open_managers):
        manager._abandon()
    _open_managers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
