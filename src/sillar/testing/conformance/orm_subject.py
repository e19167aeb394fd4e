"""What the suite has to know about one way to reach a database: an ORM, the query builder, or plain statements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any, ClassVar

from sillar import DatabaseManager, Observer
from sillar.testing.conformance.cases import LOOKING_SECONDS, PROMISED_SECONDS, eventually
from sillar.testing.conformance.orm_engine import ORMEngine
from sillar.testing.conformance.orm_records import ORMAuthor, ORMBook, ORMRecord, empty_tables


class ORMSubject(ABC):
    """One way to one engine.

    All verbs work in the transaction of the context if there is one, be it of :meth:`transaction` or of Sillar's; else
    each is kept by itself, on a connection that it has for as long as it takes. They raise what the ORM raises, which
    :meth:`errors` turns into the errors of :mod:`sillar.errors`.

    Args:
        engine: where it works.

    Attributes:
        name: shown in the ids of the tests.
        record_model: what a ``QueryBuilder`` over the records of this way takes.
        marks_long: the statement of :meth:`run_long` has the engine's marker in its text.
        own_forms: fields of a record that this way stores in a form of its own: read equal by all others, and not found
            by theirs.
        follows: a transaction of this way inside another one ends with that one, which keeps what is pending.
    """

    name: ClassVar[str]
    record_model: ClassVar[Any]
    marks_long: bool = True
    own_forms: frozenset[str] = frozenset()
    follows: ClassVar[bool] = False
    manager: DatabaseManager

    def __init__(self, engine: ORMEngine) -> None:
        self.engine = engine

    async def open(self, manager: DatabaseManager) -> None:
        """Begin to work on an open manager; tables are there."""
        self.manager = manager

    @abstractmethod
    def errors(self) -> AbstractAsyncContextManager[Any]:
        """A block in which errors come as Sillar's."""

    @abstractmethod
    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """A transaction as this way begins one; inside an open one, a savepoint. The block gets what users hold."""

    @abstractmethod
    async def count_through(self, held: Any) -> int:
        """Count the authors through what a block of :meth:`transaction` got."""

    # --- authors and books --------------------------------------------------------------------------------------------

    @abstractmethod
    async def add_author(self, author: ORMAuthor) -> None:
        """Insert one."""

    @abstractmethod
    async def add_book(self, book: ORMBook) -> None:
        """Insert one."""

    @abstractmethod
    async def rename_author(self, number: int, name: str) -> None:
        """Update the one with that id."""

    @abstractmethod
    async def remove_author(self, number: int) -> None:
        """Delete the one with that id."""

    @abstractmethod
    async def author_names(self) -> list[str]:
        """The names in the order of the ids."""

    @abstractmethod
    async def count_authors(self) -> int:
        """How many there are."""

    @abstractmethod
    def stream_names(self) -> AsyncIterator[str]:
        """The names of the authors as they come, in the order of the ids."""

    @abstractmethod
    async def titles_of(self, number: int) -> list[str]:
        """The titles of an author's books in the order of their ids, along the relationship."""

    @abstractmethod
    async def author_of(self, number: int) -> str:
        """The name of the author of a book, along the relationship."""

    # --- records ------------------------------------------------------------------------------------------------------

    @abstractmethod
    async def write(self, record: ORMRecord) -> None:
        """Insert a record."""

    @abstractmethod
    async def read(self, number: int) -> ORMRecord:
        """Read the record with that id."""

    # --- statements of the engine -------------------------------------------------------------------------------------

    @abstractmethod
    async def run_long(self) -> None:
        """Run what the engine calls ``long``: a minute, unless it is stopped."""

    async def scalar(self, sql: str) -> Any:
        """The first value of a query in the engine's own SQL. Needed where the engine speaks SQL."""
        raise NotImplementedError(f"{type(self).__name__} has no scalar()")

    async def run(self, sql: str) -> None:
        """Run a statement in the engine's own SQL. Needed where the engine speaks SQL."""
        raise NotImplementedError(f"{type(self).__name__} has no run()")

    def __repr__(self) -> str:
        return f"{self.name}-{self.engine.name}"


@asynccontextmanager
async def opened(
    *subjects: ORMSubject, connections: int, observers: Iterable[Observer] = ()
) -> AsyncIterator[DatabaseManager]:
    """A manager that some ways of one engine share, over empty tables; nothing may be leased when it is left.

    Its connections are new: whoever is first to use one afterwards is the first to meet it.
    """
    engine = subjects[0].engine
    async with DatabaseManager(engine.subject.config()) as preparing:
        await empty_tables(preparing.session(), engine)
    pool = {"min_connections": 0, "max_connections": connections, "waiting_max": 10_000, "connection_timeout": 20.0}
    async with DatabaseManager(engine.subject.config(pool=pool), observers=observers) as manager:
        for subject in subjects:
            await subject.open(manager)
        yield manager
        await nothing_leased(manager)


async def nothing_leased(manager: DatabaseManager) -> None:
    """Return once the pool has everything back.

    Raises:
        TimeoutError: it has not in time; a second is what is promised.
    """

    async def free() -> bool:
        return manager.pools["default"].stats().leased == 0

    await eventually(free, PROMISED_SECONDS + LOOKING_SECONDS)


async def first_of(names: AsyncIterator[str], count: int) -> list[str]:
    """So many of a stream, which is then left."""
    found: list[str] = []
    async with aclosing(names):  # type: ignore[type-var]  # an async generator
        async for name in names:
            found.append(name)
            if len(found) == count:
                break
    return found
