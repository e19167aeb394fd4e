"""What Beanie's documents want of their collections: validators, indexes, options."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from beanie import Document

from sillar.engines.mongodb.indexes import Index, wanted_indexes
from sillar.errors import UsageError
from sillar.integrations.beanie.models import models_in
from sillar.integrations.beanie.private import (
    collection_name,
    declared_indexes,
    discriminator,
    has_indexes,
    root_of,
    settings_of,
)
from sillar.integrations.beanie.schema import Schema, document_schema


@dataclass(frozen=True, slots=True)
class CollectionShape:
    """A collection as the documents in it want it.

    Attributes:
        name: of the collection.
        documents: names of the classes.
        validator: of the collection; empty: none; None: nothing is said about it.
        level, action: how strict it is.
        indexes: all that any of the classes asks for.
        options: further ones of the collection (``timeseries``).
    """

    name: str
    documents: tuple[str, ...]
    validator: dict[str, Any] | None
    level: str = "strict"
    action: str = "error"
    indexes: tuple[Index, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


def collection_shapes(models: Iterable[Any]) -> list[CollectionShape]:
    """The collections of documents, in the order of their names; ``init_beanie`` need not have run.

    In a document's ``Settings``, ``validator = False`` leaves the validator of its collection alone, a mapping is the
    validator itself; ``validation_level`` and ``validation_action`` are the server's.

    Args:
        models: classes, modules, or dotted names of modules, packages and classes. Views and unions are passed over.

    Raises:
        UsageError: something else, or documents of one collection that want different things of its validator.
    """
    found: dict[str, list[type[Document]]] = {}
    for given in models:
        for model in models_in(given):
            if has_indexes(model):
                classes = found.setdefault(collection_name(model), [])
                classes += [each for each in _line(root_of(model)) if each not in classes]
    return [_shape(name, classes) for name, classes in sorted(found.items())]


def _line(model: type[Document]) -> Iterator[type[Document]]:
    """A document, and those below it that are stored in the same collection: a validator must let them pass."""
    yield model
    for child in model.__subclasses__():
        if collection_name(child) == collection_name(model) and discriminator(child) is not None:
            yield from _line(child)


def _shape(name: str, classes: list[type[Document]]) -> CollectionShape:
    wanted = wanted_indexes(index for document in classes for index in declared_indexes(document))
    options: dict[str, Any] = {}
    for document in classes:
        series = settings_of(document).timeseries
        if series is not None:
            options = {key: value for key, value in series.build_query(name).items() if key != "name"}
    validator = None if options else _agreed(name, classes, "validator")
    own = validator if isinstance(validator, dict) else None
    if validator is None and not options:
        own = collection_validator(classes)
    return CollectionShape(
        name,
        tuple(each.__name__ for each in classes),
        own,
        level=_agreed(name, classes, "validation_level") or "strict",
        action=_agreed(name, classes, "validation_action") or "error",
        indexes=tuple(wanted),
        options=options,
    )


def collection_validator(classes: Iterable[type[Document]]) -> dict[str, Any]:
    """The validator of a collection in which documents of these classes are."""
    each: list[dict[str, Any]] = [{"$jsonSchema": _with_discriminator(document)} for document in classes]
    return each[0] if len(each) == 1 else {"$or": each}


def _with_discriminator(document: type[Document]) -> Schema:
    schema = document_schema(document)
    told = discriminator(document)
    if told is None:
        return schema
    field_name, value = told
    return {
        **schema,
        "required": [field_name, *schema.get("required", ())],
        "properties": {field_name: {"enum": [value]}, **schema.get("properties", {})},
    }


def _agreed(name: str, classes: Iterable[type[Document]], setting: str) -> Any:
    """A setting of ours that the classes of a collection agree on; None where none has it."""
    said = [getattr(getattr(document, "Settings", None), setting, None) for document in classes]
    given = [each for each in said if each is not None]
    if any(each != given[0] for each in given):
        raise UsageError(f"the documents of {name} do not agree on Settings.{setting}: say the same in all of them")
    return given[0] if given else None
