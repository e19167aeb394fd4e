"""Tortoise ORM over Sillar's connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.context import TortoiseContext
from tortoise.models import Model
from tortoise.utils import generate_schema_for_client

from sillar.consistency import Consistency
from sillar.errors import UsageError
from sillar.integrations.orm import IntegrationHost, ORMIntegration
from sillar.integrations.tortoise import private
from sillar.integrations.tortoise.client import SharedClient, TransactionClient
from sillar.integrations.tortoise.context import (
    DEFAULT_ALIAS,
    Modules,
    SharedContext,
    app_settings,
    connection_settings,
    module_names,
)


class TortoiseIntegration(ORMIntegration):
    """Tortoise ORM 1.x on one database of a manager: stock models, querysets and transactions over its connections.

    The alias of the default database is ``default``, that of any other its configured name. All integrations of one
    manager share one ``TortoiseContext``, which every task finds; a second manager's is current where it was opened,
    and elsewhere in ``with integration.entered()``.

    Args:
        host: the manager, open.
        database: configured name of the database; None is the default one.
    """

    def __init__(self, host: IntegrationHost, database: str | None = None) -> None:
        super().__init__(host, database)
        self._shared = SharedContext.of(host)
        self._registered: dict[str, list[Any]] = {}
        self.alias = DEFAULT_ALIAS if host.executor(None) is self.executor else self.executor.name
        """Under which name Tortoise knows the database."""

    # --- models -----------------------------------------------------------------------------------------------------

    def register_models(self, *models: Any, app: str = "models") -> None:
        """Have :meth:`open` initialise these models.

        Args:
            models: model classes (their whole module is taken), modules, or dotted names of modules and packages.
            app: Tortoise's label for them, the first half of ``ForeignKeyField("models.Author")``.
        """
        self._registered.setdefault(app, []).extend(models)

    async def open(
        self,
        modules: Modules | None = None,
        *,
        use_tz: bool = True,
        timezone: str = "UTC",
        routers: list[str | type] | None = None,
        table_name_generator: Callable[[type[Model]], str] | None = None,
    ) -> TortoiseContext:
        """Initialise Tortoise for the registered models and these; no connection is opened. Once more adds to it.

        Args:
            modules: app label → modules with models, as for ``Tortoise.init``.
            use_tz, timezone, routers, table_name_generator: as for ``Tortoise.init``.

        Raises:
            UsageError: there are no models, or the engine has no Tortoise client.
        """
        self.executor.check_loop()
        options = {
            "use_tz": use_tz,
            "timezone": timezone,
            "routers": routers,
            "table_name_generator": table_name_generator,
        }
        first = not self._shared.connections
        await self._shared.open(self.alias, self.executor, self._modules(modules), options)
        if first:
            self.executor.on_close(self._shared.close)
        return self._shared.context

    def config(self, modules: Modules | None = None) -> dict[str, Any]:
        """The configuration for code that initialises Tortoise itself: ``Tortoise.init(config=…)``,
        ``RegisterTortoise(app, config=…)``.

        Args:
            modules: as for :meth:`open`; the registered models are in it as well.
        """
        return {
            "connections": {self.alias: connection_settings(self.executor)},
            "apps": app_settings(self.alias, self._modules(modules)),
        }

    async def generate_schemas(self, *, safe: bool = True) -> None:
        """Create the tables of the models on this database.

        Args:
            safe: leave alone those that exist.
        """
        with self.entered():
            await generate_schema_for_client(self.client, safe)

    async def close(self) -> None:
        """Have Tortoise forget this manager's databases; the manager does it when it closes."""
        await self._shared.close()

    # --- use --------------------------------------------------------------------------------------------------------

    @property
    def client(self) -> BaseDBAsyncClient:
        """Tortoise's client, as ``get_connection(alias)`` gives it.

        Raises:
            UsageError: Tortoise was not initialised.
        """
        if not self._shared.connections:
            raise UsageError("Tortoise is not initialised for this manager: await integration.open() first")
        return self._shared.client(self.alias)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Have Tortoise work on this manager's databases in the block; needed only beside other managers."""
        with private.entered(self._shared.context):
            yield

    async def create_session(
        self, *, read_only: bool = False, consistency: Consistency | None = None
    ) -> TortoiseSession:
        """A transaction of Tortoise's that is ended by hand; a savepoint where one is open already.

        Args:
            read_only: outside a transaction: the server refuses writes; a replica that is fresh enough will do.
            consistency: how fresh such a replica has to be; None is what the context asks for, and then the database's
                default.
        """
        session = TortoiseSession(self.client, read_only=read_only, consistency=consistency)
        await session.begin()
        return session

    async def execute_query(self, query: Any, values: Sequence[Any] | None = None) -> Any:
        """Run a query in the transaction of the context, if there is one.

        Args:
            query: a queryset or any other query of Tortoise's, or SQL text with the engine's own placeholders.
            values: for the placeholders of SQL text.

        Returns:
            what awaiting the query gives; for SQL text a list of dicts.
        """
        with self.entered():
            if isinstance(query, str):
                return await self.client.execute_query_dict(query, None if values is None else list(values))
            return await query

    def _modules(self, modules: Modules | None) -> dict[str, list[str]]:
        given: dict[str, list[Any]] = {label: list(models) for label, models in self._registered.items()}
        for label, more in (modules or {}).items():
            given.setdefault(label, []).extend([more] if isinstance(more, str) else more)
        if not given:
            raise UsageError("there are no models: register_models(…), or open(modules={'models': ['app.models']})")
        return {label: module_names(models) for label, models in given.items()}


class TortoiseSession:
    """A transaction of Tortoise's that is ended by hand: what ``create_session()`` gives.

    Until it ends, whatever Tortoise does in this context belongs to it; ``client`` is for ``using_db=``.

    Args:
        client: of the database.
        read_only, consistency: as for :class:`TransactionClient`.
    """

    def __init__(
        self, client: BaseDBAsyncClient, *, read_only: bool = False, consistency: Consistency | None = None
    ) -> None:
        assert isinstance(client, SharedClient)
        self._parent = client
        self._read_only, self._consistency = read_only, consistency
        self._open: TransactionClient | None = None

    @property
    def client(self) -> TransactionClient:
        """The transaction as Tortoise passes it around.

        Raises:
            UsageError: it has ended.
        """
        if self._open is None:
            raise UsageError("this session has ended; begin() it again, or create another one")
        return self._open

    async def begin(self) -> None:
        """Begin the next transaction, after :meth:`commit` or :meth:`rollback`.

        Raises:
            UsageError: one is open.
        """
        if self._open is not None:
            raise UsageError("this session has a transaction open; commit or roll it back first")
        opening = self._parent.transaction_class(self._parent, read_only=self._read_only, consistency=self._consistency)
        await opening.begin()
        self._open = opening

    async def commit(self) -> None:
        """Keep what was done.

        Raises:
            UsageError: it has ended.
        """
        await self._end(self.client, keep=True)

    async def rollback(self) -> None:
        """Undo what was done.

        Raises:
            UsageError: it has ended.
        """
        await self._end(self.client, keep=False)

    async def close(self) -> None:
        """Undo what was neither committed nor rolled back. Once more does nothing."""
        if self._open is not None:
            await self._end(self._open, keep=False)

    async def __aenter__(self) -> TortoiseSession:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _end(self, ending: TransactionClient, *, keep: bool) -> None:
        self._open = None
        try:
            await (ending.commit() if keep else ending.rollback())
        finally:
            await ending.leave(None, None, None)
