"""How one driver's connections are lent to SQLAlchemy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from typing import Any, ClassVar, Final, cast

from sqlalchemy.engine import Dialect

from sillar.engines.connection import DriverConnection
from sillar.errors import DatabaseError, UnsupportedCapabilityError, UsageError
from sillar.execution import Executor
from sillar.integrations.sqlalchemy.lent import Lent, Watch

_BRIDGES: Final = {
    "asyncpg": ("postgresql", "PostgreSQLBridge"),
    "asyncmy": ("mysql", "MySQLBridge"),
    "sqlite3": ("sqlite", "SQLiteBridge"),
}


class Bridge(ABC):
    """One driver's side.

    Args:
        executor: the path of the database.
    """

    url: ClassVar[str]
    """Names the dialect."""

    driver_module: ClassVar[str]
    """Where the driver's errors come from."""

    streams_in_transaction: ClassVar[bool] = False
    """A server-side cursor lives in a transaction."""

    holds_views: ClassVar[bool] = False
    """Physical connections are light views that forget what is kept with them when they are released."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.dbapi_error: type[Exception] = Exception

    def prepare_dialect(self, dialect: Any) -> None:  # noqa: B027 - most have nothing to keep
        """Keep the dialect from changing the session contract."""

    @abstractmethod
    def adapt(self, dialect: Dialect, physical: DriverConnection[Any], record: Any, watch: Watch) -> Lent:
        """A DBAPI connection over a physical one, not attached to anything."""

    def refresh(self, lent: Lent) -> None:  # noqa: B027 - as above
        """Called when a connection is lent again: others had it meanwhile."""

    def move(self, lent: Any, physical: DriverConnection[Any]) -> None:
        """Have a DBAPI connection, outside of any transaction, stand over another physical one."""
        lent.physical, lent._connection = physical, physical.raw

    @abstractmethod
    def in_autocommit(self, lent: Lent, on: bool) -> None:
        """Let each statement commit by itself, or not."""

    def driver_error(self, error: BaseException) -> BaseException | None:
        """The driver's own error behind what SQLAlchemy's DBAPI layer raises."""
        return error

    @abstractmethod
    def statement_error(
        self, error: BaseException, address: str | None, *, safe_to_retry: bool = False
    ) -> DatabaseError | None:
        """The driver's error as one of Sillar's, or None where it is none of the driver's."""

    def translate(
        self, error: BaseException, physical: DriverConnection[Any] | None, *, safe_to_retry: bool = False
    ) -> DatabaseError | None:
        """What SQLAlchemy's DBAPI layer raised as one of Sillar's errors, or None."""
        if isinstance(error, DatabaseError):
            return error
        own = self.driver_error(error)
        if own is None or isinstance(own, DatabaseError):
            return own
        address = None if physical is None else physical.address
        found = getattr(own, "sillar_error", None) or self.statement_error(own, address, safe_to_retry=safe_to_retry)
        if found is not None:
            found.at(database=self.executor.name)
            found.__cause__ = own
        return found


def bridge_of(executor: Executor) -> Bridge:
    """The bridge for the driver of a database.

    Raises:
        UnsupportedCapabilityError: it is no SQL database.
        UsageError: a package that SQLAlchemy needs is not installed.
    """
    found = _BRIDGES.get(executor.adapter.driver)
    if found is None:
        raise UnsupportedCapabilityError(
            "SQLAlchemy", engine=executor.capabilities.engine, remedy="it is for SQL engines; use the document verbs"
        )
    try:
        module = import_module(f"sillar.integrations.sqlalchemy.{found[0]}")
    except ImportError as error:
        raise UsageError(
            f"SQLAlchemy needs the package {error.name!r} here: pip install 'sillar[sqlalchemy]'"
        ) from error
    return cast(Callable[[Executor], Bridge], getattr(module, found[1]))(executor)
