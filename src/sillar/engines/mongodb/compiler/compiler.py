"""Statements of SQLAlchemy compiled to commands, each shape once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from sqlalchemy import bindparam
from sqlalchemy.sql.dml import Delete, Insert, Update
from sqlalchemy.sql.elements import BindParameter, ClauseElement

from sillar.engines.mongodb.compiler.plan import CommandPlan, Counted, Table
from sillar.engines.mongodb.compiler.refusal import construct_of, unsupported
from sillar.engines.mongodb.compiler.resolution import MongoDBDialect
from sillar.engines.mongodb.compiler.scope import Compilation
from sillar.engines.mongodb.compiler.selects import compile_query
from sillar.engines.mongodb.compiler.template import depth_of
from sillar.engines.mongodb.compiler.upserts import compile_upsert, is_upsert
from sillar.engines.mongodb.compiler.writes import compile_delete, compile_insert, compile_update
from sillar.query.composed import Composed
from sillar.query.plans import Plan, PlanCompiler

_VALUES_MAX: Final = 1_000_000
_DEPTH_MAX: Final = 170
"""Servers take documents of 180 levels and drivers of 200; a command and a list around it are levels, too."""


class DocumentPlan(Plan):
    """How statements of one shape become a command."""

    __slots__ = ("command",)

    def __init__(self, command: CommandPlan, binds: Sequence[BindParameter[Any]], given: Sequence[str]) -> None:
        names: dict[str, tuple[int, ...]] = {}
        for index, bind in enumerate(binds):
            if not bind.unique:
                names[bind.key] = (*names.get(bind.key, ()), index)
        for index, name in enumerate(given, len(binds)):
            names[name] = (index,)
        super().__init__(command, count=len(binds) + len(given), names=names)  # type: ignore[arg-type]
        self.command = command

    @property
    def shape(self) -> Any:
        return None if self.command.table is None else self.command.table.shape

    def bound(self, values: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
        return self.command, (self.command.arguments_for(values),)

    def bound_slow(
        self, statement: ClauseElement, params: Mapping[str, Any] | None, reason: str = ""
    ) -> tuple[Any, Sequence[Any]]:
        """There is one lane: execution options that SQLAlchemy would heed change nothing here."""
        return self.bound(self.values(self.own_binds or Composed.of(statement).binds, params))


class DocumentPlanCompiler(PlanCompiler):
    """Compiles statements to MongoDB's commands."""

    parameters_max: ClassVar[int] = _VALUES_MAX
    native: ClassVar[frozenset[type]] = frozenset()

    def __init__(self) -> None:
        super().__init__(MongoDBDialect(), "MongoDB")

    def plan(self, composed: Composed, column_keys: Sequence[str] = ()) -> DocumentPlan:
        """The plan for a shape.

        Raises:
            UnsupportedCapabilityError: a construct has no faithful translation.
            ParameterError: a column that is NOT NULL is given no value.
        """
        statement: Any = composed.build()
        given: dict[str, BindParameter[Any]] = {}
        if column_keys and isinstance(statement, (Insert, Update)) and not getattr(statement, "_multi_values", ()):
            known = {bind.key for bind in composed.binds}
            columns = statement.table.c
            given = {
                name: bindparam(name, type_=columns[name].type)
                for name in column_keys
                if name not in known and name in columns
            }
            statement = statement.values(given) if given else statement
        compilation = Compilation((*composed.binds, *given.values()), compile_query)
        try:
            command = compile_statement(compilation, statement)
            depth = depth_of(command.arguments)
        except RecursionError:
            depth = _DEPTH_MAX + 1
        if depth > _DEPTH_MAX:
            raise unsupported(
                f"a statement nested deeper than {_DEPTH_MAX} levels", "split it, or give a list of values to in_()"
            )
        if composed.key is not None:
            command.constants = tuple(bind.effective_value for bind in compilation.constants)
            return DocumentPlan(command, composed.binds, tuple(given))
        plan = DocumentPlan(command, compilation.constants, ())
        plan.own_binds = compilation.constants
        return plan


def compile_statement(compilation: Compilation, statement: Any) -> CommandPlan:
    """The command of a statement.

    Raises:
        UnsupportedCapabilityError: a construct has no faithful translation.
    """
    if isinstance(statement, Insert):
        return (
            compile_upsert(compilation, statement) if is_upsert(statement) else compile_insert(compilation, statement)
        )
    if isinstance(statement, Update):
        return compile_update(compilation, statement)
    if isinstance(statement, Delete):
        return compile_delete(compilation, statement)
    if getattr(statement, "is_select", False) and hasattr(statement, "selected_columns"):
        pipeline = compile_query(compilation, statement)
        template = {"pipeline": pipeline.stages}
        table = Table(pipeline.outputs)
        return CommandPlan(pipeline.collection, "aggregate", template, counted=Counted.RETURNED, table=table)
    raise unsupported(construct_of(statement), "use select(), insert(), update() or delete()")
