"""Membership: IN with a list, ANY and ALL of an array, and what arrays contain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import types as sqltypes
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BindParameter, CollectionAggregate, Tuple

from sillar.engines.mongodb.compiler.alignment import literal, same_kind, settled
from sillar.engines.mongodb.compiler.kinds import Kind, kind_of, writer_of
from sillar.engines.mongodb.compiler.refusal import unsupported
from sillar.engines.mongodb.compiler.scope import Expression
from sillar.engines.mongodb.compiler.template import Late, Slot
from sillar.errors import ParameterError

if TYPE_CHECKING:
    from sillar.engines.mongodb.compiler.expressions import Expressions

ARRAY_OPERATORS: Final = frozenset({"@>", "<@", "&&"})
_NEVER: Final[Any] = literal(False)
_ALWAYS: Final[Any] = literal(True)


def list_slot(expressions: Expressions, left: Expression, bind: BindParameter[Any]) -> Slot:
    """The place of the list of an IN."""
    of = bind.type if kind_of(bind.type) is not Kind.UNKNOWN else left.type
    write = writer_of(of)

    def write_all(values: Any) -> list[Any]:
        if values is None or isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
            raise ParameterError(f"IN takes a list of values, not {type(values).__name__}")
        return [write(value) for value in values]

    return expressions.scope.compilation.slot(bind, write_all)


def in_list(expressions: Expressions, left: Any, bind: BindParameter[Any], among: bool) -> Any:
    """``left IN (values)`` is TRUE, or FALSE where ``among`` is not wanted."""
    if not bind.expanding:
        raise unsupported("IN with a single parameter", "give a list to in_()")
    if isinstance(left, Tuple):
        return _rows_in_list(expressions, left, bind, among)
    given = expressions.value(left)
    probe = Expression(None, kind_of(bind.type), bind.type)
    given, _ = same_kind(given, probe, ordered=False)
    slot = list_slot(expressions, given, bind)
    known = {"$gt": [given.code, None]}

    def make(values: list[Any]) -> Any:
        present = [value for value in values if value is not None]
        found = {"$in": [given.code, literal(present)]}
        if among:
            return {"$and": [known, found]} if present else _NEVER
        if not values:
            return _ALWAYS
        return _NEVER if len(present) < len(values) else {"$and": [known, {"$not": [found]}]}

    return Late([slot], make)


def _rows_in_list(expressions: Expressions, left: Tuple, bind: BindParameter[Any], among: bool) -> Any:
    columns = [expressions.value(clause) for clause in left.clauses]
    writers = [writer_of(column.type) for column in columns]

    def write(rows: Any) -> list[list[Any]]:
        if any(len(row) != len(columns) for row in rows):
            raise ParameterError(f"IN compares rows of {len(columns)} values; another number was given")
        return [[writer(value) for writer, value in zip(writers, row, strict=True)] for row in rows]

    def make(rows: list[list[Any]]) -> Any:
        outcomes = [_row_is(columns, row, among) for row in rows]
        if not outcomes:
            return _NEVER if among else _ALWAYS
        return {"$or" if among else "$and": outcomes}

    return Late([expressions.scope.compilation.slot(bind, write)], make)


def _row_is(columns: list[Expression], row: list[Any], equal: bool) -> Any:
    parts = []
    for column, value in zip(columns, row, strict=True):
        if value is None:
            parts.append(_NEVER)
        else:
            known = {"$gt": [column.code, None]}
            parts.append({"$and": [known, {"$eq" if equal else "$ne": [column.code, literal(value)]}]})
    return {"$and" if equal else "$or": parts}


def among_values(given: Expression, values: Any, want: bool) -> Any:
    """``given = ANY(values)`` for an array of values at hand, with NULLs as SQL has them."""
    known = {"$gt": [given.code, None]}
    found = {"$in": [given.code, values]}
    if want:
        return {"$and": [known, found]}
    no_null = {"$not": [{"$in": [None, values]}]}
    return {"$or": [{"$eq": [{"$size": values}, 0]}, {"$and": [known, no_null, {"$not": [found]}]}]}


def collection(expressions: Expressions, other: Any, operator: str, given: CollectionAggregate[Any], want: bool) -> Any:
    """``other <operator> ANY(array)`` or ``ALL(array)``."""
    from sillar.engines.mongodb.compiler.predicates import comparison

    element = given.element
    while getattr(element, "__visit_name__", "") == "grouping" and not hasattr(element, "selected_columns"):
        element = element.element
    is_any = given.operator is operators.any_op
    if hasattr(element, "selected_columns"):
        if is_any and operator == "$eq":
            return expressions.subqueries.among(other, element, want)
        raise unsupported("ANY or ALL of a subquery", "use in_(), not_in() or exists()")
    array, left = expressions.value(element), expressions.value(other)
    if array.kind is not Kind.ARRAY:
        raise unsupported(f"ANY or ALL of {array.kind.value}", "use a column of an ARRAY type")
    item_type = getattr(array.type, "item_type", sqltypes.NullType())
    name = expressions.scope.compilation.fresh("e")
    item = Expression(f"$${name}", kind_of(item_type), item_type)
    held = {"$isArray": [array.code]}
    if is_any and operator == "$eq":
        return {"$and": [held, among_values(settled(left, item), _array(array), want)]}
    each = comparison(operator, left, item, want)
    mapped = {"$map": {"input": _array(array), "as": name, "in": each}}
    # TRUE for ANY is some, FALSE for ANY is all; the other way round for ALL.
    some = is_any is want
    tested = {"$anyElementTrue": [mapped]} if some else {"$allElementsTrue": [mapped]}
    return {"$and": [held, tested]}


def _array(given: Expression) -> Any:
    """The array, or an empty one: all branches of an $and may be evaluated."""
    return {"$cond": [{"$isArray": [given.code]}, given.code, literal([])]}


def array_condition(expressions: Expressions, symbol: str, element: Any, want: bool) -> Any:
    """``@>``, ``<@`` and ``&&`` of arrays; a NULL in an array equals nothing."""
    left, right = expressions.value(element.left), expressions.value(element.right)
    if left.kind is not Kind.ARRAY or right.kind not in (Kind.ARRAY, Kind.UNKNOWN):
        raise unsupported(f"{symbol} on {left.kind.value}", "use it with columns of an ARRAY type")
    right, left = (right, left) if symbol != "<@" else (left, right)
    held = [{"$isArray": [side.code]} for side in (left, right)]
    if symbol == "&&":
        common = {"$setDifference": [{"$setIntersection": [_array(left), _array(right)]}, literal([None])]}
        test: Any = {"$gt": [{"$size": common}, 0]}
    else:
        test = {"$and": [{"$setIsSubset": [_array(right), _array(left)]}, {"$not": [{"$in": [None, _array(right)]}]}]}
    return {"$and": [*held, test if want else {"$not": [test]}]}
