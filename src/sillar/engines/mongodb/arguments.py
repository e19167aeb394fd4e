"""The arguments of each verb, checked before anything is leased or sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from pymongo import DeleteMany, DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne

from sillar.errors import ParameterError
from sillar.query.document import DocumentCommand

_READ: Final = ("collation", "hint", "comment", "max_time_ms", "let")
_CHANGE: Final = ("collation", "hint", "comment", "let")
_FIND: Final = (
    *("filter", "projection", "skip", "limit", "sort", "batch_size", "cursor_type", "no_cursor_timeout"),
    *("allow_disk_use", "allow_partial_results", "max", "min", "return_key", "show_record_id", *_READ),
)

_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "find": (),
    "aggregate": ("pipeline",),
    "count": (),
    "distinct": ("key",),
    "insert_one": ("document",),
    "insert_many": ("documents",),
    "update_one": ("filter", "update"),
    "update_many": ("filter", "update"),
    "replace_one": ("filter", "replacement"),
    "delete_one": ("filter",),
    "delete_many": ("filter",),
    "find_one_and_update": ("filter", "update"),
    "bulk_write": ("operations",),
    "create_index": ("keys",),
    "drop_index": ("index_or_name",),
    "drop_collection": (),
    "rename_collection": ("new_name",),
    "explain": ("command",),
    "command": ("command",),
}
_OPTIONAL: Final[Mapping[str, Sequence[str]]] = {
    "find": _FIND,
    "aggregate": ("allow_disk_use", "batch_size", "bypass_document_validation", *_READ),
    "count": ("filter", "skip", "limit", *_READ),
    "distinct": ("filter", *_READ),
    "insert_one": ("bypass_document_validation", "comment"),
    "insert_many": ("ordered", "bypass_document_validation", "comment"),
    "update_one": ("upsert", "array_filters", "bypass_document_validation", "sort", *_CHANGE),
    "update_many": ("upsert", "array_filters", "bypass_document_validation", *_CHANGE),
    "replace_one": ("upsert", "bypass_document_validation", "sort", *_CHANGE),
    "delete_one": _CHANGE,
    "delete_many": _CHANGE,
    "find_one_and_update": ("projection", "sort", "upsert", "return_document", "array_filters", *_CHANGE),
    "bulk_write": ("ordered", "bypass_document_validation", "comment", "let"),
    "explain": ("verbosity",),
}
_CHUNK_DOCUMENTS: Final = 10_000
_OPEN: Final = frozenset({"create_index"})
"""Verbs whose options belong to the server, which knows more of them from version to version."""

_OPERATIONS: Final = {
    "insert_one": InsertOne,
    "update_one": UpdateOne,
    "update_many": UpdateMany,
    "replace_one": ReplaceOne,
    "delete_one": DeleteOne,
    "delete_many": DeleteMany,
}
Operation = InsertOne[Any] | UpdateOne | UpdateMany | ReplaceOne[Any] | DeleteOne | DeleteMany


def checked(command: DocumentCommand, further: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The arguments of a command, completed by further ones.

    Raises:
        ParameterError: unknown verb, arguments missing or superfluous.
    """
    verb = command.verb
    if verb not in _REQUIRED:
        raise ParameterError(f"there is no verb {verb!r}; {_suggestion(verb, _REQUIRED)}")
    if not command.collection and verb != "command":
        raise ParameterError(f"{verb} needs the name of a collection")
    arguments = command.arguments if not further else {**command.arguments, **further}
    required = _REQUIRED[verb]
    missing = [name for name in required if name not in arguments]
    if missing:
        raise ParameterError(f"{command.fingerprint} lacks {', '.join(missing)}")
    if len(arguments) > len(required) and verb not in _OPEN:
        known = (*required, *_OPTIONAL.get(verb, ()))
        for name in arguments:
            if name not in known:
                raise ParameterError(f"{verb} takes no argument {name!r}; {_suggestion(name, known)}")
    return arguments


def _suggestion(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), 1)
    return f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}"


def bulk_operation(given: Any) -> Operation:
    """The driver's operation for a tuple such as ``("update_one", filter, update, {"upsert": True})``.

    Positional are the required arguments of the verb; a mapping of options may follow. The driver's own objects pass.

    Raises:
        ParameterError: it is no such tuple.
    """
    if isinstance(given, (InsertOne, UpdateOne, UpdateMany, ReplaceOne, DeleteOne, DeleteMany)):
        return given
    verb = given[0] if isinstance(given, (tuple, list)) and given else None
    if verb not in _OPERATIONS:
        raise ParameterError(
            f"an operation of bulk_write is a tuple that begins with {', '.join(_OPERATIONS)},"
            f" not {type(given).__name__}"
        )
    names = _REQUIRED[verb]
    positional, options = given[1 : 1 + len(names)], given[1 + len(names) :]
    if len(positional) != len(names) or len(options) > 1 or (options and not isinstance(options[0], Mapping)):
        raise ParameterError(f"{verb} in bulk_write takes ({', '.join((verb, *names))}) and, if need be, options")
    return operation_of(verb, {**dict(zip(names, positional, strict=True)), **(options[0] if options else {})})


def operation_of(verb: str, arguments: Mapping[str, Any]) -> Operation:
    """The driver's operation for a verb and its arguments.

    Raises:
        ParameterError: the driver's operation takes no such argument.
    """
    if verb == "insert_one" and isinstance(arguments.get("document"), Mapping):
        arguments = {**arguments, "document": dict(arguments["document"])}  # the driver adds an id to what it gets
    try:
        operation: Operation = _OPERATIONS[verb](**arguments)
    except TypeError as error:
        raise ParameterError(f"{verb} in bulk_write: {error}") from None
    return operation


def is_bulk_verb(verb: str) -> bool:
    """Whether many commands of this verb go out as one bulk write."""
    return verb in _OPERATIONS


def document_chunks(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterable[list[Mapping[str, Any]]]:
    """Documents of columns and rows, some thousand at a time.

    Raises:
        ParameterError: a row has more or fewer values than there are columns.
    """
    chunk: list[Mapping[str, Any]] = []
    for number, row in enumerate(rows, 1):
        if len(row) != len(columns):
            raise ParameterError(f"row {number} has {len(row)} values for {len(columns)} columns")
        chunk.append(dict(zip(columns, row, strict=True)))
        if len(chunk) == _CHUNK_DOCUMENTS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
