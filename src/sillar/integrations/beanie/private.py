"""What Sillar needs of Beanie beyond its documented names, in one place; a contract test holds it.

Undocumented are ``beanie.odm.fields.IndexModelField``, ``beanie.odm.utils.typing.get_index_attributes``,
``beanie.odm.settings.document.DocumentSettings``, ``_class_id`` and ``_children`` of inherited documents, and
``beanie.odm.utils.parsing.parse_obj``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from beanie import Document, UnionDoc, View
from beanie.odm.fields import BackLink, IndexModelField
from beanie.odm.settings.document import DocumentSettings
from beanie.odm.utils.parsing import parse_obj
from beanie.odm.utils.typing import get_index_attributes

from sillar.engines.mongodb.routed import index_model

MODEL_KINDS = (Document, View, UnionDoc)
VIRTUAL = BackLink
"""Annotates fields that are not stored."""


def has_indexes(model: type[Any]) -> bool:
    """Whether it is stored by itself: a document, no view and no union."""
    return issubclass(model, Document)


def collection_of(document: type[Any]) -> str:
    """The collection of a document that ``init_beanie`` has run for."""
    return str(document.get_collection_name())


def declared_indexes(document: type[Document]) -> list[Mapping[str, Any]]:
    """The indexes that a document asks for, as ``init_beanie`` would create them; it need not have run.

    Returns:
        index documents: ``name``, ``key`` (direction by field, in order) and options.
    """
    found = [
        _index([(field.alias or name, attributes[0])], attributes[1])
        for name, field in document.model_fields.items()
        if (attributes := get_index_attributes(field)) is not None
    ]
    settings = settings_of(document)
    if settings.merge_indexes:
        inherited: list[IndexModelField] = []
        for kind in reversed(document.mro()):
            if issubclass(kind, Document) and kind is not Document and settings_of(kind).indexes:
                inherited = IndexModelField.merge_indexes(inherited, settings_of(kind).indexes)
        found = IndexModelField.merge_indexes(found, inherited)
    elif settings.indexes:
        found = IndexModelField.merge_indexes(found, settings.indexes)
    return [field.index.document for field in found]


def settings_of(document: type[Any]) -> DocumentSettings:
    """The settings of a document, also before ``init_beanie``: read as that reads them."""
    given = getattr(document, "Settings", None)
    names = [name for name in dir(given) if not name.startswith("__")] if given is not None else []
    return DocumentSettings.model_validate({name: getattr(given, name) for name in names})


def _index(keys: list[tuple[str, Any]], options: Mapping[str, Any]) -> IndexModelField:
    return IndexModelField(index_model(keys, options))


def collection_name(document: type[Any]) -> str:
    """The collection of a document class, also before ``init_beanie``: as that names it."""
    root = root_of(document)
    union = _setting(root, "union_doc")
    owner = root if union is None else union
    return str(_setting(owner, "name") or owner.__name__)


def discriminator(document: type[Any]) -> tuple[str, str] | None:
    """The field and the value in it that tell an inherited document from others in its collection; None without.

    The name of the class with those above it, as ``init_beanie`` makes it.
    """
    root = root_of(document)
    if _setting(root, "union_doc") is not None:
        return str(_setting(root, "class_id") or "_class_id"), document.__name__
    if not _setting(root, "is_root"):
        return None
    line = [kind for kind in reversed(document.__mro__) if issubclass(kind, root)]
    value = ""
    for kind in line:
        own = getattr(kind.__dict__.get("Settings"), "class_id_value", None)
        value = own or (f"{value}.{kind.__name__}" if value else kind.__name__)
    return str(_setting(root, "class_id") or "_class_id"), value


def is_initialized(document: type[Any]) -> bool:
    """Whether ``init_beanie`` has run for it."""
    settings = document.__dict__.get("_document_settings") or document.__dict__.get("_settings")
    return settings is not None and settings.pymongo_collection is not None


def has_revision(document: type[Any]) -> bool:
    """Whether its revision is stored with it (``use_revision``)."""
    return bool(_setting(document, "use_revision"))


def parse(document: type[Document]) -> Callable[[Mapping[str, Any]], Document]:
    """Makes an instance of what is stored, as Beanie's own queries do: with saved state and of the right subclass."""
    return lambda stored: parse_obj(document, stored)  # type: ignore[return-value]


def root_of(document: type[Any]) -> type[Any]:
    """The topmost document of an inheritance with ``is_root``; else the document itself."""
    root = document
    for kind in document.__mro__:
        if kind is not Document and issubclass(kind, Document) and _setting(kind, "is_root"):
            root = kind
    return root


def _setting(document: type[Any], name: str) -> Any:
    return getattr(getattr(document, "Settings", None), name, None)
