"""The gateway's server: sockets in, commands dispatched, replies and errors out."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import ssl
import time
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg
import bson

from sillar.testing.servers.mongodb_gateway.command_error import CommandError
from sillar.testing.servers.mongodb_gateway.cursor import CursorTable
from sillar.testing.servers.mongodb_gateway.duplicate_key import duplicate_key
from sillar.testing.servers.mongodb_gateway.local_commands import LocalCommands
from sillar.testing.servers.mongodb_gateway.operation import Operation, OperationTable
from sillar.testing.servers.mongodb_gateway.replica_set import Member, ReplicaSet
from sillar.testing.servers.mongodb_gateway.scram import ScramConversation, ScramCredentials
from sillar.testing.servers.mongodb_gateway.session import Transaction, Transactions
from sillar.testing.servers.mongodb_gateway.stored_commands import Reply, StoredCommands
from sillar.testing.servers.mongodb_gateway.wire import ProtocolError, Request, encode_reply, read_request

_log = logging.getLogger(__name__)
_SWEEP_SECONDS, _CLOSE_SECONDS = 1.0, 2.0
_PIPELINED_MAX = 16
_NOT_PRIMARY = 10107
_WRITE_CONFLICT = 112
_CONFLICT_PAUSE_MIN_SECONDS, _CONFLICT_PAUSE_MAX_SECONDS = 0.02, 0.25
# Spellings that MongoDB took before it settled on one.
_ALIASES = {
    "ismaster": "isMaster",
    "buildinfo": "buildInfo",
    "findandmodify": "findAndModify",
    "collstats": "collStats",
    "dbstats": "dbStats",
    "listindexes": "listIndexes",
}
_ENDS = frozenset(("commitTransaction", "abortTransaction"))
_RETRYABLE = frozenset(("insert", "update", "delete", "findAndModify"))


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """Where to listen, what to announce, and the PostgreSQL behind."""

    port: int
    postgresql_port: int
    host: str = "127.0.0.1"
    postgresql_host: str = "127.0.0.1"
    postgresql_user: str = "postgres"
    postgresql_password: str | None = field(default=None, repr=False)
    postgresql_database: str = "postgres"
    postgresql_connections_max: int = 60
    announce: str | None = None
    certificate: str | None = None
    key: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    read_only: bool = False
    standalone: bool = False
    connections_max: int = 1000

    @property
    def announced(self) -> str:
        """``host:port`` by which drivers come back: the listening address, or that of a proxy in front."""
        return self.announce or f"{self.host}:{self.port}"


@dataclass(eq=False)
class Client:
    """One client's socket."""

    number: int
    user: str | None = None
    scram: ScramConversation | None = None
    skips_empty_exchange: bool = False
    gone: bool = False
    operation: Operation | None = None


class Gateway:
    """Speaks MongoDB's protocol to drivers and SQL to PostgreSQL. Use ``async with`` or ``start`` and ``close``.

    Args:
        options: where to listen, and the rest.
        member: what it is of a replica set of several; None: the only one of its own.
    """

    def __init__(self, options: GatewayOptions, member: Member | None = None) -> None:
        self.options = options
        self.member = member or Member(ReplicaSet())
        self._keeper: Any = None
        self.users: dict[str, ScramCredentials] = {}
        """By name; nobody has to log in while there are none."""
        if options.user is not None:
            self.users[options.user] = ScramCredentials.of(options.user, options.password or "")
        self.clients: set[Client] = set()
        self.connections_created = self.connections_refused = 0
        self.logins_received = self.logins_successful = 0
        self.started = time.monotonic()
        self.operations = OperationTable(self._cancel_backend)
        self.retryable_writes = self.member.set.retryable_writes
        self.transactions: Transactions
        self.cursors: CursorTable
        self._local = LocalCommands(self)
        self._stored: StoredCommands
        self._read_only_until = 0.0
        self._pool: Any = None
        self._control: Any = None
        self._server: asyncio.Server | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._numbers, self._reply_ids = itertools.count(1), itertools.count(1)

    @property
    def read_only(self) -> bool:
        stepped_down = time.monotonic() < self._read_only_until
        return self.options.read_only or stepped_down or not self.member.is_primary

    def step_down(self, seconds: float) -> None:
        """Be a secondary for so long."""
        self._read_only_until = time.monotonic() + seconds

    async def leave_office(self) -> None:
        """Be no primary any more: interrupt what writes, abort what is open. Sockets stay open."""
        for operation in self.operations:
            if operation.in_transaction or self._stored.is_write(operation):
                operation.loses_primary = True
                self.operations.kill(operation)
        await self.transactions.abort_all()

    async def hold_back(self) -> None:
        """Let reads see the data of this moment until :meth:`catch_up`, each within one batch."""
        applied = self.member.set.latest
        self._keeper = await self._pool.acquire()
        await self._keeper.execute("begin isolation level repeatable read")
        self.member.hold(await self._keeper.fetchval("select pg_export_snapshot()"), applied)

    async def catch_up(self) -> None:
        """Let reads see everything."""
        keeper, self._keeper = self._keeper, None
        self.member.catch_up()
        if keeper is not None:
            await keeper.execute("rollback")
            await self._pool.release(keeper)

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect to PostgreSQL, create the extension if need be, listen. Raises what asyncpg or the socket raises."""
        options = self.options
        self._control = await self._create_pool(min_size=1, max_size=4)
        await self._control.execute("create extension if not exists documentdb cascade")
        self._pool = await self._create_pool(min_size=2, max_size=options.postgresql_connections_max)
        self.transactions, self.cursors = Transactions(self._pool), CursorTable(self._pool)
        self._stored = StoredCommands(self._control, self.cursors)
        context = None
        if options.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(options.certificate, options.key)
        self._server = await asyncio.start_server(self._accept, options.host, options.port, ssl=context, backlog=1024)
        if not options.port:
            self.options = replace(options, port=self._server.sockets[0].getsockname()[1])
        self.member.address = self.options.announced
        self._sweeping = asyncio.ensure_future(self._sweep())

    async def close(self) -> None:
        """Stop listening, drop all clients, leave nothing running on PostgreSQL."""
        if self._server is not None:
            self._server.close()
        await self.operations.kill_all(_CLOSE_SECONDS)
        tasks = [*self._serving, *([self._sweeping] if self._sweeping else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for pool in (self._pool, self._control):
            if pool is not None:
                pool.terminate()

    async def __aenter__(self) -> Gateway:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _create_pool(self, min_size: int, max_size: int) -> Any:
        options = self.options

        async def keep_session(connection: Any) -> None:
            """Nothing to reset: every statement of the gateway leaves the session as it was."""

        return await asyncpg.create_pool(
            host=options.postgresql_host,
            port=options.postgresql_port,
            user=options.postgresql_user,
            password=options.postgresql_password,
            database=options.postgresql_database,
            min_size=min_size,
            max_size=max_size,
            reset=keep_session,
            server_settings={
                "application_name": "mongodb_gateway",
                "documentdb_core.enableCollation": "on",
                "deadlock_timeout": "200ms",  # MongoDB has no lock queue to look for deadlocks in: be quick
            },
        )

    async def _cancel_backend(self, backend: int) -> None:
        await self._control.fetchval("select pg_cancel_backend($1)", backend)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            await self.transactions.abort_expired()
            await self.cursors.drop_expired()

    # --- one client ---------------------------------------------------------------------------------------------------

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self.clients) >= self.options.connections_max:
            self.connections_refused += 1
            writer.close()
            return
        self.connections_created += 1
        client = Client(next(self._numbers))
        self.clients.add(client)
        task = asyncio.ensure_future(self._serve(client, reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests: asyncio.Queue[Request | None] = asyncio.Queue(_PIPELINED_MAX)
        reading = asyncio.ensure_future(self._read(client, reader, requests))
        try:
            while (request := await requests.get()) is not None:
                if client.gone and not request.more_to_come:
                    continue  # nobody waits for it, as for one whose client leaves while it runs
                reply = await self._answer(client, request)
                if not request.more_to_come:
                    writer.write(encode_reply(request, next(self._reply_ids), reply))
                    await writer.drain()
        except ConnectionError:
            _log.debug("client %d went away", client.number)
        finally:
            reading.cancel()
            self.clients.discard(client)
            self.transactions.client_left(client.number)
            writer.close()

    async def _read(
        self, client: Client, reader: asyncio.StreamReader, requests: asyncio.Queue[Request | None]
    ) -> None:
        """Read ahead, so that a client that goes away is noticed while its command runs."""
        try:
            while True:
                await requests.put(await read_request(reader))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except ProtocolError as error:
            _log.warning("client %d: %s", client.number, error)
        client.gone = True
        if client.operation is not None and client.operation.interruptible:
            self.operations.kill(client.operation)
        await requests.put(None)

    # --- one command --------------------------------------------------------------------------------------------------

    async def _answer(self, client: Client, request: Request) -> bytes:
        name = next(iter(request.command))
        name = _ALIASES.get(name, name)
        try:
            operation = self.operations.begin(name, request, client.number)
        except (KeyError, TypeError, ValueError) as error:
            return bson.encode(CommandError(9, f"malformed command {name}: {error!r}").document())
        operation.interruptible = operation.interruptible and name not in _ENDS
        client.operation = operation
        try:
            reply = await self._dispatch(operation, client)
            return self._timed(reply if isinstance(reply, bytes) else bson.encode(reply))
        except CommandError as error:
            retryable_write = operation.number is not None and not operation.in_transaction
            transient = operation.in_transaction and (name != "commitTransaction" or error.code != _NOT_PRIMARY)
            error.label(in_transaction=transient, retryable_write=retryable_write)
            return self._timed(bson.encode(error.document()))
        except (asyncpg.InterfaceError, asyncpg.PostgresError, OSError) as error:
            # The connection to PostgreSQL broke or none could be had.
            lost = CommandError(91, f"PostgreSQL behind the gateway is not available: {error}")
            lost.label(in_transaction=operation.in_transaction, retryable_write=operation.number is not None)
            return bson.encode(lost.document())
        except (KeyError, TypeError, ValueError, bson.errors.BSONError) as error:
            _log.exception("command %s failed", name)
            return bson.encode(CommandError(9, f"malformed command {name}: {error!r}").document())
        finally:
            client.operation = None
            self.operations.end(operation)

    def _timed(self, reply: bytes) -> bytes:
        return reply if self.options.standalone else self.member.with_times(reply)

    async def _dispatch(self, operation: Operation, client: Client) -> Reply:
        name = operation.name
        if self.users and client.user is None and name not in self._local.open:
            raise CommandError(13, f"Command {name} requires authentication")
        if (local := self._local.handlers.get(name)) is not None:
            return await local(operation, client)
        if name not in self._stored.handlers and name not in _ENDS:
            raise CommandError(59, f"no such command: '{name}'")
        is_write = self._stored.is_write(operation)
        self.member.receive(operation)
        self.member.check_role(operation, is_write=is_write)
        if self.read_only and is_write:
            raise CommandError(_NOT_PRIMARY, "not primary")
        if name in _ENDS:
            return await self._end_transaction(operation)
        await self.member.reach(operation)
        if operation.in_transaction:
            return await self._run_in_transaction(operation)
        if operation.lsid is not None and operation.number is not None and name in _RETRYABLE:
            return await self.retryable_writes.once(
                operation.lsid, operation.number, lambda: self._run_encoded(operation)
            )
        return await self._run(operation)

    async def _run_encoded(self, operation: Operation) -> bytes:
        reply = await self._run(operation)
        return reply if isinstance(reply, bytes) else bson.encode(reply)

    async def _run_in_the_past(self, operation: Operation, snapshot: str) -> Reply:
        async with operation.connection.transaction(isolation="repeatable_read"):
            await operation.connection.execute(f"set transaction snapshot '{snapshot}'")
            return await self._execute(operation, None)

    async def _run(self, operation: Operation) -> Reply:
        """Run it on a connection of the pool, which a cursor may take over."""
        operation.connection = await self._pool.acquire()
        try:
            if (snapshot := self.member.snapshot) is not None:
                return await self._run_in_the_past(operation, snapshot)
            pause = _CONFLICT_PAUSE_MIN_SECONDS
            while True:
                try:
                    return await self._execute(operation, None)
                except CommandError as error:
                    if error.code != _WRITE_CONFLICT:
                        raise
                # Outside of transactions MongoDB does not bother clients with conflicts, however many there are: it
                # tries until the command is killed or out of time. A write left nothing behind.
                await asyncio.sleep(random.uniform(0, pause))
                operation.check()
                pause = min(2 * pause, _CONFLICT_PAUSE_MAX_SECONDS)
        finally:
            if operation.connection is not None:
                await self._pool.release(operation.connection)

    async def _execute(self, operation: Operation, transaction: Transaction | None) -> Reply:
        try:
            if operation.name == "aggregate":
                self._fill_current_op(operation)
            reply = await self._stored.handlers[operation.name](operation, transaction)
        except asyncpg.PostgresError as error:
            translated = operation.translate(error)
            if translated.code == 11000:
                target = operation.command[next(iter(operation.command))]
                detail = getattr(error, "detail", None)
                translated = await duplicate_key(self._control, operation, target, str(error), detail=detail)
            raise translated from error
        if transaction is None and self._stored.is_write(operation):
            self.member.set.tick()
        return reply

    def _fill_current_op(self, operation: Operation) -> None:
        """Put the running operations in the place of ``$currentOp``; later stages work on them as on any documents."""
        first, *others = [dict(stage) for stage in operation.command.get("pipeline", ())] or [{}]
        if "$currentOp" in first:
            # As a literal: the listed commands are full of operators that must not be evaluated.
            operation.command["pipeline"] = [{"$documents": {"$literal": self._local.running()}}, *others]

    # --- transactions -------------------------------------------------------------------------------------------------

    async def _run_in_transaction(self, operation: Operation) -> Reply:
        lsid, number = operation.lsid, operation.number
        if self.options.standalone:
            raise CommandError(20, "Transaction numbers are only allowed on a replica set member or mongos")
        if lsid is None or number is None:
            raise CommandError(72, "a transaction needs lsid and txnNumber")
        if operation.command.get("startTransaction"):
            transaction = await self.transactions.begin(lsid, number, operation.client)
        else:
            transaction = self.transactions.get(lsid, number, operation.client)
        async with transaction.lock:
            if transaction.ended:
                raise CommandError(251, f"transaction {number} has been aborted")
            operation.connection = transaction.connection
            failed = True
            try:
                reply = await self._execute(operation, transaction)
                failed = isinstance(reply, dict) and bool(reply.get("writeErrors"))
            finally:
                operation.connection = None
                if failed:  # as in MongoDB, an error ends the transaction
                    await self.transactions.end_locked(transaction, commit=False)
        return reply

    async def _end_transaction(self, operation: Operation) -> Reply:
        lsid, number = operation.lsid, operation.number
        if lsid is None or number is None:
            raise CommandError(72, f"{operation.name} needs lsid and txnNumber")
        commit = operation.name == "commitTransaction"
        if commit and self.transactions.committed(lsid, number):
            return {"ok": 1.0}
        transaction = self.transactions.get(lsid, number, operation.client)
        await self.transactions.end(transaction, commit=commit)
        if commit:
            self.member.set.tick()
        await self.cursors.drop_transaction(transaction)
        return {"ok": 1.0}
