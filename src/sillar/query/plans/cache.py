"""Plans by shape; bounded, the oldest leaves first."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.sql.dml import Insert, Update
from sqlalchemy.sql.elements import BindParameter, ClauseElement

from sillar.errors import ParameterError
from sillar.query.composed import Composed, nested_too_deeply
from sillar.query.lane import Lane
from sillar.query.plans.compilation import PlanCompiler
from sillar.query.plans.plan import Plan

_HARMLESS_OPTIONS: Final = frozenset(
    {
        "stream_results",
        "max_row_buffer",
        "yield_per",
        "preserve_rowcount",
        "logging_token",
        "autoflush",
        "populate_existing",
        "synchronize_session",
        "insertmanyvalues_page_size",
    }
)
"""Execution options that change neither the text nor the rows of a statement that the fast lane takes."""


@dataclass(frozen=True, slots=True)
class PlanFigures:
    """How the plans of one database do.

    Attributes:
        size, size_max: plans kept.
        hits, misses: statements whose plan was there, or had to be made.
        evictions: plans that made room for others.
        fast, slow: plans kept in either lane.
    """

    size: int
    size_max: int
    hits: int
    misses: int
    evictions: int
    fast: int
    slow: int

    @property
    def hit_rate(self) -> float:
        """Share of the statements whose plan was there; 0 before the first."""
        total = self.hits + self.misses
        return self.hits / total if total else 0.0


class PlanCache:
    """The plans of one database.

    Args:
        compiler: makes them.
        size_max: how many are kept.
    """

    __slots__ = ("_plans", "compiler", "evictions", "hits", "misses", "size_max")

    def __init__(self, compiler: PlanCompiler, size_max: int = 2000) -> None:
        self.compiler = compiler
        self.size_max = size_max
        self._plans: dict[Hashable, Plan] = {}
        self.hits = self.misses = self.evictions = 0

    def figures(self) -> PlanFigures:
        """The figures now."""
        fast = sum(plan.lane is Lane.FAST for plan in self._plans.values())
        return PlanFigures(
            len(self._plans), self.size_max, self.hits, self.misses, self.evictions, fast, len(self._plans) - fast
        )

    def replace(self, compiler: PlanCompiler) -> None:
        """Compile for what the server turned out to be: plans made before are forgotten."""
        self.compiler = compiler
        self._plans.clear()

    def plan(self, statement: Composed | ClauseElement) -> Plan:
        """The plan of a statement, kept or made now.

        Raises:
            UsageError: it cannot be compiled for this engine.
            ParameterError: it has more parameters than the engine takes.
        """
        composed = statement if isinstance(statement, Composed) else Composed.of(statement)
        return self._plan(composed.key, composed, ())

    def bind(
        self, statement: Composed | ClauseElement, params: Mapping[str, Any] | Sequence[Any] | None
    ) -> tuple[Any, Sequence[Any]]:
        """What a connection takes for one statement: a scanned text with its arguments, or a slow statement.

        Args:
            statement: SQLAlchemy's, or composed.
            params: values for the parameters that are named.

        Raises:
            ParameterError: missing, superfluous, or of the wrong type.
            UsageError: it cannot be compiled for this engine.
        """
        if params is not None and not isinstance(params, Mapping):
            raise ParameterError(
                f"parameters of a statement of SQLAlchemy are a mapping (for bindparam names), not"
                f" {type(params).__name__}"
            )
        if type(statement) is Composed:
            plan = self._plans.get(statement.key) if statement.key is not None else None
            if plan is None:
                plan = self._plan(statement.key, statement, ())
            else:
                self.hits += 1
            if params and plan.lane is Lane.FAST:
                filled = statement.filled(params)
                if filled is not None and len(filled) == plan.count:
                    return plan.bound(filled)
            values = plan.values(plan.own_binds or statement.binds, params)
            if plan.lane is Lane.SLOW:
                return plan.bound_slow(statement.build(), params)
            return plan.bound(values)
        assert isinstance(statement, ClauseElement)
        return self._bind_clause(statement, params)

    def many(
        self, statement: Composed | ClauseElement, params: Mapping[str, Any]
    ) -> tuple[Plan, Sequence[BindParameter[Any]], Any]:
        """For running a statement with several sets of values that all have the names of ``params``.

        Returns:
            the plan, the statement's parameters for ``plan.values``, and in the slow lane what a connection takes.
        """
        composed = statement if isinstance(statement, Composed) else Composed.of(statement)
        built = composed.build() if isinstance(statement, Composed) else statement
        keys = _column_keys(built, params)
        plan = self._plan(composed.key if not keys else (composed.key, keys), composed, keys)
        if plan.lane is Lane.SLOW:
            return plan, plan.own_binds or composed.binds, plan.bound_slow(built, None)[0]
        return plan, composed.binds, plan.statement

    def _bind_clause(self, statement: ClauseElement, params: Mapping[str, Any] | None) -> tuple[Any, Sequence[Any]]:
        try:
            generated = statement._generate_cache_key()
        except RecursionError:
            raise nested_too_deeply() from None
        keys = _column_keys(statement, params)
        if generated is None:
            plan = self._plan(None, Composed(None, (), lambda: statement), keys)
            plan.values(plan.own_binds, params)  # which says what is missing
            return plan.bound_slow(statement, params)
        key = generated.key if not keys else (generated.key, keys)
        binds = generated.bindparams
        plan_found = self._plans.get(key)
        if plan_found is None:
            plan = self._plan(key, Composed(generated.key, binds, lambda: statement), keys)
        else:
            self.hits += 1
            plan = plan_found
        given = getattr(generated, "params", None)  # SQLAlchemy 2.1 keeps there what statement.params() was given
        if given:
            params = {**given, **(params or {})}
        values = plan.values(binds, params)
        options = getattr(statement, "_execution_options", None)
        if options and not _HARMLESS_OPTIONS.issuperset(options):
            unknown = ", ".join(sorted(set(options) - _HARMLESS_OPTIONS))
            return plan.bound_slow(statement, params, f"it has the execution options {unknown}")
        if plan.lane is Lane.SLOW:
            return plan.bound_slow(statement, params)
        return plan.bound(values)

    def _plan(self, key: Hashable | None, composed: Composed, keys: tuple[str, ...]) -> Plan:
        if composed.key is None:
            key = None
        plan = self._plans.get(key) if key is not None else None
        if plan is not None:
            self.hits += 1
            return plan
        self.misses += 1
        plan = self.compiler.plan(composed, keys)
        if key is not None:
            if len(self._plans) >= self.size_max:
                del self._plans[next(iter(self._plans))]
                self.evictions += 1
            self._plans[key] = plan
        return plan


def _column_keys(statement: ClauseElement, params: Mapping[str, Any] | None) -> tuple[str, ...]:
    if params and isinstance(statement, (Insert, Update)):
        return tuple(sorted(map(str, params)))
    return ()
