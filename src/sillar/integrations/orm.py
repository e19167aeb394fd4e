"""What every ORM integration offers: sessions, queries and models over the same connections as everything else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

from sillar.current import joined_transaction
from sillar.errors import DatabaseError, UsageError
from sillar.execution import DatabaseSession, Executor, Transaction

T = TypeVar("T")


class IntegrationHost(Protocol):
    """Who opens the databases: a ``DatabaseManager``."""

    def executor(self, name: str | None = None) -> Executor:
        """The path of one database."""
        ...


class ORMSession(Protocol):
    """What all sessions of ORMs have in common."""

    async def commit(self) -> None:
        """Keep what was done."""
        ...

    async def rollback(self) -> None:
        """Undo what was done."""
        ...

    async def close(self) -> None:
        """Give the connection back."""
        ...


class ORMIntegration(ABC):
    """One ORM on one database of a manager, over the connections that the manager has opened.

    Args:
        host: the manager, open.
        database: configured name of the database; None is the default one.
    """

    def __init__(self, host: IntegrationHost, database: str | None = None) -> None:
        self.executor = host.executor(database)
        self.executor.translators[type(self)] = self.translated

    @property
    def database_name(self) -> str:
        """Configured name of the database."""
        return self.executor.name

    @abstractmethod
    async def create_session(self) -> ORMSession:
        """A session of the ORM. Inside a transaction of Sillar's it joins that transaction."""

    @abstractmethod
    async def execute_query(self, query: Any) -> Any:
        """Run a query of the ORM, in the transaction of the context if there is one."""

    @abstractmethod
    def register_models(self, *models: Any) -> None:
        """Make models known: classes, modules, or dotted names of packages that are searched for them."""

    def translated(self, error: BaseException) -> DatabaseError | None:
        """The error of :mod:`sillar.errors` that stands for one of this ORM's; None for any other, and where the ORM
        raises Sillar's anyway."""
        return error if isinstance(error, DatabaseError) else None

    async def run_in_transaction(self, work: Callable[[Transaction], Awaitable[T]], **options: Any) -> T:
        """Await ``work(transaction)`` in a transaction of its own, which what the ORM does inside joins; commit, and
        return what it returned. The whole of it is run again where ``session.run_in_transaction`` does so.

        What was loaded or made in one attempt is not to be used in the next: it has been rolled back.

        Args:
            work: what to do.
            options: as for ``session.run_in_transaction``.

        Raises:
            UsageError: a transaction is open in this context already.
        """
        if await joined_transaction(self.database_name) is not None:
            raise UsageError(
                "run_in_transaction begins a transaction, and one is open in this context already, which cannot be run"
                " again from here: do the work in it, or in integration.transaction() for a savepoint"
            )
        return await DatabaseSession(self.executor).run_in_transaction(work, **options)

    @asynccontextmanager
    async def transaction(self, **options: Any) -> AsyncIterator[Transaction]:
        """A transaction for ``async with``, which this ORM, the others, the builder and raw statements share.

        Inside a transaction of the context on the same database it is a savepoint in that one.

        Args:
            options: as for ``session.transaction``.
        """
        outer = await joined_transaction(self.database_name)
        inner = DatabaseSession(self.executor).transaction(**options) if outer is None else outer.nested(**options)
        async with inner as transaction:
            yield transaction
