"""What engines say about statements and tables: plans and catalogues."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql import sqltypes
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeDecorator, TypeEngine

from sillar.engines.connection import Reply
from sillar.errors import UsageError
from sillar.query.explanation import Explanation
from sillar.query.lane import Lane
from sillar.query.live import LiveTable
from sillar.query.plans.results import PlannedRows
from sillar.query.text import StatementText

if TYPE_CHECKING:
    from sillar.engines.adapter import DatabaseAdapter

Bound: TypeAlias = tuple[Any, Sequence[Any]]
"""What an adapter's ``bind`` gives: a statement of the engine, and its values."""
Ask: TypeAlias = Callable[[Sequence[Bound]], Awaitable[Sequence[Reply]]]
"""Runs statements in order on one connection."""


class Explainer(ABC):
    """Asks one engine for plans.

    Args:
        adapter: of the database.
    """

    analyzes = True
    """Whether it can run a statement and say what happened."""

    applies_writes = True
    """Whether analysing a write does what it says."""

    needs_snapshot = False
    """Whether its statements have to see one and the same connection, and so a read-only transaction."""

    def __init__(self, adapter: DatabaseAdapter) -> None:
        self.adapter = adapter

    @abstractmethod
    def statements(self, bound: Any, args: Sequence[Any], *, analyze: bool) -> list[Bound]:
        """The statements that ask for the plan of another one; they run in order on one connection.

        Args:
            bound: what ``bind`` gave for the statement that is asked about.
            args: its values.
            analyze: run it, and say what happened.
        """

    @abstractmethod
    def read(self, replies: Sequence[Reply]) -> Explanation:
        """The explanation in the replies to :meth:`statements`."""

    def preference(self) -> list[Bound]:
        """Statements that make the planner take an index wherever one can serve, for the rest of the transaction. Empty
        where the engine's plans say without it what could serve."""
        return []


class Catalogue(ABC):
    """Asks one engine for its tables.

    Args:
        adapter: of the database.
    """

    def __init__(self, adapter: DatabaseAdapter) -> None:
        self.adapter = adapter

    @abstractmethod
    async def look(self, ask: Ask, table: str, schema: str | None) -> LiveTable | None:
        """One table as it is now; None where there is none of that name.

        Args:
            ask: runs statements in order on one connection.
            table: its name.
            schema: its schema; None is the one where names without one are looked up.
        """

    def families(self, kind: TypeEngine[Any]) -> frozenset[str] | None:
        """The families that a column may have for a type of SQLAlchemy; None: any."""
        generic = _generic(kind.impl_instance if isinstance(kind, TypeDecorator) else kind)
        try:
            family = self.family(kind.compile(dialect=self.adapter.plans.compiler.dialect))
        except SQLAlchemyError:  # of no known type, or without the length that a definition would need
            family = ""
        found = frozenset({family, generic} - {""})
        return found.union(*(self.alternatives.get(each, ()) for each in found)) or None

    alternatives: ClassVar[Mapping[str, frozenset[str]]] = {}
    """Families that serve as well as another one, which may be that of a type in SQLAlchemy (``uuid``, ``json``)."""

    def family(self, type_name: str) -> str:
        """The family of a type by its name; empty where it is not known."""
        raise NotImplementedError


def first_word(type_name: str) -> str:
    """``timestamp`` of ``TIMESTAMP(3) WITH TIME ZONE``."""
    found = re.match(r"[a-z_]\w*", type_name.strip().lower())
    return found[0] if found else ""


def _generic(kind: TypeEngine[Any]) -> str:
    for generic, family in _GENERIC.items():
        if isinstance(kind, generic):
            return family
    return ""


_GENERIC: Final[dict[type, str]] = {
    sqltypes.Uuid: "uuid",
    sqltypes.JSON: "json",
    sqltypes.ARRAY: "array",
    sqltypes.Boolean: "boolean",
    sqltypes.Interval: "interval",
    sqltypes.DateTime: "datetime",
    sqltypes.Date: "date",
    sqltypes.Time: "time",
    sqltypes.Float: "float",
    sqltypes.Numeric: "decimal",
    sqltypes.String: "text",
}
"""The first that a type is an instance of (``Enum`` is a ``String``, and ``Float`` in older versions a ``Numeric``)."""


def explained_text(adapter: DatabaseAdapter, prefix: str, bound: Any, args: Sequence[Any], suffix: str = "") -> Bound:
    """An SQL statement with something before it, whatever lane it takes.

    Raises:
        UsageError: it is no statement that has a plan.
    """
    if getattr(bound, "lane", None) is Lane.SLOW:
        sql, args = written_out(adapter, bound)
        planned = True
    else:
        sql, planned = bound.sql, bound.results is not None
    if not sql.strip():
        raise UsageError("an empty text has no plan")
    if not planned:
        return adapter.bind(f"{prefix}{sql}{suffix}", list(args))
    return planned_text(adapter, f"{prefix}{sql}{suffix}", len(args)), args


def planned_text(adapter: DatabaseAdapter, sql: str, count: int) -> StatementText:
    """A text whose values are such as SQLAlchemy gives them to the driver."""
    compiler = adapter.plans.compiler
    statement = compiler.scan(sql, count)
    statement.results = PlannedRows(
        (),
        by_position=True,
        names_from_driver=True,
        dialect=compiler.dialect,
        make_shape=compiler.shape,
        driver_decoder=compiler.driver_decoder,
        native=compiler.native,
        decimal_codes=compiler.decimal_codes,
    )
    return statement


def written_out(adapter: DatabaseAdapter, bound: Any) -> tuple[str, list[Any]]:
    """The text and the values of a statement that SQLAlchemy runs itself.

    Raises:
        UsageError: it defines the schema.
    """
    compiled = bound.statement.compile(dialect=adapter.plans.compiler.dialect)
    if not isinstance(compiled, SQLCompiler):
        raise UsageError("a statement that defines the schema has no plan")
    state = compiled.construct_expanded_state(dict(bound.params or {}))
    processors: Any = {**compiled._bind_processors, **state.processors}
    values = []
    for name in state.positiontup or ():
        value = state.parameters[name]
        process = processors.get(name)
        values.append(value if process is None else process(value))
    return state.statement, values
