"""A DBAPI cursor over asynchronous work, the same for all drivers that have no adapter of SQLAlchemy's to build on."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from sillar.integrations.sqlalchemy.private import await_only


class LentCursor:
    """Rows are fetched together with the execution, unless the cursor is a server-side one.

    Attributes:
        description, rowcount, lastrowid, arraysize: as in PEP 249.
    """

    def __init__(self, connection: Any, *, server_side: bool) -> None:
        self.connection = connection
        self.server_side = server_side
        self.description: Sequence[tuple[Any, ...]] | None = None
        self.rowcount = -1
        self.lastrowid: Any = None
        self.arraysize = 1
        self._rows: deque[Any] = deque()

    # --- to be provided ---

    @abstractmethod
    async def run(self, text: Any, sql: str, parameters: Any) -> None:
        """Execute, and keep what came of it."""

    @abstractmethod
    async def run_many(self, text: Any, sql: str, parameters: Any) -> None:
        """Execute once per parameter set."""

    async def more(self, count: int | None) -> Sequence[Any]:
        """The next rows of a server-side cursor, all for None; fewer than ``count`` at the end."""
        return ()

    async def end(self) -> None:
        """Let go of a server-side cursor."""

    # --- as SQLAlchemy calls it ---

    def execute(self, operation: str, parameters: Any = None) -> None:
        """Run a statement."""
        await_only(self.connection.watched(operation, lambda text: self.run(text, operation, parameters)))

    def executemany(self, operation: str, seq_of_parameters: Any) -> None:
        """Run a statement once per parameter set."""
        await_only(self.connection.watched(operation, lambda text: self.run_many(text, operation, seq_of_parameters)))

    def fetchone(self) -> Any:
        """The next row, or None."""
        found = self.fetchmany(1)
        return found[0] if found else None

    def fetchmany(self, size: int | None = None) -> Sequence[Any]:
        """The next rows."""
        count = self.arraysize if size is None else size
        if self.server_side:
            return await_only(self.more(count))
        rows = self._rows
        return [rows.popleft() for _ in range(min(count, len(rows)))]

    def fetchall(self) -> Sequence[Any]:
        """The rest of the rows."""
        if self.server_side:
            return await_only(self.more(None))
        rows = list(self._rows)
        self._rows.clear()
        return rows

    def __iter__(self) -> Iterator[Any]:
        while (row := self.fetchone()) is not None:
            yield row

    def setinputsizes(self, *sizes: Any) -> None:
        """Not needed."""

    def setoutputsize(self, *sizes: Any) -> None:
        """Not needed."""

    def close(self) -> None:
        """No more rows are wanted."""
        self._rows.clear()
        if self.server_side:
            await_only(self.end())

    async def _async_soft_close(self) -> None:
        """SQLAlchemy 2.1 closes a cursor like this when its rows are in memory: it holds nothing."""
