"""One shape of statement: its text, the places of its values, the lane that it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy.sql.elements import BindParameter, ClauseElement
from sqlalchemy.sql.visitors import cloned_traverse

from sillar.errors import ParameterError
from sillar.query.lane import Lane
from sillar.query.plans.arguments import AbsentError, Arguments, Place, absent, arguments_of, refused_value
from sillar.query.plans.lists import ExpandedLists
from sillar.query.plans.slow import SlowStatement
from sillar.query.text import StatementText


class Plan:
    """How statements of one shape are run.

    Attributes:
        statement: the compiled text, scanned, with what becomes of its rows (``results``). With lists that are written
            out it is the form for lists of one value.
        lane: who runs it.
        lane_reason: why it is the slow one; None for the fast one.
        names: parameters by name, with the places of each in the statement's values.
        count: how many values a statement of this shape has.
        checked: makes the arguments what the driver takes, where it does not look at them itself; else None.
        own_binds: of a statement without a key, which has no other one of its shape: its parameters.
    """

    __slots__ = ("_arguments", "_build", "_columns", "_keys", "_lists", "_places", "checked", "count", "lane",
                 "lane_reason", "names", "own_binds", "statement")  # fmt: skip

    def __init__(
        self,
        statement: StatementText,
        *,
        count: int,
        names: Mapping[str, tuple[int, ...]],
        places: Sequence[Place] = (),
        lists: ExpandedLists | None = None,
    ) -> None:
        self.statement = statement
        self.lane = Lane.FAST
        self.lane_reason: str | None = None
        self.count, self.names = count, names
        self._places, self._lists = tuple(places), lists
        self._arguments: Arguments | None = None if lists is not None else arguments_of(places, count)
        self.checked: Callable[[Sequence[Any]], Sequence[Any]] | None = None
        self._build: Callable[[], ClauseElement] | None = None
        self._keys: tuple[str, ...] = ()
        self._columns: tuple[str, ...] = ()
        self.own_binds: Sequence[BindParameter[Any]] = ()

    @classmethod
    def slow(
        cls,
        statement: StatementText,
        reason: str,
        *,
        binds: Sequence[BindParameter[Any]],
        names: Mapping[str, tuple[int, ...]],
        columns: Sequence[str],
        build: Callable[[], ClauseElement],
    ) -> Plan:
        """A plan whose statements SQLAlchemy runs; ``columns`` get their values by name when it is run."""
        given = {name: (len(binds) + number,) for number, name in enumerate(columns)}
        plan = cls(statement, count=len(binds) + len(columns), names={**names, **given})
        plan._columns = tuple(columns)
        plan.lane, plan.lane_reason = Lane.SLOW, reason
        plan._arguments, plan._build, plan._keys = None, build, tuple(bind.key for bind in binds)
        return plan

    @property
    def shape(self) -> Any:
        """The columns of its last result; None before the first."""
        results = self.statement.results
        return None if results is None else results.shape

    def values(self, binds: Sequence[BindParameter[Any]], params: Mapping[str, Any] | None = None) -> list[Any]:
        """The values of one statement.

        Args:
            binds: its parameters, in the order of its key.
            params: values for those that are named.

        Raises:
            ParameterError: missing or superfluous.
        """
        try:
            if not params:
                return [bind.value if bind.value is not None else absent(bind) for bind in binds]
            names = self.names
            if not names.keys() >= params.keys():
                raise self._mismatch(binds, params)
            given = {index: value for name, value in params.items() for index in names[name]}
            return [
                given[index]
                if index in given
                else bind.value
                if bind is not None and bind.value is not None
                else _absent_or_fail(bind)
                for index, bind in enumerate(self._padded(binds))
            ]
        except AbsentError:
            raise self._mismatch(binds, params or {}) from None

    def bound(self, values: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
        """What a connection takes: the statement, and its arguments.

        Args:
            values: as many as ``count``, in the order of the key's parameters.

        Raises:
            ParameterError: a value that its type does not take, or a list too long for the engine.
        """
        arguments = self._arguments
        try:
            if arguments is not None:
                statement, args = self.statement, arguments(values)
            elif self._lists is not None:
                statement, args = self._lists.bound(values)
            elif self._build is not None:
                return self._slow(self._build(), values), ()
            else:
                statement, args = self.statement, values
        except ParameterError:
            raise
        except Exception:
            refused = refused_value(self._places, values, self.statement.fingerprint)
            if refused is None:
                raise
            raise refused from None
        return statement, args if self.checked is None else self.checked(args)

    def bound_slow(
        self, statement: ClauseElement, params: Mapping[str, Any] | None, reason: str = ""
    ) -> tuple[Any, Sequence[Any]]:
        """As :meth:`bound`, for a statement as it is that takes the slow lane."""
        return SlowStatement(self.statement, statement, params, reason or self.lane_reason or ""), ()

    def _slow(self, statement: ClauseElement, values: Sequence[Any]) -> SlowStatement:
        """The first statement of this shape, with other values."""
        assert self.lane_reason is not None
        by_key = dict(zip(self._keys, values, strict=False))
        params = dict(zip(self._columns, values[len(self._keys) :], strict=True))

        def replace(bind: BindParameter[Any]) -> None:
            if bind.key in by_key:
                bind.value, bind.callable, bind.required = by_key[bind.key], None, False

        replaced = cloned_traverse(
            statement, {"maintain_key": True, "detect_subquery_cols": True}, {"bindparam": replace}
        )
        return SlowStatement(self.statement, replaced, params or None, self.lane_reason)

    def _padded(self, binds: Sequence[BindParameter[Any]]) -> Iterable[BindParameter[Any] | None]:
        """The parameters, and None for each value that only ``params`` can give (columns of an INSERT)."""
        return binds if len(binds) == self.count else [*binds, *[None] * (self.count - len(binds))]

    def _mismatch(self, binds: Sequence[BindParameter[Any]], params: Mapping[str, Any]) -> ParameterError:
        required = {
            name
            for name, indexes in self.names.items()
            if any(index >= len(binds) or _is_required(binds[index]) for index in indexes)
        }
        parts = []
        if missing := sorted(required - set(params)):
            parts.append(f"missing: {', '.join(missing)}")
        if superfluous := sorted(str(name) for name in set(params) - set(self.names)):
            parts.append(f"superfluous: {', '.join(superfluous)}")
        if not parts:
            parts.append("one that has no name has no value")
        return ParameterError(
            f"the statement has the parameters ({', '.join(sorted(self.names)) or 'none'}); {'; '.join(parts)}"
            f" — statement: {self.statement.fingerprint}"
        )

    def __repr__(self) -> str:
        reason = f" ({self.lane_reason})" if self.lane_reason else ""
        return f"<Plan in the {self.lane.value} lane{reason}: {self.statement.fingerprint}>"


def _is_required(bind: BindParameter[Any]) -> bool:
    return bool(bind.required) and bind.value is None and bind.callable is None


def _absent_or_fail(bind: BindParameter[Any] | None) -> Any:
    if bind is None:
        raise AbsentError
    return absent(bind)
