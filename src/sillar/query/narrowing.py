"""Reading only the columns that the fields of a class name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from sillar.errors import UsageError
from sillar.query.binding import ModelBinding, record_annotations, unknown_column
from sillar.query.parts import QueryPart

Narrowed = tuple[QueryPart | None, tuple[Any, ...] | None]


def narrowed_to(binding: ModelBinding[Any], kind: type[Any]) -> Narrowed:
    """The step that reads only the columns of a class, and these columns; made once. None for a scalar type.

    Raises:
        UsageError: a field without a default names no column.
    """
    found: Narrowed | None = binding.narrowed.get(kind)
    if found is None:
        found = binding.narrowed[kind] = _narrowed(binding, kind)
    return found


def _narrowed(binding: ModelBinding[Any], kind: Any) -> Narrowed:
    fields = record_annotations(kind)
    if fields is None:
        return None, None
    chosen = tuple(binding.selected(name) for name in _columns_of(binding, kind, fields))

    def apply(statement: Any) -> Any:
        return statement.with_only_columns(*chosen)

    return QueryPart("into", (), apply, kind), chosen


def _columns_of(binding: ModelBinding[Any], kind: type[Any], fields: Mapping[str, Any]) -> list[str]:
    known = [name for name in fields if name in binding.columns]
    for name in fields:
        if name not in binding.columns and not _has_default(kind, name):
            raise UsageError(f"{kind.__name__}.{name}: {unknown_column(name, binding)}")
    if not known:
        raise UsageError(f"no field of {kind.__name__} is a column of {binding.name}; select() what it needs")
    return known


def _has_default(kind: type[Any], name: str) -> bool:
    """Whether a pydantic model, Struct or dataclass can be made without this field."""
    parameter = inspect.signature(kind).parameters.get(name)
    return parameter is None or parameter.default is not inspect.Parameter.empty
