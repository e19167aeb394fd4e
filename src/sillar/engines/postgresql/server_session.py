"""A session on the server under the session contract: transactions, reset, probe, end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, NoReturn, TypeVar

import asyncpg

from sillar import errors
from sillar.capabilities import Capabilities, Capability
from sillar.engines.connection import (
    DEFAULT_TRANSACTION,
    DriverConnection,
    NodeRole,
    NodeStatus,
    TransactionOptions,
)
from sillar.engines.outcome import CommitOutcome
from sillar.engines.postgresql import outcome, session
from sillar.engines.postgresql.errors import is_lost, never_sent, statement_error
from sillar.engines.postgresql.position import MEMBERS, POSITION, PROBE, LogPosition
from sillar.engines.postgresql.prepared import PreparedStatement
from sillar.engines.postgresql.values import identifier, literal
from sillar.query.text import StatementText

T = TypeVar("T")

_ROLLBACK_SECONDS: Final = 5.0
_ENDS_TRANSACTION: Final = frozenset({"commit", "end", "rollback", "abort", "prepare"})
_RESET: Final = (
    "SET SESSION AUTHORIZATION DEFAULT; RESET ALL; CLOSE ALL; UNLISTEN *; SELECT pg_advisory_unlock_all();"
    " DISCARD TEMP; DISCARD SEQUENCES"
)


class ServerSession(DriverConnection[StatementText]):
    """A session on one PostgreSQL server: its transactions, its contract, its life. Statements come on top of it."""

    __slots__ = ("_capabilities", "_execute", "_prepared", "_prepared_lost", "_prepared_max", "_transaction")

    def __init__(self, raw: asyncpg.Connection, *, address: str, capabilities: Capabilities, prepared_max: int) -> None:
        super().__init__(raw, address=address, server_id=raw.get_server_pid())
        self._capabilities = capabilities
        self._execute = session.executor(raw)
        self._prepared: dict[str, PreparedStatement] = {}
        self._prepared_max = prepared_max
        self._prepared_lost = False
        self._transaction: Any = None

    # --- transactions -----------------------------------------------------------------------------------------------

    async def begin(self, options: TransactionOptions = DEFAULT_TRANSACTION) -> None:
        isolation = options.isolation.value.replace(" ", "_") if options.isolation else None
        if options.settings:
            local = ", ".join(
                f"set_config({literal(name)}, {literal(value)}, true)" for name, value in options.settings
            )
            transaction: Any = session.PreludeTransaction(self.raw, isolation, options.read_only, f" SELECT {local};")
        else:
            transaction = self.raw.transaction(isolation=isolation, readonly=options.read_only)
        try:
            await transaction.start()
        except BaseException as error:
            self.dirty = True  # BEGIN may have been executed, and what came with it not
            session.forget_transaction(self.raw)
            self._raise(error, None, None, harmless=True)
        self._transaction = transaction
        self.in_transaction, self.may_have_committed = True, False

    async def commit(self) -> None:
        transaction, self._transaction = self._transaction, None
        if self.raw.is_closed():
            raise self._never_committed()
        self.raw.sillar_warned_by = None
        try:
            answer = await session.commit(transaction)
        except asyncpg.InterfaceError as error:  # refused by the driver: nothing was sent
            self.terminate()
            self._raise(error, None, None)
        except BaseException as error:
            if never_sent(error):
                self.terminate()
                raise self._never_committed() from error
            if is_lost(error):
                self.in_transaction = False
                self.terminate()
                raise self.report(
                    self._commit_unknown(f"its reply was lost ({error or type(error).__name__})")
                ) from error
            self.in_transaction = not self.raw.is_closed() and bool(self.raw.is_in_transaction())
            self._raise(error, None, None)
        self.in_transaction = False
        if answer == "ROLLBACK":
            raise errors.UnknownStatementError(
                "COMMIT was answered with ROLLBACK: an earlier statement of the transaction had failed; run what may"
                " fail in a nested transaction",
                code="25P02",
            ).at(node=self.address)
        if self.raw.sillar_warned_by == "SyncRepWaitForLSN":
            raise self._commit_unknown("the wait for synchronous replication was cancelled")

    def _never_committed(self) -> errors.DatabaseError:
        self.in_transaction = False
        return self.report(
            errors.ConnectionLostError(
                "the connection broke before COMMIT was sent: the transaction was rolled back",
                safe_to_retry=not self.may_have_committed,
            ).at(node=self.address)
        )

    def _commit_unknown(self, what: str) -> errors.DatabaseError:
        return errors.CommitUnknownError(
            f"COMMIT was sent to {self.address} and {what}; the transaction may or may not have been applied, or may"
            " not outlive a failover: look before you run it again"
        ).at(node=self.address)

    async def rollback(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is None or self.raw.is_closed():
            self.in_transaction = False
            return
        try:
            async with asyncio.timeout(_ROLLBACK_SECONDS):
                await transaction.rollback()
        except TimeoutError:
            self.terminate()  # a server that does not answer rolls back when it notices
        except BaseException as error:
            self._raise(error, None, None)
        self.in_transaction = False

    async def savepoint(self, name: str) -> None:
        await self._control(f"SAVEPOINT {identifier(name)}")

    async def release_savepoint(self, name: str) -> None:
        await self._control(f"RELEASE SAVEPOINT {identifier(name)}")

    async def rollback_to_savepoint(self, name: str) -> None:
        await self._control(f"ROLLBACK TO SAVEPOINT {identifier(name)}; RELEASE SAVEPOINT {identifier(name)}")

    @property
    def driver_transaction(self) -> Any:
        """asyncpg's object of the transaction that is open, or None: another consumer of this connection nests in
        it."""
        return self._transaction

    # --- commits in doubt -------------------------------------------------------------------------------------------

    async def transaction_mark(self) -> outcome.TransactionMark:
        return await self._of_driver(outcome.mark_of(self.raw))

    async def transaction_outcome(self, mark: outcome.TransactionMark) -> CommitOutcome:
        return await self._of_driver(outcome.outcome_of(self.raw, mark))

    async def confirm_commits(self) -> None:
        if await self._of_driver(outcome.waits_for_standbys(self.raw)):
            await self.begin()
            await self._of_driver(outcome.write_message(self.raw))
            await self.commit()

    async def end_session(self, server_id: int, age_seconds: float) -> None:
        await self._of_driver(outcome.end_session(self.raw, server_id, age_seconds))

    # --- life -------------------------------------------------------------------------------------------------------

    def is_closed(self) -> bool:
        return bool(self.raw.is_closed())

    async def ping(self) -> None:
        await self._control("SELECT 1")

    async def reset(self) -> None:
        self._transaction = None
        try:
            await session.settled(self.raw)
            session.forget_transaction(self.raw)
            if self.raw.is_in_transaction():
                await self.raw.execute("ROLLBACK")
            await self.raw.execute(_RESET)
            if await self.raw.forget_users() or self._prepared_lost:
                self._prepared.clear()
                await self.raw.execute("DEALLOCATE ALL")
                await self.raw.reload_schema_state()
                self._prepared_lost = False
                self.prepared_generation += 1
        except BaseException as error:
            self._raise(error, None, None)
        self.in_transaction = False

    async def cancel(self) -> None:
        try:
            other = await asyncpg.connect(**self.kept["connect"])
            try:
                await other.execute("SELECT pg_cancel_backend($1)", self.server_id)
            finally:
                await other.close()
        except BaseException as error:
            self._raise(error, None, None)

    async def probe(self) -> NodeStatus:
        row = await self._of_driver(self.raw.fetchrow(PROBE))
        recovering = bool(row["recovering"])
        version = str(row["version"]).split()[0]
        capabilities = self._capabilities.named(f"PostgreSQL {version}")
        if recovering:
            capabilities = capabilities.without(Capability.NOTIFICATIONS, "the server is a standby")
        lag = row["lag_seconds"]
        return NodeStatus(
            version=version,
            role=NodeRole.REPLICA if recovering else NodeRole.PRIMARY,
            read_only=recovering or bool(row["read_only"]),
            capabilities=capabilities,
            address=self.address,
            history=row["system"],
            term=row["timeline"],
            position=LogPosition(row["system"], row["timeline"], int(row["lsn"])),
            lag_seconds=lag if row["attached"] else None,
            identity=f"{row['system']} {row['identity']}",
        )

    async def position(self) -> LogPosition:
        row = await self._of_driver(self.raw.fetchrow(POSITION))
        return LogPosition(row["system"], row["timeline"], int(row["lsn"]))

    async def members(self) -> list[tuple[str, int]]:
        """The standbys that stream from this server: by ``application_name``, where it has the form ``host:port``."""
        found: list[tuple[str, int]] = []
        rows = await self._of_driver(self.raw.fetch(MEMBERS))
        for (name,) in rows:
            host, _, port = str(name).rpartition(":")
            if host and port.isdigit():
                found.append((host, int(port)))
        return found

    async def close(self) -> None:
        if not self.raw.is_closed():
            try:
                await self.raw.close()
            except BaseException as error:
                self._raise(error, None, None)

    def terminate(self) -> None:
        if not self.raw.is_closed():
            self.raw.terminate()

    # --- within -----------------------------------------------------------------------------------------------------

    def note(self, statement: StatementText) -> None:
        self.dirty = True
        if not statement.is_single or statement.verb in _ENDS_TRANSACTION:
            self.may_have_committed = True
        self._prepared_lost = self._prepared_lost or statement.touches_prepared

    async def _control(self, sql: str) -> None:
        await self._of_driver(self.raw.execute(sql))

    async def _of_driver(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except BaseException as error:
            self._raise(error, None, None)

    def _lost_before(self, statement: StatementText | None, error: BaseException) -> bool:
        """Whether the statement was all there was to do, and was not sent."""
        if statement is None or self.in_transaction or not never_sent(error):
            return False  # of another error asyncpg's connection may be gone already, and cannot be asked
        return not self.raw.is_in_transaction()

    def _raise(
        self,
        error: BaseException,
        statement: StatementText | None,
        timeout_seconds: float | None,
        *,
        harmless: bool = False,
    ) -> NoReturn:
        """Raise the error in Sillar's terms, and note what state the connection is in.

        ``harmless``: what was sent leaves nothing behind, whether it was executed or not.
        """
        if isinstance(error, errors.DatabaseError):
            raise error
        if isinstance(error, (asyncio.CancelledError, TimeoutError)):
            self.dirty = True  # a cancel request is on its way; the reset waits for it
        harmless = harmless or self._lost_before(statement, error)
        translated = statement_error(
            error,
            address=self.address,
            safe_to_retry=harmless or self.loses_nothing(statement is not None and statement.is_read),
            timeout_seconds=timeout_seconds,
        )
        if translated is None:
            self.dirty = True
            raise error
        self.report(translated)
        if isinstance(translated, errors.ConnectionLostError):
            self.terminate()
        if isinstance(translated, errors.StatementSyntaxError) and statement is not None and translated.position:
            translated.position = statement.source_position(translated.position)
            translated.args = (f"{translated.args[0]} (at character {translated.position} of the statement)",)
        if isinstance(translated, errors.ParameterError):
            raise translated from None  # the driver's message quotes the value
        raise translated from error
