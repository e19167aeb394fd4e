"""INSERT, UPDATE and DELETE."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from sqlalchemy.sql.elements import BindParameter, ClauseElement, Null

from sillar.engines.mongodb.compiler import casts
from sillar.engines.mongodb.compiler.alignment import literal
from sillar.engines.mongodb.compiler.conditions import conjuncts, filter_of
from sillar.engines.mongodb.compiler.expressions import Expressions
from sillar.engines.mongodb.compiler.failures import Failure, failing
from sillar.engines.mongodb.compiler.kinds import Kind, kind_of, writer_of
from sillar.engines.mongodb.compiler.names import collection_of, field_of, id_column, is_required
from sillar.engines.mongodb.compiler.plan import CommandPlan, Counted, Table
from sillar.engines.mongodb.compiler.refusal import unsupported
from sillar.engines.mongodb.compiler.resolution import plain
from sillar.engines.mongodb.compiler.scope import Compilation, Expression, Output, Scope, TableSource
from sillar.engines.mongodb.compiler.template import Constant, Late
from sillar.errors import ParameterError
from sillar.query.upsert import OnConflict

Row = dict[Any, Any]
"""The values of one row by column: places, constants, or late parts."""
_GENERATED: Final = frozenset({Kind.OPAQUE, Kind.UNKNOWN})


def storing_writer(column: Any) -> Callable[[Any], Any]:
    """What turns a value into the stored one: checked for NULL and length, decimals at the column's scale."""
    write = writer_of(column.type)
    name, required = column.name, is_required(column)
    kind = kind_of(column.type)
    scale = getattr(column.type, "scale", None) if kind is Kind.DECIMAL else None
    step = None if scale is None else Decimal(1).scaleb(-scale)
    length = getattr(column.type, "length", None) if kind is Kind.TEXT else None

    def stored(value: Any) -> Any:
        value = write(value)
        if value is None:
            if required:
                raise ParameterError(f"the column {name} is NOT NULL and is given NULL")
        elif step is not None and isinstance(value, Decimal) and value.is_finite():
            value = value.quantize(step, ROUND_HALF_UP)
        elif length is not None and len(value) > length:
            raise ParameterError(f"the column {name} takes {length} characters, and a longer text is given")
        return value

    return stored


def column_of(table: Any, key: Any) -> Any:
    """The column that a key of VALUES or SET names."""
    column = table.c.get(key) if isinstance(key, str) else table.c.get(key.key)
    if column is None:
        name = key if isinstance(key, str) else key.name
        column = next((each for each in table.c if each.name == name), None)
        if column is None:
            raise ParameterError(f"the table {table.name} has no column {name}")
    return column


def value_template(compilation: Compilation, column: Any, given: Any) -> Any:
    """The template of a constant that is stored in a column.

    Raises:
        UnsupportedCapabilityError: it is an expression.
    """
    write = storing_writer(column)
    if isinstance(given, BindParameter):
        return compilation.slot(given, write)
    if isinstance(given, Null):
        return Late((), lambda: Constant(write(None)))
    if isinstance(given, ClauseElement):
        raise unsupported(f"an expression as the value of {column.name} in INSERT", "compute it in Python")
    return Late((), lambda: Constant(write(given)))


def compile_insert(compilation: Compilation, statement: Any) -> CommandPlan:
    """INSERT … VALUES as ``insert_many``.

    Raises:
        UnsupportedCapabilityError: INSERT … SELECT, expressions as values, defaults of the server.
        ParameterError: a column that is NOT NULL is given no value.
    """
    table = plain(statement.table)
    rows = insert_rows(compilation, statement, table)
    template = {"documents": [document_of(table, row) for row in rows]}
    returned, project = _returning(statement, table)
    return CommandPlan(
        collection_of(table), "insert_many", template, counted=Counted.INSERTED, table=returned, returning=project
    )


def insert_rows(compilation: Compilation, statement: Any, table: Any) -> list[Row]:
    """The rows of VALUES, completed by the defaults of the columns."""
    if statement.select is not None:
        raise unsupported("INSERT … SELECT", "select the rows and insert them, or write a $merge yourself")
    if statement._post_values_clause is not None and not isinstance(statement._post_values_clause, OnConflict):
        raise unsupported("ON CONFLICT", "use the builder's upsert()")
    given: list[Mapping[Any, Any]] = [row for rows in statement._multi_values for row in rows]
    if not given:
        given = [statement._values or {}]
    made = []
    for values in given:
        row: Row = {}
        for key, value in values.items():
            column = column_of(table, key)
            row[column] = value_template(compilation, column, value)
        _complete(table, row)
        made.append(row)
    return made


def _complete(table: Any, row: Row) -> None:
    for column in table.c:
        if column in row:
            continue
        default = column.default
        if default is not None:
            row[column] = _default(column, default)
        elif column.server_default is not None or column.computed is not None or column.identity is not None:
            raise unsupported(
                f"the server's default of the column {column.name}", "give the value, or a default in Python"
            )
        elif is_required(column) and not _is_generated(table, column):
            if column.primary_key and kind_of(column.type) is Kind.INT:
                raise unsupported(f"a generated integer for {column.name}", "give the key, or use another type of key")
            raise ParameterError(f"the column {column.name} is NOT NULL and is given no value")


def _is_generated(table: Any, column: Any) -> bool:
    """Whether the driver makes the value up: an object id."""
    return column.key == id_column(table) and kind_of(column.type) in _GENERATED


def _default(column: Any, default: Any) -> Any:
    write = storing_writer(column)
    if getattr(default, "is_scalar", False):
        return Late((), lambda: Constant(write(default.arg)))
    if getattr(default, "is_callable", False):
        return Late((), lambda: Constant(write(default.arg(None))))
    raise unsupported(f"the default of the column {column.name}, which the server computes", "use a default in Python")


def document_of(table: Any, row: Row) -> dict[str, Any]:
    """A document of values; a dotted path makes documents inside."""
    document: dict[str, Any] = {}
    for column, value in row.items():
        *parents, last = field_of(column, table).split(".")
        inner = document
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = value
    return document


def _returning(
    statement: Any, table: Any
) -> tuple[Table | None, Callable[[Mapping[str, Any]], Mapping[str, Any]] | None]:
    if not statement._returning:
        return None, None
    outputs, paths = [], []
    for index, column in enumerate(statement._all_selected_columns):
        element = column.element if column.__visit_name__ == "label" else column
        if element.__visit_name__ != "column" or table.c.get(element.key) is None:
            raise unsupported("RETURNING an expression", "return columns, and compute it in Python")
        own = table.c[element.key]
        paths.append(field_of(own, table).split("."))
        outputs.append(Output(column.name, str(index), Expression(None, kind_of(own.type), own.type)))

    def project(document: Mapping[str, Any]) -> dict[str, Any]:
        return {str(index): _at(document, path) for index, path in enumerate(paths)}

    return Table(outputs), project


def _at(document: Any, path: Sequence[str]) -> Any:
    for part in path:
        document = document.get(part) if isinstance(document, Mapping) else None
    return document


def compile_update(compilation: Compilation, statement: Any) -> CommandPlan:
    """UPDATE … SET … WHERE as ``update_many``; expressions make it a pipeline.

    Raises:
        UnsupportedCapabilityError: RETURNING, UPDATE … FROM, subqueries, a change of the key.
    """
    state = compilation.resolution.change(statement)
    statement = state.statement
    table = plain(statement.table)
    expressions, criteria = _filtered(compilation, statement, state, table, "UPDATE")
    changes = dict(statement._values or {})
    named = {column_of(table, key).key for key in changes}
    for column in table.c:
        if column.key not in named and column.onupdate is not None:
            changes[column.key] = _default(column, column.onupdate)
    if not changes:
        raise ParameterError("UPDATE is given nothing to set")
    template = {"filter": criteria, "update": change_of(expressions, table, changes)}
    return CommandPlan(collection_of(table), "update_many", template, counted=Counted.MATCHED)


def change_of(expressions: Expressions, table: Any, changes: Mapping[Any, Any]) -> Any:
    """``$set`` of constants, or a pipeline where an expression is among them."""
    constants: dict[str, Any] = {}
    computed: dict[str, Any] = {}
    for key, given in changes.items():
        column = column_of(table, key)
        path = field_of(column, table)
        if path == "_id":
            raise unsupported("a change of the key", "insert the row under its new key, and delete the old one")
        while getattr(given, "__visit_name__", "") == "grouping":
            given = given.element
        if isinstance(given, Late):
            constants[path] = given
        elif isinstance(given, ClauseElement) and not isinstance(given, (BindParameter, Null)):
            computed[path] = assigned(expressions.value(given), column)
        else:
            constants[path] = value_template(expressions.scope.compilation, column, given)
    if not computed:
        return {"$set": constants}
    return [{"$set": {**{path: literal(value) for path, value in constants.items()}, **computed}}]


def assigned(given: Expression, column: Any) -> Any:
    """An expression as the value of a column: converted as SQL converts, and never NULL where that is forbidden."""
    kind = kind_of(column.type)
    code = given.code
    if Kind.UNKNOWN not in (given.kind, kind) and given.kind is not kind:
        code = casts.converted(given, kind)
    if kind is Kind.DECIMAL and getattr(column.type, "scale", None) is not None:
        code = casts.rounded_half_away({"$toDecimal": code}, literal(column.type.scale))
    if is_required(column):
        refused = failing(Failure.NULL)
        code = {"$let": {"vars": {"x": code}, "in": {"$cond": [{"$gt": ["$$x", None]}, "$$x", refused]}}}
    return code


def compile_delete(compilation: Compilation, statement: Any) -> CommandPlan:
    """DELETE … WHERE as ``delete_many``.

    Raises:
        UnsupportedCapabilityError: RETURNING, DELETE … USING, subqueries.
    """
    state = compilation.resolution.change(statement)
    statement = state.statement
    table = plain(statement.table)
    _, criteria = _filtered(compilation, statement, state, table, "DELETE")
    return CommandPlan(collection_of(table), "delete_many", {"filter": criteria}, counted=Counted.DELETED)


def _filtered(compilation: Compilation, statement: Any, state: Any, table: Any, verb: str) -> tuple[Expressions, Any]:
    if statement._returning:
        raise unsupported(f"RETURNING of {verb}", "select the rows first, in the same transaction")
    if getattr(statement, "_post_criteria_clause", None) is not None:
        raise unsupported(f"a syntax extension of {verb}", "leave it out, and write the condition into where()")
    if getattr(state, "_extra_froms", None):
        raise unsupported(f"{verb} with several tables", "select the keys first, and give them to in_()")
    scope = Scope(compilation, limited=verb)
    scope.sources[table] = TableSource(table)
    expressions = Expressions(scope)
    parts = conjuncts(statement._where_criteria)
    return expressions, filter_of(expressions, parts) if parts else {}
