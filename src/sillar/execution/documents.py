"""The document verbs: what a session offers on a document database."""

# ruff: noqa: A002 (filter is the word for it)

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

from sillar.query.document import DocumentCommand, DocumentVerb

if TYPE_CHECKING:
    from sillar.execution.statements import Statements
    from sillar.execution.stream import RowStream

T = TypeVar("T")
Document: TypeAlias = Mapping[str, Any]
Filter: TypeAlias = Mapping[str, Any] | None
Pipeline: TypeAlias = Sequence[Mapping[str, Any]]
Projection: TypeAlias = Mapping[str, Any] | Sequence[str] | None
Sort: TypeAlias = Sequence[tuple[str, int]] | None
Update: TypeAlias = Mapping[str, Any] | Pipeline
Keys: TypeAlias = str | Sequence[tuple[str, int | str]]


@dataclass(frozen=True, slots=True)
class UpdateOutcome:
    """What an update did.

    Attributes:
        matched: documents that the filter found.
        modified: of them, those that are different now.
        upserted_id: id of the document that was inserted because none was found, or None.
    """

    matched: int
    modified: int
    upserted_id: Any = None


@dataclass(frozen=True, slots=True)
class BulkOutcome:
    """What a bulk write did, in documents."""

    inserted: int
    matched: int
    modified: int
    deleted: int
    upserted: int


class DocumentCollection:
    """The verbs on one collection, as ``session.documents("name")`` gives them.

    Each runs like any statement: observed, retried where that is safe, within the deadline, and inside the session's
    transaction when one is open. ``into=T`` makes objects: a field takes the document's field of its name, a field
    ``id`` takes ``_id`` where there is no ``id``, fields with a default may be missing. Without it documents come as
    dicts.

    Filters, updates and pipelines are code, as SQL text is. What comes from outside goes in through
    :func:`sillar.query.value`, which refuses operators: ``find({"name": value(name)})``.

    A verb that writes several documents is not atomic by itself: run it in a transaction, or use
    ``session.bulk_insert``.

    All verbs raise errors of :mod:`sillar.errors`; ``timeout_seconds`` ends the command on the server.
    """

    __slots__ = ("_statements", "name")

    def __init__(self, statements: Statements, name: str) -> None:
        self._statements = statements
        self.name = name

    def _command(self, verb: DocumentVerb, arguments: Mapping[str, Any]) -> DocumentCommand:
        return DocumentCommand(self.name, verb, {key: value for key, value in arguments.items() if value is not None})

    # --- reading ----------------------------------------------------------------------------------------------------

    @overload
    async def find(
        self,
        filter: Filter = None,
        *,
        projection: Projection = None,
        sort: Sort = None,
        limit: int = 0,
        skip: int = 0,
        timeout_seconds: float | None = None,
    ) -> list[dict[str, Any]]: ...
    @overload
    async def find(
        self,
        filter: Filter = None,
        *,
        projection: Projection = None,
        sort: Sort = None,
        limit: int = 0,
        skip: int = 0,
        into: type[T],
        validate: bool | None = None,
        timeout_seconds: float | None = None,
    ) -> list[T]: ...
    async def find(
        self,
        filter: Filter = None,
        *,
        projection: Projection = None,
        sort: Sort = None,
        limit: int = 0,
        skip: int = 0,
        into: Any = None,
        validate: bool | None = None,
        timeout_seconds: float | None = None,
    ) -> list[Any]:
        """The documents that a filter finds. ``limit`` 0 is none."""
        command = self._find(filter, projection, sort, limit, skip)
        found: list[Any] = await self._statements.fetch_all(
            command, into=into, validate=validate, timeout_seconds=timeout_seconds
        )
        return found

    @overload
    async def find_one(
        self,
        filter: Filter = None,
        *,
        projection: Projection = None,
        sort: Sort = None,
        skip: int = 0,
        timeout_seconds: float | None = None,
    ) -> dict[str, Any] | None: ...
    @overload
    async def find_one(
        self,
        filter: Filter = None,
        *,
        projection: Projection = None,
        sort: Sort = None,
        skip: int = 0,
        into: type[T],
        validate: bool | None = None,
        timeout_seconds: float | None = None,
    ) -> T | None: ...
    async def find_one(
        self,
        filter: Filter = None,
        *,
        projection: Projection = None,
        sort: Sort = None,
        skip: int = 0,
        into: Any = None,
        validate: bool | None = None,
        timeout_seconds: float | None = None,
    ) -> Any:
        """The first document that a filter finds, or None."""
        command = self._find(filter, projection, sort, 1, skip)
        return await self._statements.fetch_one(command, into=into, validate=validate, timeout_seconds=timeout_seconds)

    @overload
    def stream(
        self,
        filter: Filter = None,
        *,
        projection: Projection = None,
        sort: Sort = None,
        limit: int = 0,
        skip: int = 0,
        batch_rows: int = 1000,
        timeout_seconds: float | None = None,
    ) -> RowStream[dict[str, Any]]: ...
    @overload
    def stream(
        self,
        filter: Filter = None,
        *,
        projection: Projection = None,
        sort: Sort = None,
        limit: int = 0,
        skip: int = 0,
        into: type[T],
        validate: bool | None = None,
        batch_rows: int = 1000,
        timeout_seconds: float | None = None,
    ) -> RowStream[T]: ...
    def stream(
        self,
        filter: Filter = None,
        *,
        projection: Projection = None,
        sort: Sort = None,
        limit: int = 0,
        skip: int = 0,
        into: Any = None,
        validate: bool | None = None,
        batch_rows: int = 1000,
        timeout_seconds: float | None = None,
    ) -> RowStream[Any]:
        """The documents as they come, ``batch_rows`` at a time: ``async with … as rows: async for row in rows``."""
        command = self._find(filter, projection, sort, limit, skip)
        stream: RowStream[Any] = self._statements.stream(
            command, into=into, validate=validate, batch_rows=batch_rows, timeout_seconds=timeout_seconds
        )
        return stream

    @overload
    async def aggregate(self, pipeline: Pipeline, *, timeout_seconds: float | None = None) -> list[dict[str, Any]]: ...
    @overload
    async def aggregate(
        self,
        pipeline: Pipeline,
        *,
        into: type[T],
        validate: bool | None = None,
        timeout_seconds: float | None = None,
    ) -> list[T]: ...
    async def aggregate(
        self,
        pipeline: Pipeline,
        *,
        into: Any = None,
        validate: bool | None = None,
        timeout_seconds: float | None = None,
    ) -> list[Any]:
        """The results of an aggregation pipeline."""
        command = self._command("aggregate", {"pipeline": list(pipeline)})
        found: list[Any] = await self._statements.fetch_all(
            command, into=into, validate=validate, timeout_seconds=timeout_seconds
        )
        return found

    async def count(self, filter: Filter = None, *, timeout_seconds: float | None = None) -> int:
        """How many documents a filter finds."""
        command = self._command("count", {"filter": filter or {}})
        number: int = await self._statements.fetch_value(command, timeout_seconds=timeout_seconds)
        return number

    async def distinct(self, field: str, filter: Filter = None, *, timeout_seconds: float | None = None) -> list[Any]:
        """The different values of a field among the documents that a filter finds."""
        command = self._command("distinct", {"key": field, "filter": filter or {}})
        return (await self._statements.execute(command, timeout_seconds=timeout_seconds)).scalars()

    async def explain(
        self,
        filter: Filter = None,
        *,
        projection: Mapping[str, Any] | None = None,
        sort: Sort = None,
        limit: int = 0,
        pipeline: Pipeline | None = None,
        verbosity: str = "queryPlanner",
        timeout_seconds: float | None = None,
    ) -> dict[str, Any]:
        """The server's plan for a find, or for an aggregation where a pipeline is given.

        Args:
            verbosity: ``queryPlanner``, ``executionStats`` or ``allPlansExecution``.
        """
        explained: dict[str, Any]
        if pipeline is not None:
            explained = {"aggregate": self.name, "pipeline": list(pipeline), "cursor": {}}
        else:
            explained = {"find": self.name, "filter": filter or {}}
            if projection:
                explained["projection"] = projection
            if sort:
                explained["sort"] = dict(sort)
            if limit:
                explained["limit"] = limit
        command = self._command("explain", {"command": explained, "verbosity": verbosity})
        plan: dict[str, Any] = await self._statements.fetch_value(command, timeout_seconds=timeout_seconds)
        return plan

    def _find(self, filter: Filter, projection: Projection, sort: Sort, limit: int, skip: int) -> DocumentCommand:
        arguments: dict[str, Any] = {"filter": filter if filter is not None else {}}
        if projection is not None:
            arguments["projection"] = projection
        if sort is not None:
            arguments["sort"] = list(sort)
        if limit:
            arguments["limit"] = limit
        if skip:
            arguments["skip"] = skip
        return DocumentCommand(self.name, "find", arguments)

    # --- writing ----------------------------------------------------------------------------------------------------

    async def insert_one(self, document: Document, *, timeout_seconds: float | None = None) -> Any:
        """Insert a document; its id, which is made where it has none. The document itself is left as it is."""
        command = self._command("insert_one", {"document": document})
        return (await self._statements.execute(command, timeout_seconds=timeout_seconds)).last_insert_id

    async def insert_many(
        self, documents: Iterable[Document], *, ordered: bool = True, timeout_seconds: float | None = None
    ) -> int:
        """Insert documents; how many.

        Outside a transaction those before a refused one stay (all others, if not ``ordered``); the error says in
        ``detail`` how many were inserted.
        """
        command = self._command("insert_many", {"documents": list(documents), "ordered": ordered})
        return (await self._statements.execute(command, timeout_seconds=timeout_seconds)).rows_affected

    async def update_one(
        self, filter: Filter, update: Update, *, upsert: bool = False, timeout_seconds: float | None = None
    ) -> UpdateOutcome:
        """Change the first document that a filter finds; with ``upsert`` insert one where there is none."""
        return await self._update("update_one", filter, {"update": update}, upsert, timeout_seconds)

    async def update_many(
        self, filter: Filter, update: Update, *, upsert: bool = False, timeout_seconds: float | None = None
    ) -> UpdateOutcome:
        """Change all documents that a filter finds."""
        return await self._update("update_many", filter, {"update": update}, upsert, timeout_seconds)

    async def replace_one(
        self, filter: Filter, replacement: Document, *, upsert: bool = False, timeout_seconds: float | None = None
    ) -> UpdateOutcome:
        """Put another document in the place of the first one that a filter finds."""
        return await self._update("replace_one", filter, {"replacement": replacement}, upsert, timeout_seconds)

    async def delete_one(self, filter: Filter, *, timeout_seconds: float | None = None) -> int:
        """Delete the first document that a filter finds; how many were deleted."""
        command = self._command("delete_one", {"filter": filter or {}})
        return (await self._statements.execute(command, timeout_seconds=timeout_seconds)).rows_affected

    async def delete_many(self, filter: Filter, *, timeout_seconds: float | None = None) -> int:
        """Delete all documents that a filter finds; how many were deleted."""
        command = self._command("delete_many", {"filter": filter or {}})
        return (await self._statements.execute(command, timeout_seconds=timeout_seconds)).rows_affected

    @overload
    async def find_one_and_update(
        self,
        filter: Filter,
        update: Update,
        *,
        projection: Projection = None,
        sort: Sort = None,
        upsert: bool = False,
        return_new: bool = True,
        timeout_seconds: float | None = None,
    ) -> dict[str, Any] | None: ...
    @overload
    async def find_one_and_update(
        self,
        filter: Filter,
        update: Update,
        *,
        projection: Projection = None,
        sort: Sort = None,
        upsert: bool = False,
        return_new: bool = True,
        into: type[T],
        validate: bool | None = None,
        timeout_seconds: float | None = None,
    ) -> T | None: ...
    async def find_one_and_update(
        self,
        filter: Filter,
        update: Update,
        *,
        projection: Projection = None,
        sort: Sort = None,
        upsert: bool = False,
        return_new: bool = True,
        into: Any = None,
        validate: bool | None = None,
        timeout_seconds: float | None = None,
    ) -> Any:
        """Change the first document that a filter finds, and return it.

        As it is now, or with ``return_new=False`` as it was before.
        """
        arguments = {"filter": filter or {}, "update": update, "projection": projection, "sort": sort}
        command = self._command("find_one_and_update", {**arguments, "upsert": upsert, "return_document": return_new})
        return await self._statements.fetch_one(command, into=into, validate=validate, timeout_seconds=timeout_seconds)

    async def bulk_write(
        self, operations: Iterable[Any], *, ordered: bool = True, timeout_seconds: float | None = None
    ) -> BulkOutcome:
        """Run many writes in as few round trips as possible.

        Args:
            operations: tuples ``("insert_one", document)``, ``("update_one", filter, update)``,
                ``("update_many", filter, update)``, ``("replace_one", filter, replacement)``,
                ``("delete_one", filter)``, ``("delete_many", filter)``, each with a mapping of options behind if need
                be (``{"upsert": True}``); or the driver's own objects.
            ordered: stop at the first that fails.
        """
        command = self._command("bulk_write", {"operations": list(operations), "ordered": ordered})
        outcome = await self._statements.fetch_one(command, into=BulkOutcome, timeout_seconds=timeout_seconds)
        assert outcome is not None  # every reply to this verb has one row
        return outcome

    async def _update(
        self,
        verb: DocumentVerb,
        filter: Filter,
        change: Mapping[str, Any],
        upsert: bool,
        timeout_seconds: float | None,
    ) -> UpdateOutcome:
        command = self._command(verb, {"filter": filter or {}, **change, "upsert": upsert})
        outcome = await self._statements.fetch_one(command, into=UpdateOutcome, timeout_seconds=timeout_seconds)
        assert outcome is not None  # every reply to this verb has one row
        return outcome

    # --- indexes ----------------------------------------------------------------------------------------------------

    async def create_index(
        self,
        keys: Keys,
        *,
        unique: bool = False,
        name: str | None = None,
        timeout_seconds: float | None = None,
        **options: Any,
    ) -> str:
        """Create an index if it is not there; its name.

        Args:
            keys: a field, or ``[(field, 1 | -1 | "text" | …), …]``.
            options: further options of the server (``expireAfterSeconds``, ``partialFilterExpression``, …).
        """
        given = {"keys": keys if isinstance(keys, str) else list(keys), "name": name, "unique": unique or None}
        command = self._command("create_index", {**given, **options})
        made: str = await self._statements.fetch_value(command, timeout_seconds=timeout_seconds)
        return made

    async def drop_index(self, name: str, *, timeout_seconds: float | None = None) -> None:
        """Drop an index by its name."""
        command = self._command("drop_index", {"index_or_name": name})
        await self._statements.execute(command, timeout_seconds=timeout_seconds)

    async def drop(self, *, timeout_seconds: float | None = None) -> None:
        """Drop the collection with its documents and indexes."""
        await self._statements.execute(self._command("drop_collection", {}), timeout_seconds=timeout_seconds)

    def __repr__(self) -> str:
        return f"<DocumentCollection {self.name}>"
