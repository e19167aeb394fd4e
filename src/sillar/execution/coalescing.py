"""Lookups by key that are made together and asked for together."""

from __future__ import annotations

import asyncio
import copy
from asyncio import Future, get_running_loop
from collections import deque
from collections.abc import Hashable, Sequence
from contextvars import Context, copy_context
from time import monotonic
from typing import Any, Final, Generic, Protocol, TypeVar, overload

from sillar.consistency import freshness
from sillar.context import coalescing_key, current_deadline, shared_deadline, time_left
from sillar.current import detached, joined_transaction
from sillar.errors import (
    DatabaseError,
    DataError,
    ParameterError,
    ResultError,
    StatementTimeoutError,
    UsageError,
)
from sillar.execution.executor import Executor
from sillar.execution.keyed import KeyedReader, keyed_read
from sillar.execution.session import DatabaseSession
from sillar.execution.statements import Statements

T = TypeVar("T")
_OF_A_KEY: Final = (ParameterError, DataError, ResultError)


class LookupHost(Protocol):
    """Who opens the databases: a ``DatabaseManager``."""

    def executor(self, name: str | None = None) -> Executor:
        """The path of one database."""
        ...


class Lookups(Generic[T]):
    """Lookups by key, coalesced: those made in the same turn of the event loop go out as one statement.

    Create one per table and use it from all tasks: ``await lookups.get(key)``. A connection is leased only when the
    statement goes out. Lookups are

    - never coalesced in a transaction: where one is open on the database, the lookup runs in it, by itself;
    - never coalesced across contexts that :func:`sillar.context.coalescing_key` tells apart;
    - independent: a key that is refused, a caller that is cancelled or whose time is over concerns nobody else.

    Callers that ask for the same key together share one object: do not change it.

    Args:
        host: the manager, or the executor of one database.
        table: name of the table or collection, possibly qualified; quoted here.
        key: the columns of a primary or unique key; keys are tuples where it has several.
        columns: what to read; None: all.
        into: as for ``fetch_all``.
        database: configured name of the database; None is the default one.
        batch_max: keys in one statement.
        in_flight_max: statements at once; what is asked for meanwhile gathers, up to ``batch_max`` keys each.
    """

    __slots__ = ("_batch_max", "_executor", "_in_flight", "_in_flight_max", "_open", "_reader", "_ready", "_session")

    @overload
    def __init__(
        self: Lookups[dict[str, Any]],
        host: LookupHost | Executor,
        table: str,
        *,
        key: str | Sequence[str] = "id",
        columns: Sequence[str] | None = None,
        database: str | None = None,
        batch_max: int = 250,
        in_flight_max: int = 4,
    ) -> None: ...
    @overload
    def __init__(
        self,
        host: LookupHost | Executor,
        table: str,
        *,
        key: str | Sequence[str] = "id",
        columns: Sequence[str] | None = None,
        into: type[T],
        database: str | None = None,
        batch_max: int = 250,
        in_flight_max: int = 4,
    ) -> None: ...
    def __init__(
        self,
        host: LookupHost | Executor,
        table: str,
        *,
        key: str | Sequence[str] = "id",
        columns: Sequence[str] | None = None,
        into: Any = None,
        database: str | None = None,
        batch_max: int = 250,
        in_flight_max: int = 4,
    ) -> None:
        if batch_max < 1 or in_flight_max < 1:
            raise UsageError(f"batch_max and in_flight_max are at least 1, not {batch_max} and {in_flight_max}")
        self._executor = host if isinstance(host, Executor) else host.executor(database)
        read, wanted = keyed_read(self._executor.adapter, table, key, columns)
        self._reader = KeyedReader(read, wanted, into)
        self._session = DatabaseSession(self._executor)
        self._batch_max, self._in_flight_max = batch_max, in_flight_max
        self._open: dict[tuple[Hashable, ...], _Batch] = {}
        self._ready: deque[_Batch] = deque()
        self._in_flight = 0

    async def get(
        self, key: Any, *, timeout_seconds: float | None = None, within: Statements | None = None
    ) -> T | None:
        """The row with this key, or None.

        Args:
            key: a value, or a tuple where the key has several columns; None finds no row.
            timeout_seconds: how long this caller waits; the deadline of its context holds besides.
            within: a session or transaction; what is open on it is used. Without it, what is open in this context.

        Raises:
            ParameterError: the key cannot be compared, or the column does not take it.
            StatementTimeoutError: no answer came in time. The statement goes on for those who have more of it.
        """
        executor = self._executor
        loop = get_running_loop()
        if executor.loop is not loop:
            executor.check_loop()
        if within is None:
            within = await joined_transaction(executor.name)
        else:
            await within._open_connection()
            within = within.owning_transaction
        if within is not None:
            return (await self._reader.many(within, (key,), timeout_seconds))[0]  # type: ignore[no-any-return]
        try:
            hash(key)
        except TypeError:
            raise ParameterError("a key is a list, a dict or the like, which cannot be compared") from None
        group = coalescing_key()
        if executor.source.is_routed:  # what one caller has written, another one's replica need not have
            group = (*group, freshness(executor.name))
        batch = self._open.get(group)
        if batch is None or len(batch.keys) >= self._batch_max:
            batch = self._open[group] = _Batch(group)
            loop.call_soon(self._flush, batch)
        future: Future[T | None] = loop.create_future()
        if timeout_seconds is None and current_deadline() is None:
            batch.is_unlimited = True
        else:
            seconds = time_left(timeout_seconds)
            assert seconds is not None
            batch.limit(future, monotonic() + seconds)
        batch.keys.append(key)
        batch.futures.append(future)
        return await future

    # --- batches ----------------------------------------------------------------------------------------------------

    def _flush(self, batch: _Batch) -> None:
        if self._in_flight < self._in_flight_max:
            self._start(batch)
        else:
            self._ready.append(batch)  # others may join until it starts

    def _start(self, batch: _Batch) -> None:
        if self._open.get(batch.group) is batch:
            del self._open[batch.group]
        self._in_flight += 1
        batch.context.run(self._executor.spawn, self._run(batch))

    async def _run(self, batch: _Batch) -> None:
        try:
            with detached(), shared_deadline(None if batch.is_unlimited else batch.latest):
                await self._answer(batch)
        except Exception as error:  # a defect; nobody may wait for ever
            for future in batch.futures:
                if not future.done():
                    future.set_exception(error)
        except BaseException:  # the loop ends
            for future in batch.futures:
                future.cancel()
            raise
        finally:
            batch.end()
            self._in_flight -= 1
            if self._ready:
                self._start(self._ready.popleft())

    async def _answer(self, batch: _Batch) -> None:
        keys = [key for key, future in zip(batch.keys, batch.futures, strict=True) if not future.done()]
        if not keys:
            return  # all of them have left already
        refused: dict[Any, DatabaseError] = {}
        # In the context of the batch: a session of its own reads what its callers have written.
        session = DatabaseSession(self._executor) if self._executor.source.is_routed else self._session
        found = await self._found(session, keys, refused)
        for key, future in zip(batch.keys, batch.futures, strict=True):
            if not future.done():
                if key in refused:
                    future.set_exception(_copy_of(refused[key]))
                else:
                    future.set_result(found.get(key))

    async def _found(
        self, session: DatabaseSession, keys: list[Any], refused: dict[Any, DatabaseError]
    ) -> dict[Any, Any]:
        """The rows by key. What one key is to blame for is found by halves, and concerns that key alone."""
        try:
            return dict(await self._reader.found(session, keys, None))
        except DatabaseError as error:
            if len(keys) == 1 or not isinstance(error, _OF_A_KEY) or not self._reader.fits:
                refused.update(dict.fromkeys(keys, error))
                return {}
        middle = len(keys) // 2
        left = await self._found(session, keys[:middle], refused)
        return left | await self._found(session, keys[middle:], refused)

    def __repr__(self) -> str:
        return f"<Lookups of {self._executor.name}, {self._in_flight} in flight>"


class _Batch:
    """Lookups that go out together.

    Attributes:
        context: of the first caller; in what matters, all have the same.
        latest: the latest of the callers' deadlines; ``is_unlimited``: one has none.
    """

    __slots__ = ("_limits", "_timer", "_wakes", "context", "futures", "group", "is_unlimited", "keys", "latest")

    def __init__(self, group: tuple[Hashable, ...]) -> None:
        self.group = group
        self.context: Context = copy_context()
        self.keys: list[Any] = []
        self.futures: list[Future[Any]] = []
        self.is_unlimited = False
        self.latest = 0.0
        self._limits: list[tuple[float, Future[Any]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._wakes = 0.0

    def limit(self, future: Future[Any], instant: float) -> None:
        """Have a caller wait until then at most. One timer serves all."""
        self._limits.append((instant, future))
        self.latest = max(self.latest, instant)
        if self._timer is None or instant < self._wakes:
            self._arm(instant)

    def end(self) -> None:
        """All have their answers."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self, instant: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wakes = instant
        self._timer = get_running_loop().call_later(max(0.0, instant - monotonic()), self._expire)

    def _expire(self) -> None:
        now = monotonic()
        self._timer = None
        self._limits = [each for each in self._limits if not each[1].done()]
        for instant, future in self._limits:
            if instant <= now:
                future.set_exception(StatementTimeoutError("the lookup had no answer within the time of its caller"))
        rest = [instant for instant, future in self._limits if instant > now]
        if rest:
            self._arm(min(rest))


def _copy_of(error: DatabaseError) -> DatabaseError:
    """The same error for one more caller: raised twice, one object would gather the traces of both."""
    try:
        made = copy.copy(error)
    except TypeError:  # its class wants more than a message
        return error
    made.__cause__ = error.__cause__
    return made


__all__ = ["LookupHost", "Lookups"]
