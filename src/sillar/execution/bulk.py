"""The verbs for many rows and many keys, which sessions and transactions share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Awaitable, Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from sillar.capabilities import Capability
from sillar.engines.adapter import DatabaseAdapter
from sillar.errors import ParameterError
from sillar.execution import execution as operations
from sillar.execution.bulk_run import BulkReport, BulkRun, Progress, Rows
from sillar.execution.executor import Executor
from sillar.execution.keyed import KeyedReader, keyed_read
from sillar.query.bulk import BulkVerb, BulkWrite

if TYPE_CHECKING:
    from sillar.execution.statements import Statements

T = TypeVar("T")
Names = str | Sequence[str]


class BulkVerbs(ABC):
    """Many rows in few round trips, with memory bounded by ``batch_rows``.

    ``rows`` is any iterable or async iterable, consumed once; a row is a sequence of values in the order of the
    columns. Names are quoted. Options of all verbs:

    - ``batch_rows``: rows at a time (10,000).
    - ``progress``: called, and awaited if it is a coroutine function, with the number of rows done after each batch.
    - ``atomic``: all or nothing, in one transaction (a savepoint inside an open one). With False each batch commits by
      itself, and those before a failing one stay.
    - ``timeout_seconds``: for all of it.

    An error that one row is to blame for names the row in its message and in ``row_number`` (from 1, in the input), and
    the key by the names of its columns, never by values; ``bulk_report`` says what was written. The row is found by
    running the refused batch again by halves, and rolling that back. Constraints that are checked at COMMIT name none.
    """

    __slots__ = ()

    _executor: Executor

    @abstractmethod
    def _run_bound(
        self, operation: Any, bound: Any, args: Sequence[Any], timeout_seconds: float | None, payload: Any = None
    ) -> Awaitable[Any]: ...

    async def bulk_insert(
        self,
        table: str,
        columns: Sequence[str],
        rows: Rows,
        *,
        batch_rows: int | None = None,
        progress: Progress | None = None,
        atomic: bool = True,
        timeout_seconds: float | None = None,
    ) -> int:
        """Insert many rows by the engine's fastest means (COPY, multi-row INSERT, insert_many).

        Args:
            table: name of the table or collection, possibly qualified (``schema.table``); quoted here.
            columns: names of the columns; quoted here.
            rows: values in the order of the columns; consumed once.
            batch_rows, progress, atomic, timeout_seconds: as for all bulk verbs.

        Returns:
            the rows inserted.
        """
        write = BulkWrite(BulkVerb.INSERT, *_checked_names(self._executor.adapter, table, columns))
        if (
            atomic
            and batch_rows is None
            and progress is None
            and not isinstance(rows, AsyncIterable)
            and not self._executor.capabilities.has(Capability.TRANSACTIONS)
        ):  # as much of it as such a deployment can do at once
            payload = (table, write.columns, rows)
            inserted: int = await self._run_bound(operations.bulk_insert, None, (), timeout_seconds, payload)
            return inserted
        report = await self._bulk(write, rows, batch_rows, progress, atomic, timeout_seconds)
        return report.rows_affected

    async def bulk_upsert(
        self,
        table: str,
        columns: Sequence[str],
        rows: Rows,
        *,
        key: Names,
        update: Sequence[str] | None = None,
        batch_rows: int | None = None,
        progress: Progress | None = None,
        atomic: bool = True,
        timeout_seconds: float | None = None,
    ) -> BulkReport:
        """Insert many rows, or update those whose key is there.

        Of rows with the same key in one batch the last one wins; with ``update=()`` the first.

        Args:
            table, columns, rows: as for :meth:`bulk_insert`.
            key: the columns of a primary or unique key. A conflict on any other key is an error.
            update: the columns that are set in a row that is there; None: all but the key; ``()``: such a row is left
                alone.
            batch_rows, progress, atomic, timeout_seconds: as for all bulk verbs.
        """
        adapter = self._executor.adapter
        table, names = _checked_names(adapter, table, columns)
        found = _key(names, key)
        rest = tuple(name for name in names if name not in found)
        chosen = rest if update is None else tuple(update)
        for name in chosen:
            if name not in rest:
                raise ParameterError(_unknown("update", name, rest))
        write = BulkWrite(BulkVerb.UPSERT, table, names, found, chosen)
        return await self._bulk(write, rows, batch_rows, progress, atomic, timeout_seconds)

    async def bulk_update(
        self,
        table: str,
        columns: Sequence[str],
        rows: Rows,
        *,
        key: Names,
        batch_rows: int | None = None,
        progress: Progress | None = None,
        atomic: bool = True,
        timeout_seconds: float | None = None,
    ) -> BulkReport:
        """Set all columns but the key in the rows that have these keys. Keys without a row are passed over.

        Args:
            table, columns, rows: as for :meth:`bulk_insert`; of rows with the same key in one batch the last one wins.
            key: the columns that find a row.
            batch_rows, progress, atomic, timeout_seconds: as for all bulk verbs.
        """
        table, names = _checked_names(self._executor.adapter, table, columns)
        found = _key(names, key)
        rest = tuple(name for name in names if name not in found)
        if not rest:
            raise ParameterError("an update sets at least one column that is not part of the key")
        write = BulkWrite(BulkVerb.UPDATE, table, names, found, rest)
        return await self._bulk(write, rows, batch_rows, progress, atomic, timeout_seconds)

    async def bulk_delete(
        self,
        table: str,
        key: Names,
        keys: Iterable[Any] | AsyncIterable[Any],
        *,
        batch_rows: int | None = None,
        progress: Progress | None = None,
        atomic: bool = True,
        timeout_seconds: float | None = None,
    ) -> BulkReport:
        """Delete the rows that have these keys. Keys without a row are passed over.

        Args:
            table: as for :meth:`bulk_insert`.
            key: the columns that find a row: a name, and then ``keys`` are values; or several, and ``keys`` are tuples.
            keys: consumed once.
            batch_rows, progress, atomic, timeout_seconds: as for all bulk verbs.
        """
        table, names = _checked_names(self._executor.adapter, table, (key,) if isinstance(key, str) else key)
        rows: Rows = cast(Rows, keys)
        if isinstance(key, str):
            rows = _tuples(keys) if isinstance(keys, AsyncIterable) else zip(keys)
        write = BulkWrite(BulkVerb.DELETE, table, names, names)
        return await self._bulk(write, rows, batch_rows, progress, atomic, timeout_seconds)

    @overload
    async def get_many(
        self,
        table: str,
        keys: Sequence[Any],
        *,
        key: Names = "id",
        columns: Sequence[str] | None = None,
        timeout_seconds: float | None = None,
    ) -> list[dict[str, Any] | None]: ...
    @overload
    async def get_many(
        self,
        table: str,
        keys: Sequence[Any],
        *,
        key: Names = "id",
        columns: Sequence[str] | None = None,
        into: type[T],
        timeout_seconds: float | None = None,
    ) -> list[T | None]: ...
    async def get_many(
        self,
        table: str,
        keys: Sequence[Any],
        *,
        key: Names = "id",
        columns: Sequence[str] | None = None,
        into: Any = None,
        timeout_seconds: float | None = None,
    ) -> list[Any]:
        """Read the rows with these keys, in as few round trips as the engine allows.

        Args:
            table: as for :meth:`bulk_insert`.
            keys: values, or tuples where the key has several columns; a key that is there twice shares one object.
            key: the columns of a primary or unique key.
            columns: what to read; None: all.
            into: as for ``fetch_all``.
            timeout_seconds: for each statement.

        Returns:
            for each key its row, or None where there is none.

        Raises:
            ResultError: two rows have the same key.
        """
        read, wanted = keyed_read(self._executor.adapter, table, key, columns)
        return await KeyedReader(read, wanted, into).many(cast("Statements", self), keys, timeout_seconds)

    async def _bulk(
        self,
        write: BulkWrite,
        rows: Rows,
        batch_rows: int | None,
        progress: Progress | None,
        atomic: bool,
        timeout_seconds: float | None,
    ) -> BulkReport:
        run = BulkRun(
            cast("Statements", self),
            write,
            rows,
            batch_rows=batch_rows,
            progress=progress,
            atomic=atomic,
            timeout_seconds=timeout_seconds,
        )
        return await run.run()


def _checked_names(adapter: DatabaseAdapter, table: str, columns: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The table and its columns.

    Raises:
        ParameterError: a name cannot be one, is there twice, or there is none.
    """
    for part in table.split("."):
        adapter.check_name(part)
    if isinstance(columns, str) or not columns:
        raise ParameterError("columns are a list of at least one name")
    for name in columns:
        adapter.check_name(name)
    if len(set(columns)) != len(columns):
        raise ParameterError(f"a column is named twice: {', '.join(sorted(set(columns)))}")
    return table, tuple(columns)


def _key(columns: tuple[str, ...], key: Names) -> tuple[str, ...]:
    names = (key,) if isinstance(key, str) else tuple(key)
    if not names or len(set(names)) != len(names):
        raise ParameterError("a key is at least one of the columns, each once")
    for name in names:
        if name not in columns:
            raise ParameterError(_unknown("key", name, columns))
    return names


def _unknown(what: str, name: str, known: Sequence[str]) -> str:
    near = get_close_matches(str(name), known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}"
    return f"{what} names {name!r:.40}, which is none of the columns that it may name; {hint}"


async def _tuples(keys: AsyncIterable[Any]) -> Any:
    async for key in keys:
        yield (key,)
