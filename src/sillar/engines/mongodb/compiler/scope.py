"""Where columns come from at one moment of a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.types import NullType, TypeEngine

from sillar.engines.mongodb.compiler.kinds import Kind, kind_of, writer_of
from sillar.engines.mongodb.compiler.names import field_of, is_required
from sillar.engines.mongodb.compiler.refusal import unsupported
from sillar.engines.mongodb.compiler.resolution import Resolution, clones_of, signature, table_of
from sillar.engines.mongodb.compiler.template import Slot


class Expression(NamedTuple):
    """A value of the pipeline's language.

    Attributes:
        code: the expression; a missing field and null are the same.
        kind: what its values are.
        type: SQLAlchemy's type, for reading results.
        path: the field, where it is a plain one of the documents at hand.
        slot: where it is a parameter, its place.
        known: it is declared never to be NULL.
    """

    code: Any
    kind: Kind
    type: TypeEngine[Any]
    path: str | None = None
    slot: Slot | None = None
    known: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """A column that a SELECT gives: its name, the field it stands in, and what it is."""

    name: str
    field: str
    expression: Expression


@dataclass(slots=True)
class Pipeline:
    """A compiled SELECT: stages on a collection that give documents with one field for each output column.

    Attributes:
        is_single: it gives one row at most, whatever there is.
    """

    collection: str
    stages: list[Any]
    outputs: list[Output]
    is_single: bool = False


class Compilation:
    """What the parts of one statement share: names made up on the way, and the parameters met.

    Args:
        binds: the parameters whose values change from execution to execution, in the order of their places.
        compile_query: compiles a SELECT, seen from an enclosing one.
    """

    def __init__(self, binds: tuple[BindParameter[Any], ...], compile_query: Callable[..., Pipeline]) -> None:
        self._compile_query = compile_query
        self.resolution = Resolution()
        self.constants: list[BindParameter[Any]] = []
        """Parameters that are none of the key's: SQLAlchemy made them up while it compiled."""
        self._binds = binds
        self._positions = {bind.key: index for index, bind in enumerate(binds)}
        self._numbers: dict[str, int] = {}

    def fresh(self, prefix: str) -> str:
        """A name that nothing else has."""
        number = self._numbers[prefix] = self._numbers.get(prefix, -1) + 1
        return f"{prefix}{number}"

    def compile_query(self, statement: Any, outer: Outer | None, *, rows_only: bool = False) -> Pipeline:
        """A SELECT or UNION inside another statement."""
        return self._compile_query(self, statement, outer, rows_only=rows_only)

    def slot(self, bind: BindParameter[Any], write: Callable[[Any], Any] | None = None) -> Slot:
        """The place of a parameter's value."""
        return Slot(self._position(bind), write or writer_of(bind.type))

    def _position(self, bind: BindParameter[Any]) -> int:
        position = self._positions.get(bind.key)
        if position is not None:
            return position
        for clone in clones_of(bind):
            for index, known in enumerate(self._binds):
                if clone is known:
                    return index
        self.constants.append(bind)
        position = self._positions[bind.key] = len(self._binds) + len(self.constants) - 1
        return position


class TableSource:
    """The documents of a collection.

    Args:
        table: the table, for names of fields.
        prefix: path of its documents among those at hand, with a final dot; empty for the root.
        optional: from the outer side of a join: any column may be NULL.
    """

    def __init__(self, table: Any, prefix: str = "", *, optional: bool = False) -> None:
        self.table, self.prefix, self.optional = table, prefix, optional

    def expression(self, column: Any) -> Expression:
        own = self.table.c.get(column.key)
        if own is None:
            own = next((each for each in self.table.c if each.name == column.name), None)
        if own is None:
            raise unsupported(f"a column that {self.table.name} does not have", "declare it on the table")
        path = self.prefix + field_of(own, self.table)
        kind = kind_of(own.type)
        return Expression("$" + path, kind, own.type, path, None, is_required(own) and not self.optional)

    def moved(self, prefix: str, *, optional: bool) -> TableSource:
        """The same below another path."""
        return TableSource(self.table, prefix + self.prefix, optional=optional or self.optional)


class DerivedSource:
    """The documents that a SELECT in FROM gives."""

    def __init__(self, outputs: Mapping[str, Output], prefix: str = "", *, optional: bool = False) -> None:
        self.outputs, self.prefix, self.optional = outputs, prefix, optional

    def expression(self, column: Any, name: str = "") -> Expression:
        output = self.outputs.get(name)
        if output is None:
            raise unsupported("a column that the SELECT in FROM does not give", "name it there")
        path = self.prefix + output.field
        of = output.expression
        return Expression("$" + path, of.kind, of.type, path, None, of.known and not self.optional)

    def moved(self, prefix: str, *, optional: bool) -> DerivedSource:
        return DerivedSource(self.outputs, prefix + self.prefix, optional=optional or self.optional)


Source = TableSource | DerivedSource


class Outer:
    """The enclosing SELECT, seen from a subquery: what is used of it becomes a variable of the ``$lookup``.

    Attributes:
        lets: the variables by name.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.lets: dict[str, Any] = {}
        self._names: dict[str, str] = {}

    def column(self, column: Any) -> Expression | None:
        found = self.scope.column_or_none(column)
        if found is None or not isinstance(found.code, str) or found.code.startswith("$$"):
            return found
        name = self._names.get(found.code)
        if name is None:
            name = self._names[found.code] = self.scope.compilation.fresh("v")
            self.lets[name] = {"$ifNull": [found.code, None]}
        return found._replace(code="$$" + name, path=None)


class Uncorrelated(Outer):
    """Stands where a subquery cannot see the enclosing SELECT."""

    def column(self, column: Any) -> Expression | None:
        raise unsupported(
            "a correlated subquery inside UNION", "write the condition so that the UNION refers only to its own tables"
        )


@dataclass
class Scope:
    """The sources of one SELECT, and stages that have to come before the one that is being compiled.

    Attributes:
        outer: the enclosing SELECT, or None.
        pending: ``$lookup`` stages of subqueries met.
        limited: the reason why subqueries cannot be had here, or None.
    """

    compilation: Compilation
    outer: Outer | None = None
    sources: dict[Any, Source] = field(default_factory=dict)
    pending: list[Any] = field(default_factory=list)
    limited: str | None = None
    replaced: dict[Any, Expression] = field(default_factory=dict)
    """Expressions that stand in a field already, by signature."""

    def column(self, column: Any) -> Expression:
        """A column of this SELECT or of one around it.

        Raises:
            UnsupportedCapabilityError: it belongs to no FROM.
        """
        found = self.column_or_none(column)
        if found is None:
            raise unsupported(
                f"the column {column.name!r}, which belongs to no FROM of the statement",
                "add its table with select_from",
            )
        return found

    def column_or_none(self, column: Any) -> Expression | None:
        source = self.sources.get(table_of(column))
        if isinstance(source, TableSource):
            return source.expression(column)
        if source is not None:
            return source.expression(column, self.compilation.resolution.name(column.name))
        return self.outer.column(column) if self.outer is not None else None

    def find(self, element: Any) -> Expression | None:
        """Where the element was computed before, that field."""
        return self.replaced.get(signature(element)) if self.replaced else None

    def taken(self) -> list[Any]:
        """The pending stages, which are the caller's from now on."""
        stages, self.pending[:] = list(self.pending), []
        return stages


UNTYPED = NullType()
