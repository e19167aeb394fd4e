"""SQLAlchemy on one database of a manager."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import MetaData, inspect
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session
from sqlalchemy.sql import Executable

from sillar.consistency import Consistency
from sillar.current import joined_transaction
from sillar.errors import DatabaseError
from sillar.execution import Transaction
from sillar.integrations.orm import IntegrationHost, ORMIntegration
from sillar.integrations.sqlalchemy.engine import SharedEngine, shared_engine
from sillar.integrations.sqlalchemy.errors import translated_by
from sillar.integrations.sqlalchemy.joined import JoiningSession, join
from sillar.integrations.sqlalchemy.line import SessionOfLine
from sillar.integrations.sqlalchemy.loading import watch_loading
from sillar.integrations.sqlalchemy.models import mapped_classes
from sillar.integrations.sqlalchemy.private import has_rows

T = TypeVar("T")


class SQLAlchemyIntegration(ORMIntegration):
    """Stock engines and sessions of SQLAlchemy over the connections of a manager: the same physical ones, limits and
    transactions, seen by the same observers.

    Args:
        host: the manager, open.
        database: configured name of the database; None is the default one.
        expire_on_commit: of the sessions. SQLAlchemy's own default, True, has every attribute loaded again after a
            commit, which asynchronous code cannot do by touching it.
        raise_on_lazy: relations that neither the query nor an ``await`` asked for are refused with a clear error.
        advise_after: from how many loads of one relation in one session on to advise ``selectinload``
            (:func:`loading_advice`, and a warning in the log); None: never.
        engine_options: for ``create_async_engine`` (``json_serializer``, ``echo``, ``query_cache_size``, …). Options of
            its pool have no effect: the pool is the manager's.

    Raises:
        UnsupportedCapabilityError: the database is no SQL engine.
        UsageError: SQLAlchemy's asynchronous part is not installed.
    """

    def __init__(
        self,
        host: IntegrationHost,
        database: str | None = None,
        *,
        expire_on_commit: bool = False,
        raise_on_lazy: bool = False,
        advise_after: int | None = None,
        **engine_options: Any,
    ) -> None:
        super().__init__(host, database)
        self._shared: SharedEngine = (
            SharedEngine(self.executor, engine_options) if engine_options else shared_engine(self.executor)
        )
        stock = SessionOfLine if self.executor.source.is_routed else Session
        self._session_class: type[Session] = type("Session", (stock,), {})
        if raise_on_lazy or advise_after is not None:
            watch_loading(self._session_class, raise_on_lazy=raise_on_lazy, advise_after=advise_after)
        self._joining_class: type[Session] = type("JoinedSession", (JoiningSession, self._session_class), {})
        self._options: dict[str, Any] = {"expire_on_commit": expire_on_commit}
        self.session_factory: async_sessionmaker[AsyncSession] = async_sessionmaker(
            self.engine, sync_session_class=self._session_class, **self._options
        )
        """A stock factory, for code that wants one: its sessions never join a transaction of the context."""
        self.models: tuple[type[Any], ...] = ()
        """The classes that :meth:`register_models` has found."""

    @property
    def engine(self) -> AsyncEngine:
        """The stock engine. ``dispose()`` closes nothing: the connections are the manager's."""
        return self._shared.engine

    @property
    def read_only_engine(self) -> AsyncEngine:
        """The same engine for reads alone: no BEGIN, no COMMIT, the server refuses writes, and a replica will do."""
        return self._shared.read_only_engine

    async def create_session(
        self, *, read_only: bool = False, consistency: Consistency | None = None, **options: Any
    ) -> AsyncSession:
        """A stock session: in the transaction of the context if there is one, else with connections of its own.

        In a transaction of Sillar's, ``commit()`` and ``rollback()`` of the session are those of a savepoint; the
        session is closed with the transaction, which keeps what is pending in it.

        Where there are replicas, a session works on the primary, and in ``replica_context()`` on a replica, in a
        transaction that is read-only. Its node is chosen with its first statement after each ``commit``, ``rollback``
        or ``close``.

        Args:
            read_only: outside a transaction: reads are sent without BEGIN and COMMIT (SQLite: from a snapshot), and
                writes are refused by the server; a replica that is fresh enough will do.
            consistency: how fresh its reads have to be where it works on a replica; None is what the context asks for.
            options: for ``AsyncSession``.

        Raises:
            UsageError: the transaction of the context is another task's, or has ended.
        """
        transaction = await joined_transaction(self.database_name)
        if transaction is not None:
            return await join(self._shared, transaction, self._joining_class, {**self._options, **options})
        if read_only or consistency is not None:
            options.setdefault("bind", self._shared.engine_for(read_only=read_only, consistency=consistency))
        return self.session_factory(**options)

    async def run_in_session(self, work: Callable[[AsyncSession], Awaitable[T]], **options: Any) -> T:
        """Await ``work(session)`` in a transaction of its own with a fresh session each time, flush, commit, and return
        what it returned. The whole of it is run again where :meth:`run_in_transaction` does so.

        Args:
            work: what to do. Objects that it returns are detached, as after the end of any transaction.
            options: as for ``session.run_in_transaction``.

        Raises:
            UsageError: a transaction is open in this context already.
        """

        async def with_session(transaction: Transaction) -> T:
            return await work(await self.create_session())

        return await self.run_in_transaction(with_session, **options)

    async def execute_query(
        self, query: Executable, params: Mapping[str, Any] | None = None, *, read_only: bool = False
    ) -> Any:
        """Run a statement, in the transaction of the context if there is one; else it commits.

        Args:
            query: the statement.
            params: its values by name.
            read_only: as for :meth:`create_session`: a replica will do.

        Returns:
            entities, or values, where the query gives one thing per row; rows where it gives several; for statements
            without rows, how many they affected.

        Raises:
            errors of SQLAlchemy; within :meth:`errors` those of Sillar.
        """
        async with await self.create_session(read_only=read_only) as session:
            result: Any = await session.execute(query, params)
            found: Any
            if not has_rows(result):
                found = result.rowcount
            else:
                if _gives_entities(query):  # which eager loading by join may repeat
                    result = result.unique()
                found = (result.scalars() if len(result.keys()) == 1 else result).all()
            await session.commit()
        return found

    def register_models(self, *models: Any) -> None:
        """Make models known: mapped classes, modules, or dotted names of packages that are searched to their depths.

        Raises:
            UsageError: a name cannot be imported, nothing there is mapped, or the mapping is faulty.
        """
        self.models = tuple(dict.fromkeys((*self.models, *mapped_classes(*models))))

    @property
    def metadata(self) -> Sequence[MetaData]:
        """The metadata of the registered models, each once."""
        tables = (inspect(model).local_table for model in self.models)
        return tuple(dict.fromkeys(table.metadata for table in tables if hasattr(table, "metadata")))

    async def create_tables(self) -> None:
        """Create the tables of the registered models that are not there."""
        async with self.engine.begin() as connection:
            for metadata in self.metadata:
                await connection.run_sync(metadata.create_all)

    async def drop_tables(self) -> None:
        """Drop the tables of the registered models."""
        async with self.engine.begin() as connection:
            for metadata in self.metadata:
                await connection.run_sync(metadata.drop_all)

    def translated(self, error: BaseException) -> DatabaseError | None:
        """The error of :mod:`sillar.errors` that stands for one of SQLAlchemy's; None for any other."""
        return translated_by(error, self._shared.bridge, None)

    @asynccontextmanager
    async def errors(self) -> AsyncIterator[None]:
        """Within the block, SQLAlchemy's errors are raised as Sillar's: the same on every engine and for every ORM."""
        try:
            yield
        except Exception as error:
            found = self.translated(error)
            if found is None or found is error:
                raise
            raise found from (found.__cause__ or error)


def _gives_entities(query: Any) -> bool:
    """Whether each row is one entity."""
    found: Any = getattr(query, "column_descriptions", ())
    return len(found) == 1 and found[0]["entity"] is not None and found[0]["expr"] is found[0]["entity"]
