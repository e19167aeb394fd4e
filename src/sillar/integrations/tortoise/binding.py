"""A Tortoise model as the query builder takes it: what the entry point ``sillar.models`` names."""

from __future__ import annotations

from typing import Any

from tortoise.models import Model

from sillar.integrations.tortoise.tables import Relation, TortoiseBinding, binding_of
from sillar.query import binding


def model_binding(model: type[Model]) -> binding.ModelBinding[Any]:
    """The binding of a model class.

    Raises:
        UsageError: it is abstract, or has relations that Tortoise has not resolved yet.
    """
    found = binding_of(model)
    columns = {attribute: found.table.c[name] for attribute, name in found.attributes.items()}
    relations = {name: _relation(each, found) for name, each in found.relations.items()}
    return binding.ModelBinding(
        model, found.table, columns, (found.primary_key,), relations=relations, into=model, make=found.make
    )


def _relation(relation: Relation, own: TortoiseBinding) -> binding.Relation:
    through = relation.through
    if through is None:
        return binding.Relation(relation.target, ((relation.local, relation.remote),))
    return binding.Relation(
        relation.target,
        ((relation.local, through.local),),
        binding.Through(through.table, ((through.remote, relation.remote),)),
    )
