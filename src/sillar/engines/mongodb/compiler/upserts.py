"""Upserts: an INSERT with :class:`sillar.query.upsert.OnConflict` behind its values, as ``bulk_write``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.sql.elements import BindParameter, ClauseElement, Null

from sillar.engines.mongodb.compiler.alignment import literal
from sillar.engines.mongodb.compiler.expressions import Expressions
from sillar.engines.mongodb.compiler.kinds import kind_of
from sillar.engines.mongodb.compiler.names import collection_of, field_of
from sillar.engines.mongodb.compiler.plan import CommandPlan, Counted
from sillar.engines.mongodb.compiler.refusal import unsupported
from sillar.engines.mongodb.compiler.resolution import plain, table_of
from sillar.engines.mongodb.compiler.scope import Compilation, Expression, Scope, TableSource
from sillar.engines.mongodb.compiler.template import Late, Slot
from sillar.engines.mongodb.compiler.writes import Row, assigned, column_of, document_of, insert_rows, value_template
from sillar.errors import ParameterError
from sillar.query.upsert import OnConflict


def is_upsert(statement: Any) -> bool:
    """Whether an INSERT updates what it would collide with."""
    return isinstance(statement._post_values_clause, OnConflict)


class _Excluded:
    """The row that was to be inserted."""

    def __init__(self, row: Row) -> None:
        self._row = row

    def value(self, column: Any) -> Any:
        for own, value in self._row.items():
            if own.name == column.name:
                return value
        raise ParameterError(f"excluded.{column.name} is used, and the row gives no {column.name}")


@dataclass
class _UpsertScope(Scope):
    """The row that is there, and the excluded one."""

    excluded: _Excluded | None = None

    def column_or_none(self, column: Any) -> Expression | None:
        if _is_excluded(column) and self.excluded is not None:
            value = self.excluded.value(column)
            return Expression(
                literal(value), kind_of(column.type), column.type, None, value if isinstance(value, Slot) else None
            )
        return super().column_or_none(column)


def _is_excluded(element: Any) -> bool:
    table = table_of(element)
    return getattr(element, "__visit_name__", "") == "column" and getattr(table, "name", None) == "excluded"


def compile_upsert(compilation: Compilation, statement: Any) -> CommandPlan:
    """One ``update_one(upsert=True)`` for each row, in order.

    Raises:
        UnsupportedCapabilityError: RETURNING.
        ParameterError: a row lacks a part of the key.
    """
    if statement._returning:
        raise unsupported("RETURNING of an upsert", "select the rows by their key afterwards")
    conflict = statement._post_values_clause
    table = plain(statement.table)
    keys = [column_of(table, key) for key in conflict.key]
    update = dict(zip(conflict.names, conflict.values, strict=True))
    operations = [
        _operation(compilation, table, keys, row, update) for row in insert_rows(compilation, statement, table)
    ]
    counted = Counted.UPSERTED if update else Counted.ADDED
    return CommandPlan(collection_of(table), "bulk_write", {"operations": operations}, counted=counted)


def _operation(compilation: Compilation, table: Any, keys: list[Any], row: Row, update: Any) -> Any:
    missing = [key.name for key in keys if key not in row]
    if missing:
        raise ParameterError(f"a row of the upsert lacks its key: {', '.join(missing)}")
    changes = _changes(compilation, table, row, update)
    constant = {column: value for column, value in changes.items() if not isinstance(value, ClauseElement)}
    if len(constant) == len(changes):
        operation = _plain_operation(table, keys, row, constant)
    else:
        operation = _computed_operation(compilation, table, keys, row, changes)
    slots = [row[key] for key in keys if isinstance(row[key], Slot)]
    insert = ["insert_one", document_of(table, row)]  # NULL equals no other NULL: there is no conflict
    return Late(slots, lambda *values: insert if any(value is None for value in values) else operation)


def _changes(compilation: Compilation, table: Any, row: Row, update: Mapping[str, Any]) -> dict[Any, Any]:
    """What a row that is there already takes: templates, or expressions."""
    changes: dict[Any, Any] = {}
    excluded = _Excluded(row)
    for key, given in update.items():
        column = column_of(table, key)
        while getattr(given, "__visit_name__", "") == "grouping":
            given = given.element
        if _is_excluded(given):
            changes[column] = excluded.value(given)
        elif isinstance(given, (BindParameter, Null)):
            changes[column] = value_template(compilation, column, given)
        else:
            changes[column] = given
    return changes


def _plain_operation(table: Any, keys: list[Any], row: Row, changes: dict[Any, Any]) -> Any:
    filter_, fields = {}, {}
    for key in keys:
        filter_[field_of(key, table)] = {"$eq": row[key]}
    fields["$set"] = {field_of(column, table): value for column, value in changes.items() if column not in keys}
    fields["$setOnInsert"] = {
        field_of(column, table): value for column, value in row.items() if column not in keys and column not in changes
    }
    update = {operator: values for operator, values in fields.items() if values}
    if not update:
        key = keys[0]
        update = {"$setOnInsert": {field_of(key, table): row[key]}}
    return ["update_one", filter_, update, {"upsert": True}]


def _computed_operation(
    compilation: Compilation, table: Any, keys: list[Any], row: Row, changes: dict[Any, Any]
) -> Any:
    """With expressions it is a pipeline, which has to know itself whether the row is new.

    A new document has at first what the filter says is equal, and no ``_id`` unless the filter says so; so the filter
    says it by a range, which means the same and is not taken over.
    """
    scope = _UpsertScope(compilation, limited="an upsert", excluded=_Excluded(row))
    scope.sources[table] = TableSource(table)
    expressions = Expressions(scope)
    is_new = {"$eq": [{"$type": "$_id"}, "missing"]}
    filter_, values = {}, {}
    for key in keys:
        path = field_of(key, table)
        filter_[path] = {"$gte": row[key], "$lte": row[key]}
        values[path] = {"$cond": [is_new, literal(row[key]), f"${path}"]}
    for column in {**row, **changes}:
        if column in keys:
            continue
        path = field_of(column, table)
        inserted = literal(row[column]) if column in row else "$$REMOVE"
        values[path] = {"$cond": [is_new, inserted, _changed(expressions, column, path, changes)]}
    return ["update_one", filter_, [{"$set": values}], {"upsert": True}]


def _changed(expressions: Expressions, column: Any, path: str, changes: dict[Any, Any]) -> Any:
    if column not in changes:
        return f"${path}"
    given = changes[column]
    if not isinstance(given, ClauseElement):
        return literal(given)
    return assigned(expressions.value(given), column)
