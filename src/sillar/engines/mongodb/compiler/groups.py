"""GROUP BY: the rows before it, and what can be said of the groups after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.sql.elements import Over
from sqlalchemy.sql.selectable import SelectBase

from sillar.engines.mongodb.compiler.aggregates import Accumulation, accumulation
from sillar.engines.mongodb.compiler.alignment import literal
from sillar.engines.mongodb.compiler.expressions import Expressions
from sillar.engines.mongodb.compiler.functions import AGGREGATES
from sillar.engines.mongodb.compiler.refusal import unsupported
from sillar.engines.mongodb.compiler.resolution import signature, table_of
from sillar.engines.mongodb.compiler.scope import Expression, Scope, TableSource


def has_aggregate(element: Any) -> bool:
    """Whether an aggregate of this SELECT stands in the element; not one of a subquery or a window."""
    if isinstance(element, SelectBase) or hasattr(element, "selected_columns"):
        return False
    if isinstance(element, Over):
        function = element.element
        parts = [element.partition_by, element.order_by, getattr(function, "criterion", None)]
        parts += getattr(function, "func", function).get_children()
        return any(has_aggregate(part) for part in parts if part is not None)
    if getattr(element, "__visit_name__", "") == "function" and element.name.lower() in AGGREGATES:
        return True
    return any(has_aggregate(child) for child in element.get_children())


@dataclass
class GroupScope(Scope):
    """What a grouped SELECT sees: its keys, aggregates, and columns of a table that it is grouped by the key of.

    Attributes:
        own: the FROMs of the SELECT.
        dependent: the column of a group of which it is certain that it has one value.
    """

    own: Any = ()
    dependent: Callable[[Any], Expression] | None = None

    def column_or_none(self, column: Any) -> Expression | None:
        found = self.replaced.get(signature(column))
        if found is not None:
            return found
        if table_of(column) in self.own:
            assert self.dependent is not None
            return self.dependent(column)
        return self.outer.column(column) if self.outer is not None else None


class Grouped(Expressions):
    """Values and conditions of groups.

    Args:
        rows: what is grouped.
        keys: the expressions of GROUP BY.
    """

    def __init__(self, rows: Expressions, keys: list[Any]) -> None:
        scope = GroupScope(rows.scope.compilation, rows.scope.outer, own=rows.scope.sources, dependent=self._dependent)
        super().__init__(scope)
        self._rows = rows
        self._accumulators: dict[str, tuple[Any, Any]] = {}
        self._known: dict[Any, Expression] = {}
        self._keys: dict[str, Any] = {}
        for key in keys:
            given = rows.value(key)
            name = f"g{len(self._keys)}"
            self._keys[name] = {"$ifNull": [given.code, None]}
            path = f"_id.{name}"
            scope.replaced[signature(key)] = Expression("$" + path, given.kind, given.type, path, None, given.known)
        self._grouped_by = keys

    def aggregate(self, element: Any, criterion: Any) -> Expression:
        key = (signature(element), None if criterion is None else signature(criterion))
        if key not in self._known:
            made: Accumulation = accumulation(self._rows, element, criterion)
            fields = [self._accumulated(part, empty) for part, empty in made.parts]
            code = made.finish(*fields)
            path = code[1:] if isinstance(code, str) else None
            self._known[key] = Expression(code, made.kind, made.type, path)
        return self._known[key]

    def stages(self) -> list[Any]:
        """``$group``; without keys there is one group even where there are no rows."""
        accumulators = {name: part for name, (part, _) in self._accumulators.items()}
        group = {"$group": {"_id": self._keys or None, **accumulators}}
        if self._keys:
            return [*self._rows.scope.taken(), group]
        empty = {"_id": None, **{name: literal(empty) for name, (_, empty) in self._accumulators.items()}}
        return [
            *self._rows.scope.taken(),
            {"$facet": {"groups": [group]}},
            {"$replaceRoot": {"newRoot": {"$ifNull": [{"$arrayElemAt": ["$groups", 0]}, empty]}}},
        ]

    def _accumulated(self, part: Any, empty: Any) -> str:
        for name, known in self._accumulators.items():
            if known[0] is part:
                return "$" + name
        name = f"a{len(self._accumulators)}"
        self._accumulators[name] = part, empty
        return "$" + name

    def _dependent(self, column: Any) -> Expression:
        """A column that is the same in all rows of a group, since the group is one row of its table."""
        source = self._rows.scope.sources[table_of(column)]
        if isinstance(source, TableSource):
            keys = {signature(key) for key in self._grouped_by}
            table = table_of(column)
            primary = [table.c[key.key] for key in source.table.c if key.primary_key]
            if primary and all(signature(key) in keys for key in primary):
                given = self._rows.scope.column(column)
                name = self._accumulated({"$first": given.code}, None)
                return given._replace(code=name, path=name[1:])
        raise unsupported(
            f"the column {column.name!r} beside GROUP BY", "add it to group_by(), or put it into an aggregate"
        )
