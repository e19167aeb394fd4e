"""Columns of any model, typed: one spelling for SQLAlchemy, Tortoise, Beanie, pydantic and plain tables."""

from __future__ import annotations

import typing
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, Generic, TypeVar, overload

from sqlalchemy import FromClause
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import JSON

from sillar.errors import UsageError
from sillar.query.annotations import without_none
from sillar.query.binding import ModelBinding, binding_of, checked_name, plain, record_annotations

M = TypeVar("M")
V = TypeVar("V")


@overload
def column(model: type[M], pick: Callable[[M], V]) -> ColumnElement[V]: ...
@overload
def column(model: Any, pick: str) -> ColumnElement[Any]: ...
def column(model: Any, pick: Any) -> ColumnElement[Any]:
    """A column of a model, to compare, order, select and compute with.

    Type checkers know what an attribute holds on an *instance*, for every kind of model. So the column is picked from
    one: ``column(Item, lambda item: item.qty)`` is a ``ColumnElement[int]``. A path below a JSON column goes the same
    way (``lambda item: item.address.city``). By name, ``column(Item, "qty")``, the check is made when it runs.

    Raises:
        UsageError: the model has no such column; the nearest name is suggested.
    """
    return _picked(_binding(model), pick)


class Columns(Generic[M]):
    """The columns of a model, or of an alias of it: what :func:`columns` returns.

    ``c(lambda item: item.qty)`` is typed; ``c.qty`` and ``c["qty"]`` are checked when they run. It stands for its model
    in ``QueryBuilder(c)`` and ``join(c, …)``, which is how a table is joined with itself.
    """

    __slots__ = ("_binding",)

    def __init__(self, binding: ModelBinding[M]) -> None:
        self._binding = binding

    def __call__(self, pick: Callable[[M], V]) -> ColumnElement[V]:
        return typing.cast("ColumnElement[V]", _picked(self._binding, pick))

    def __getitem__(self, name: str) -> ColumnElement[Any]:
        return self._binding.column(name)

    def __getattr__(self, name: str) -> ColumnElement[Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._binding.column(name)

    def __repr__(self) -> str:
        return f"<Columns of {self._binding.name}>"


@overload
def columns(model: type[M], *, alias: str | None = None) -> Columns[M]: ...
@overload
def columns(model: FromClause, *, alias: str | None = None) -> Columns[dict[str, Any]]: ...
def columns(model: Any, *, alias: str | None = None) -> Columns[Any]:
    """The columns of a model.

    Args:
        model: any model that a query can be built on.
        alias: read the table under this name, a second time beside the first one.

    Raises:
        UsageError: no model, or an alias that no engine takes.
    """
    binding = _binding(model)
    if alias is not None:
        source = getattr(binding.source, "__table__", binding.source)
        binding = binding.over(source.alias(checked_name(alias)))
    return Columns(binding)


def _binding(model: Any) -> ModelBinding[Any]:
    return model._binding if isinstance(model, Columns) else binding_of(model)


bound = _binding
"""The binding of a model, or the one that a :class:`Columns` stands for."""


class _Recorder:
    """Stands for an instance, and remembers which way was taken through its attributes and keys."""

    __slots__ = ("_path",)

    def __init__(self, path: tuple[str | int, ...] = ()) -> None:
        self._path = path

    def __getattr__(self, name: str) -> _Recorder:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Recorder((*self._path, name))

    def __getitem__(self, key: str | int) -> _Recorder:
        return _Recorder((*self._path, key))


def _picked(binding: ModelBinding[Any], pick: Any) -> ColumnElement[Any]:
    if isinstance(pick, str):
        return binding.column(pick)
    if not callable(pick):
        raise UsageError(
            f"a column is picked by a function of an instance, or by its name, not by {type(pick).__name__}"
        )
    taken = pick(_Recorder())
    if not isinstance(taken, _Recorder) or not taken._path:
        raise UsageError(
            f"the function that picks a column of {binding.name} returns an attribute of what it is given"
            " (lambda item: item.name); compare and compute with the column that comes of it"
        )
    first, *rest = taken._path
    if binding.relations and first in binding.relations:
        target = getattr(binding.relations[str(first)].target, "__name__", "the other model")
        raise UsageError(f"{binding.name}.{first} is a relation: join({first!r}), and pick the column of {target}")
    found = binding.column(str(first))
    return _below(binding, str(first), found, tuple(rest)) if rest else found


def _below(
    binding: ModelBinding[Any], attribute: str, column: ColumnElement[Any], path: tuple[str | int, ...]
) -> ColumnElement[Any]:
    """The place in a JSON column, as the type that the model gives it."""
    if not isinstance(plain(column).type, JSON):
        raise UsageError(f"{binding.name}.{attribute} holds no JSON, so nothing can be picked below it")
    place: Any = column
    for step in path:
        place = place[step]
    annotation = _annotation_at(binding.model, (attribute, *path))
    convert = _AS.get(without_none(annotation)) if annotation is not None else None
    return typing.cast("ColumnElement[Any]", place if convert is None else convert(place))


_AS: Final[dict[Any, Callable[[Any], Any]]] = {
    str: lambda place: place.as_string(),
    int: lambda place: place.as_integer(),
    float: lambda place: place.as_float(),
    bool: lambda place: place.as_boolean(),
    Decimal: lambda place: place.as_numeric(38, 10),
}


def _annotation_at(model: Any, path: tuple[str | int, ...]) -> Any:
    """The annotation of a nested field; None where the classes do not say."""
    annotation: Any = model
    for step in path:
        kind = without_none(annotation)
        if typing.get_origin(kind) in (list, dict):
            annotation = typing.get_args(kind)[-1]
            continue
        fields = record_annotations(kind) if isinstance(kind, type) else None
        if fields is None:
            return None
        if step not in fields:
            raise UsageError(f"{kind.__name__} has no field {str(step)[:80]!r}; it has {', '.join(fields)}")
        annotation = fields[str(step)]
    return annotation
