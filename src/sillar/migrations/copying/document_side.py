"""A document database as a side of a copy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from sillar.capabilities import Capability
from sillar.execution.statements import Statements
from sillar.manager import DatabaseManager
from sillar.migrations.copying import documents
from sillar.migrations.copying.expressions import Words
from sillar.migrations.copying.model import Column, ColumnType, Index, Kind, Table
from sillar.migrations.copying.rows import converted
from sillar.migrations.copying.side import (
    PROGRESS_TABLE,
    ProgressRow,
    Reader,
    Refuse,
    Row,
    Shelf,
    Side,
    Sink,
    Usage,
    Writer,
)
from sillar.migrations.copying.values import Convert
from sillar.query.document import DocumentCommand

WHOLE: Final = "document"
"""The column of a whole document, between two document databases."""
_NATIVE: Final = ColumnType(Kind.NATIVE, "any")
_TYPES: Final[list[dict[str, Any]]] = [
    {"$project": {"f": {"$objectToArray": "$$ROOT"}}},
    {"$unwind": "$f"},
    {"$group": {"_id": {"k": "$f.k", "t": {"$type": "$f.v"}}}},
]


class DocumentSide(Side):
    """A document database. A key of one column is ``_id``; of several, ``_id`` is a document of them, and they are
    fields besides. NULL is a field that is not there. From one document database to another, documents are carried
    whole."""

    enforces_types = False
    is_schemaless = True

    def __init__(self, manager: DatabaseManager, database: str | None) -> None:
        super().__init__(manager, database)
        self.words = Words("document database")
        self.has_transactions = self.executor.capabilities.has(Capability.TRANSACTIONS)
        self.carries_whole = False
        self._collections: dict[str, dict[str, Any]] = {}

    async def command(self, command: dict[str, Any]) -> dict[str, Any]:
        """Run a command on the database."""
        reply = await self.session().fetch_one(DocumentCommand("", "command", {"command": command}))
        assert reply is not None  # a command has a reply
        return reply

    # --- schema -----------------------------------------------------------------------------------------------------

    async def table_names(self) -> list[str]:
        reply = await self.command({"listCollections": 1, "cursor": {"batchSize": 100_000}})
        self._collections = {each["name"]: each for each in reply["cursor"]["firstBatch"] if each["type"] != "view"}
        return sorted(name for name in self._collections if name != PROGRESS_TABLE and not name.startswith("system."))

    async def tables(self, names: Sequence[str]) -> list[Table]:
        await self.table_names()
        return [await self._table(name) for name in names]

    async def _table(self, name: str) -> Table:
        listed = await self._listed_indexes(name)
        indexes = tuple(_index(each) for each in listed)
        if self.carries_whole:
            native = {"options": self._collections[name].get("options", {}), "indexes": listed}
            fields = (Column("_id", _NATIVE, nullable=False), Column(WHOLE, _NATIVE))
            return Table(name, fields, ("_id",), indexes, native=native)
        collection = self.session().documents(name)
        found: dict[str, set[str]] = {}
        for each in await collection.aggregate(_TYPES):
            found.setdefault(each["_id"]["k"], set()).add(each["_id"]["t"])
        uuids = set()
        for field, types in found.items():
            if types - {"null"} == {"binData"}:
                one = await collection.find_one({field: {"$type": "binData"}}, projection=[field])
                if one is not None and type(one[field]).__name__ == "UUID":
                    uuids.add(field)
        options = self._collections[name].get("options", {})
        schema = options.get("validator", {}).get("$jsonSchema", {})
        columns, key = documents.columns_of(found, schema, uuids)
        return Table(name, columns, key, indexes)

    async def _listed_indexes(self, name: str) -> list[dict[str, Any]]:
        reply = await self.command({"listIndexes": name, "cursor": {"batchSize": 1000}})
        return [each for each in reply["cursor"]["firstBatch"] if list(each["key"]) != ["_id"]]

    def computes(self, expression: str, source: Words) -> bool:
        return False

    def storage(self, column: Column, usage: Usage) -> ColumnType:
        return documents.storage(column, usage)

    def losses(self, column: Column, stored: ColumnType) -> Iterator[tuple[str, str]]:
        return documents.losses(column, stored)

    def definition_losses(self, table: Table, source: Words) -> Iterator[tuple[str | None, str, str]]:
        for column in table.columns:
            if column.default is not None:
                yield column.name, "MongoDB has no defaults", "the application has to give the value"
            if column.identity:
                yield column.name, "MongoDB numbers nothing by itself", "the application has to give the value"
            if column.comment:
                yield column.name, "MongoDB has no comments", "the comment is lost"
        if table.comment:
            yield None, "MongoDB has no comments", "the comment is lost"
        for check in table.checks:
            yield None, f"the check {check.name or ''} is not carried", "its rule is not enforced; extend the validator"
        for key in table.foreign_keys:
            yield None, f"the foreign key to {key.table} is not carried", "nobody refuses dangling references"
        for index in table.indexes:
            if not self._can_index(index) and source.family != self.words.family:
                kind = "unique index" if index.unique else "index"
                yield (
                    None,
                    f"the {kind} {index.name or ''} is not carried (partial, or of expressions)",
                    ("uniqueness is not enforced" if index.unique else "queries that used it are slower"),
                )

    def _can_index(self, index: Index) -> bool:
        return not (index.where or index.expressions or None in index.parts or index.method not in (None, "btree"))

    async def create_table(self, table: Table, source: Words) -> None:
        options = {"validator": documents.validator(table)} if table.native is None else table.native["options"]
        await self.command({"create": table.name, **options})

    async def finish_table(self, table: Table, source: Words) -> None:
        if table.native is not None:
            if specifications := [_without_origin(each) for each in table.native["indexes"]]:
                await self.command({"createIndexes": table.name, "indexes": specifications})
            return
        collection = self.session().documents(table.name)
        for index in table.indexes:
            if not self._can_index(index):
                continue
            names = ["_id" if table.key == (part,) else str(part) for part in index.parts]
            options: dict[str, Any] = {}
            optional = [name for name, part in zip(names, index.parts, strict=True) if table.column(str(part)).nullable]
            if index.unique and optional:  # rows with a NULL are never equal
                options["partialFilterExpression"] = {name: {"$exists": True} for name in optional}
            made = index.name or f"{'_'.join(names)}_idx"
            await collection.create_index([(name, 1) for name in names], unique=index.unique, name=made, **options)

    async def add_foreign_keys(self, table: Table) -> None:
        """There are none."""

    async def number_on(self, table: Table) -> None:
        """It numbers nothing."""

    async def drop_tables(self, names: Sequence[str]) -> None:
        for name in names:
            await self.session().documents(name).drop()

    async def clear_table(self, name: str) -> None:
        await self.session().documents(name).delete_many({})

    async def is_empty(self, name: str) -> bool:
        return await self.session().documents(name).find_one({}) is None

    # --- rows -------------------------------------------------------------------------------------------------------

    def checks(self, shelf: Shelf) -> list[Convert | None]:
        return [documents.encoder(each) for each in shelf.fields]

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[Reader]:
        async with self.session() as session:
            yield DocumentReader(session)

    def snapshot(self) -> AbstractAsyncContextManager[Reader]:
        return self._snapshot()

    @asynccontextmanager
    async def _together(self) -> AsyncIterator[None]:
        yield None

    def together(self) -> AbstractAsyncContextManager[Any]:
        return self._together()

    def writer(self, shelf: Shelf) -> Writer:
        return DocumentWriter(self, shelf)

    # --- progress ---------------------------------------------------------------------------------------------------

    async def open_progress(self) -> dict[str, ProgressRow]:
        found = await self.session().documents(PROGRESS_TABLE).find()
        return {
            row["_id"]: ProgressRow(
                row["_id"], row["source"], row["state"], row["last_key"], row["rows_done"], row["plan"]
            )
            for row in found
        }

    async def create_progress(self) -> None:
        await self.table_names()
        if PROGRESS_TABLE not in self._collections:  # inside a transaction it could not be created everywhere
            await self.command({"create": PROGRESS_TABLE})

    async def note(self, row: ProgressRow) -> None:
        await self.noted(self.session(), row)

    async def noted(self, statements: Statements, row: ProgressRow) -> None:
        """Remember it in an open transaction."""
        values = {"source": row.source, "state": row.state, "last_key": row.last_key, "rows_done": row.rows,
                  "plan": row.plan}  # fmt: skip
        await statements.documents(PROGRESS_TABLE).update_one({"_id": row.table}, {"$set": values}, upsert=True)

    async def drop_progress(self) -> None:
        await self.session().documents(PROGRESS_TABLE).drop()


class DocumentReader(Reader):
    """Reads collections, each in the order of ``_id``; not as they are at one moment: a snapshot of a transaction would
    end after a minute."""

    is_snapshot = False

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    def pages(self, shelf: Shelf) -> bool:
        keys = [shelf.fields[place].stored for place in shelf.key_places]
        return bool(keys) and all(kind.kind is not Kind.JSON for kind in keys)

    async def read(
        self,
        shelf: Shelf,
        sink: Sink,
        *,
        batch_rows: int,
        in_order: bool = False,
        after: Row | None = None,
        refuse: Refuse | None = None,
    ) -> None:
        names = documents.names_of(shelf.fields, shelf.key)
        whole = [each.name for each in shelf.fields] == ["_id", WHOLE]
        steps: list[Convert | None] = [documents.decoder(each) for each in shelf.fields]
        as_json = [place for place, each in enumerate(shelf.fields) if each.agreed.kind is Kind.JSON]
        arguments: dict[str, Any] = {"sort": [("_id", 1)]} if shelf.key and in_order else {}
        if after is not None:
            # As an expression: $gt by itself passes over keys of other types.
            key = _id_of(shelf, after)
            arguments["filter"] = {"$expr": {"$gt": ["$_id", {"$literal": key}]}} if whole else {"_id": {"$gt": key}}
        command = DocumentCommand(shelf.table, "find", arguments)
        async with self._statements.stream(command, batch_rows=batch_rows) as found:
            async for batch in found.batches():  # of 16 MiB at most, by the server's own limit
                rows: list[Row] = []
                for document in batch:
                    if whole:
                        rows.append((document.pop("_id"), document))
                        continue
                    row = [document.get(name) for name in names]
                    for place in as_json:
                        if row[place] is None and names[place] in document:
                            row[place] = documents.JSON_NULL  # SQL's NULL is a field that is not there
                    rows.append(row)
                if rows:
                    await sink(converted(shelf, steps, rows, refuse))


class DocumentWriter(Writer):
    """Writes into one collection."""

    def __init__(self, side: DocumentSide, shelf: Shelf) -> None:
        self._side, self._shelf = side, shelf
        self._steps = side.checks(shelf)
        self._names = documents.names_of(shelf.fields, shelf.key)
        self._whole = [each.name for each in shelf.fields] == ["_id", WHOLE]

    def _documents(self, rows: list[Row]) -> list[dict[str, Any]]:
        encoded = converted(self._shelf, self._steps, rows)
        if self._whole:
            return [{"_id": row[0], **row[1]} for row in encoded]
        places = self._shelf.key_places if len(self._shelf.key) > 1 else ()
        found = []
        for row in encoded:
            document = {name: value for name, value in zip(self._names, row, strict=True) if value is not None}
            if places:
                document = {"_id": {self._names[place]: row[place] for place in places}, **document}
            found.append(document)
        return found if not self._nulls else self._with_json_nulls(found, rows)

    @property
    def _nulls(self) -> list[int]:
        return [place for place, each in enumerate(self._shelf.fields) if each.agreed.kind is Kind.JSON]

    def _with_json_nulls(self, found: list[dict[str, Any]], rows: list[Row]) -> list[dict[str, Any]]:
        """JSON's null is a field that is null; SQL's NULL is none."""
        for document, row in zip(found, rows, strict=True):
            for place in self._nulls:
                if row[place] is not None and self._names[place] not in document:
                    document[self._names[place]] = None
        return found

    async def write(self, rows: list[Row], progress: ProgressRow, within: Any = None) -> None:
        made = self._documents(rows)
        if self._side.has_transactions:
            async with self._side.session() as session, session.transaction() as transaction:
                if made:
                    await transaction.documents(self._shelf.table).insert_many(made)
                await self._side.noted(transaction, progress)
            return
        session = self._side.session()
        collection = session.documents(self._shelf.table)
        if made and self._shelf.key:  # what a killed run has written and not noted is written once more
            await collection.bulk_write(
                [("replace_one", {"_id": each["_id"]}, each, {"upsert": True}) for each in made]
            )
        elif made:
            await collection.insert_many(made)
        await self._side.noted(session, progress)

    async def attempt(self, rows: list[Row]) -> None:
        made = self._documents(rows)
        if not self._side.has_transactions:
            return
        async with self._side.session() as session:
            transaction = await session.transaction().begin()
            try:
                await transaction.documents(self._shelf.table).insert_many(made)
            finally:
                await transaction.rollback()


def _index(listed: dict[str, Any]) -> Index:
    """An index as ``listIndexes`` gives it, as far as other engines have such."""
    partial = listed.get("partialFilterExpression")
    present = {field: {"$exists": True} for field in listed["key"]}
    ordinary = all(value in (1, -1) for value in listed["key"].values())
    where = None if partial is None or dict(partial) == present else documents.to_json(partial)
    method = None if ordinary and "expireAfterSeconds" not in listed else "special"
    return Index(listed["name"], tuple(listed["key"]), bool(listed.get("unique")), where=where, method=method)


def _without_origin(listed: dict[str, Any]) -> dict[str, Any]:
    """The same for ``createIndexes``: without the place it is from."""
    return {name: value for name, value in listed.items() if name not in ("ns", "background")}


def _id_of(shelf: Shelf, key: Row) -> Any:
    fields = [shelf.fields[place] for place in shelf.key_places]
    values = [
        step(value) if (step := documents.encoder(each)) is not None else value
        for each, value in zip(fields, key, strict=True)
    ]
    return values[0] if len(values) == 1 else {each.name: value for each, value in zip(fields, values, strict=True)}
