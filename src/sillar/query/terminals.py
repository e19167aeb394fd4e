"""How a query is run: what builders, writes and prepared queries have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sillar.capabilities import Capability
from sillar.current import current_session
from sillar.errors import ResultError, UsageError
from sillar.query.binding import Instances, Keyed, ModelBinding
from sillar.query.hints import Hint, hints_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from sillar.execution import QueryResult
    from sillar.execution.statements import Statements
    from sillar.execution.stream import RowStream
    from sillar.query.composed import Composed
    from sillar.query.explanation import Explanation

T = TypeVar("T")
V = TypeVar("V")


class Terminals(Generic[T]):
    """The verbs that run a query.

    ``session`` is a session or transaction of Sillar's, or an ``AsyncSession`` of SQLAlchemy (which alone gives
    entities); None is the one whose block is open in this context (``async with manager.session()``).

    All verbs raise the errors of :mod:`sillar.errors`; in an ``AsyncSession`` SQLAlchemy raises its own.
    """

    __slots__ = ()

    _binding: ModelBinding[Any]
    _into: Any

    def composed(self) -> Composed:
        """The shape and the values."""
        raise NotImplementedError

    def entity_statement(self) -> Any:
        """The statement that an ``AsyncSession`` runs."""
        raise NotImplementedError

    def needs(self) -> Sequence[tuple[Capability, str]]:
        """The capabilities without which it is not sent, each with a remedy."""
        return ()

    def _at_most(self, rows: int) -> Terminals[T]:
        """The same query with at most so many rows, where that can be said."""
        return self

    # --- verbs ------------------------------------------------------------------------------------------------------

    async def all(
        self,
        session: Statements | AsyncSession | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        timeout_seconds: float | None = None,
    ) -> list[T]:
        """All rows."""
        session = self._ready(session)
        if hasattr(session, "sync_session"):
            return await _of_async_session(self, session, params)
        found: list[T] = await session.fetch_all(
            self.composed(), params, into=self._made_into(), timeout_seconds=timeout_seconds
        )
        return found

    async def first(
        self,
        session: Statements | AsyncSession | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        timeout_seconds: float | None = None,
    ) -> T | None:
        """The first row, or None."""
        return await self._at_most(1)._one(session, params, timeout_seconds)

    async def one(
        self,
        session: Statements | AsyncSession | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        timeout_seconds: float | None = None,
    ) -> T:
        """The only row.

        Raises:
            ResultError: there is none, or more than one.
        """
        found = await self._at_most(2).all(session, params=params, timeout_seconds=timeout_seconds)
        if len(found) != 1:
            raise ResultError(f"exactly one row was asked for, and there is {'more than one' if found else 'none'}")
        return found[0]

    async def one_or_none(
        self,
        session: Statements | AsyncSession | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        timeout_seconds: float | None = None,
    ) -> T | None:
        """The only row, or None.

        Raises:
            ResultError: there is more than one.
        """
        found = await self._at_most(2).all(session, params=params, timeout_seconds=timeout_seconds)
        if len(found) > 1:
            raise ResultError("at most one row was asked for, and there is more than one")
        return found[0] if found else None

    async def scalars(
        self: Terminals[tuple[V, *tuple[Any, ...]]],
        session: Statements | AsyncSession | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        timeout_seconds: float | None = None,
    ) -> list[V]:
        """The first column of all rows."""
        ready: Any = self._ready(session)
        if hasattr(ready, "sync_session"):
            return [row[0] for row in await _of_async_session(self, ready, params)]
        found: list[V] = await ready.fetch_all(self.composed(), params, into=Any, timeout_seconds=timeout_seconds)
        return found

    async def scalar(
        self: Terminals[tuple[V, *tuple[Any, ...]]],
        session: Statements | AsyncSession | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        timeout_seconds: float | None = None,
    ) -> V | None:
        """The first column of the first row, or None."""
        found = await self._at_most(1).scalars(session, params=params, timeout_seconds=timeout_seconds)
        return found[0] if found else None

    def stream(
        self,
        session: Statements | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        batch_rows: int = 1000,
        timeout_seconds: float | None = None,
    ) -> RowStream[T]:
        """The rows as they come: ``async with query.stream() as rows: async for row in rows``."""
        made: RowStream[T] = self._ready(session).stream(
            self.composed(), params, into=self._made_into(), batch_rows=batch_rows, timeout_seconds=timeout_seconds
        )
        return made

    async def execute(
        self,
        session: Statements | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        timeout_seconds: float | None = None,
    ) -> QueryResult:
        """Rows and counts, as a session's ``execute`` gives them."""
        ready: Statements = self._ready(session)
        return await ready.execute(self.composed(), params, timeout_seconds=timeout_seconds)

    def rendered(self, session: Statements | None = None, *, params: Mapping[str, Any] | None = None) -> str:
        """What would be sent: SQL with the driver's placeholders, or a command of a document database."""
        ready: Statements = self._ready(session)
        return ready.rendered(self.composed(), params)

    async def explain(
        self,
        session: Statements | None = None,
        *,
        analyze: bool = False,
        params: Mapping[str, Any] | None = None,
    ) -> Explanation:
        """How the engine would run this; it is not run, unless ``analyze`` (what it writes is then rolled back)."""
        ready: Statements = self._asked(session)
        return await ready.explain(self.composed(), params, analyze=analyze)

    async def hints(self, session: Statements | None = None, *, params: Mapping[str, Any] | None = None) -> list[Hint]:
        """What would hurt once the tables are large: no usable index, rows without a bound. Asks for the plan, and for
        the indexes of the tables in it; nothing is run. For tests and development."""
        return await hints_of(self, self._asked(session), params)

    # --- within -----------------------------------------------------------------------------------------------------

    def _ready(self, session: Any) -> Any:
        """The session that is meant, which can do what the query needs."""
        if session is None:
            session = current_session()
        for capability, remedy in self.needs():
            capabilities = getattr(
                session, "capabilities", None
            )  # an AsyncSession has none, and SQLAlchemy its own say
            if capabilities is not None:
                capabilities.require(capability, remedy=remedy)
        return session

    def _asked(self, session: Any) -> Any:
        """The session that is asked for a plan."""
        session = self._ready(session)
        if hasattr(session, "sync_session"):
            raise UsageError("explain() and hints() ask a session of Sillar's, not an AsyncSession: pass one of them")
        return session

    async def _one(self, session: Any, params: Mapping[str, Any] | None, timeout_seconds: float | None) -> T | None:
        session = self._ready(session)
        if hasattr(session, "sync_session"):
            found = await _of_async_session(self, session, params)
            return found[0] if found else None
        row: T | None = await session.fetch_one(
            self.composed(), params, into=self._made_into(), timeout_seconds=timeout_seconds
        )
        return row

    def _made_into(self) -> Any:
        """What a session of Sillar's makes rows into."""
        keyed = getattr(self, "_keyed", 0)
        return Keyed(self._made_item(), keyed) if keyed else self._made_item()

    def _made_item(self) -> Any:
        if self._into is not None:
            return self._into
        binding = self._binding
        if binding.entity:
            raise UsageError(
                f"{binding.name} is a SQLAlchemy class, and its instances belong to an AsyncSession: pass one, choose"
                " columns with select(), or say into(Type) with a dataclass, msgspec Struct or pydantic model"
            )
        return binding.into if binding.make is None else Instances.of(binding)


async def _of_async_session(query: Terminals[T], session: Any, params: Mapping[str, Any] | None) -> list[T]:
    """Rows by way of SQLAlchemy's own session: entities are that session's."""
    result = await session.execute(query.entity_statement(), params or {})
    keyed = getattr(query, "_keyed", 0)
    if query._into is None and query._binding.entity:
        found: list[Any] = list(result.unique()) if keyed else list(result.scalars().unique())
        return found
    kind = query._into if query._into is not None else query._binding.into
    if not keyed:
        return [_chosen(kind, row, dict(row._mapping)) for row in result]
    with_keys: Any = [
        (_chosen(kind, row[:-keyed], dict(list(row._mapping.items())[:-keyed])), *row[-keyed:]) for row in result
    ]
    return list(with_keys)


def _chosen(kind: Any, row: Any, values: dict[str, Any]) -> Any:
    if kind is tuple:
        return tuple(row)
    if kind is None:
        return values
    validate = getattr(kind, "model_validate", None)
    return kind(**values) if validate is None else validate(values)
