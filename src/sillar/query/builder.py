"""The query builder: a typed front whose ``statement`` is a SQLAlchemy statement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar, overload

import sqlalchemy
from sqlalchemy import CTE, ColumnElement, Exists, Subquery
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.sql.expression import SQLColumnExpression

from sillar.capabilities import Capability
from sillar.errors import UsageError
from sillar.query import ordering
from sillar.query.binding import ModelBinding, binding_of, checked_name
from sillar.query.by_key import get_many
from sillar.query.column import Columns
from sillar.query.composed import Composed, nested_too_deeply
from sillar.query.condition import Condition
from sillar.query.joining import join_part
from sillar.query.narrowing import narrowed_to
from sillar.query.operands import check_condition
from sillar.query.paging import Page, Pager
from sillar.query.parts import QueryPart, clause, composed, counted, united
from sillar.query.prepared import PreparedQuery
from sillar.query.terminals import Terminals
from sillar.query.writing import Writing

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from sillar.execution.statements import Statements

T = TypeVar("T")
N = TypeVar("N")
V1 = TypeVar("V1")
V2 = TypeVar("V2")
V3 = TypeVar("V3")
V4 = TypeVar("V4")
V5 = TypeVar("V5")
V6 = TypeVar("V6")

_UNIONS: Final = frozenset({"union", "union all"})
_CHANGES_COUNT: Final = _UNIONS | {"limit", "offset", "group by", "distinct", "having"}
_AFTER_UNION: Final = _UNIONS | {"order by", "limit", "offset"}


class QueryBuilder(Writing[T], Terminals[T], Generic[T]):
    """A query over a model, built step by step; each step gives a new builder and leaves the old one as it was.

    Rows are instances of the model, tuples of what :meth:`select` chose, or what :meth:`into` says. A SQLAlchemy class
    gives entities where an ``AsyncSession`` runs the query; in a session of Sillar's choose columns or ``into``.

    Whatever SQLAlchemy can say may stand in it: aggregates, window functions, CASE, casts from ``sqlalchemy.func`` and
    its neighbours. Values are always bound; names are held against the model.

    Args:
        model: a SQLAlchemy class, Tortoise model, Beanie document, class under ``bind_model``, table, alias, subquery,
            CTE, or :func:`sillar.columns` of one of them.

    Attributes:
        model: as given.
        query_parts: the steps so far.
    """

    __slots__ = ("_binding", "_composed", "_into", "_joined", "_keyed", "_selected", "model", "query_parts")

    @overload
    def __init__(self, model: type[T]) -> None: ...
    @overload
    def __init__(self, model: Columns[T]) -> None: ...
    @overload
    def __init__(self: QueryBuilder[dict[str, Any]], model: sqlalchemy.FromClause) -> None: ...
    def __init__(self, model: Any) -> None:
        self.model: Any = model
        self.query_parts: list[QueryPart] = []
        self._binding: ModelBinding[T] = model._binding if type(model) is Columns else binding_of(model)
        self._joined: tuple[ModelBinding[Any], ...] = ()
        self._selected: tuple[Any, ...] | None = None
        self._into: Any = None
        self._keyed = 0
        self._composed: Composed | None = None

    # --- what is read -----------------------------------------------------------------------------------------------

    @overload
    def select(self, a: SQLColumnExpression[V1], /) -> QueryBuilder[tuple[V1]]: ...
    @overload
    def select(self, a: SQLColumnExpression[V1], b: SQLColumnExpression[V2], /) -> QueryBuilder[tuple[V1, V2]]: ...
    @overload
    def select(
        self, a: SQLColumnExpression[V1], b: SQLColumnExpression[V2], c: SQLColumnExpression[V3], /
    ) -> QueryBuilder[tuple[V1, V2, V3]]: ...
    @overload
    def select(
        self,
        a: SQLColumnExpression[V1],
        b: SQLColumnExpression[V2],
        c: SQLColumnExpression[V3],
        d: SQLColumnExpression[V4],
        /,
    ) -> QueryBuilder[tuple[V1, V2, V3, V4]]: ...
    @overload
    def select(
        self,
        a: SQLColumnExpression[V1],
        b: SQLColumnExpression[V2],
        c: SQLColumnExpression[V3],
        d: SQLColumnExpression[V4],
        e: SQLColumnExpression[V5],
        /,
    ) -> QueryBuilder[tuple[V1, V2, V3, V4, V5]]: ...
    @overload
    def select(
        self,
        a: SQLColumnExpression[V1],
        b: SQLColumnExpression[V2],
        c: SQLColumnExpression[V3],
        d: SQLColumnExpression[V4],
        e: SQLColumnExpression[V5],
        f: SQLColumnExpression[V6],
        /,
    ) -> QueryBuilder[tuple[V1, V2, V3, V4, V5, V6]]: ...
    @overload
    def select(self, *fields: SQLColumnExpression[Any] | str) -> QueryBuilder[tuple[Any, ...]]: ...
    def select(self, *fields: Any) -> Any:
        """Choose columns and expressions, by attribute or by name; rows become tuples.

        Raises:
            UsageError: unknown name, nothing chosen, or something that is no expression.
        """
        if not fields:
            raise UsageError("select() takes at least one column; without select() the query gives full rows")
        chosen = tuple([self._binding.selected(each) if isinstance(each, str) else each for each in fields])
        clauses = [clause(each) for each in chosen]
        builder: QueryBuilder[Any] = self._with(
            QueryPart("select", clauses, lambda statement: statement.with_only_columns(*chosen))
        )
        builder._selected, builder._into = chosen, tuple
        return builder

    def into(self, kind: type[N]) -> QueryBuilder[N]:
        """Make rows into a dataclass, msgspec Struct, pydantic model, NamedTuple or scalar type.

        Where nothing was selected yet, only the columns that the fields of ``kind`` name are read.

        Raises:
            UsageError: a field without a default names no column.
        """
        builder: QueryBuilder[Any] = self._copy()
        if self._selected is None and isinstance(kind, type):
            step, chosen = narrowed_to(self._binding, kind)
            if step is not None:
                builder.query_parts.append(step)
                builder._selected = chosen
        builder._into = kind
        return builder

    def distinct(self) -> QueryBuilder[T]:
        """Drop rows that are equal to another one."""
        return self._with(QueryPart("distinct", (), lambda statement: statement.distinct()))

    # --- which rows -------------------------------------------------------------------------------------------------

    def where(
        self, condition: Condition | SQLColumnExpression[bool], *more: Condition | SQLColumnExpression[bool]
    ) -> QueryBuilder[T]:
        """Keep the rows for which all conditions are true.

        Raises:
            UsageError: an unknown name, something that is no condition, or a filter after ``union``.
        """
        conditions = [self._condition(each) for each in (condition, *more)] if more else [self._condition(condition)]
        return self._with(QueryPart("where", conditions, lambda statement: statement.where(*conditions)))

    def join(
        self,
        model: Any,
        on: Condition | SQLColumnExpression[bool] | None = None,
        *,
        left: bool = False,
    ) -> QueryBuilder[T]:
        """Join another model.

        Args:
            model: a model, ``columns(model, alias=…)``, a subquery or CTE; or a relationship of this one, by attribute
                or by name.
            on: the condition; None goes along the relation or the foreign key between the two.
            left: keep rows without a partner.

        Raises:
            UsageError: there is no way between the two, or more than one, and no condition was given.
        """
        condition = None if on is None else self._condition(on)
        made, joined = join_part(self._binding, self._joined, model, condition, left=left)
        builder = self._with(made)
        builder._joined = (*self._joined, joined)
        return builder

    def group_by(self, *fields: SQLColumnExpression[Any] | str) -> QueryBuilder[T]:
        """Make one row of those that are equal in these columns."""
        chosen = [clause(self._binding.column(each) if isinstance(each, str) else each) for each in fields]
        return self._with(QueryPart("group by", chosen, lambda statement: statement.group_by(*chosen)))

    def having(self, condition: SQLColumnExpression[bool]) -> QueryBuilder[T]:
        """Keep the groups for which a condition is true."""
        chosen = self._condition(condition)
        return self._with(QueryPart("having", [chosen], lambda statement: statement.having(chosen)))

    def order_by(
        self, *fields: SQLColumnExpression[Any] | str, nulls: Literal["first", "last"] | None = None
    ) -> QueryBuilder[T]:
        """Sort by these columns, after those of earlier calls.

        Args:
            fields: columns, ``column.desc()``, or names; ``"-qty"`` is descending.
            nulls: where rows without a value stand; None leaves it to the engine, and engines differ.
        """
        chosen = [ordering.key_of(self._binding, each, nulls) for each in fields]
        return self._with(QueryPart("order by", chosen, lambda statement: ordering.sorted_by(statement, chosen)))

    def limit(self, count: int | BindParameter[Any]) -> QueryBuilder[T]:
        """At most so many rows."""
        return self._with(counted("limit", count))

    def offset(self, count: int | BindParameter[Any]) -> QueryBuilder[T]:
        """Leave so many rows out. The engine reads them all the same: for pages of a long list see :meth:`page`."""
        return self._with(counted("offset", count))

    def union(self, other: QueryBuilder[Any], *, all: bool = False) -> QueryBuilder[T]:  # noqa: A002 - SQL's word
        """The rows of this query and of another one; equal ones once, unless ``all``."""
        right = other.statement
        kind = "union all" if all else "union"
        return self._with(QueryPart(kind, [right], lambda statement: united(statement, right, all=all)))

    def for_update(
        self, *, skip_locked: bool = False, nowait: bool = False, read: bool = False, key_share: bool = False
    ) -> QueryBuilder[T]:
        """Lock the rows until the transaction ends.

        Args:
            skip_locked: leave out rows that others have locked.
            nowait: fail at once where one is locked.
            read: a shared lock (FOR SHARE).
            key_share: let others refer to the rows by foreign key meanwhile (PostgreSQL).
        """
        options = {"skip_locked": skip_locked, "nowait": nowait, "read": read, "key_share": key_share}
        return self._with(
            QueryPart("for update", (), lambda statement: statement.with_for_update(**options), *options.values())
        )

    # --- as part of another one -------------------------------------------------------------------------------------

    def subquery(self, name: str | None = None) -> Subquery:
        """This query as something to read from or to join: its columns are under ``.c``."""
        made: Subquery = self._select("subquery").subquery(name and checked_name(name))
        return made

    def cte(self, name: str, *, recursive: bool = False) -> CTE:
        """This query as a common table expression; ``recursive`` ones go on with ``.union_all(…)``."""
        made: CTE = self._select("cte").cte(checked_name(name), recursive=recursive)
        return made

    def scalar_subquery(self) -> ColumnElement[Any]:
        """This query of one column and at most one row as a value."""
        made: ColumnElement[Any] = self._select("scalar_subquery").scalar_subquery()
        return made

    def exists(self) -> Exists:
        """Whether this query has a row, as a condition of another one."""
        made: Exists = self._select("exists").exists()
        return made

    def _select(self, what: str) -> Any:
        statement: Any = self.statement
        if not hasattr(statement, what):
            raise UsageError(f"a {type(statement).__name__} has no {what}()")
        return statement

    # --- verbs beside those of all queries --------------------------------------------------------------------------

    async def count(
        self, session: Statements | AsyncSession | None = None, *, params: Mapping[str, Any] | None = None
    ) -> int:
        """How many rows there are, without reading them."""
        kinds = {each.kind for each in self.query_parts}
        if kinds & _CHANGES_COUNT:
            inner = QueryPart(
                "count",
                (),
                lambda statement: sqlalchemy.select(sqlalchemy.func.count()).select_from(statement.subquery()),
            )
        else:
            inner = QueryPart(
                "count",
                (),
                lambda statement: statement.with_only_columns(sqlalchemy.func.count()).order_by(None),
            )
        counting: QueryBuilder[Any] = self._copy()
        counting.query_parts.append(inner)
        counting._into = tuple
        found = await counting.scalars(session, params=params)
        return int(found[0])

    async def page(
        self,
        size: int,
        session: Statements | AsyncSession | None = None,
        *,
        after: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Page[T]:
        """One page of the list in its order, which the primary key makes total; rows without a value come last.

        Args:
            size: rows of a page, 1 to 10,000.
            session: where to run it; None is the one of the context.
            after: ``next_cursor`` of the page before; None begins with the first.
            params: values of named parameters.

        Raises:
            ParameterError: the cursor is damaged or of another list.
            UsageError: the query has a limit, groups or a union, or the model no primary key.
        """
        return await Pager(self._binding, self.query_parts).page(self, size, session, after, params)

    def prepare(self) -> PreparedQuery[T]:
        """The query with its shape settled; values of :func:`sillar.parameter` come with each run."""
        return PreparedQuery(self)

    async def get_many(self, keys: Iterable[Any], session: Statements | AsyncSession | None = None) -> list[T | None]:
        """The rows with these values of the primary key, in their order; None for each that is not there.

        Raises:
            UsageError: the model has no primary key, or one of several columns.
        """
        return await get_many(self, keys, session)

    def with_values(self, columns: Sequence[Any]) -> QueryBuilder[Any]:
        """The same rows as ``(item, *values)``: with the values of further columns behind each."""
        labelled = [column.label(f"value_{number}") for number, column in enumerate(columns, 1)]
        builder = self._with(QueryPart("values", labelled, lambda statement: statement.add_columns(*labelled)))
        builder._keyed = len(labelled)
        return builder

    def paged(self, keys: Sequence[ordering.SortKey], behind: Any) -> QueryBuilder[Any]:
        """This list in the order of the keys, from behind a condition on, with the sort values behind each row."""
        order = [key.expression() for key in keys]
        builder = self._copy()
        builder.query_parts = [each for each in self.query_parts if each.kind != "order by"]
        if behind is not None:
            builder = builder._with(QueryPart("where", [behind], lambda statement: statement.where(behind)))
        builder = builder._with(QueryPart("order by", order, lambda statement: statement.order_by(*order)))
        return builder.with_values([key.column for key in keys])

    # --- the statement ----------------------------------------------------------------------------------------------

    @property
    def statement(self) -> Any:
        """The SQLAlchemy statement that this query is."""
        return self.composed().build()

    def needs(self) -> list[tuple[Capability, str]]:
        if any(each.kind == "for update" for each in self.query_parts):
            return [(Capability.ROW_LOCKS, "leave for_update() out, or use an engine that locks rows")]
        return []

    def _at_most(self, rows: int) -> QueryBuilder[T]:
        if any(each.kind == "limit" for each in self.query_parts):
            return self
        return self.limit(rows)

    def composed(self) -> Composed:
        """The shape and the values of this query.

        Raises:
            ParameterError: a value has a type that its column does not take.
        """
        found = self._composed
        if found is None:
            found = self._composed = composed((self._binding, self._selected is None), self.query_parts, self._build)
        return found

    def _build(self) -> Any:
        binding = self._binding
        names = binding.columns if self._selected is None else ()
        statement: Any = sqlalchemy.select(*[binding.selected(name) for name in names]).select_from(binding.source)
        for each in self.query_parts:
            statement = each.apply(statement)
        return statement

    def entity_statement(self) -> Any:
        """The statement that selects entities of a SQLAlchemy class, for an ``AsyncSession``."""
        if self._selected is not None or not self._binding.entity:
            return self.statement
        statement: Any = sqlalchemy.select(self._binding.model)
        for each in self.query_parts:
            statement = each.apply(statement)
        return statement

    # --- within -----------------------------------------------------------------------------------------------------

    def _condition(self, condition: Any) -> Any:
        if isinstance(condition, Condition):
            condition = condition.on(Columns(self._binding))
        if isinstance(condition, bool):
            raise UsageError(
                "a condition came to True or False before the query saw it: attributes of pydantic and Beanie classes"
                " are no columns; write column(Model, lambda m: m.field) == value"
            )
        found = clause(condition)
        try:
            check_condition(found)
        except RecursionError:
            raise nested_too_deeply() from None
        return found

    def _with(self, step: QueryPart) -> QueryBuilder[T]:
        if step.kind not in _AFTER_UNION and any(each.kind in _UNIONS for each in self.query_parts):
            raise UsageError(f"{step.kind} after union: filter and join the queries before they are united")
        builder = self._copy()
        builder.query_parts.append(step)
        return builder

    def _copy(self) -> QueryBuilder[T]:
        builder: QueryBuilder[T] = object.__new__(type(self))
        builder.model, builder._binding = self.model, self._binding
        builder.query_parts = self.query_parts.copy()
        builder._joined, builder._selected, builder._into = self._joined, self._selected, self._into
        builder._keyed = self._keyed
        builder._composed = None
        return builder

    def __repr__(self) -> str:
        return (
            f"<QueryBuilder of {self._binding.name}: {', '.join(each.kind for each in self.query_parts) or 'all rows'}>"
        )
