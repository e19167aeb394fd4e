"""Collections of MongoDB: the validator, the indexes, and what some of the documents look like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Final
from uuid import UUID

from bson import Binary, Decimal128, Int64, ObjectId
from sqlalchemy.sql import sqltypes
from sqlalchemy.types import TypeDecorator, TypeEngine

from sillar.engines.inspection import Ask, Catalogue
from sillar.errors import StatementError
from sillar.query.annotations import NativeValue
from sillar.query.document import DocumentCommand
from sillar.query.live import LiveColumn, LiveIndex, LiveTable

SAMPLE_DOCUMENTS: Final = 200
_BSON: Final[Mapping[str, str]] = {
    "int": "integer",
    "long": "integer",
    "double": "float",
    "decimal": "decimal",
    "string": "text",
    "bool": "boolean",
    "date": "datetime",
    "binData": "bytes",
    "object": "object",
    "array": "array",
    "objectId": "objectId",
}
_PYTHON: Final[tuple[tuple[Any, str], ...]] = (
    (bool, "boolean"),
    (Int64, "integer"),
    (int, "integer"),
    (float, "float"),
    ((Decimal, Decimal128), "decimal"),
    (str, "text"),
    (datetime, "datetime"),
    (UUID, "uuid"),
    (Binary, "bytes"),
    (bytes, "bytes"),
    (ObjectId, "objectId"),
    (Mapping, "object"),
    (list, "array"),
)
_ACCEPTED: Final[tuple[tuple[type[TypeEngine[Any]], frozenset[str]], ...]] = (
    (sqltypes.Boolean, frozenset({"boolean"})),
    (sqltypes.Integer, frozenset({"integer"})),
    (sqltypes.Float, frozenset({"float", "integer"})),
    (sqltypes.Numeric, frozenset({"decimal"})),
    (sqltypes.Uuid, frozenset({"uuid", "bytes"})),
    (sqltypes.Enum, frozenset({"text"})),
    (sqltypes.String, frozenset({"text"})),
    (sqltypes.LargeBinary, frozenset({"bytes"})),
    (sqltypes.DateTime, frozenset({"datetime"})),
    (sqltypes.Date, frozenset({"datetime", "text"})),
    (sqltypes.Time, frozenset({"text"})),
    (sqltypes.Interval, frozenset({"float", "integer"})),
    (sqltypes.ARRAY, frozenset({"array"})),
)


class MongoDBCatalogue(Catalogue):
    """Asks MongoDB for collections. What the validator does not say is learned from a sample of documents."""

    alternatives: ClassVar[Mapping[str, frozenset[str]]] = {}

    async def look(self, ask: Ask, table: str, schema: str | None) -> LiveTable | None:
        """``schema`` is of no meaning here."""
        listing = {"listCollections": 1, "filter": {"name": table}, "cursor": {}}
        (found,) = (await ask([(DocumentCommand("", "command", {"command": listing}), ())]))[0].rows[0]
        described = found["cursor"]["firstBatch"]
        if not described:
            return None
        sample = DocumentCommand(table, "aggregate", {"pipeline": [{"$sample": {"size": SAMPLE_DOCUMENTS}}]})
        documents = [row[0] for row in (await ask([(sample, ())]))[0].rows]
        schema_of = described[0].get("options", {}).get("validator", {}).get("$jsonSchema", {})
        columns = {**_sampled(documents), **_declared(schema_of)}
        indexes = await self._indexes(ask, table)
        key = "_id" if "id" in columns else "id"
        if "_id" in columns:
            columns[key] = columns.get(key) or LiveColumn(key, columns["_id"].type_name, columns["_id"].family, False)
        indexes.append(LiveIndex("_id_", (key,), unique=True))
        complete = bool(schema_of) and schema_of.get("additionalProperties") is False
        return LiveTable(table, columns, (key,), tuple(indexes), self.families, complete or bool(documents))

    async def _indexes(self, ask: Ask, table: str) -> list[LiveIndex]:
        listing = {"listIndexes": table, "cursor": {}}
        try:
            (found,) = (await ask([(DocumentCommand("", "command", {"command": listing}), ())]))[0].rows[0]
        except StatementError:  # a view has none
            return []
        return [
            LiveIndex(
                each["name"],
                tuple(each["key"]),
                bool(each.get("unique")) or each["name"] == "_id_",
                "partialFilterExpression" in each or bool(each.get("sparse")),
            )
            for each in found["cursor"]["firstBatch"]
        ]

    def families(self, kind: TypeEngine[Any]) -> frozenset[str] | None:
        plain = kind.impl_instance if isinstance(kind, TypeDecorator) else kind
        if isinstance(plain, NativeValue):
            return frozenset({plain.type_name})
        return next((families for accepted, families in _ACCEPTED if isinstance(plain, accepted)), None)


def _declared(schema: Mapping[str, Any]) -> dict[str, LiveColumn]:
    """The properties of a validator."""
    required = frozenset(schema.get("required", ()))
    found = {}
    for name, said in schema.get("properties", {}).items():
        given = said.get("bsonType", [])
        kinds = [given] if isinstance(given, str) else list(given)
        families = {_BSON.get(each, each) for each in kinds if each != "null"}
        nullable = "null" in kinds or name not in required
        found[name] = LiveColumn(name, " or ".join(kinds), families.pop() if len(families) == 1 else "", nullable)
    return found


def _sampled(documents: Iterable[Mapping[str, Any]]) -> dict[str, LiveColumn]:
    """The fields of documents. One of several types has none; whether it may be null is known if it is somewhere."""
    documents = list(documents)
    families: dict[str, set[str]] = {}
    present: dict[str, int] = {}
    for document in documents:
        for name, value in document.items():
            seen = families.setdefault(name, set())
            if value is not None:
                present[name] = present.get(name, 0) + 1
                seen.add(next((family for kind, family in _PYTHON if isinstance(value, kind)), type(value).__name__))
    return {
        name: LiveColumn(
            name,
            " or ".join(sorted(seen)) or "null",
            next(iter(seen)) if len(seen) == 1 else "",
            True if present.get(name, 0) < len(documents) else None,
        )
        for name, seen in families.items()
    }
