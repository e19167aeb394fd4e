"""``op``: what a migration of a document database can do. Each call is one step."""

# ruff: noqa: A002 (filter is the word for it)

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sillar.errors import UsageError
from sillar.execution.documents import DocumentCollection
from sillar.migrations.mongodb.calls import Calls, step_call
from sillar.migrations.mongodb.change import Given
from sillar.migrations.mongodb.collection_steps import CreateCollection, DropCollection, RenameCollection, SetValidator
from sillar.migrations.mongodb.data_steps import Execute, IfInterrupted, InsertMany
from sillar.migrations.mongodb.index_steps import CreateIndex, DropIndex, default_name
from sillar.migrations.mongodb.step import Step
from sillar.migrations.mongodb.store import DocumentStore
from sillar.migrations.mongodb.transform import DeleteMany, Transform

Document = Mapping[str, Any]
Keys = str | Sequence[str | tuple[str, int | str]] | Mapping[str, int | str]
BATCH_DOCUMENTS = 1000


class NoDatabaseError(UsageError):
    """A migration looks at the database where its steps are only written down, without one."""


class StepPerformer(ABC):
    """What becomes of the steps: they are done, or written down."""

    @abstractmethod
    async def perform(self, step: Step) -> Any:
        """Take the next step."""


class DocumentOperations:
    """What a migration's ``upgrade(op)`` and ``downgrade(op)`` get.

    Every call is one step: noted in the journal before and after, so that a run after a kill goes on where it was. A
    run after a kill calls everything again, and what is done is skipped; so the calls have to come in the same order
    with the same arguments. Decide by what stands in the file, not by what is in the database.

    Args:
        performer: what becomes of the steps.
        store: the database; None where there is none, as for a script.

    Attributes:
        calls: those that were made: each has to be awaited before the next.
    """

    def __init__(self, performer: StepPerformer, store: DocumentStore | None) -> None:
        self._performer = performer
        self._store = store
        self.calls = Calls()

    # --- collections --------------------------------------------------------------------------------------------------

    @step_call
    async def create_collection(
        self,
        name: str,
        *,
        schema: Document | None = None,
        validator: Document | None = None,
        level: str = "strict",
        action: str = "error",
        capped_bytes: int | None = None,
        capped_documents: int | None = None,
        collation: Document | None = None,
        if_not_exists: bool = False,
        **options: Any,
    ) -> None:
        """Make a collection. Undone by dropping it, if it is empty then and was made here.

        Args:
            name: of the collection.
            schema: what its documents look like (``$jsonSchema``).
            validator: or another condition that they have to meet, in query operators.
            level, action: how strictly that is held: ``strict`` or ``moderate``, ``error`` or ``warn``.
            capped_bytes, capped_documents: keep so much of the newest documents only.
            collation: how texts compare, unless an index or a query says otherwise.
            if_not_exists: one that is there already is left as it is.
            options: of the server's ``create``, as it spells them (``timeseries``, ``clusteredIndex``, …).
        """
        given = dict(options)
        condition = _validator(schema, validator)
        if condition:
            given |= {"validator": condition, "validationLevel": level, "validationAction": action}
        if capped_bytes is not None:
            given |= {"capped": True, "size": capped_bytes}
        if capped_documents is not None:
            given["max"] = capped_documents
        if collation is not None:
            given["collation"] = dict(collation)
        await self._performer.perform(CreateCollection(name, given, if_not_exists=if_not_exists))

    @step_call
    async def drop_collection(self, name: str, *, if_exists: bool = False) -> None:
        """Drop a collection with all its documents. Nothing undoes that."""
        await self._performer.perform(DropCollection(name, if_exists=if_exists))

    @step_call
    async def rename_collection(self, name: str, to: str) -> None:
        """Give a collection another name, which must be free. Undone by the name before."""
        await self._performer.perform(RenameCollection(name, to))

    @step_call
    async def set_validator(
        self,
        collection: str,
        schema: Document | None = None,
        *,
        validator: Document | None = None,
        level: str = "strict",
        action: str = "error",
    ) -> None:
        """Set the validator of a collection; with neither schema nor validator, remove it. Undone by the one before.

        Documents that are there are not looked at: transform those that do not fit in a step before, or say
        ``level="moderate"``, which lets them be changed as they are.

        Args:
            collection: its name.
            schema: what its documents look like (``$jsonSchema``).
            validator: or another condition that they have to meet, in query operators.
            level: ``strict``, ``moderate`` or ``off``.
            action: ``error`` or ``warn``.
        """
        condition = _validator(schema, validator)
        await self._performer.perform(SetValidator(collection, condition, level=level, action=action))

    # --- indexes ------------------------------------------------------------------------------------------------------

    @step_call
    async def create_index(
        self,
        collection: str,
        keys: Keys,
        *,
        name: str | None = None,
        unique: bool = False,
        partial: Document | None = None,
        ttl_seconds: float | None = None,
        sparse: bool = False,
        collation: Document | None = None,
        hidden: bool = False,
        **options: Any,
    ) -> None:
        """Build an index; one that does the same under the same name stays as it is. Undone by dropping it.

        Args:
            collection: its name.
            keys: a field, or fields in order, each with its direction or kind: ``"name"``,
                ``[("name", 1), ("born", -1)]``, ``[("text", "text")]``.
            name: of the index; None: as the drivers name it (``name_1_born_-1``).
            unique: no two documents have the same.
            partial: only documents that meet this condition are in it.
            ttl_seconds: documents are deleted so long after the time in the field.
            sparse: only documents that have the field are in it.
            collation: how texts compare in it.
            hidden: it is kept, and no query uses it.
            options: of the server's ``createIndexes``, as it spells them (``weights``, ``wildcardProjection``, …).
        """
        given = dict(options)
        flags = {"unique": unique, "sparse": sparse, "hidden": hidden}
        given |= {flag: True for flag, is_set in flags.items() if is_set}
        if partial is not None:
            given["partialFilterExpression"] = dict(partial)
        if ttl_seconds is not None:
            given["expireAfterSeconds"] = ttl_seconds
        if collation is not None:
            given["collation"] = dict(collation)
        pairs = _pairs(keys)
        await self._performer.perform(CreateIndex(collection, pairs, name or default_name(pairs), given))

    @step_call
    async def drop_index(self, collection: str, name: str, *, if_exists: bool = False) -> None:
        """Drop an index by its name. Undone by building it again."""
        await self._performer.perform(DropIndex(collection, name, if_exists=if_exists))

    # --- documents ----------------------------------------------------------------------------------------------------

    @step_call
    async def transform(
        self,
        collection: str,
        filter: Document,
        change: Given,
        *,
        batch_documents: int = BATCH_DOCUMENTS,
        pause_seconds: float = 0.0,
        repeatable: bool | None = None,
        verify: Document | None = None,
        undo: Given | None = None,
        undo_filter: Document | None = None,
    ) -> dict[str, int]:
        """Change the documents that a filter finds, in batches by their ids, each noted in the journal.

        Documents that are inserted meanwhile behind the last one are changed, too; those before are not: have the
        application write the new form before the migration runs.

        Args:
            collection: its name.
            filter: which documents; ``{}`` for all.
            change: an update with operators; an aggregation pipeline; or a function (``async`` or not) that gets a
                document and returns what it shall be, or None to leave it alone. Of a function's result the fields that
                differ are written, if nobody else has changed them since.
            batch_documents: how many at a time.
            pause_seconds: between batches, for whoever else uses the server.
            repeatable: doing it twice to a document does no harm; None: so it is with ``$set``, ``$unset`` and the like
                alone. Matters without transactions: what is not repeatable marks each document (``_sillar_step``) until
                its batch is noted.
            verify: a filter that must find nothing afterwards, or the step fails.
            undo: the change that undoes it, for a migration that fails in a later step.
            undo_filter: which of the changed documents it is applied to; None: those that ``filter`` finds still.

        Returns:
            ``expected``, ``matched`` and ``changed``: how many documents the filter found before the step began, how
            many it found while it ran, and how many it has changed.
        """
        _check_batch(batch_documents, pause_seconds)
        result: dict[str, int] = await self._performer.perform(
            Transform(
                collection,
                filter,
                change,
                batch_documents=batch_documents,
                pause_seconds=pause_seconds,
                repeatable=repeatable,
                verify=verify,
                undo=undo,
                undo_condition=undo_filter,
            )
        )
        return result

    @step_call
    async def insert_many(self, collection: str, documents: Iterable[Document]) -> int:
        """Insert documents; those without an ``_id`` get one. Undone by deleting them."""
        number: int = await self._performer.perform(InsertMany(collection, documents))
        return number

    @step_call
    async def delete_many(
        self,
        collection: str,
        filter: Document,
        *,
        batch_documents: int = BATCH_DOCUMENTS,
        pause_seconds: float = 0.0,
    ) -> dict[str, int]:
        """Delete the documents that a filter finds (``{}``: all), in batches. Nothing undoes that."""
        _check_batch(batch_documents, pause_seconds)
        result: dict[str, int] = await self._performer.perform(
            DeleteMany(collection, filter, None, batch_documents=batch_documents, pause_seconds=pause_seconds)
        )
        return result

    @step_call
    async def execute(
        self, command: Document, *, if_interrupted: IfInterrupted = "ask", undo: Document | None = None
    ) -> None:
        """Send a command of the server's as it is.

        Args:
            command: with its name first.
            if_interrupted: what a run does whose predecessor was killed while this was in flight: ``ask`` stops and
                says so, ``repeat`` sends it again, ``skip`` takes it as done.
            undo: the command that undoes it.
        """
        if not command:
            raise UsageError("a command has its name first: {'ping': 1}")
        await self._performer.perform(Execute(command, if_interrupted=if_interrupted, undo=undo))

    # --- looking ------------------------------------------------------------------------------------------------------

    def documents(self, collection: str) -> DocumentCollection:
        """The verbs on a collection, for reading; what is written by them is no step, and not in the journal.

        Raises:
            UsageError: the steps are only written down, without a database.
        """
        return self._database().documents(collection)

    @property
    def database(self) -> Any:
        """The driver's own database (PyMongo's ``AsyncDatabase``); what is written by it is no step.

        Raises:
            UsageError: the steps are only written down, without a database.
        """
        return self._database().driver_database

    def _database(self) -> DocumentStore:
        if self._store is None:
            raise NoDatabaseError("this migration reads the database, and is rendered here without one: run it instead")
        return self._store


def _validator(schema: Document | None, validator: Document | None) -> dict[str, Any]:
    if schema is not None and validator is not None:
        raise UsageError('give schema= or validator=; both together is validator={"$and": [{"$jsonSchema": …}, …]}')
    if schema is not None:
        if any(key.startswith("$") for key in schema):
            raise UsageError("schema= is what stands inside $jsonSchema; a condition with operators is validator=")
        return {"$jsonSchema": dict(schema)}
    return dict(validator or {})


def _pairs(keys: Keys) -> list[tuple[str, Any]]:
    if isinstance(keys, str):
        return [(keys, 1)]
    if isinstance(keys, Mapping):
        keys = list(keys.items())
    pairs = [(each, 1) if isinstance(each, str) else (each[0], each[1]) for each in keys]
    if not pairs:
        raise UsageError("an index needs a field at least")
    return pairs


def _check_batch(batch_documents: int, pause_seconds: float) -> None:
    if batch_documents < 1 or pause_seconds < 0:
        raise UsageError(
            f"batch_documents is {batch_documents} and pause_seconds {pause_seconds:g}: at least 1, and not below 0"
        )
