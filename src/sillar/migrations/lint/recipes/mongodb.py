"""Safe sequences for MongoDB."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from json import dumps
from typing import Any

from sillar.migrations.lint.recipes.recipe import NO_WAY_BACK, Kitchen, Recipe, RecipeRevision, acknowledged, revision

_ZEROS: dict[str, Any] = {
    "string": "", "int": 0, "long": 0, "double": 0.0, "number": 0, "bool": False, "array": [], "object": {},
}  # fmt: skip


class DocumentKitchen(Kitchen):
    """Writes recipes for one finding in a migration of documents."""

    @property
    def collection(self) -> str:
        """Name of the collection."""
        return self.finding.table or ""

    def rename_field(self) -> Recipe | None:
        """Copied to the new name in batches; the old field goes once nobody reads it."""
        old, new = self.finding.subject or "", str(self.details.get("new"))
        left = {new: {"$exists": False}, old: {"$exists": True}}
        back = {old: {"$exists": False}, new: {"$exists": True}}
        copied = [{"$set": {new: f"${old}"}}]
        return Recipe(
            "rename-field",
            (
                revision(f"copy {self.collection}.{old} to {new}", [self._transform(left, copied, left)]),
                self._unset(old, [self._transform(back, [{"$set": {old: f"${new}"}}])], f"code uses {new} alone"),
            ),
            (
                f"deploy code that writes {old} and {new}, and reads {old}, before the first revision",
                f"deploy code that uses {new} alone between the two",
            ),
        )

    def drop_field(self) -> Recipe | None:
        """Unset in batches, by code that does not know it."""
        name = self.finding.subject or ""
        if "." in name and "$" in name:  # of an array's elements
            return None
        note = f"deploy code that does not know {name} before it"
        return Recipe("drop-field", (self._unset(name, NO_WAY_BACK, f"deployed code does not know {name}"),), (note,))

    def field_type(self) -> Recipe | None:
        """Converted in batches, those that are not yet of the type alone, while code reads both."""
        name, type_ = self.finding.subject or "", self.details.get("type")
        if type_ is None:
            return None
        left = {name: {"$ne": None, "$not": {"$type": type_}}}
        convert = [{"$set": {name: {"$convert": {"input": f"${name}", "to": type_}}}}]
        lines = [
            acknowledged("field-type-changed", self.finding.table, f"deployed code reads both types of {name}"),
            self._transform(left, convert, left),
        ]
        return Recipe(
            "field-type",
            (revision(f"convert {self.collection}.{name} to {type_}", lines, NO_WAY_BACK),),
            (f"deploy code that reads both types of {name} and writes {type_} before it",),
        )

    def validator(self) -> Recipe | None:
        """First it warns; then what does not fit is filled; then it is strict."""
        validator = self.details.get("validator")
        schema = validator.get("$jsonSchema") if isinstance(validator, Mapping) else None
        if not isinstance(schema, Mapping) or set(validator or {}) != {"$jsonSchema"}:
            return None
        fills: list[RecipeRevision] = []
        for name in schema.get("required", ()):
            kind = schema.get("properties", {}).get(name, {}).get("bsonType")
            if name == "_id":
                continue
            if kind not in _ZEROS:
                return None
            left = {name: {"$exists": False}}
            comment = "# what documents that have none get: yours to say"
            lines = [comment, self._transform(left, {"$set": {name: _ZEROS[kind]}}, left)]
            fills.append(revision(f"fill {self.collection}.{name}", lines))
        strict = [
            acknowledged("validator-strict", self.finding.table, "what did not fit was filled in the revisions before"),
            f"await op.set_validator({self.collection!r}, {dict(schema)!r})",
        ]
        none = f"await op.set_validator({self.collection!r})"
        warn = f"await op.set_validator({self.collection!r}, {dict(schema)!r}, action='warn')"
        return Recipe(
            "validator",
            (
                revision(f"validator of {self.collection} warns", [warn], [none]),
                *fills,
                revision(f"validator of {self.collection} is strict", strict, [warn]),
            ),
            (
                "deploy code whose documents fit before the second revision",
                f"before the last one count what does not: db.{self.collection}.countDocuments"
                "({$nor: [{$jsonSchema: …}]})",
            ),
        )

    def unique_index(self) -> Recipe | None:
        """Duplicates stop the migration; where there are none, the index is built."""
        keys, name = self.details.get("keys"), str(self.details.get("index"))
        options = dict(self.details.get("options", {}))
        if not keys or set(options) - {"unique", "name", "key", "v"}:
            return None  # which documents are in it depends on its options
        twice = f"{self.collection}_{name}_twice"
        grouped = {field.replace(".", "_"): f"${field}" for field, _ in keys}
        pipeline = [
            {"$group": {"_id": grouped, "documents": {"$sum": 1}, "examples": {"$push": "$_id"}}},
            {"$match": {"documents": {"$gt": 1}}},
            {"$project": {"documents": 1, "examples": {"$slice": ["$examples", 10]}}},
            {"$out": twice},
        ]
        command = {"aggregate": self.collection, "pipeline": pipeline, "cursor": {}, "allowDiskUse": True}
        look = [
            acknowledged("drop-collection", twice, "it is made here, anew with every run"),
            f"# to see them: db.{self.collection}.aggregate({dumps(pipeline[:-1])})",
            f"await op.execute({command!r}, if_interrupted='repeat', undo={ {'drop': twice}!r})",
            "# fails if there are any, and is begun anew by the next run",
            f"await op.transform({twice!r}, {{'documents': 0}}, {{'$set': {{'documents': 0}}}},",
            "                   verify={'documents': {'$gt': 1}})",
            f"await op.drop_collection({twice!r}, if_exists=True)",
        ]
        build = [
            acknowledged("unique-index-on-existing-data", self.finding.table, "the revision before has found no two"),
            acknowledged("index-on-large-collection", self.finding.table, "built while documents are read and written"),
            f"await op.create_index({self.collection!r}, {[tuple(key) for key in keys]!r}, name={name!r}, unique=True)",
        ]
        undo = [f"await op.drop_index({self.collection!r}, {name!r})"]
        return Recipe(
            "unique-index",
            (
                revision(f"look for duplicates of {name} in {self.collection}", look),
                revision(f"unique index {name} on {self.collection}", build, undo),
            ),
            ("before the first revision deploy code that writes no duplicates, and resolve those that there are",),
        )

    # --- parts -------------------------------------------------------------------------------------------------------

    def _unset(self, name: str, undo: list[str], why: str) -> RecipeRevision:
        here = {name: {"$exists": True}}
        lines = [
            acknowledged("drop-field", self.finding.table, why),
            self._transform(here, {"$unset": {name: ""}}, here),
        ]
        return revision(f"unset {self.collection}.{name}", lines, undo)

    def _transform(self, condition: Mapping[str, Any], change: Any, verify: Mapping[str, Any] | None = None) -> str:
        check = f",\n                   verify={dict(verify)!r}, repeatable=True" if verify is not None else ""
        return f"await op.transform({self.collection!r}, {dict(condition)!r}, {change!r}{check})"


RECIPES: dict[str, Callable[[DocumentKitchen], Recipe | None]] = {
    "rename-field": DocumentKitchen.rename_field,
    "drop-field": DocumentKitchen.drop_field,
    "field-type-changed": DocumentKitchen.field_type,
    "validator-strict": DocumentKitchen.validator,
    "unique-index-on-existing-data": DocumentKitchen.unique_index,
}
