"""The database as migrations see it: collections, validators, indexes, documents."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from sillar.capabilities import Capability
from sillar.consistency import Consistency
from sillar.errors import UsageError
from sillar.execution import DatabaseSession, Executor
from sillar.execution.documents import DocumentCollection
from sillar.query.document import DocumentCommand

T = TypeVar("T")

LONG_SECONDS: Final = math.inf
"""What a step may take, whatever ``statement_timeout`` is: an index over a large collection takes its time, and a limit
that ends it helps nobody."""

NOT_THERE: Final = frozenset({26, 27})
"""The server's codes for a collection and an index that do not exist."""


class DocumentStore:
    """One database, through a session of its own. It belongs to one task at a time.

    Args:
        executor: the path of the database.

    Attributes:
        session: what everything runs on; inside :meth:`atomically` in its transaction.
        has_transactions: the deployment has them: a replica set or a sharded cluster.
        guard: asked before each change of the schema; it raises if this migrator may not write any more.
    """

    def __init__(self, executor: Executor) -> None:
        executor.capabilities.require(
            Capability.DOCUMENTS, remedy="these are migrations of a document database; point `--database` at one"
        )
        self._executor = executor
        self.session = DatabaseSession(executor, consistency=Consistency.STRONG)
        self.has_transactions = executor.capabilities.has(Capability.TRANSACTIONS)
        self.guard: Callable[[], Awaitable[None]] = _nobody_minds

    @property
    def name(self) -> str:
        """Configured name of the database."""
        return self._executor.name

    @property
    def driver_database(self) -> Any:
        """The driver's own database (PyMongo's ``AsyncDatabase``)."""
        return self._executor.source.client.database  # type: ignore[attr-defined]  # what has documents has a client

    def check_can_migrate(self) -> None:
        """See that what is noted outlives a failover, and that a lease can be renewed while a step runs.

        Raises:
            UsageError: not with this configuration.
        """
        config: Any = self._executor.adapter.config  # what has documents has a write concern
        concern = config.connection_options.write_concern
        if self.has_transactions and concern != "majority":
            raise UsageError(
                f"{self.name!r} has write_concern {concern!r}: a failover could take back what the journal says is"
                ' done; migrate with write_concern = "majority" (w=majority in the URL)'
            )
        if config.pool is not None and config.pool.max_connections < 2:
            raise UsageError(
                f"{self.name!r} has max_connections {config.pool.max_connections}: a migrator renews its lease while a"
                " step runs, and so needs 2"
            )

    def another(self) -> DocumentStore:
        """The same database on another session, for another task."""
        return DocumentStore(self._executor)

    def documents(self, collection: str) -> DocumentCollection:
        """The verbs on one collection."""
        return self.session.documents(collection)

    async def command(self, command: Mapping[str, Any], *, timeout_seconds: float | None = None) -> dict[str, Any]:
        """Send a command as it is; the reply."""
        result = await self.session.execute(
            DocumentCommand("", "command", {"command": dict(command)}), timeout_seconds=timeout_seconds
        )
        reply: dict[str, Any] = result.scalars()[0]
        return reply

    async def change(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Send a command that changes the schema: confirmed by a majority, and with all the time it takes."""
        await self.guard()
        return await self.command({**command, "writeConcern": {"w": "majority"}}, timeout_seconds=LONG_SECONDS)

    async def drop_if_empty(self, collection: str) -> None:
        """Drop a collection, unless it has documents or is not there."""
        if await self.collection(collection) is not None and not await self.documents(collection).find({}, limit=1):
            await self.change({"drop": collection})

    async def rename(self, collection: str, to: str) -> None:
        """Give a collection another name."""
        await self.guard()
        await self.session.execute(DocumentCommand(collection, "rename_collection", {"new_name": to}))

    async def atomically(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do something in one transaction, again where it met a conflict; where there are none, just do it."""
        if not self.has_transactions:
            return await work()
        return await self.session.run_in_transaction(lambda _: work())

    # --- looking ------------------------------------------------------------------------------------------------------

    async def collections(self) -> dict[str, dict[str, Any]]:
        """What ``listCollections`` says of each collection and view, by name."""
        return await self._listed({})

    async def collection(self, name: str) -> dict[str, Any] | None:
        """What ``listCollections`` says of one; None where there is none."""
        return (await self._listed({"name": name})).get(name)

    async def indexes(self, collection: str) -> dict[str, dict[str, Any]]:
        """The indexes of a collection by name, as ``listIndexes`` has them; none where there is no collection."""
        found = await self.collection(collection)
        if found is None or found.get("type") == "view":
            return {}
        return {str(each["name"]): each for each in await self._all({"listIndexes": collection}, collection)}

    async def _listed(self, condition: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        listing = {"listCollections": 1, "filter": dict(condition)}
        found = await self._all(listing, "$cmd.listCollections")
        return {str(each["name"]): each for each in found}

    async def _all(self, listing: Mapping[str, Any], namespace: str) -> list[dict[str, Any]]:
        cursor = (await self.command({**listing, "cursor": {"batchSize": 10_000}}))["cursor"]
        found = list(cursor["firstBatch"])
        while cursor["id"]:
            more = {"getMore": cursor["id"], "collection": cursor.get("ns", namespace).partition(".")[2]}
            cursor = (await self.command(more))["cursor"]
            found += cursor["nextBatch"]
        return [_decoded(each) for each in found]


async def _nobody_minds() -> None:
    """Outside a run."""


def _decoded(value: Any) -> Any:
    """Decimals as Python's: the driver's decoders leave out what a command has in its reply."""
    if isinstance(value, Mapping):
        return {key: _decoded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_decoded(inner) for inner in value]
    return value.to_decimal() if hasattr(value, "to_decimal") else value
