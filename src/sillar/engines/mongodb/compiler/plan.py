"""A compiled command: its template, and how its reply becomes rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Final

import bson

from sillar.engines.connection import Reply, RowShape
from sillar.engines.mongodb.compiler.kinds import Reader, reader_of
from sillar.engines.mongodb.compiler.scope import Output
from sillar.engines.mongodb.compiler.template import filler
from sillar.engines.mongodb.values import CODEC, document_shape
from sillar.query.document import DocumentCommand, DocumentVerb
from sillar.query.lane import Lane

_NATIVE: Final = document_shape().native


class Counted(Enum):
    """What ``rows_affected`` is: numbers of the verb's outcome, by position."""

    RETURNED = ()
    INSERTED = ("inserted",)
    MATCHED = ("matched",)
    DELETED = ("deleted",)
    UPSERTED = ("inserted", "matched", "upserted")
    ADDED = ("inserted", "upserted")


class Table:
    """The columns of a result, and how a document becomes a row of them.

    Args:
        outputs: in order; a field may be a dotted path.
    """

    def __init__(self, outputs: Sequence[Output]) -> None:
        self.shape = RowShape([output.name for output in outputs], _NATIVE)
        self._fields = tuple(output.field for output in outputs)
        readers = [reader_of(output.expression.type, output.expression.kind) for output in outputs]
        self._readers: tuple[tuple[int, Reader], ...] = tuple(
            (index, reader) for index, reader in enumerate(readers) if reader is not None
        )

    def rows(self, documents: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
        """A row for each document; a missing field is NULL."""
        fields, readers = self._fields, self._readers
        if not readers:
            return [tuple(map(document.get, fields)) for document in documents]
        rows = []
        for document in documents:
            row = [document.get(field) for field in fields]
            for index, read in readers:
                row[index] = read(row[index])
            rows.append(tuple(row))
        return rows


def _as_stored(document: dict[str, Any]) -> dict[str, Any]:
    """The document as a query would find it: times in milliseconds, and so on."""
    return bson.decode(bson.encode(document, codec_options=CODEC), codec_options=CODEC)


class CommandPlan(DocumentCommand):
    """A statement compiled to a command, for any values.

    Args:
        template: the arguments of the verb, with places for values.
        counted: what ``rows_affected`` is.
        table: the columns of the result, or None where it returns none.
        constants: values of the shape itself, which follow those of the execution.
    """

    lane = Lane.FAST

    __slots__ = ("_fill", "constants", "counted", "fingerprint_text", "returning", "table")

    def __init__(
        self,
        collection: str,
        verb: DocumentVerb,
        template: Mapping[str, Any],
        *,
        counted: Counted,
        table: Table | None = None,
        returning: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
        constants: Sequence[Any] = (),
    ) -> None:
        super().__init__(collection, verb, template)
        self.counted, self.table, self.returning, self.constants = counted, table, returning, tuple(constants)
        self._fill = filler(template)
        self.fingerprint_text = self._described(template)

    @property
    def is_read(self) -> bool:
        return self.verb == "aggregate"

    @property
    def fingerprint(self) -> str:
        return self.fingerprint_text

    def arguments_for(self, values: Sequence[Any]) -> Mapping[str, Any]:
        """The arguments of the verb for one execution.

        Raises:
            ParameterError: a value does not fit its place.
        """
        return self.arguments if self._fill is None else self._fill([*values, *self.constants])

    def is_several(self, arguments: Mapping[str, Any]) -> bool:
        """Whether it writes several documents one by one, so that only a transaction makes it all or nothing."""
        return len(arguments.get("documents") or arguments.get("operations") or ()) > 1

    def merged(self, sets: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """The arguments of one command that does what several do, for an INSERT; None for other statements."""
        for name in ("documents", "operations"):
            if name in self.arguments:
                return {name: [each for arguments in sets for each in arguments[name]]}
        return None

    def reply(self, given: Reply, arguments: Mapping[str, Any]) -> Reply:
        """The verb's reply as rows and counts of the statement."""
        if self.counted is Counted.RETURNED:
            assert self.table is not None
            rows = self.table.rows([row[0] for row in given.rows])
            return Reply(self.table.shape, rows, len(rows))
        affected = self.affected(given)
        if self.table is None or self.returning is None:
            return Reply(None, (), affected, given.last_insert_id)
        stored = []
        for document, (identity,) in zip(arguments["documents"], given.rows, strict=True):
            whole = {"_id": identity, **document}
            stored.append(self.returning(_as_stored(whole)))
        return Reply(self.table.shape, self.table.rows(stored), affected, given.last_insert_id)

    def explained(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The server's command that ``explain`` takes."""
        if self.verb == "aggregate":
            return {"aggregate": self.collection, "pipeline": arguments["pipeline"], "cursor": {}}
        if self.verb == "update_many":
            change = {"q": arguments["filter"], "u": arguments["update"], "multi": True}
            return {"update": self.collection, "updates": [change]}
        return {"delete": self.collection, "deletes": [{"q": arguments.get("filter", {}), "limit": 0}]}

    def affected(self, given: Reply) -> int:
        """Rows inserted, matched or deleted, of the verb's outcome or of a bulk write's."""
        if self.counted is Counted.INSERTED or given.shape is None:
            return given.rows_affected
        columns = given.shape.columns
        return sum(int(given.rows[0][columns.index(name)]) for name in self.counted.value)

    def _described(self, template: Mapping[str, Any]) -> str:
        if self.verb == "aggregate":
            stages = ",".join(
                next(iter(stage), "") if isinstance(stage, Mapping) else "$limit" for stage in template["pipeline"]
            )
            return f"{self.collection}.aggregate({stages})"
        return f"{self.collection}.{self.verb}({','.join(template)})"
