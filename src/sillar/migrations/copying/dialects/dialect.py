"""What a copy asks of an SQL engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from sillar.execution import DatabaseSession
from sillar.execution.statements import Statements
from sillar.migrations.copying.expressions import Translation
from sillar.migrations.copying.fit import chained, valid_json
from sillar.migrations.copying.model import Column, ColumnType, Index, Kind, Table
from sillar.migrations.copying.side import Field, Row, Usage
from sillar.migrations.copying.values import Convert, as_kind

BATCH_BYTES: Final = 16 << 20
"""Where the long texts and bytes of a batch together have more, it is not filled up."""
_PIECE_ROWS: Final = 50
"""Rows that are fetched at once where they may be long."""
_LONG: Final = 1000
_WIDE: Final = (Kind.TEXT, Kind.BYTES, Kind.JSON, Kind.NATIVE)
RowSink = Callable[[list[Any]], Awaitable[None]]


class Dialect(ABC):
    """One SQL engine.

    Attributes:
        family: engines of one family take each other's types and definitions as they are.
        translator: what sqlglot calls it.
        tables_sql: gives the names of the tables that an unqualified name finds.
        long_text: the type of text without a limit.
        exact_text: what makes a text column compare by its characters.
        reading_settings: transaction-local settings of a transaction that reads.
        has_isolation: a snapshot has to be asked for.
        inline_foreign_keys: they can only be part of CREATE TABLE.
        partial_indexes, expression_indexes: whether it has them.
    """

    family: ClassVar[str]
    translator: ClassVar[str]
    tables_sql: ClassVar[str]
    long_text: ClassVar[str]
    exact_text: str = ""
    reading_settings: ClassVar[tuple[tuple[str, str], ...]] = ()
    has_isolation: ClassVar[bool] = True
    enforces_types: ClassVar[bool] = True
    inline_foreign_keys: ClassVar[bool] = False
    partial_indexes: ClassVar[bool] = True
    expression_indexes: bool = True
    has_comments: ClassVar[bool] = True
    name_length_max: ClassVar[int] = 63
    ignores_case: ClassVar[bool] = True
    """Whether two columns cannot have names that differ by case alone."""
    tables_ignore_case: ClassVar[bool] = False
    identity: ClassVar[str]
    """What makes an integer column number itself, in CREATE TABLE."""
    now: ClassVar[str] = "CURRENT_TIMESTAMP"
    true_false: ClassVar[tuple[str, str]] = ("1", "0")
    table_options: str = ""
    generated_uuid: ClassVar[str | None] = None
    suspend_foreign_keys: ClassVar[str | None] = None
    """Has foreign keys be checked at COMMIT, or not at all, for the rest of a transaction."""

    async def prepare(self, session: DatabaseSession) -> None:  # noqa: B027 - most engines need nothing
        """Ask the server what has to be known of it."""

    def said_of(self, table: str) -> Any:
        """What only a table of the same engine can be told, once :meth:`natives` has looked."""
        return None

    def numbered(self, table: Table, source: str) -> str:
        """What the key of a table that numbers itself has besides, where ``identity`` says nothing."""
        return ""

    async def lost(self, session: DatabaseSession) -> Mapping[str, Sequence[tuple[str, str]]]:
        """Of each table what is not carried to any target, and the consequence."""
        return {}

    async def indexes(self, session: DatabaseSession) -> Mapping[str, Sequence[Index]]:
        """Of each table the indexes that SQLAlchemy does not see."""
        return {}

    def portable(self, kind: ColumnType) -> ColumnType:
        """What other engines take a type for."""
        return kind

    def quoted(self, name: str) -> str:
        """A quoted identifier."""
        escaped = name.replace('"', '""')
        return f'"{escaped}"'

    def literal(self, text: str) -> str:
        """A quoted text."""
        escaped = text.replace("'", "''")
        return f"'{escaped}'"

    # --- types ------------------------------------------------------------------------------------------------------

    @abstractmethod
    async def natives(self, session: DatabaseSession) -> Mapping[tuple[str, str], Any]:
        """Of each table and column, the type in the engine's own words, the collation, and the expression of a
        generated one where SQLAlchemy does not see it."""

    @abstractmethod
    def column_type(self, described: Any, native: str, collation: str | None) -> ColumnType:
        """What a column means, by SQLAlchemy's type and the engine's words."""

    @abstractmethod
    def storage(self, column: Column, usage: Usage) -> ColumnType:
        """The type that takes the values of another engine's column most faithfully."""

    def fitted(self, columns: Sequence[Column], source: Sequence[Column], keyed: Collection[str]) -> list[Column]:
        """The columns with types that one row can have together.

        Args:
            columns: with the types of :meth:`storage`.
            source: as the source has them.
            keyed: the names of those in keys and indexes.
        """
        return list(columns)

    @abstractmethod
    def losses(self, column: Column, stored: ColumnType) -> Iterator[tuple[str, str]]:
        """What is not carried into such a column: what, and the consequence."""

    # --- reading ----------------------------------------------------------------------------------------------------

    def selected(self, name: str, stored: ColumnType) -> str:
        """The expression that reads a column, by its quoted name."""
        return name

    def ordered(self, name: str) -> str:
        """The expression that orders by a column."""
        return name

    def pages(self, stored: ColumnType) -> bool:
        """Whether a key of this type is ordered and compared by what is read of it."""
        return True

    @abstractmethod
    def decode(self, stored: ColumnType) -> Convert | None:
        """What the driver gives, into the form of the column's own kind; None where it has that already."""

    def decoder(self, field: Field) -> Convert | None:
        """What the driver gives, into the form of the agreed kind."""
        own = self.decode(field.stored)
        if field.stored.kind is field.agreed.kind:
            return own
        into = as_kind(field.agreed)
        if own is None:
            return into
        return lambda value: into(own(value))

    async def read(
        self,
        statements: Statements,
        sql: str,
        params: Mapping[str, Any],
        types: Sequence[ColumnType],
        batch_rows: int,
        sink: RowSink,
    ) -> None:
        """Run a query and give its rows to ``sink`` in batches, which end before they have many bytes.

        Args:
            types: of its columns.
        """
        wide = [place for place, kind in enumerate(types) if kind.kind in _WIDE and (kind.length or _LONG) >= _LONG]
        piece_rows = min(batch_rows, _PIECE_ROWS) if wide else batch_rows
        batch: list[Any] = []
        size = 0
        async with statements.stream(sql, params or None, batch_rows=piece_rows, into=tuple) as found:
            async for rows in found.batches():
                batch += rows
                size += sum(len(row[place]) for row in rows for place in wide if isinstance(row[place], (str, bytes)))
                while len(batch) >= batch_rows or size > BATCH_BYTES:
                    given, batch, size = batch[:batch_rows], batch[batch_rows:], 0
                    await sink(given)
        if batch:
            await sink(batch)

    def after(self, keys: Sequence[Field], values: Row) -> tuple[str, dict[str, Any]]:
        """The condition that finds the rows after a key, and its parameters.

        As a chain of comparisons: not every engine uses an index for a comparison of rows.
        """
        params: dict[str, Any] = {}
        marks = []
        for number, (each, value) in enumerate(zip(keys, values, strict=True)):
            mark, found = self.compared(f"key_{number}", each, value)
            marks.append((self.ordered(self.quoted(each.name)), mark))
            params.update(found)
        chain = []
        for number, (name, mark) in enumerate(marks):
            same = [f"{before} = {given}" for before, given in marks[:number]]
            chain.append(" AND ".join([*same, f"{name} > {mark}"]))
        return " OR ".join(f"({each})" for each in chain), params

    def compared(self, mark: str, field: Field, value: Any) -> tuple[str, dict[str, Any]]:
        """What a column is compared with: a placeholder, and its value."""
        encode = self.encoder(field)
        return f":{mark}", {mark: encode(value) if encode is not None else value}

    # --- writing ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def encode(self, field: Field) -> Convert | None:
        """From the form of the column's own kind to what :meth:`insert` takes; raises :class:`UnfitError`."""

    def encoder(self, field: Field) -> Convert | None:
        """From the form of the agreed kind to what :meth:`insert` takes; raises :class:`UnfitError`."""
        other = field.stored.kind is not field.agreed.kind
        doubtful = field.agreed.kind is Kind.JSON and not field.trusted
        return chained(valid_json if doubtful else None, as_kind(field.stored) if other else None, self.encode(field))

    async def insert(
        self, transaction: Statements, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        """Insert a batch in an open transaction."""
        await transaction.bulk_insert(table, columns, rows)

    # --- definitions ------------------------------------------------------------------------------------------------

    def before_table(self, column: Column, table: str) -> Iterator[str]:
        """Statements that a column needs before its table can be created."""
        return iter(())

    def drop_table(self, name: str) -> str:
        """The statement that drops a table, if it is there."""
        return f"DROP TABLE IF EXISTS {self.quoted(name)}"

    def numbers(self, table: Table, column: Column) -> bool:
        """Whether an integer column of a table can number itself."""
        return True

    def number_on(self, table: str, column: str) -> Iterator[str]:
        """Statements that have the next number be past the last."""
        return iter(())

    def comments(self, table: str, comment: str | None, columns: Sequence[Column]) -> Iterator[str]:
        """Statements that comment on a table and its columns after they were created."""
        return iter(())

    def inline_comment(self, comment: str | None) -> str:
        """The comment as a part of a column's definition."""
        return ""

    def now_for(self, stored: ColumnType) -> str:
        """The default that is the time now, for a column."""
        return self.now

    def default_text(self, text: str, stored: ColumnType) -> Translation:
        """The default that is a text, for a column."""
        return Translation(self.literal(text), None)

    def enum_name(self, column: Column, table: str) -> str:
        """The type of an enum."""
        return column.type.native

    def index_part(self, index: Index, column: Column) -> str | None:
        """A column in an index; None where it cannot be part of this one."""
        return self.quoted(column.name)


def is_number(kind: ColumnType) -> bool:
    """Whether its values are numbers."""
    return kind.kind in (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT, Kind.FLOAT32)
