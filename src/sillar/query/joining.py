"""Joins: along a relation, along the foreign key between two tables, or on a condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy
from sqlalchemy import and_
from sqlalchemy.exc import AmbiguousForeignKeysError, NoForeignKeysError

from sillar.errors import UsageError
from sillar.query.binding import ModelBinding, Relation, Through, binding_of, unknown_column
from sillar.query.column import Columns, bound
from sillar.query.parts import QueryPart, clause


def join_part(
    binding: ModelBinding[Any], joined: Sequence[ModelBinding[Any]], model: Any, condition: Any, *, left: bool
) -> tuple[QueryPart, ModelBinding[Any]]:
    """The step that joins a model to what a query reads already, and the binding of that model.

    Raises:
        UsageError: no way, or several, between them and no condition given; no such relation.
    """
    relationship = _relationship(binding, model)
    if relationship is not None:
        target = binding_of(relationship.property.mapper.class_)
        return (
            QueryPart(
                "join",
                [clause(relationship), target.table],
                lambda statement: statement.join(relationship, isouter=left),
                left,
            ),
            target,
        )
    if isinstance(model, str):
        relation = _relation(binding, model)
        target = binding_of(relation.target)
        if relation.through is not None and condition is None:
            return _through(binding, target, relation, relation.through, left=left), target
        condition = _equal(binding.table, target.table, relation.pairs) if condition is None else condition
    else:
        target = bound(model)
        if condition is None:
            condition = _way((binding, *joined), target)
    on = condition
    return (
        QueryPart(
            "join",
            [target.table, on],
            lambda statement: statement.join(target.source, on, isouter=left),
            left,
        ),
        target,
    )


def _relationship(binding: ModelBinding[Any], model: Any) -> Any:
    """The relationship of a SQLAlchemy class that was given by attribute or by name, or None."""
    attribute = model
    if isinstance(model, Columns):
        return None
    if isinstance(model, str):
        if not binding.entity:
            return None
        attribute = getattr(binding.model, model, None)
    found = getattr(attribute, "property", None)
    if found is not None and hasattr(found, "mapper") and hasattr(found, "direction"):
        return attribute
    if isinstance(model, str):
        raise UsageError(_no_relation(binding, model, sqlalchemy.inspect(binding.model).relationships.keys()))
    return None


def _relation(binding: ModelBinding[Any], name: str) -> Relation:
    relation = (binding.relations or {}).get(name)
    if relation is None:
        raise UsageError(_no_relation(binding, name, binding.relations or ()))
    return relation


def _through(
    binding: ModelBinding[Any], target: ModelBinding[Any], relation: Relation, through: Through, *, left: bool
) -> QueryPart:
    """The step that joins a model by way of the table between."""
    to_middle = _equal(binding.table, through.table, relation.pairs)
    to_target = _equal(through.table, target.table, through.pairs)
    return QueryPart(
        "join",
        [through.table, to_middle, target.table, to_target],
        lambda statement: statement.join(through.table, to_middle, isouter=left).join(
            target.source, to_target, isouter=left
        ),
        left,
    )


def _no_relation(binding: ModelBinding[Any], name: str, known: Any) -> str:
    listed = ", ".join(known)
    if name in binding.columns:
        return f"{binding.name}.{name} is a column, no relation; join the other model, and give the condition as on="
    return (
        f"{binding.name} has no relation {name[:80]!r}; "
        + (f"it has {listed}" if listed else "join the other model, and give the condition as on=")
        if name not in (binding.columns or ())
        else unknown_column(name, binding)
    )


def _way(sources: Sequence[ModelBinding[Any]], target: ModelBinding[Any]) -> Any:
    """The condition of a join that none was given for: by the only relation or foreign key there is."""
    found: list[Any] = []
    for source in sources:
        found += _ways(source, target)
    if len(found) == 1:
        return found[0]
    names = " and ".join(source.name for source in sources)
    if not found:
        raise UsageError(
            f"there is no foreign key or relation between {names} and {target.name}; give the condition as on="
        )
    raise UsageError(
        f"there are {len(found)} ways to join {target.name} to {names}; say which: name the relation, or give on="
    )


def _ways(source: ModelBinding[Any], target: ModelBinding[Any]) -> list[Any]:
    if source.relations:
        ways = [
            _equal(source.table, target.table, relation.pairs)
            for relation in source.relations.values()
            if relation.target is target.model and relation.through is None
        ]
        if ways:
            return ways
    try:
        return [sqlalchemy.join(source.table, target.table).onclause]
    except NoForeignKeysError:
        return []
    except AmbiguousForeignKeysError:
        raise UsageError(
            f"there are several foreign keys between {source.name} and {target.name}; say which: name the relation, or"
            " give on="
        ) from None


def _equal(source: Any, target: Any, pairs: Sequence[tuple[str, str]]) -> Any:
    return and_(*(source.c[here] == target.c[there] for here, there in pairs))
