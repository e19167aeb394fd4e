"""What the models have and the database has not, or the other way round; and the operations that make them agree."""

from __future__ import annotations

import pprint
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sillar.engines.mongodb.indexes import Index, drift_of
from sillar.errors import UsageError
from sillar.migrations.mongodb.collection_steps import validation
from sillar.migrations.mongodb.index_steps import live_indexes
from sillar.migrations.mongodb.store import DocumentStore

_IMPORTS: Final = (
    ("Decimal(", "from decimal import Decimal"),
    ("datetime.datetime(", "import datetime"),
    ("ObjectId(", "from bson import ObjectId"),
    ("Regex(", "from bson import Regex"),
)
_SERIES: Final = "timeseries"
_UNORDERED: Final = frozenset({"required", "enum", "bsonType", "anyOf"})
_KEYWORDS: Final = {
    "unique": "unique",
    "sparse": "sparse",
    "hidden": "hidden",
    "partialFilterExpression": "partial",
    "expireAfterSeconds": "ttl_seconds",
    "collation": "collation",
}


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    Attributes:
        line: what differs, in words.
        up, down: the operations that take it away and bring it back; several lines each.
        drops: it would drop something that no model asks for: nobody does that without being told.
    """

    line: str
    up: tuple[str, ...]
    down: tuple[str, ...]
    drops: bool = False


@dataclass(slots=True)
class ModelComparison:
    """The differences between models and a database.

    Attributes:
        changes: one by one.
        hints: what is alike, and called otherwise.
        unchangeable: what differs, and no command changes.
        drop: what no model asks for is dropped; else the operation is there as a comment.
    """

    changes: list[Change] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    unchangeable: list[str] = field(default_factory=list)
    drop: bool = False

    @classmethod
    async def of(
        cls, store: DocumentStore, models: Sequence[str], *, ignored: Collection[str], drop: bool = False
    ) -> ModelComparison:
        """Compare.

        Args:
            store: the database.
            models: dotted names of modules, packages and classes.
            ignored: collections that are none of the models' business.
            drop: as for the class.

        Raises:
            UsageError: there are no such models, or Beanie is not installed.
        """
        found = cls(drop=drop)
        live = {
            name: each
            for name, each in (await store.collections()).items()
            if each.get("type", "collection") != "view" and name not in ignored and not name.startswith("system.")
        }
        shapes = _shapes(models)
        for shape in shapes:
            if shape.name not in live:
                found._missing(shape)
            else:
                found._kind(shape, live[shape.name])
                found._validator(shape, live[shape.name])
                found._indexes(shape, await live_indexes(store, shape.name))
        for name in sorted(set(live) - {shape.name for shape in shapes}):
            found.changes.append(
                Change(
                    f"collection {name} is in no model",
                    (f"await op.drop_collection({name!r})",),
                    (f"await op.create_collection({name!r})",),
                    drops=True,
                )
            )
        return found

    @property
    def lines(self) -> list[str]:
        """What differs, one line each."""
        return [*(change.line for change in self.changes), *self.unchangeable]

    @property
    def upgrade_text(self) -> str:
        """The operations that make the database agree with the models."""
        return self._text([(change.up, change) for change in self.changes], (*self.hints, *self.unchangeable))

    @property
    def downgrade_text(self) -> str:
        """The operations that take it back."""
        return self._text([(change.down, change) for change in reversed(self.changes)], ())

    @property
    def imports_text(self) -> str:
        """What the operations need."""
        text = self.upgrade_text + self.downgrade_text
        return "\n".join(line for mark, line in _IMPORTS if mark in text)

    def _text(self, operations: Iterable[tuple[tuple[str, ...], Change]], hints: Iterable[str]) -> str:
        written = [f"# {hint}" for hint in hints]
        dropped, calls = [], 0
        for lines, change in operations:
            text = "\n".join(lines)
            if change.drops and not self.drop:
                dropped.append(f"# {change.line}: to drop it, say so\n# " + text.replace("\n", "\n# "))
            else:
                written.append(text)
                calls += 1
        parts = [*written, *dropped, *([] if calls else ["pass"])]
        return "\n".join(parts).replace("\n", "\n    ")

    # --- what differs -------------------------------------------------------------------------------------------------

    def _missing(self, shape: Any) -> None:
        options = dict(shape.options)
        arguments = _validator_arguments(shape.validator or {}, shape.level, shape.action)
        arguments += [f"{name}={literal(value)}" for name, value in options.items()]
        self.changes.append(
            Change(
                f"collection {shape.name} is missing ({', '.join(shape.documents)})",
                (call("create_collection", repr(shape.name), *arguments),),
                (f"await op.drop_collection({shape.name!r})",),
            )
        )
        for index in shape.indexes:
            self._index(shape.name, index)

    def _kind(self, shape: Any, described: Mapping[str, Any]) -> None:
        is_series, wanted = described.get("type") == _SERIES, _SERIES in shape.options
        if is_series != wanted:
            self.unchangeable.append(
                f"collection {shape.name} is {'a' if is_series else 'no'} time series collection, and"
                f" {', '.join(shape.documents)} {'asks for one' if wanted else 'does not ask for one'}: nothing makes"
                " the one of the other; write a new collection, and copy the documents"
            )

    def _validator(self, shape: Any, described: Mapping[str, Any]) -> None:
        if shape.validator is None:
            return
        live = validation(described)
        wanted = {
            "validator": shape.validator,
            "validationLevel": shape.level,
            "validationAction": shape.action,
        }
        if comparable(live) == comparable(wanted) or not (live["validator"] or shape.validator):
            return
        before = _validator_arguments(live["validator"], live["validationLevel"], live["validationAction"])
        after = _validator_arguments(shape.validator, shape.level, shape.action)
        self.changes.append(
            Change(
                f"collection {shape.name} has {'another' if live['validator'] else 'no'} validator",
                (call("set_validator", repr(shape.name), *after),),
                (call("set_validator", repr(shape.name), *before),),
            )
        )

    def _indexes(self, shape: Any, live: Sequence[Index]) -> None:
        drift = drift_of(shape.name, shape.indexes, live)
        for index in drift.missing:
            self._index(shape.name, index)
        for difference in drift.different:
            old, new = difference.existing, difference.wanted
            self.changes.append(
                Change(
                    f"index {new.name} of {shape.name} is another one",
                    (_drop_index(shape.name, old), _create_index(shape.name, new)),
                    (_drop_index(shape.name, new), _create_index(shape.name, old)),
                )
            )
        for index in drift.superfluous:
            up, down = _drop_index(shape.name, index), _create_index(shape.name, index)
            self.changes.append(
                Change(f"index {index.name} of {shape.name} is in no model", (up,), (down,), drops=True)
            )
        for index in shape.indexes:
            same = next((each for each in live if each.is_like(index)), None)
            if same is not None and same.name != index.name:
                self.hints.append(
                    f"index {same.name} of {shape.name} is called {index.name} in the models; it does the same, and the"
                    " server takes no second one like it: to rename it, drop and create it"
                )

    def _index(self, collection: str, index: Index) -> None:
        self.changes.append(
            Change(
                f"index {index.name} of {collection} is missing",
                (_create_index(collection, index),),
                (_drop_index(collection, index),),
            )
        )


def _shapes(models: Sequence[str]) -> list[Any]:
    if not models:
        raise UsageError("there are no models to compare with: name them in migration_config.models, as package.module")
    try:
        from sillar.integrations.beanie.shape import collection_shapes
    except ModuleNotFoundError as error:
        raise UsageError(
            f"comparing with models needs Beanie ({error.name} is missing): pip install 'sillar[beanie]'"
        ) from error
    return collection_shapes(each.replace(":", ".") for each in models)


def comparable(value: Any) -> Any:
    """A validator without the order of what has none."""
    if isinstance(value, Mapping):
        return {
            key: sorted(map(repr, map(comparable, inner)))
            if key in _UNORDERED and isinstance(inner, list)
            else comparable(inner)
            for key, inner in sorted(value.items())
        }
    if isinstance(value, (list, tuple)):
        return [comparable(each) for each in value]
    return value


# --- source text ------------------------------------------------------------------------------------------------------


def call(name: str, *arguments: str) -> str:
    """A call of an operation, in one line or with an argument in each."""
    line = f"await op.{name}({', '.join(arguments)})"
    if len(line) <= 110 and "\n" not in line:
        return line
    inner = "".join(f"    {argument.replace(chr(10), chr(10) + '    ')},\n" for argument in arguments)
    return f"await op.{name}(\n{inner})"


def literal(value: Any) -> str:
    """A value as Python source."""
    return pprint.pformat(value, width=100, sort_dicts=False)


def _validator_arguments(validator: Mapping[str, Any], level: str, action: str) -> list[str]:
    arguments = []
    if set(validator) == {"$jsonSchema"}:
        arguments.append(f"schema={literal(validator['$jsonSchema'])}")
    elif validator:
        arguments.append(f"validator={literal(dict(validator))}")
    if level != "strict":
        arguments.append(f"level={level!r}")
    if action != "error":
        arguments.append(f"action={action!r}")
    return arguments


def _create_index(collection: str, index: Index) -> str:
    keys = [tuple(each) for each in index.keys]
    arguments = [repr(collection), literal(keys), f"name={index.name!r}"]
    arguments += [f"{_KEYWORDS.get(name, name)}={literal(value)}" for name, value in index.options.items()]
    return call("create_index", *arguments)


def _drop_index(collection: str, index: Index) -> str:
    return call("drop_index", repr(collection), repr(index.name))
