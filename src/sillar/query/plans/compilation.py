"""From a statement of SQLAlchemy to its plan: compiled, and put into the lane that it can take.

The fast lane is for what it reproduces exactly. Everything else has a reason, which is kept with the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from sqlalchemy import exc
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import dml, selectable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BindParameter, ClauseElement, TextClause
from sqlalchemy.sql.type_api import TypeEngine
from sqlalchemy.types import TypeDecorator, UserDefinedType

from sillar.errors import ParameterError, UsageError
from sillar.query.composed import Composed, nested_too_deeply
from sillar.query.plans.arguments import Place
from sillar.query.plans.lists import ExpandedLists
from sillar.query.plans.plan import Plan
from sillar.query.plans.results import DecodeRow, PlannedRows, ResultColumn
from sillar.query.text import StatementText

_KINDS: Final = (
    selectable.Select,
    selectable.CompoundSelect,
    selectable.TextualSelect,
    dml.Insert,
    dml.Update,
    dml.Delete,
    TextClause,
)


class PlanCompiler:
    """Compiles statements for one engine. Each SQL engine derives its own from it.

    Attributes:
        dialect: SQLAlchemy's, set up as if it had been connected to this server.
        engine: name for messages.
        parameters_max: how many values the engine takes in one statement.
        native: Python types that the engine gives for columns of which SQLAlchemy knows no type.
        decimal_codes: type codes of the driver whose values are ``Decimal``.
        own_types: types in SQLAlchemy's terms that the engine's compiler itself puts into statements.
    """

    parameters_max: ClassVar[int]
    native: ClassVar[frozenset[type]]
    decimal_codes: ClassVar[frozenset[Any]] = frozenset()
    own_types: ClassVar[tuple[type, ...]] = ()

    def __init__(self, dialect: Dialect, engine: str) -> None:
        self.dialect = dialect
        self.engine = engine

    # --- what each engine says ---

    def scan(self, sql: str, count: int) -> StatementText:
        """The statement of a compiled text with ``count`` values."""
        raise NotImplementedError

    def shape(
        self, columns: Sequence[str], native: frozenset[type], decimals: frozenset[str], decode: DecodeRow | None
    ) -> Any:
        """A row shape."""
        raise NotImplementedError

    def driver_decoder(self, code: Any) -> Callable[[Any], Any] | None:
        """What SQLAlchemy's own connections decode for a type code, below the result processors."""
        return None

    def checked(self, args: Sequence[Any]) -> Sequence[Any]:
        """The arguments as the driver takes them, where it does not look at them itself.

        Raises:
            ParameterError: of a type that the engine has no value for.
        """
        return args

    def refusal(self, compiled: SQLCompiler) -> str | None:
        """Why this engine's fast lane does not take a compiled statement."""
        return None

    # --- the same for all ---

    def plan(self, composed: Composed, column_keys: Sequence[str] = ()) -> Plan:
        """The plan for a shape.

        Args:
            composed: the statement.
            column_keys: names of the values that are given when it is run, sorted: those that are columns of an INSERT
                or UPDATE become part of it.

        Raises:
            UsageError: the statement cannot be compiled for this engine.
            ParameterError: it has more parameters than the engine takes.
        """
        statement = composed.build()
        try:
            compiled = self._compiled(statement, composed, column_keys)
        except (exc.SQLAlchemyError, NotImplementedError) as error:
            raise UsageError(f"the statement cannot be compiled for {self.engine}: {error}") from error
        except RecursionError:
            raise nested_too_deeply() from None
        if "\0" in str(compiled):
            raise UsageError("a name in the statement has a NUL character, which no engine takes")
        if not isinstance(compiled, SQLCompiler):
            return self._slow(compiled, composed, "it defines the schema")
        reason = self._reason(statement, composed, compiled)
        if reason is not None:
            return self._slow(compiled, composed, reason, _given_columns(compiled, column_keys))
        plan = self._fast(compiled, composed, column_keys)
        if not plan.statement.is_single:
            return self._slow(compiled, composed, "it is a text of several statements")
        return plan

    def _compiled(self, statement: ClauseElement, composed: Composed, column_keys: Sequence[str]) -> Any:
        if isinstance(statement, dml.Insert) and not statement._returning and statement._return_defaults is False:
            statement = statement.inline()  # else SQLAlchemy would ask for the new key, which nobody here reads
        options: dict[str, Any] = {"column_keys": list(column_keys)} if isinstance(statement, dml.ValuesBase) else {}
        if composed.key is not None:
            options["cache_key"] = (composed.key, composed.binds, None)
        return statement.compile(dialect=self.dialect, **options)

    def _slow(self, compiled: Any, composed: Composed, reason: str, columns: Sequence[str] = ()) -> Plan:
        binds = composed.binds
        if composed.key is None and isinstance(compiled, SQLCompiler):
            binds, columns = list(dict.fromkeys(compiled.binds.values())), ()
        text = self.scan(str(compiled), 0)
        plan = Plan.slow(text, reason, binds=binds, columns=columns, names=_names(binds), build=composed.build)
        if composed.key is None:
            plan.own_binds = binds
        return plan

    def _fast(self, compiled: SQLCompiler, composed: Composed, column_keys: Sequence[str]) -> Plan:
        binds = composed.binds
        extra = {name: len(binds) + number for number, name in enumerate(_given_columns(compiled, column_keys))}
        names = {**_names(binds), **{name: (index,) for name, index in extra.items()}}
        placed = dict.fromkeys(compiled.positiontup or ())
        indexes, defaults = _indexes(compiled, composed), _defaults(compiled)
        places = {name: _place(name, compiled, indexes, extra, defaults) for name in placed}
        results = self.results(compiled)
        count = len(binds) + len(extra)

        def scan(sql: str, values: int) -> StatementText:
            statement = self.scan(sql, values)
            statement.results = results
            return statement

        if compiled.post_compile_params:
            lists = ExpandedLists(compiled, places, scan, self.parameters_max)
            plan = Plan(lists.statement, count=count, names=names, places=list(places.values()), lists=lists)
            return self._with_check(plan)
        ordered = [places[name] for name in compiled.positiontup or ()]
        if len(ordered) > self.parameters_max:
            raise ParameterError(
                f"the statement has {len(ordered)} values, and {self.engine} takes {self.parameters_max} in one"
                " statement: send it in parts"
            )
        return self._with_check(Plan(scan(compiled.string, len(ordered)), count=count, names=names, places=ordered))

    def _with_check(self, plan: Plan) -> Plan:
        if type(self).checked is not PlanCompiler.checked:
            plan.checked = self.checked
        return plan

    def results(self, compiled: SQLCompiler) -> PlannedRows:
        """What becomes of the rows."""
        columns = [ResultColumn(entry.keyname, entry.type) for entry in compiled._result_columns or ()]
        textual = bool(compiled._textual_ordered_columns) or not columns
        return PlannedRows(
            columns,
            by_position=bool(compiled._ordered_columns) or textual,
            names_from_driver=textual,
            dialect=self.dialect,
            make_shape=self.shape,
            driver_decoder=self.driver_decoder,
            native=self.native,
            decimal_codes=self.decimal_codes,
        )

    # --- the list ---

    def _reason(self, statement: Any, composed: Composed, compiled: SQLCompiler) -> str | None:
        """Why the fast lane does not take it; None if it does."""
        if composed.key is None:
            return "SQLAlchemy has no cache key for it"
        if not isinstance(statement, _KINDS):
            return f"it is a {type(statement).__name__}"
        if getattr(statement, "_with_options", ()):
            return "it has loader options"
        if getattr(statement, "_compile_state_funcs", None) or getattr(statement, "_with_context_options", ()):
            return "it has hooks of an extension"
        return (
            _values_in_the_text(compiled)
            or _writes_beyond_the_text(compiled)
            or _textual_columns(compiled)
            or self._unknown_type(compiled)
            or self.refusal(compiled)
        )

    def _unknown_type(self, compiled: SQLCompiler) -> str | None:
        kinds = [entry.type for entry in compiled._result_columns or ()]
        for kind in (*kinds, *(bind.type for bind in compiled.binds.values())):
            if not _is_known(kind) and not isinstance(kind, self.own_types):
                return f"{type(kind).__name__} is a type of its own kind"
        return None


def _place(
    name: str,
    compiled: SQLCompiler,
    indexes: Mapping[int, int],
    extra: Mapping[str, int],
    defaults: Mapping[str, Callable[[], Any]],
) -> Place:
    """What stands in a place of the compiled form."""
    bind = compiled.binds[name]
    process: Any = compiled._bind_processors.get(name)
    kind = repr(bind.type)
    index = indexes.get(id(bind), extra.get(bind.key))
    if index is not None:
        return Place(name, kind, index, process)
    if name in defaults:
        return Place(name, kind, None, process, make=defaults[name])
    return Place(name, kind, None, process, constant=bind.effective_value)


def _names(binds: Sequence[BindParameter[Any]]) -> dict[str, tuple[int, ...]]:
    names: dict[str, tuple[int, ...]] = {}
    for index, bind in enumerate(binds):
        if not bind.unique:
            names[bind.key] = (*names.get(bind.key, ()), index)
    return names


def _indexes(compiled: SQLCompiler, composed: Composed) -> dict[int, int]:
    """Which value of the statement a parameter of the compiled form is, by the identity of the parameter: it may be a
    clone of the statement's own."""
    match = compiled._cache_key_bind_match
    assert match is not None
    found: dict[int, int] = {}
    for index, original in enumerate(composed.binds):
        for copy in match[0][original]:
            found.setdefault(id(copy), index)
    return found


def _given_columns(compiled: SQLCompiler, column_keys: Sequence[str]) -> list[str]:
    """Columns that get their values when the statement is run, and not from a parameter of its own."""
    own = (
        {bind.key for bind, copies in compiled._cache_key_bind_match[0].items() for bind in copies}
        if (compiled._cache_key_bind_match)
        else set()
    )
    return [key for key in column_keys if key in compiled.binds and key not in own]


def _defaults(compiled: SQLCompiler) -> dict[str, Callable[[], Any]]:
    """Python-side defaults by the name of their parameter."""
    if not compiled.insert_prefetch and not compiled.update_prefetch:
        return {}
    name_of = compiled._within_exec_param_key_getter
    found: dict[str, Callable[[], Any]] = {}
    for columns, attribute in ((compiled.insert_prefetch, "default"), (compiled.update_prefetch, "onupdate")):
        for column in columns:
            made = _made_by(getattr(column, attribute))
            if made is not None:
                found[name_of(column)] = made
    return found


def _made_by(default: Any) -> Callable[[], Any] | None:
    """What makes the value of a default: a constant, or a function without arguments; None for everything else."""
    if default is None:
        return None
    if getattr(default, "is_scalar", False):
        return lambda: default.arg
    if not getattr(default, "is_callable", False):
        return None
    function = default.arg
    code = getattr(function, "__code__", None)
    if code is not None and code.co_name == "<lambda>" and code.co_filename.endswith("sqlalchemy/sql/schema.py"):
        return lambda: function(None)  # SQLAlchemy's own wrapper around a function that takes no context
    return None


def _values_in_the_text(compiled: SQLCompiler) -> str | None:
    if compiled.literal_execute_params:
        return "values stand in its text (literal_execute)"
    for bind in compiled.post_compile_params:
        if bind.type._is_tuple_type:
            return "IN over tuples"
        if bind.type._isnull:
            return "IN over something of unknown type"
    return None


def _writes_beyond_the_text(compiled: SQLCompiler) -> str | None:
    if compiled._insertmanyvalues is not None:
        return "SQLAlchemy splits it (insertmanyvalues)"
    if compiled.implicit_returning:
        return "SQLAlchemy fetches what the server generates (return_defaults)"
    if getattr(compiled, "isupdate", False) and getattr(compiled.compile_state, "is_multitable", False):
        return "it updates with more than one table"
    if getattr(compiled, "isdelete", False) and getattr(compiled.compile_state, "is_multitable", False):
        return "it deletes with more than one table"
    made = _defaults(compiled)
    for column in (*compiled.insert_prefetch, *compiled.update_prefetch):
        if compiled._within_exec_param_key_getter(column) not in made:
            return f"the default of {column.name} is made by SQLAlchemy"
    return None


def _textual_columns(compiled: SQLCompiler) -> str | None:
    if getattr(compiled, "_loose_column_name_matching", False):
        return "its columns are matched loosely by name"
    return None


def _is_known(kind: TypeEngine[Any]) -> bool:
    """SQLAlchemy's own types, and those that are made to be derived from: their processors are plain functions."""
    if isinstance(kind, (TypeDecorator, UserDefinedType)):
        return True
    return type(kind).__module__.partition(".")[0] == "sqlalchemy"
