"""What SQLAlchemy's own compiler knows of a statement: ORM entities as columns, FROMs, correlation, output names.

The private names of SQLAlchemy that this takes stand here and nowhere else; a test holds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import literal_column
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BindParameter, ColumnElement, Label
from sqlalchemy.sql.util import _deep_deannotate


class MongoDBDialect(DefaultDialect):
    """What SQLAlchemy asks of a dialect while it resolves a statement; nothing is ever executed by it."""

    name = "mongodb"
    supports_native_boolean = True
    supports_native_uuid = True
    supports_statement_cache = True
    insert_returning = True
    supports_multivalues_insert = True


_DIALECT: Final = MongoDBDialect()
_EXTENSIONS: Final = ("_post_select_clause", "_pre_columns_clause", "_post_criteria_clause", "_post_body_clause")
_TOP: Final[Any] = {"correlate_froms": frozenset(), "asfrom_froms": frozenset()}


@dataclass(frozen=True, slots=True)
class Resolved:
    """A SELECT of columns.

    Attributes:
        statement: the Core statement, whatever it was made of.
        froms: its FROMs; those of an enclosing SELECT that it refers to are not among them.
        outputs: names and columns in order.
        labels: what a name in ORDER BY or GROUP BY may mean.
    """

    statement: Any
    froms: Sequence[Any]
    outputs: Sequence[tuple[str, Any]]
    labels: Any


class Resolution:
    """Resolves the parts of one statement."""

    def __init__(self) -> None:
        self._compiler: Any = SQLCompiler(_DIALECT, None)
        self._compiler.stack = []

    @contextmanager
    def select(self, statement: Any, *, asfrom: bool = False) -> Iterator[Resolved]:
        """Resolve a SELECT; inside the block those that it contains are resolved in its context."""
        compiler = self._compiler
        state = statement._compile_state_factory(statement, compiler, asfrom=asfrom, lateral=False)
        entry = compiler.stack[-1] if compiler.stack else _TOP
        froms = compiler._setup_select_stack(state.statement, state, entry, asfrom, False, None)
        outputs = [
            (self._output_name(required, fallback, column), column)
            for required, _, fallback, column, _ in state.columns_plus_names
        ]
        try:
            yield Resolved(state.statement, froms, outputs, state._label_resolve_dict[0])
        finally:
            compiler.stack.pop()

    def change(self, statement: Any) -> Any:
        """An INSERT, UPDATE or DELETE with columns for attributes: the state that SQLAlchemy makes of it."""
        return statement._compile_state_factory(statement, self._compiler)

    def name(self, given: Any) -> str:
        """A name as SQL would have it: anonymous ones are numbered."""
        return str(self._compiler._truncated_identifier("colident", given)) if _is_anonymous(given) else str(given)

    def _output_name(self, required: Any, fallback: Any, column: Any) -> str:
        if isinstance(column, Label):
            return self.name(column.name)
        if required:
            return self.name(required)
        name = getattr(column, "name", None) or fallback or column._anon_name_label
        if not getattr(column, "is_literal", False) and not hasattr(column, "table") and fallback:
            name = fallback  # a function is called count_1
        return self.name(name)


def _is_anonymous(given: Any) -> bool:
    return hasattr(given, "apply_map")


def has_floor(left: Any, right: Any) -> bool:
    """Whether SQLAlchemy puts FLOOR around ``//`` of these types on PostgreSQL, which its versions do not agree on."""
    divided = literal_column("a", left) // literal_column("b", right)
    return str(divided.compile(dialect=_DIALECT)).startswith("FLOOR(")


def plain(element: Any) -> Any:
    """An element without the ORM's annotations."""
    return _deep_deannotate(element)


def signature(element: Any) -> Any:
    """Equal for expressions that are the same, values included: they are so only if they stand in the same place."""
    generated = plain(element)._generate_cache_key()
    if generated is None:
        return id(element)
    return generated.key, tuple(_original(bind).key for bind in generated.bindparams)


def _original(bind: Any) -> Any:
    """The parameter that SQLAlchemy's copies were made of."""
    while bind._is_clone_of is not None:
        bind = bind._is_clone_of
    return bind


def clones_of(bind: BindParameter[Any]) -> frozenset[Any]:
    """The same parameter before SQLAlchemy copied it."""
    return frozenset(bind._cloned_set)


def table_of(column: ColumnElement[Any]) -> Any:
    """The FROM that a column belongs to, or None."""
    return getattr(column, "table", None)


def parts_without_name(statement: Any) -> dict[str, bool]:
    """Which parts of a SELECT it has that SQLAlchemy has no public name for."""
    return {
        "DISTINCT ON": bool(statement._distinct_on),
        "FETCH": statement._fetch_clause is not None,
        "FOR UPDATE": statement._for_update_arg is not None,
        "prefixes": bool(statement._prefixes),
        "suffixes": bool(statement._suffixes),
        "a syntax extension": any(getattr(statement, name, None) is not None for name in _EXTENSIONS),
    }
