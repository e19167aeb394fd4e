"""One of the two databases of a copy, whatever its engine: what the copy asks of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from sillar.consistency import Consistency
from sillar.execution import DatabaseSession
from sillar.manager import DatabaseManager
from sillar.migrations.copying.expressions import Words
from sillar.migrations.copying.model import Column, ColumnType, Table
from sillar.migrations.copying.values import Convert, UnfitError
from sillar.migrations.names import COPIES_TABLE

Row: TypeAlias = Sequence[Any]
Sink: TypeAlias = Callable[[list[Row]], Awaitable[None]]
"""Takes a batch of rows in the forms of :mod:`.values`."""

Refuse: TypeAlias = Callable[[Row, int, UnfitError], None]
"""Is told of a value, by its row and its place in it, that is not what its own column says."""

PROGRESS_TABLE: Final = COPIES_TABLE


@dataclass(frozen=True, slots=True)
class Field:
    """A column as one side sees it.

    Attributes:
        name: what it is called there.
        stored: its type there.
        agreed: what its values mean on both sides.
        trusted: the source has enforced the agreed type.
        is_native: both sides are engines of one family, and the column has the same type on both.
    """

    name: str
    stored: ColumnType
    agreed: ColumnType
    trusted: bool = True
    is_native: bool = False


@dataclass(frozen=True, slots=True)
class Shelf:
    """A table as one side sees it.

    Attributes:
        fields: in the order of the rows.
        key: names of the fields of the primary key; empty without one.
    """

    table: str
    fields: tuple[Field, ...]
    key: tuple[str, ...] = ()

    @property
    def key_places(self) -> tuple[int, ...]:
        """Where in a row the key is."""
        names = [each.name for each in self.fields]
        return tuple(names.index(name) for name in self.key)


@dataclass(slots=True)
class Facts:
    """What the survey has found in the values of one column.

    Attributes:
        length: the longest text (characters) or bytes.
        whole, fraction: the most digits before and after the point of decimals.
        fine: times have more than milliseconds.
        distant: dates, NaN, infinities and the like that not every engine has.
        huge: an integer is beyond the 63 bits of a signed one.
        nulls: how many are NULL.
    """

    length: int = 0
    whole: int = 0
    fraction: int = 0
    fine: bool = False
    distant: bool = False
    huge: bool = False
    nulls: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """How a column is used, where its storage depends on that.

    Attributes:
        keyed: it is part of a key or an index.
        facts: what the survey found; None without one.
    """

    keyed: bool = False
    facts: Facts | None = None

    @property
    def is_small(self) -> bool:
        """Whether unsigned integers of 64 bits may be stored as signed ones: they are a key, as the numbers that an
        engine gives, and nobody has seen a greater one."""
        return self.keyed and not (self.facts is not None and self.facts.huge)


@dataclass(slots=True)
class ProgressRow:
    """How far the copy of a table has come, as the target remembers it.

    Attributes:
        state: ``planned``, ``loading``, ``loaded``, ``finished``.
        last_key: of the last row that is in the target, as JSON text; None before the first.
        plan: the plan of the table, as JSON text.
    """

    table: str
    source: str
    state: str = "planned"
    last_key: str | None = None
    rows: int = 0
    plan: str = ""


class Side(ABC):
    """One of the two databases.

    Args:
        manager: open.
        database: configured name; None is the default one.
    """

    words: Words
    """Whose expressions its schema has; where both sides have the same family, native types are carried as they are."""

    enforces_types: bool = True
    """Whether a column only ever has values of its type."""

    is_schemaless: bool = False
    """Whether a collection takes any field."""

    carries_whole: bool = False
    """Set where both sides carry whole documents."""

    def __init__(self, manager: DatabaseManager, database: str | None) -> None:
        self.manager = manager
        self.executor = manager.executor(database)
        self.database = self.executor.name
        self.label = self.executor.adapter.config.display_name

    def session(self) -> DatabaseSession:
        """A new session, which never reads from a replica that may be behind."""
        return self.manager.session(self.database, consistency=Consistency.STRONG)

    async def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Ask the server what has to be known of it."""

    # --- schema -----------------------------------------------------------------------------------------------------

    @abstractmethod
    async def table_names(self) -> list[str]:
        """The tables, without the copy's own."""

    @abstractmethod
    async def tables(self, names: Sequence[str]) -> list[Table]:
        """What these tables are like, in the order of ``names``."""

    @abstractmethod
    def computes(self, expression: str, source: Words) -> bool:
        """Whether it can have a generated column of this expression."""

    def portable(self, kind: ColumnType) -> ColumnType:
        """What other engines take a type of this one for."""
        return kind

    def fitted(self, columns: Sequence[Column], source: Sequence[Column], keyed: Collection[str]) -> list[Column]:
        """The columns with types that one row can have together."""
        return list(columns)

    def impossible(self, table: Table, names: Sequence[str]) -> Iterator[tuple[str | None, str]]:
        """Names that cannot be: column or None, and what is the matter.

        Args:
            names: of all tables that are copied.
        """
        return iter(())

    def numbers(self, table: Table, column: Column, stored: ColumnType) -> bool:
        """Whether it can number a column of this type by itself."""
        return True

    @abstractmethod
    def storage(self, column: Column, usage: Usage) -> ColumnType:
        """The type that takes the values of a column of another engine most faithfully."""

    @abstractmethod
    def losses(self, column: Column, stored: ColumnType) -> Iterator[tuple[str, str]]:
        """What is not carried into such a column, whatever its values: what, and the consequence."""

    @abstractmethod
    def definition_losses(self, table: Table, source: Words) -> Iterator[tuple[str | None, str, str]]:
        """What of the definition of a table is not carried: column or None, what, and the consequence."""

    @abstractmethod
    async def create_table(self, table: Table, source: Words) -> None:
        """Create a table with its columns and its key, and nothing that slows loading down."""

    @abstractmethod
    async def finish_table(self, table: Table, source: Words) -> None:
        """Add indexes and constraints, all but foreign keys, as far as they are not there."""

    @abstractmethod
    async def add_foreign_keys(self, table: Table) -> None:
        """Add the foreign keys as far as they are not there."""

    @abstractmethod
    async def number_on(self, table: Table) -> None:
        """Have the engine number the next row past the last."""

    @abstractmethod
    async def drop_tables(self, names: Sequence[str]) -> None:
        """Drop tables, as far as they are there, whatever refers to them."""

    @abstractmethod
    async def clear_table(self, name: str) -> None:
        """Delete all rows."""

    @abstractmethod
    async def is_empty(self, name: str) -> bool:
        """Whether a table has no rows."""

    @abstractmethod
    def checks(self, shelf: Shelf) -> list[Convert | None]:
        """Of each field what raises :class:`UnfitError` for a value that does not fit."""

    # --- rows -------------------------------------------------------------------------------------------------------

    @abstractmethod
    def snapshot(self) -> AbstractAsyncContextManager[Reader]:
        """Read all tables as they are at one moment, where the engine can."""

    @abstractmethod
    def together(self) -> AbstractAsyncContextManager[Any]:
        """Load tables that refer to each other in a circle: gives what :meth:`Writer.write` takes as ``within``."""

    @abstractmethod
    def writer(self, shelf: Shelf) -> Writer:
        """What writes batches of rows into a table."""

    # --- progress ---------------------------------------------------------------------------------------------------

    @abstractmethod
    async def open_progress(self) -> dict[str, ProgressRow]:
        """How far earlier runs came, by table; empty where there is no progress table."""

    @abstractmethod
    async def create_progress(self) -> None:
        """Create the progress table, if it is not there."""

    @abstractmethod
    async def note(self, row: ProgressRow) -> None:
        """Remember how far a table has come."""

    @abstractmethod
    async def drop_progress(self) -> None:
        """Drop the progress table."""


class Reader(ABC):
    """Reads tables."""

    is_snapshot: bool = True
    """Whether all reads see one moment."""

    @abstractmethod
    def pages(self, shelf: Shelf) -> bool:
        """Whether the rows after a key can be found by it."""

    @abstractmethod
    async def read(
        self,
        shelf: Shelf,
        sink: Sink,
        *,
        batch_rows: int,
        in_order: bool = False,
        after: Row | None = None,
        refuse: Refuse | None = None,
    ) -> None:
        """Give the rows of a table to ``sink``.

        Args:
            in_order: of its key; else in any.
            after: the key after which to begin, in its order.
            refuse: told of values that are not what their column says, which are given as None; without it they raise.

        Raises:
            DataError: names table, key, column, reason and remedy.
        """


class Writer(ABC):
    """Writes rows into one table."""

    @abstractmethod
    async def write(self, rows: list[Row], progress: ProgressRow, within: Any = None) -> None:
        """Write a batch and the progress in one transaction: both or none.

        Args:
            within: what :meth:`Side.together` gave: then that is the transaction.
        """

    @abstractmethod
    async def attempt(self, rows: list[Row]) -> None:
        """Write rows and take them back: raises what a write would raise."""
