"""What every ORM integration offers: sessions, queries and models over the same connections as everything else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from sillar.current import joined_transaction
from sillar.execution import DatabaseSession, Executor, Transaction


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
