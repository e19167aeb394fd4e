"""Beanie's documents on one database of a manager."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from datetime import UTC
from typing import Any

import structlog
from beanie import init_beanie

from sillar.capabilities import Capability
from sillar.current import detached, joined_transaction
from sillar.engines.mongodb.client import MongoDBClient
from sillar.engines.mongodb.indexes import Index, IndexDrift, drift_of, existing_indexes, wanted_indexes
from sillar.engines.mongodb.routed import RoutedDatabase, codec_options, index_model
from sillar.engines.mongodb.source import MongoDBSource
from sillar.errors import DatabaseError, UsageError
from sillar.execution import DatabaseSession
from sillar.integrations.beanie.errors import TranslatedErrors
from sillar.integrations.beanie.models import models_in
from sillar.integrations.beanie.private import collection_of, declared_indexes, has_indexes
from sillar.integrations.beanie.route import BeanieRoute
from sillar.integrations.beanie.session import BeanieSession
from sillar.integrations.orm import IntegrationHost, ORMIntegration

_log = structlog.get_logger("sillar.beanie")


class BeanieIntegration(ORMIntegration):
    """Beanie over the driver's client that the manager has opened: the same sockets, limits and sessions.

    Documents stay as they are. Inside ``async with integration.transaction()``, and any other transaction of Sillar's
    on this database, all their operations run in its server session; ``session=`` need not be passed. A transaction
    belongs to the task that began it. Outside, each operation waits its turn for a socket like any statement. Beanie's
    calls raise what they always raise; :meth:`errors` gives Sillar's errors instead.

    Args:
        host: the manager, open.
        database: configured name of the database; None is the default one.
        tz_aware: times are read with UTC as their zone; False reads them without, as the driver does unless told.

    Attributes:
        database: the driver's ``AsyncDatabase`` that Beanie works on.

    Raises:
        UnsupportedCapabilityError: the database has no documents.
    """

    def __init__(self, host: IntegrationHost, database: str | None = None, *, tz_aware: bool = True) -> None:
        super().__init__(host, database)
        self.executor.capabilities.require(
            Capability.DOCUMENTS, remedy="use Beanie with MongoDB, and SQLAlchemy or Tortoise with this engine"
        )
        client = self._client()
        self._route = BeanieRoute(self.executor, client)
        options = codec_options(tz_aware, UTC)
        self.database = RoutedDatabase(client.raw, client.config.database, self._route, codec_options=options)
        self._models: list[type[Any]] = []
        self._opened: list[type[Any]] = []

    # --- models -----------------------------------------------------------------------------------------------------

    def register_models(self, *models: Any) -> None:
        """Make documents, views and unions known, for :meth:`open`.

        Args:
            models: classes, modules, or dotted names of modules, packages (with all below them) and classes.

        Raises:
            UsageError: something else, or a name of nothing.
        """
        for given in models:
            for model in models_in(given):
                if model not in self._models:
                    self._models.append(model)

    @property
    def models(self) -> tuple[type[Any], ...]:
        """What was registered."""
        return tuple(self._models)

    async def open(self, *models: Any, create_indexes: bool = True, recreate_views: bool = False) -> None:
        """Initialize Beanie (``init_beanie``) for these models and those registered before.

        Missing indexes are created. Those that differ or are superfluous stay: they are logged, and
        :meth:`apply_indexes` sees to them when asked.

        Args:
            models: as for :meth:`register_models`.
            create_indexes: False leaves all indexes alone.
            recreate_views: drop views and make them anew from their pipelines.

        Raises:
            UsageError: there is no model.
            UniqueViolationError: documents that are there contradict a unique index.
        """
        self.register_models(*models)
        if not self._models:
            raise UsageError("there is no Beanie model to open; give document classes, modules or names of packages")
        with detached():
            async with self.errors():
                await init_beanie(
                    database=self.database,
                    document_models=list(self._models),
                    recreate_views=recreate_views,
                    skip_indexes=True,
                )
            self._opened = list(self._models)
            if create_indexes:
                for drift in await self.apply_indexes():
                    _log.warning(
                        "indexes differ from the models",
                        database=self.database_name,
                        collection=drift.collection,
                        superfluous=[each.name for each in drift.superfluous],
                        different=[each.wanted.name for each in drift.different],
                    )

    # --- indexes ----------------------------------------------------------------------------------------------------

    async def index_drift(self) -> list[IndexDrift]:
        """Compare the indexes of the documents' collections with what the documents ask for. Changes nothing.

        Returns:
            the collections where they differ; empty where all is as asked for.

        Raises:
            UsageError: not opened yet.
        """
        found = [await self._drift(collection, documents) for collection, documents in self._collections()]
        return [each for each in found if each]

    async def apply_indexes(
        self, *, drop_superfluous: bool = False, rebuild_different: bool = False
    ) -> list[IndexDrift]:
        """Create the missing indexes.

        Args:
            drop_superfluous: drop indexes that no document asks for.
            rebuild_different: drop indexes that differ, and create them anew. Until that is done, nothing keeps what
                they kept (a unique index!).

        Returns:
            what differs still.

        Raises:
            UniqueViolationError: documents that are there contradict a unique index.
            UsageError: not opened yet.
        """
        with detached():
            async with self.errors():
                for name, documents in self._collections():
                    drift = await self._drift(name, documents)
                    collection = self.database[name]
                    superfluous = list(drift.superfluous) if drop_superfluous else []
                    different = list(drift.different) if rebuild_different else []
                    for index in (*superfluous, *(each.existing for each in different)):
                        await collection.drop_index(index.name)
                    wanted = [*drift.missing, *(each.wanted for each in different)]
                    if wanted:
                        await collection.create_indexes([_model_of(index) for index in wanted])
            return await self.index_drift()

    def _collections(self) -> list[tuple[str, list[type[Any]]]]:
        if not self._opened:
            raise UsageError("Beanie is not initialized yet: await integration.open(...) first")
        found: dict[str, list[type[Any]]] = {}
        for document in self._opened:
            if has_indexes(document):
                found.setdefault(collection_of(document), []).append(document)
        return list(found.items())

    async def _drift(self, collection: str, documents: Iterable[type[Any]]) -> IndexDrift:
        with detached():
            async with self.errors():
                information = await self.database[collection].index_information()
        wanted = wanted_indexes(index for document in documents for index in declared_indexes(document))
        return drift_of(collection, wanted, existing_indexes(information))

    # --- sessions and queries ---------------------------------------------------------------------------------------

    async def create_session(self) -> BeanieSession:
        """A session for calls that pass ``session=`` themselves: ``session.driver_session``.

        Inside a transaction of Sillar's it is that transaction, else it begins one of its own. Close it, or use it in
        ``async with``.

        Raises:
            UnsupportedCapabilityError: the deployment has no transactions.
        """
        transaction = await joined_transaction(self.database_name)
        if transaction is not None:
            return BeanieSession(self._route, transaction)
        own = DatabaseSession(self.executor)
        return BeanieSession(self._route, await own.transaction().begin(), own)

    async def execute_query(self, query: Any) -> Any:
        """Run a query of Beanie's: all documents of a ``find`` or ``aggregate``, or what awaiting it gives.

        Raises:
            UsageError: it is no query.
            StatementError: or another of :mod:`sillar.errors`.
        """
        async with self.errors():
            if hasattr(query, "to_list"):
                return await query.to_list()
            if inspect.isawaitable(query):
                return await query
        raise UsageError(f"{type(query).__name__} is no query of Beanie's: neither to_list() nor await works on it")

    def translated(self, error: BaseException) -> DatabaseError | None:
        """The error of :mod:`sillar.errors` that stands for one of Beanie's or the driver's; None for any other."""
        return error if isinstance(error, DatabaseError) else self.errors().translated(error)

    def errors(self) -> TranslatedErrors:
        """A block, for ``with`` or ``async with``, in which errors of the driver come as those of :mod:`sillar.errors`.

        Beanie's own code, and code that was written for it, expects the driver's; so they are translated on request.
        """
        return TranslatedErrors(self.database_name, self._route)

    # --- within -----------------------------------------------------------------------------------------------------

    def _client(self) -> MongoDBClient:
        source = self.executor.source
        assert isinstance(source, MongoDBSource)  # nothing else has documents
        return source.client


def _model_of(index: Index) -> Any:
    return index_model(index.keys, {"name": index.name, **index.options})
