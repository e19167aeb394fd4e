"""What a statement asks of its tables: conditions and orders, in the terms of indexes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import Table
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.dml import Delete, Update
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    ClauseElement,
    ColumnClause,
    ExpressionClauseList,
    Grouping,
    Null,
    UnaryExpression,
)
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import Alias, CompoundSelect, Join, Select, SelectBase

from sillar.query.ordering import SortKey

Reach: TypeAlias = Literal["equal", "range", "prefix", "none"]
"""What an index on the column could do for a condition: find, find a range, find by how a text begins, nothing."""

_EQUAL: Final = frozenset({operators.eq, operators.in_op, operators.is_})
_RANGE: Final = frozenset({operators.lt, operators.le, operators.gt, operators.ge, operators.between_op})
_UNSELECTIVE: Final = frozenset({operators.ne, operators.is_not, operators.not_in_op, operators.not_like_op})
_LIKE: Final = frozenset({operators.like_op, operators.startswith_op})


@dataclass(frozen=True, slots=True)
class Predicate:
    """One condition on one table; all conditions of a table have to be true.

    Attributes:
        columns: those of the table that stand in it as they are.
        reach: what an index on the first of them could do.
        text: for messages, without values.
        joins: it compares with a column of another table.
        selective: it can be expected to leave few rows. ``<>`` and ``IS NOT NULL`` cannot.
        branches: of an OR, the conditions of each side.
        expression: what is compared, where it is no bare column.
    """

    columns: tuple[str, ...]
    reach: Reach
    text: str
    joins: bool = False
    selective: bool = True
    branches: tuple[tuple[Predicate, ...], ...] = ()
    expression: str = ""


@dataclass(frozen=True, slots=True)
class TableUse:
    """One table in FROM.

    Attributes:
        table: its name.
        schema: its schema, where it says one.
        alias: as which the statement knows it.
        predicates: the conditions on it.
        sorts: columns that the result is sorted by, if all of them are its own and in one direction; else empty.
    """

    table: str
    schema: str | None
    alias: str
    predicates: tuple[Predicate, ...]
    sorts: tuple[str, ...] = ()

    @property
    def named(self) -> str:
        """For messages."""
        return self.table if self.alias == self.table else f"{self.table} ({self.alias})"


@dataclass(frozen=True, slots=True)
class Block:
    """One SELECT, UPDATE or DELETE; subqueries are blocks of their own.

    Attributes:
        uses: the tables in its FROM.
        limited: it has a LIMIT.
        aggregated: it makes one row of many, or one per group.
        is_write: it changes rows.
    """

    uses: tuple[TableUse, ...]
    limited: bool = False
    aggregated: bool = False
    is_write: bool = False


@dataclass
class _From:
    tables: dict[Any, tuple[Table, str]] = field(default_factory=dict)
    conditions: list[ClauseElement] = field(default_factory=list)


def blocks_of(statement: Any) -> list[Block]:
    """The blocks of a statement, the outermost first. Of an INSERT: those of the SELECT in it."""
    found: list[Block] = []
    selects = [each for each in visitors.iterate(statement) if isinstance(each, (Select, Update, Delete))]
    outer_limit = isinstance(statement, CompoundSelect) and statement._limit_clause is not None
    for each in dict.fromkeys(selects):
        block = _write(each) if isinstance(each, (Update, Delete)) else _select(each, limited=outer_limit)
        if block.uses:
            found.append(block)
    if statement not in selects and found and not isinstance(statement, SelectBase):
        found[0] = Block(found[0].uses, found[0].limited, found[0].aggregated, is_write=True)
    return found


def _select(select: Any, *, limited: bool) -> Block:
    source = _From()
    for each in select.get_final_froms():
        _collect(each, source)
    conditions = [*source.conditions, *select._where_criteria]
    limited = limited or select._limit_clause is not None or select._fetch_clause is not None
    aggregated = bool(select._group_by_clauses) or _aggregates(select)
    keys = [SortKey.of(key) for key in select._order_by_clauses]
    return Block(_uses(source, conditions, keys), limited, aggregated)


def _write(write: Any) -> Block:
    source = _From()
    _collect(write.table, source)
    return Block(_uses(source, list(write._where_criteria), []), is_write=True)


def _aggregates(select: Any) -> bool:
    """Whether all columns are aggregates: then there is one row."""
    columns = list(select._raw_columns)
    return bool(columns) and all(_is_aggregate(each) for each in columns)


def _is_aggregate(element: Any) -> bool:
    inner = getattr(element, "element", element)
    functions = [each for each in visitors.iterate(inner) if isinstance(each, FunctionElement)]
    names = {str(getattr(each, "name", "")).lower() for each in functions}
    return bool(names & {"count", "sum", "min", "max", "avg"}) and not any(
        each.__visit_name__ == "over" for each in visitors.iterate(inner)
    )


def _collect(element: Any, source: _From) -> None:
    if isinstance(element, Join):
        _collect(element.left, source)
        _collect(element.right, source)
        if element.onclause is not None:
            source.conditions.append(element.onclause)
    elif isinstance(element, Alias) and isinstance(element.element, Table):
        source.tables[_plain(element)] = (element.element, str(element.name))
    elif isinstance(element, Table):
        source.tables[_plain(element)] = (element, str(element.name))


def _uses(source: _From, conditions: Sequence[Any], keys: Sequence[SortKey]) -> tuple[TableUse, ...]:
    conjuncts = [each for condition in conditions for each in _conjuncts(condition)]
    uses = []
    for owner, (table, alias) in source.tables.items():
        predicates = tuple(each for each in (_predicate(one, owner) for one in conjuncts) if each is not None)
        uses.append(TableUse(str(table.name), table.schema, alias, predicates, _sorts(keys, owner)))
    return tuple(uses)


def _sorts(keys: Sequence[SortKey], owner: Any) -> tuple[str, ...]:
    names = []
    for key in keys:
        column = _column(key.column, owner)
        if column is None or key.descending != keys[0].descending:
            return ()
        names.append(column)
    return tuple(names)


def _conjuncts(condition: Any) -> Iterator[Any]:
    condition = _bare(condition)
    if _is_list(condition, operators.and_):
        for each in condition.clauses:
            yield from _conjuncts(each)
    else:
        yield condition


def _is_list(element: Any, operator: Any) -> bool:
    return isinstance(element, (BooleanClauseList, ExpressionClauseList)) and element.operator is operator


def _bare(element: Any) -> Any:
    while isinstance(element, Grouping):
        element = element.element
    return element


def _predicate(condition: Any, owner: Any) -> Predicate | None:
    """The condition as one on this table; None if it says nothing of it."""
    mentioned = _owners(condition)
    if owner not in mentioned:
        return None
    if _is_list(condition, operators.or_):
        return _either(condition, owner)
    if isinstance(condition, BinaryExpression):
        return _comparison(condition, owner, mentioned)
    if isinstance(condition, UnaryExpression) and condition.operator in (operators.is_true, operators.is_false):
        column = _column(condition.element, owner)
        if column is not None:
            return Predicate((column,), "equal", column)
    column = _column(condition, owner)
    if column is not None:  # a boolean by itself
        return Predicate((column,), "equal", column)
    return Predicate((), "none", _said(condition), joins=len(mentioned) > 1, expression=_said(condition))


def _either(condition: Any, owner: Any) -> Predicate:
    branches = []
    names: list[str] = []
    for side in condition.clauses:
        found = tuple(each for each in (_predicate(one, owner) for one in _conjuncts(side)) if each is not None)
        branches.append(found)
        names += [column for each in found for column in each.columns]
    selective = all(branch and any(each.selective for each in branch) for branch in branches)
    joins = any(each.joins for branch in branches for each in branch)
    columns = tuple(dict.fromkeys(names))
    return Predicate(columns, "none", " or ".join(columns) or "an OR", joins, selective, tuple(branches))


def _comparison(condition: Any, owner: Any, mentioned: set[Any]) -> Predicate:
    joins = len(mentioned) > 1
    operator = condition.operator
    for one, other in ((condition.left, condition.right), (condition.right, condition.left)):
        one = _bare(one)
        column = _column(one, owner)
        if column is None or owner in _owners(other):
            continue
        selective = operator not in _UNSELECTIVE
        if one is _bare(condition.right) and operator not in _EQUAL | _RANGE | _UNSELECTIVE:
            continue
        if operator in _EQUAL:
            return Predicate((column,), "equal", column, joins)
        if operator in _RANGE:
            return Predicate((column,), "range", column, joins)
        if operator in _LIKE:
            begins = operator is operators.startswith_op or _has_beginning(other)
            return Predicate((column,), "prefix" if begins else "none", f"{column} LIKE", joins)
        return Predicate((column,), "none", f"{column} {_word(operator)}", joins, selective)
    expression = _said(condition.left if owner in _owners(condition.left) else condition.right)
    return Predicate((), "none", expression, joins, operator not in _UNSELECTIVE, expression=expression)


def _has_beginning(pattern: Any) -> bool:
    """Whether a LIKE pattern begins with something that is no wildcard. What is not known yet counts as such."""
    value = pattern.value if isinstance(pattern, BindParameter) else None
    return not isinstance(value, str) or value[:1] not in ("%", "_", "")


def _word(operator: Any) -> str:
    return str(getattr(operator, "__name__", operator)).removesuffix("_op").strip("_").replace("_", " ")


def _column(element: Any, owner: Any) -> str | None:
    """The name of a bare column of this table."""
    element = _bare(element)
    if isinstance(element, ColumnClause) and _owner(element) is owner:
        return str(element.name)
    return None


def _owner(column: Any) -> Any:
    """The table or alias of a column."""
    return _plain(getattr(column, "table", None))


def _plain(table: Any) -> Any:
    """Without what an ORM has noted on it."""
    return table._deannotate() if getattr(table, "_annotations", None) else table


def _owners(element: Any) -> set[Any]:
    """The tables that an expression mentions, those of its subqueries left out."""
    found = set()
    pending = [element]
    while pending:
        one = pending.pop()
        if isinstance(one, ColumnClause):
            found.add(_owner(one))
        elif not isinstance(one, SelectBase):
            pending.extend(_children(one))
    return found


def _children(element: Any) -> Iterable[Any]:
    return () if isinstance(element, (BindParameter, Null)) else element.get_children()


def _said(element: Any) -> str:
    """An expression for messages; values are parameters in it."""
    return str(_bare(element))[:80]
