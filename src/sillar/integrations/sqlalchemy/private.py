"""The private names of SQLAlchemy that Sillar needs, in one place; a contract test holds them at both ends of the
supported range (2.0.40 and the latest 2.1)."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Mapping
from importlib.util import find_spec
from typing import Any, cast

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.base import OptionEngine
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import Pool, PoolProxiedConnection

from sillar.errors import UsageError
from sillar.integrations.sqlalchemy.terms import PLAIN_TERMS, LeaseTerms, terms_of_checkout

if find_spec("greenlet") is None:  # SQLAlchemy imports it when it is first needed, which is too late for a clear error
    raise UsageError("SQLAlchemy's asyncio part needs greenlet: pip install 'sillar[sqlalchemy]'")

from sqlalchemy.pool.base import _AdhocProxiedConnection, _ConnectionRecord
from sqlalchemy.util.concurrency import greenlet_spawn, in_greenlet

try:
    from sqlalchemy.util.concurrency import await_ as await_only
except ImportError:  # SQLAlchemy 2.0
    from sqlalchemy.util.concurrency import await_only

__all__ = [
    "BorrowingPool",
    "Record",
    "await_only",
    "borrowed_connection",
    "engine_on",
    "greenlet_spawn",
    "has_rows",
    "in_greenlet",
]

Record = _ConnectionRecord


class BorrowingPool(Pool):
    """A pool of SQLAlchemy's that owns no socket: it borrows physical connections, and SQLAlchemy's record of each
    stays with it.

    Args:
        borrow: a physical connection at once, or None.
        wait: a physical connection; waits its turn.
        give_back: takes one back. Its second argument says whether SQLAlchemy has dropped it.
        find: SQLAlchemy's record that is kept with a physical connection, or None.
        adapt: makes the DBAPI connection over a physical one, and keeps the record there.
        drop: closes a DBAPI connection's physical one (True), or leaves that to the reset at its return (False).
        about: describes the owner of the sockets.
    """

    _is_asyncio = True

    def __init__(
        self,
        borrow: Callable[[], Any],
        wait: Callable[[], Awaitable[Any]],
        give_back: Callable[[Any, bool], None],
        find: Callable[[Any], Record | None],
        adapt: Callable[[Any, Record, Any], Any],
        drop: Callable[[Any, bool], None],
        about: Callable[[], str],
        **settings: Any,
    ) -> None:
        self._settings = (borrow, wait, give_back, find, adapt, drop, about)
        self._borrow, self._wait, self._give_back = borrow, wait, give_back
        self._find, self._adapt, self._drop, self._about = find, adapt, drop, about
        self._handed: list[Any] = []  # on its way to the creator, which all views of this pool share
        self._terms = PLAIN_TERMS
        super().__init__(cast(Any, self._connect), **settings)
        event.listen(self, "invalidate", _note_reason)

    def on(self, terms: LeaseTerms) -> BorrowingPool:
        """The same pool with the same listeners, asked on other terms."""
        view = copy.copy(self)
        view._terms = terms
        return view

    def connect(self) -> PoolProxiedConnection:
        token = terms_of_checkout.set(self._terms)
        try:
            return super().connect()
        finally:
            terms_of_checkout.reset(token)

    def record_of(self, physical: Any) -> Record:
        """SQLAlchemy's record of a physical connection, made the first time it is met. Runs in a greenlet."""
        record = self._find(physical)
        if record is None:
            self._handed.append(physical)
            try:
                record = self._create_connection()  # type: ignore[assignment]
                cast(Any, record).record_info.pop("begins", None)
                cast(Any, record).dbapi_connection.greeted(leased=terms_of_checkout.get() is not None)
            finally:
                self._handed.clear()
        return record  # type: ignore[return-value]

    def _connect(self, connection_record: Record) -> Any:
        physical = self._handed.pop() if self._handed else None
        again = physical is None
        info: Any = connection_record.record_info
        if physical is None:  # a soft invalidation: SQLAlchemy has closed what the record led to, and connects anew
            self._give_back(info.pop("physical"), True)
            physical = self._borrow() or await_only(self._wait())
        info["physical"], info["begins"] = physical, True
        connection = self._adapt(physical, connection_record, self._dialect)
        if again:
            connection.greeted(leased=True)
        return connection

    def _do_get(self) -> Record:
        physical = self._borrow()
        if physical is None:
            physical = await_only(self._wait())
        try:
            return self.record_of(physical)
        except BaseException:  # cancelled in the middle of what SQLAlchemy asks a new connection
            self._give_back(physical, True)
            raise

    def _do_return_conn(self, record: Any) -> None:
        info = record.record_info
        info.pop("begins", None)
        if record.dbapi_connection is not None:
            self._give_back(info["physical"], False)
            return
        physical = info.pop("physical")
        if not info.pop("dropped", False):  # detached: whatever happens to it, it is no part of the pool any more
            physical.terminate()
        self._give_back(physical, True)

    def _close_connection(self, connection: Any, *, terminate: bool = False) -> None:
        """Instead of closing: SQLAlchemy lets go of it."""
        record = connection.record
        record.record_info["dropped"] = True
        left = record.info.pop("sillar_left", False)
        begins = record.record_info.pop("begins", False)  # its first words were interrupted
        self._drop(connection, not (left or begins))

    def _invalidate(self, connection: Any, exception: BaseException | None = None, _checkin: bool = True) -> None:
        """One connection broke. The others are looked after by their owner: SQLAlchemy would close them all."""
        if _checkin and getattr(connection, "is_valid", False):
            connection.invalidate(exception)

    def recreate(self) -> BorrowingPool:
        return type(self)(*self._settings, dialect=self._dialect)

    def dispose(self) -> None:
        """The sockets are Sillar's: nothing to close."""

    def status(self) -> str:
        return self._about()


class _TermsEngine(OptionEngine):
    """An engine with options, which asks for connections on terms of its own; so do the engines derived from it."""

    def __init__(self, proxied: Engine, options: Mapping[str, Any], terms: LeaseTerms) -> None:
        self._terms = terms
        self._view: tuple[Pool, Pool] | None = None
        super().__init__(proxied, options)

    @property
    def pool(self) -> Pool:
        own: Any = self._proxied.pool
        if self._view is None or self._view[0] is not own:
            self._view = own, own.on(self._terms)
        return self._view[1]

    @pool.setter
    def pool(self, pool: Pool) -> None:
        self._proxied.pool = pool


def engine_on(engine: AsyncEngine, terms: LeaseTerms, options: Mapping[str, Any]) -> AsyncEngine:
    """The same engine with options of execution, whose connections are asked for on these terms."""
    return AsyncEngine(_TermsEngine(engine.sync_engine, options, terms))


def has_rows(result: Any) -> bool:
    """Whether a statement gives rows that its author asked for, and not only the keys that SQLAlchemy has returned to
    itself."""
    if not getattr(result, "returns_rows", True):
        return False
    context = getattr(result, "context", None)  # of entities: none, or another kind of it
    return not (getattr(context, "isinsert", False) and context._is_implicit_returning)  # type: ignore[union-attr]


def _note_reason(connection: Any, record: Any, error: BaseException | None) -> None:
    """A caller that left, or a statement that broke: the owner finds out whether the connection can be used again.
    Without a reason the user has asked for it, and it is closed."""
    if error is not None:
        record.info["sillar_left"] = True


def borrowed_connection(engine: Engine, physical: Any) -> Connection:
    """SQLAlchemy's connection over a physical one that somebody else has leased. Runs in a greenlet.

    It is never closed: whoever leased the physical one gives it back.
    """
    pool: Any = engine.pool
    record = pool.record_of(physical)
    return Connection(engine, connection=_AdhocProxiedConnection(record.dbapi_connection, record))
