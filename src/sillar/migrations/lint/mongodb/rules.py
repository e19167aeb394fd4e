"""What is unsafe on MongoDB."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sillar.migrations.lint.acknowledgement import acknowledge
from sillar.migrations.lint.context import LARGE_TABLE_ROWS, Context
from sillar.migrations.lint.facts import TableFact, TableFacts, fold
from sillar.migrations.lint.finding import Finding, Severity
from sillar.migrations.lint.model import Harmless, Index, Statement
from sillar.migrations.migration import MigrationOperation


@dataclass(frozen=True, slots=True)
class DocumentOperation:
    """One step of a migration of documents.

    Attributes:
        kind: name of the step, as on ``op``: ``create_index``, ``transform``, …
        collection: that it is about.
        details: what it is made of, as in the step's journal.
        words: the step in words, for messages.
    """

    kind: str
    collection: str
    details: Mapping[str, Any] = field(default_factory=dict)
    words: str = ""


def lint_documents(
    operations: Sequence[DocumentOperation],
    *,
    facts: TableFacts | None = None,
    created: Collection[str] = (),
    source: str = "",
    large_table_rows: int = LARGE_TABLE_ROWS,
) -> list[Finding]:
    """Find what is unsafe in one migration of documents, in the order of its steps.

    Args:
        operations: its steps.
        facts: sizes and indexes of the collections, see ``read_collection_facts``; None: every one counts as large.
        created: collections that earlier migrations, which are not applied yet either, make.
        source: text of the file, for its acknowledgements.
        large_table_rows: documents from which on a collection counts as large.
    """
    linter = DocumentLinter(facts, large_table_rows=large_table_rows)
    for name in created:
        linter.facts.tables.setdefault(fold(name), TableFact(name, rows=0)).created = True
    return linter.look_at(operations, source)


class DocumentLinter:
    """Looks at migrations of documents one after the other.

    Args:
        facts: sizes of the collections before them; None: nothing is known.
        large_table_rows: documents from which on a collection counts as large.

    Attributes:
        dialect: what findings say.
        facts: what is known after the migrations that were looked at.
        notes: why something was not looked at.
    """

    dialect: ClassVar[str] = "mongodb"

    def __init__(self, facts: TableFacts | None = None, *, large_table_rows: int = LARGE_TABLE_ROWS) -> None:
        self.facts = facts.copy() if facts is not None else TableFacts()
        self.notes: list[str] = []
        self._large_table_rows = large_table_rows

    def lint(self, steps: Sequence[MigrationOperation], source: str = "") -> list[Finding]:
        """Find what is unsafe in the next migration.

        Args:
            steps: whose ``details`` is the operation.
            source: text of the file, for its acknowledgements.
        """
        known = [step for step in steps if isinstance(step.details, DocumentOperation)]
        return self.look_at([step.details for step in known], source, [step.line for step in known])

    def look_at(
        self, operations: Sequence[DocumentOperation], source: str = "", lines: Sequence[int | None] = ()
    ) -> list[Finding]:
        """The same, for operations, and the lines of the file that they are called from."""
        context = Context([], self.facts, self.dialect, self._large_table_rows)
        rules = _DocumentRules(context)
        for number, operation in enumerate(operations, 1):
            words = operation.words or f"{operation.kind} {operation.collection}"
            line = lines[number - 1] if lines else None
            context.statement = Statement(number, words, Harmless(), line=line)
            rules.check(operation)
        return acknowledge(context.findings, source, self.dialect)


class _DocumentRules:
    def __init__(self, context: Context) -> None:
        self.context = context
        self._checks: dict[str, Callable[[DocumentOperation], None]] = {
            "create_collection": self._create_collection,
            "drop_collection": self._drop_collection,
            "rename_collection": self._rename_collection,
            "create_index": self._create_index,
            "drop_index": self._drop_index,
            "set_expiry": self._set_expiry,
            "set_validator": self._set_validator,
            "transform": self._transform,
            "delete_many": self._delete_many,
            "execute": self._execute,
        }

    def check(self, operation: DocumentOperation) -> None:
        check = self._checks.get(operation.kind)
        if check is not None:
            check(operation)

    # --- collections -------------------------------------------------------------------------------------------------

    def _create_collection(self, operation: DocumentOperation) -> None:
        name = operation.collection
        if self.context.facts.table(name) is None:
            self.context.facts.tables[fold(name)] = TableFact(name, rows=0, created=True)

    def _drop_collection(self, operation: DocumentOperation) -> None:
        self.context.find("drop-collection", operation.collection, table=operation.collection)

    def _rename_collection(self, operation: DocumentOperation) -> None:
        what = f"{operation.collection} to {operation.details.get('to')}"
        self.context.find("rename-collection", what, table=operation.collection)

    def _set_validator(self, operation: DocumentOperation) -> None:
        details = operation.details
        level, action = details.get("validationLevel", "strict"), details.get("validationAction", "error")
        fact = self.context.facts.table(operation.collection)
        is_empty = fact is not None and fact.rows == 0
        if details.get("validator") and level == "strict" and action == "error" and not is_empty:
            validator = details.get("validator")
            self.context.find("validator-strict", operation.collection, table=operation.collection, validator=validator)

    # --- indexes -----------------------------------------------------------------------------------------------------

    def _create_index(self, operation: DocumentOperation) -> None:
        name = operation.collection
        keys = tuple(str(key[0]) for key in operation.details.get("keys", ()))
        options = operation.details.get("options", {})
        index = str(operation.details.get("name") or "_".join(keys))
        where = f"{index} on {name}"
        fact = self.context.facts.table(name)
        is_empty = fact is not None and fact.rows == 0
        if options.get("unique"):
            given = {"keys": list(operation.details.get("keys", ())), "index": index, "options": options}
            self.context.find("unique-index-on-existing-data", where, table=name, **given)
        if options.get("expireAfterSeconds") is not None and not is_empty:
            self.context.find("ttl-index-deletes", where, table=name)
        if self.context.is_large(name):
            self.context.find("index-on-large-collection", where, table=name)
        if fact is not None:
            fact.indexes[fold(index)] = Index(index, keys, unique=bool(options.get("unique")))

    def _set_expiry(self, operation: DocumentOperation) -> None:
        keys = ", ".join(str(key[0]) for key in operation.details["keys"])
        name = operation.collection
        fact = self.context.facts.table(name)
        if fact is None or fact.rows != 0:
            self.context.find("ttl-index-deletes", f"{operation.details['name'] or keys} on {name}", table=name)

    def _drop_index(self, operation: DocumentOperation) -> None:
        index = str(operation.details.get("name", ""))
        self.context.find("drop-document-index", f"{index} of {operation.collection}", table=operation.collection)

    # --- documents ---------------------------------------------------------------------------------------------------

    def _transform(self, operation: DocumentOperation) -> None:
        name = operation.collection
        if not operation.details.get("filter"):
            self.context.find("unbounded-transform", name, table=name, severity=Severity.WARNING)
        self._fields(name, operation.details.get("change"))

    def _fields(self, collection: str, change: Any) -> None:
        """Fields that an update takes away or renames."""
        removed: set[str] = set()
        renamed: dict[str, str] = {}
        converted: dict[str, str | None] = {}
        for stage in _stages(change):
            unset = stage.get("$unset", {})
            removed.update([unset] if isinstance(unset, str) else unset)
            renamed.update(stage.get("$rename", {}))
            for operator in ("$set", "$addFields"):
                converted.update(_converted(stage.get(operator, {})))
            if {"$project", "$replaceWith", "$replaceRoot"} & stage.keys():
                self.context.find("drop-field", f"all fields of {collection} that it does not name", table=collection)
        for each in sorted(removed):
            self.context.find("drop-field", f"{collection}.{each}", table=collection, subject=each)
        for each, new in sorted(renamed.items()):
            self.context.find("rename-field", f"{collection}.{each} to {new}", table=collection, subject=each, new=new)
        for each, type_ in sorted(converted.items()):
            what = f"{collection}.{each} to {type_ or 'another type'}"
            self.context.find("field-type-changed", what, table=collection, subject=each, type=type_)

    def _delete_many(self, operation: DocumentOperation) -> None:
        if not operation.details.get("filter"):
            what = f"deletes all of {operation.collection}"
            self.context.find("drop-collection", what, table=operation.collection)

    # --- commands as they are ----------------------------------------------------------------------------------------

    def _execute(self, operation: DocumentOperation) -> None:
        command = dict(operation.details.get("command", {}))
        name = next(iter(command), "")
        collection = str(command.get(name, ""))
        if name == "update":
            for each in command.get("updates", ()):
                if each.get("multi") and not each.get("q"):
                    self.context.find("unbounded-transform", f"update of all of {collection}", table=collection)
                self._fields(collection, each.get("u"))
        elif name == "delete":
            if any(not each.get("q") and not each.get("limit") for each in command.get("deletes", ())):
                self.context.find("drop-collection", f"deletes all of {collection}", table=collection)
        elif name in ("convertToCapped", "compact", "cloneCollectionAsCapped", "reIndex"):
            self.context.find("collection-converted", f"{name} of {collection}", table=collection)
        elif name == "aggregate":
            self._aggregate(collection, command.get("pipeline", ()))
        elif name == "dropDatabase":
            self.context.find("drop-schema", "the database")
        else:
            for step in _steps(name, collection, command):
                self.check(step)

    def _aggregate(self, collection: str, pipeline: Sequence[Mapping[str, Any]]) -> None:
        """A pipeline that writes: ``$out`` takes the place of a collection, ``$merge`` writes into one."""
        last = pipeline[-1] if pipeline else {}
        target = last.get("$out")
        if target is not None:
            name = str(target.get("coll") if isinstance(target, Mapping) else target)
            self.context.find("drop-collection", f"$out takes the place of {name}", table=name)
        elif "$merge" in last and self.context.is_large(collection):
            what = f"$merge from all of {collection}"
            self.context.find("unbounded-transform", what, table=collection, severity=Severity.WARNING)


_TYPES = {
    "$toInt": "int", "$toLong": "long", "$toDouble": "double", "$toDecimal": "decimal", "$toString": "string",
    "$toDate": "date", "$toObjectId": "objectId", "$toBool": "bool",
}  # fmt: skip


def _converted(assignments: Any) -> Iterator[tuple[str, str | None]]:
    """The fields that get another type from what they hold: ``{"age": {"$toInt": "$age"}}``."""
    for name, value in assignments.items() if isinstance(assignments, Mapping) else ():
        if not isinstance(value, Mapping) or len(value) != 1:
            continue
        [(operator, given)] = value.items()
        if operator in _TYPES and given == f"${name}":
            yield name, _TYPES[operator]
        elif operator == "$convert" and isinstance(given, Mapping) and given.get("input") == f"${name}":
            type_ = given.get("to")
            yield name, type_ if isinstance(type_, str) else None


def _stages(change: Any) -> Iterator[Mapping[str, Any]]:
    """The operators of an update, whether it is one document or a pipeline; a function says nothing."""
    if isinstance(change, Mapping):
        yield change
    elif isinstance(change, Sequence) and not isinstance(change, str):
        yield from (stage for stage in change if isinstance(stage, Mapping))


def _steps(name: str, collection: str, command: Mapping[str, Any]) -> Iterator[DocumentOperation]:
    """The steps that a command of the server's stands for."""
    match name:
        case "drop":
            yield DocumentOperation("drop_collection", collection)
        case "create":
            yield DocumentOperation("create_collection", collection)
        case "renameCollection":
            renamed = {"to": str(command.get("to", "")).partition(".")[2]}
            yield DocumentOperation("rename_collection", collection.partition(".")[2], renamed)
        case "createIndexes":
            for each in command.get("indexes", ()):
                details = {"name": each.get("name"), "keys": list(each.get("key", {}).items()), "options": each}
                yield DocumentOperation("create_index", collection, details)
        case "dropIndexes":
            yield DocumentOperation("drop_index", collection, {"name": command.get("index")})
        case "collMod" if isinstance(command.get("index"), Mapping):
            index = command["index"]
            if index.get("expireAfterSeconds") is not None:
                keys = list(index.get("keyPattern", {}).items())
                options = {"expireAfterSeconds": index["expireAfterSeconds"]}
                yield DocumentOperation("set_expiry", collection, {"name": index.get("name"), "keys": keys, **options})
        case "collMod":
            yield DocumentOperation("set_validator", collection, command)
