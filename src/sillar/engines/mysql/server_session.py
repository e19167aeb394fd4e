"""A session on a MySQL or MariaDB server under the session contract: transactions, reset, probe, end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn, TypeVar

from asyncmy.errors import MySQLError

from sillar import errors
from sillar.capabilities import Capabilities
from sillar.engines.connection import DEFAULT_TRANSACTION, DriverConnection, NodeStatus, TransactionOptions
from sillar.engines.mysql import driver, probe
from sillar.engines.mysql.errors import (
    READ_ONLY_TRANSACTION,
    is_lost,
    is_outside_cluster,
    is_unsure_commit,
    server_code,
    statement_error,
)
from sillar.engines.mysql.exchange import Exchange, in_order_after
from sillar.engines.mysql.killer import Killer, end_session
from sillar.engines.mysql.placeholders import PreparedTexts, fault_position
from sillar.engines.mysql.position import MySQLPosition
from sillar.engines.mysql.statements import StatementRunner, commits_nothing
from sillar.engines.mysql.values import ResultShapes, identifier
from sillar.query.text import StatementText

T = TypeVar("T")

_ALL_OR_NOTHING: Final = "sillar_all_or_nothing"


class ServerSession(DriverConnection[StatementText]):
    """A session on one server: its transactions, its contract, its life. Statements come on top of it."""

    __slots__ = ("_capabilities", "_contract", "_exchange", "_killer", "_rolled_back", "_statements", "_status",
                 "_texts", "_write_limit")  # fmt: skip

    def __init__(
        self,
        raw: Any,
        *,
        address: str,
        capabilities: Capabilities,
        contract: str,
        killer: Killer,
        shapes: ResultShapes,
        texts: PreparedTexts,
        prepared_max: int,
        statement_timeout: float | None,
    ) -> None:
        super().__init__(raw, address=address, server_id=raw.thread_id())
        self._capabilities = capabilities
        self._contract = contract
        self._killer = killer
        self._texts = texts
        self._statements = StatementRunner(raw, texts=texts, shapes=shapes, prepared_max=prepared_max)
        # max_execution_time of MySQL holds for SELECT alone; MariaDB's max_statement_time for everything.
        self._write_limit = None if probe.is_mariadb(raw) else statement_timeout
        self._exchange = Exchange(raw, self._kill)
        self._rolled_back = False  # by the server, in favour of another transaction
        self._status: NodeStatus | None = None  # what it said of itself last

    @property
    def exchange(self) -> Exchange:
        """For another consumer of this connection (an ORM): its requests have to go through it as well."""
        return self._exchange

    @property
    def write_timeout_seconds(self) -> float | None:
        """The configured limit of statements that the server does not hold itself."""
        return self._write_limit

    # --- transactions -----------------------------------------------------------------------------------------------

    async def begin(self, options: TransactionOptions = DEFAULT_TRANSACTION) -> None:
        if options.settings:
            raise errors.UnsupportedCapabilityError(
                "transaction-local settings", engine=self._capabilities.engine, remedy="pass the values as parameters"
            )
        start = "START TRANSACTION READ ONLY" if options.read_only else "START TRANSACTION"
        if options.isolation is not None:  # without SESSION it holds for the next transaction only
            start = f"SET TRANSACTION ISOLATION LEVEL {options.isolation.value.upper()}; {start}"
        try:
            await self._exchange.call(driver.query, self.raw, start, stoppable=False)
        except BaseException as error:
            self._raise(error, None, None, harmless=True)
        self.in_transaction, self.may_have_committed, self._rolled_back = True, False, False

    async def commit(self) -> None:
        await self._exchange.settled()
        if self.is_closed():
            self.in_transaction = False
            raise self.report(
                errors.ConnectionLostError(
                    "the connection was lost before COMMIT was sent: the transaction is rolled back",
                    safe_to_retry=not self.may_have_committed,
                ).at(node=self.address)
            )
        try:
            await self._exchange.call(driver.query, self.raw, "COMMIT", stoppable=False)
        except (MySQLError, OSError) as error:
            if is_lost(error) or is_unsure_commit(error):
                self.in_transaction = False
                self.terminate()
                reason = error.args[-1] if error.args else type(error).__name__
                raise self.report(
                    errors.CommitUnknownError(
                        f"COMMIT was sent to {self.address} and its reply was lost ({reason}); the transaction may or"
                        " may not have been applied: look before you run it again"
                    ).at(node=self.address)
                ) from error
            self.dirty = True
            self.in_transaction = not is_outside_cluster(error)
            self._raise(error, None, None)
        except BaseException:
            self.dirty = True
            raise
        self.in_transaction = False

    async def rollback(self) -> None:
        if not self.in_transaction or self.is_closed():
            self.in_transaction = False
            return
        await self._control("ROLLBACK")
        self.in_transaction = False

    async def savepoint(self, name: str) -> None:
        await self._control(f"SAVEPOINT {identifier(name)}")

    async def release_savepoint(self, name: str) -> None:
        await self._control(f"RELEASE SAVEPOINT {identifier(name)}")

    async def rollback_to_savepoint(self, name: str) -> None:
        quoted = identifier(name)
        await self._control(f"ROLLBACK TO SAVEPOINT {quoted}; RELEASE SAVEPOINT {quoted}")

    async def end_session(self, server_id: int, age_seconds: float) -> None:
        await self._asked(end_session, self.raw, server_id, age_seconds)

    # --- life -------------------------------------------------------------------------------------------------------

    def is_closed(self) -> bool:
        return driver.is_broken(self.raw)

    async def ping(self) -> None:
        await self._asked(self.raw.ping, False, stoppable=False)

    async def reset(self) -> None:
        try:
            await self._exchange.settled()
            self._statements.forget()
            await self._exchange.call(driver.restore, self.raw, self._contract, stoppable=False)
        except BaseException as error:
            self._raise(error, None, None)
        self.in_transaction = self.dirty = False

    async def cancel(self) -> None:
        try:
            await self._kill(lambda: True)
        except BaseException as error:
            self._raise(error, None, None, terminate=False)

    async def probe(self) -> NodeStatus:
        asked = self._asked(probe.probe, self.raw, self._capabilities, self.address, stoppable=False)
        self._status = status = await asked
        return status

    async def position(self) -> MySQLPosition | None:
        """As :meth:`probe` says it, in a cheaper round trip; the first one of a connection is a probe."""
        if self._status is None:
            found: MySQLPosition | None = (await self.probe()).position  # type: ignore[assignment]
            return found
        return await self._asked(probe.position, self.raw, self._status, stoppable=False)

    async def catch_up(self) -> MySQLPosition | None:
        """Of a member of a Galera cluster or of a group with several primaries; others have nothing to catch up with.

        Raises:
            DatabaseError: it did not within the server's own limit (``repl.causal_read_timeout`` of Galera).
        """
        status = self._status or await self.probe()
        return await self._asked(probe.catch_up, self.raw, status, stoppable=False)

    async def members(self) -> list[tuple[str, int]]:
        """The replicas that told this server a ``report_host``; the other members of a Galera cluster or of a group.

        Raises:
            StatementError: this user may not ask: grant REPLICATION SLAVE (MySQL), REPLICATION MASTER ADMIN (MariaDB),
                or SELECT on performance_schema.replication_group_members.
        """
        status = self._status or await self.probe()
        return await self._asked(probe.members, self.raw, status, stoppable=False)

    async def close(self) -> None:
        await self._exchange.settled()
        if not self.is_closed():
            try:
                await self.raw.ensure_closed()
            except BaseException as error:
                self._raise(error, None, None)

    def terminate(self) -> None:
        driver.abort(self.raw)

    # --- within -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _all_or_nothing(self) -> AsyncIterator[None]:
        """A transaction of its own, or a savepoint in the one that is open."""
        if self.in_transaction:
            await self.savepoint(_ALL_OR_NOTHING)
            try:
                yield
            except BaseException as error:
                await self._undo(self.rollback_to_savepoint(_ALL_OR_NOTHING), error)
                raise
            await self.release_savepoint(_ALL_OR_NOTHING)
            return
        await self.begin()
        try:
            yield
        except Exception as error:
            await self._undo(self.rollback(), error)
            raise
        except BaseException:
            self.dirty = True  # the caller has left: the transaction ends with the reset
            raise
        await self.commit()

    async def _undo(self, work: Any, error: BaseException) -> None:
        try:
            await work
        except errors.DatabaseError as failure:  # a deadlock has ended the transaction; what led here is what counts
            self.dirty = True
            error.add_note(f"undoing it failed, too: {failure}")

    async def _control(self, sql: str) -> None:
        await self._asked(driver.query, self.raw, sql, stoppable=False)

    async def _asked(self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any, stoppable: bool = True) -> T:
        try:
            return await self._exchange.call(work, *args, stoppable=stoppable)
        except BaseException as error:
            self._raise(error, None, None)

    async def _kill(self, still_wanted: Any) -> None:
        assert self.server_id is not None
        await self._killer.kill_query(self.server_id, still_wanted)

    def note(self, statement: StatementText) -> None:
        self.dirty = True
        self.may_have_committed = self.may_have_committed or not commits_nothing(statement)

    def _mark(self, statement: StatementText) -> None:
        if not statement.is_clean:
            self.note(statement)
        self.note_end()

    def note_end(self) -> None:
        """Called before a statement: where the server has ended the open transaction already (a deadlock that was not
        heeded, an implicit commit), it will be committed by itself."""
        if self._rolled_back or (self.in_transaction and not self.raw.get_transaction_status()):
            self.may_have_committed = True

    def report(self, error: errors.DatabaseError) -> errors.DatabaseError:
        self._rolled_back = self._rolled_back or isinstance(error, errors.DeadlockError)
        return super().report(error)

    def _raise(
        self,
        error: BaseException,
        statement: StatementText | None,
        timeout_seconds: float | None,
        *,
        terminate: bool = True,
        harmless: bool = False,
    ) -> NoReturn:
        """Raise the error in Sillar's terms, and note what state the connection is in.

        ``harmless``: what was sent leaves nothing behind, whether it was executed or not.
        """
        if isinstance(error, errors.DatabaseError):
            raise error
        if isinstance(error, (asyncio.CancelledError, TimeoutError)):
            self.dirty = True  # its reply may still be outstanding; the reset waits for it
        elif terminate and not in_order_after(error):
            self.terminate()
        is_read = statement is not None and statement.is_read
        was_refused = is_outside_cluster(error) and (statement is None or statement.is_single)  # so it was not executed
        translated = statement_error(
            error,
            address=self.address,
            safe_to_retry=harmless or self.loses_nothing(is_read or was_refused),
            timeout_seconds=timeout_seconds,
        )
        if translated is None:
            self.dirty = True
            raise error
        if server_code(error) != READ_ONLY_TRANSACTION:  # which says nothing of the server
            self.report(translated)
        if terminate and isinstance(translated, errors.ConnectionLostError):
            self.terminate()
        if isinstance(translated, errors.StatementSyntaxError) and statement is not None:
            self._locate(translated, error, statement)
        raise translated from error

    def _locate(self, translated: errors.StatementError, error: BaseException, statement: StatementText) -> None:
        """Say where in the statement the fault is, if the server's message tells."""
        as_it_stands = not statement.names and statement.sql not in self._texts
        sent = None if as_it_stands else self._texts.get(statement.sql)
        translated.position = fault_position(str(error.args[1]), statement, sent)
        if translated.position is not None:
            translated.args = (f"{translated.args[0]} (at character {translated.position} of the statement)",)
