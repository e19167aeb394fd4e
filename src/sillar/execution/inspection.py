"""What sessions say about statements and tables: plans, and the live schema."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sillar.capabilities import Capability
from sillar.errors import UnsupportedCapabilityError
from sillar.execution import execution as operations
from sillar.query.explanation import Explanation
from sillar.query.live import LiveTable
from sillar.query.statement import Parameters

if TYPE_CHECKING:
    from sillar.execution.executor import Executor
    from sillar.execution.statements import Statement
    from sillar.execution.transaction import Transaction


class InspectionVerbs(ABC):
    """Questions about statements and tables."""

    __slots__ = ()

    _executor: Executor

    @property
    @abstractmethod
    def owning_transaction(self) -> Transaction | None: ...

    @abstractmethod
    def _run_bound(
        self, operation: Any, bound: Any, args: Sequence[Any], timeout_seconds: float | None, payload: Any = None
    ) -> Awaitable[Any]: ...

    async def explain(
        self,
        statement: Statement,
        params: Parameters = None,
        *,
        analyze: bool = False,
        prefer_indexes: bool = False,
        timeout_seconds: float | None = None,
    ) -> Explanation:
        """How the engine would run a statement. It is not run, unless ``analyze``.

        Args:
            statement, params: as for :meth:`execute`.
            analyze: run it and say what happened. What it writes is rolled back: outside a transaction in one of its
                own, inside one to a savepoint.
            prefer_indexes: have the planner take an index wherever one can serve, however small the table is now. Where
                that takes settings (PostgreSQL), they are made in a transaction, or savepoint, that is rolled back.
            timeout_seconds: for all of it.

        Raises:
            UnsupportedCapabilityError: the engine cannot analyse.
        """
        adapter = self._executor.adapter
        explainer = adapter.explainer
        if analyze and not explainer.analyzes:
            raise UnsupportedCapabilityError(
                "analyse a statement", engine=adapter.capabilities.engine, remedy="leave analyze out"
            )
        bound, args = adapter.bind(statement, params)
        asked = explainer.statements(bound, args, analyze=analyze)
        before = explainer.preference() if prefer_indexes else []
        writes = analyze and explainer.applies_writes and not bound.is_read
        held = explainer.needs_snapshot and self.owning_transaction is None
        if not before and not writes and not held:
            replies = await self._run_bound(operations.run_batch, asked[0][0], (), timeout_seconds, asked)
            return explainer.read(replies)
        self._executor.capabilities.require(
            Capability.TRANSACTIONS, remedy="leave analyze out: what is analysed here could not be rolled back"
        )
        async with _rolled_back(self, **({"read_only": True} if held else {})) as inner:
            payload = [*before, *asked]
            replies = await inner._run_bound(operations.run_batch, payload[0][0], (), timeout_seconds, payload)
        return explainer.read(replies[len(before) :])

    async def live_tables(
        self, tables: Iterable[tuple[str, str | None]], *, timeout_seconds: float | None = None
    ) -> list[LiveTable | None]:
        """Tables as the server has them now.

        Args:
            tables: name and schema of each; None is the schema where names without one are looked up.
            timeout_seconds: for each question.

        Returns:
            one for each; None where there is no such table.
        """
        catalogue = self._executor.adapter.catalogue

        async def ask(statements: Sequence[Any]) -> Any:
            return await self._run_bound(operations.run_batch, statements[0][0], (), timeout_seconds, statements)

        return [await catalogue.look(ask, name, schema) for name, schema in tables]


@asynccontextmanager
async def _rolled_back(statements: Any, **options: Any) -> AsyncIterator[Any]:
    """A transaction, or a savepoint inside an open one, that is rolled back at the end."""
    owning = statements.owning_transaction
    transaction = await (statements.transaction(**options) if owning is None else owning.nested()).begin()
    try:
        yield transaction
    finally:
        if transaction.is_open:
            await transaction.rollback()
