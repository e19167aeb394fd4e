"""ORDER BY as ``$sort``."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy.sql import operators

from sillar.engines.mongodb.compiler.alignment import check_order
from sillar.engines.mongodb.compiler.kinds import Kind
from sillar.engines.mongodb.compiler.refusal import unsupported
from sillar.engines.mongodb.compiler.scope import Compilation, Expression


class Direction(NamedTuple):
    """One element of ORDER BY: what it orders by, and how."""

    element: Any
    descending: bool
    nulls_first: bool


def direction_of(element: Any) -> Direction:
    """What ``asc()``, ``desc()``, ``nulls_first()`` and ``nulls_last()`` say; NULLs are greatest, as in PostgreSQL."""
    descending, nulls_first = False, None
    while True:
        if getattr(element, "__visit_name__", "") == "label_reference":
            element = element.element
            continue
        modifier = getattr(element, "modifier", None)
        if modifier is operators.desc_op:
            descending = True
        elif modifier in (operators.nulls_first_op, operators.nulls_last_op):
            nulls_first = modifier is operators.nulls_first_op
        elif modifier is not operators.asc_op:
            break
        element = element.element
    return Direction(element, descending, descending if nulls_first is None else nulls_first)


def sorting(
    compilation: Compilation, keys: list[tuple[Expression, Direction]]
) -> tuple[dict[str, Any], dict[str, int]]:
    """What is computed beforehand, and the keys of the ``$sort``.

    MongoDB has NULLs least. Where SQL wants them at the other end, a key that tells NULLs from others comes first; a
    field that is declared NOT NULL goes without, so that an index serves it.

    Raises:
        UnsupportedCapabilityError: MongoDB orders values of such a kind otherwise.
    """
    computed: dict[str, Any] = {}
    order: dict[str, int] = {}
    for given, direction in keys:
        if given.kind is Kind.UNKNOWN and given.path is None:
            raise unsupported("ORDER BY a value without a type", "order by a column, or cast it")
        check_order(given.kind)
        sign = -1 if direction.descending else 1
        path = given.path
        if path is None:
            path = compilation.fresh("__o")
            computed[path] = given.code
        if path in order:
            continue
        natively_first = not direction.descending
        if not given.known and direction.nulls_first is not natively_first:
            rank = compilation.fresh("__n")
            computed[rank] = {"$lte": [given.code, None]}
            order[rank] = -1 if direction.nulls_first else 1
        order[path] = sign
    return computed, order
