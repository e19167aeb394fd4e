"""The steps of a query as values: each can be looked at, has a key of its own, and is applied to a statement."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Final

import sqlalchemy
from sqlalchemy import BigInteger, CompoundSelect
from sqlalchemy.sql.cache_key import NO_CACHE
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, ClauseElement
from sqlalchemy.sql.visitors import anon_map

from sillar.errors import ParameterError, UsageError
from sillar.query.composed import Composed, nested_too_deeply
from sillar.query.operands import check_operands

Apply = Callable[[Any], Any]
"""One step on a SQLAlchemy statement: takes one, returns the next."""

_COUNT_MAX: Final = 2**63 - 1
_COUNT_TYPE: Final = BigInteger()  # one for all: the key of a type is worked out once per instance


class QueryPart:
    """One step of a query.

    Attributes:
        kind: what it does (``where``, ``join``, ``limit``, …).
        expressions: the columns, conditions, parameters and statements in it.
        apply: does it to a SQLAlchemy statement.
        further: what tells it from another step of its kind with the same expressions.
    """

    __slots__ = ("apply", "expressions", "further", "kind")

    def __init__(self, kind: str, expressions: Sequence[Any], apply: Apply, *further: Hashable) -> None:
        self.kind, self.expressions, self.apply, self.further = kind, expressions, apply, further

    def __repr__(self) -> str:
        return f"QueryPart({self.kind!r}, {', '.join(str(each)[:80] for each in self.expressions)})"


def clause(expression: Any) -> ClauseElement:
    """The expression behind an ORM attribute or a builder; an expression itself is one.

    Raises:
        UsageError: it is none.
    """
    if type(expression) is BinaryExpression:  # what most conditions are
        return expression
    element = expression.__clause_element__() if hasattr(expression, "__clause_element__") else expression
    if not isinstance(element, ClauseElement):
        raise UsageError(
            f"a query is made of columns and SQL expressions, not of {type(expression).__name__}"
            " (of a pydantic, Beanie or Tortoise model take column(Model, lambda m: m.field))"
        )
    return element


def counted(kind: str, number: int | BindParameter[Any]) -> QueryPart:
    """LIMIT or OFFSET: the number is a parameter, so that all numbers are one shape.

    Raises:
        ParameterError: it is no whole number from 0 on.
    """
    if isinstance(number, BindParameter):
        bind = number
    else:
        if type(number) is not int or not 0 <= number <= _COUNT_MAX:
            shown = number if isinstance(number, int) else type(number).__name__
            raise ParameterError(f"{kind} takes a whole number from 0 to 2^63 - 1, not {str(shown)[:40]}")
        bind = BindParameter(None, number, type_=_COUNT_TYPE, unique=True)
    return QueryPart(kind, (bind,), lambda statement: getattr(statement, kind)(bind))


def united(left: Any, right: Any, *, all: bool) -> Any:  # noqa: A002 - SQL's word
    """UNION of two statements.

    SQLite takes no parentheses around a part. So three and more of one kind are one chain, and a part that is sorted,
    limited or a union of the other kind is read from a subquery.
    """
    combine = sqlalchemy.union_all if all else sqlalchemy.union
    keyword = combine(left, right).keyword
    parts: list[Any] = []
    for each in (left, right):
        is_cut = each._has_row_limiting_clause or bool(each._order_by_clauses)
        if isinstance(each, CompoundSelect) and each.keyword is keyword and not is_cut:
            parts += each.selects
        elif is_cut or isinstance(each, CompoundSelect):
            parts.append(sqlalchemy.select(each.subquery()))
        else:
            parts.append(each)
    return combine(*parts)


def composed(head: Hashable, parts: Iterable[QueryPart], build: Callable[[], ClauseElement]) -> Composed:
    """The statement that the steps come to, built only when its shape is new.

    The key is made as SQLAlchemy makes that of a statement (:mod:`sqlalchemy.sql.cache_key`), with one numbering of
    anonymous names for all steps: the same alias or parameter in two of them is told from two different ones.

    Raises:
        ParameterError: a value has a type that its column does not take.
    """
    keys: list[Any] = [head]
    binds: list[BindParameter[Any]] = []
    names = anon_map()
    for each in parts:
        keys.append(each.kind)
        if each.further:
            keys.append(each.further)
        try:
            for expression in each.expressions:
                keys.append(expression._gen_cache_key(names, binds))
        except RecursionError:
            raise nested_too_deeply() from None
    check_operands(binds)
    return Composed(None if NO_CACHE in names else tuple(keys), binds, build)
