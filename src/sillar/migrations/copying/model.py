"""The nouns of a copy: a schema that belongs to no engine, and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What a value means, whatever its engine calls it. The values of each kind in Python are in :mod:`.values`."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    DECIMAL = "decimal"
    FLOAT = "float"
    FLOAT32 = "float32"
    TEXT = "text"
    BYTES = "bytes"
    DATE = "date"
    TIME = "time of day"
    MOMENT = "date and time"
    INSTANT = "point in time"
    UUID = "uuid"
    JSON = "json"
    ENUM = "enum"
    NATIVE = "of its engine alone"


@dataclass(frozen=True, slots=True)
class ColumnType:
    """The type of a column.

    Attributes:
        kind: what its values mean.
        native: what the engine itself calls it, ready for DDL.
        bits: of an integer; ``unsigned``: it has no negative values.
        precision, scale: digits of a decimal; ``precision`` of a time: digits of the second.
        length: characters or bytes; None: no limit. ``fixed``: shorter ones are padded with blanks.
        values: of an enum.
        insensitive: its collation takes letters of different case, or with different accents, for equal.
    """

    kind: Kind
    native: str = ""
    bits: int = 64
    unsigned: bool = False
    precision: int | None = None
    scale: int | None = None
    length: int | None = None
    fixed: bool = False
    values: tuple[str, ...] = ()
    insensitive: bool = False

    def to_json(self) -> dict[str, Any]:
        """For the progress table."""
        return {"kind": self.kind.value, "native": self.native, "bits": self.bits, "unsigned": self.unsigned,
                "precision": self.precision, "scale": self.scale, "length": self.length, "fixed": self.fixed,
                "values": list(self.values), "insensitive": self.insensitive}  # fmt: skip

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> ColumnType:
        """From :meth:`to_json`."""
        return cls(**{**given, "kind": Kind(given["kind"]), "values": tuple(given["values"])})


@dataclass(frozen=True, slots=True)
class Column:
    """A column. ``default`` is SQL as the engine gave it; ``identity``: the engine numbers it by itself; ``computed``:
    the expression of a generated column; ``origin``: its type in the source, once ``type`` is that of the target."""

    name: str
    type: ColumnType
    nullable: bool = True
    default: str | None = None
    identity: bool = False
    computed: str | None = None
    comment: str | None = None
    collation: str | None = None
    origin: ColumnType | None = None

    def typed(self, kind: ColumnType) -> Column:
        """The same column with another type."""
        return replace(self, type=kind)


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A reference to another table."""

    name: str | None
    columns: tuple[str, ...]
    table: str
    referred: tuple[str, ...]
    on_delete: str | None = None
    on_update: str | None = None


@dataclass(frozen=True, slots=True)
class Index:
    """An index or a unique constraint. ``parts`` are the names of columns; ``expressions`` stand beside them where the
    index has any; ``where`` is the predicate of a partial one; ``constraint``: it was declared as one."""

    name: str | None
    parts: tuple[str | None, ...]
    unique: bool = False
    expressions: tuple[str, ...] = ()
    where: str | None = None
    constraint: bool = False
    method: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A check constraint; ``sql`` as the engine gave it."""

    name: str | None
    sql: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table or collection. ``key`` is empty where there is no primary key; ``native``: what its engine says, for
    a target of the same engine; ``lost``: what no target is told, and the consequence of each."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    indexes: tuple[Index, ...] = ()
    checks: tuple[Check, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    comment: str | None = None
    native: Any = field(default=None, compare=False)
    lost: tuple[tuple[str, str], ...] = ()

    def column(self, name: str) -> Column:
        """The column of that name."""
        return next(column for column in self.columns if column.name == name)

    @property
    def written(self) -> tuple[Column, ...]:
        """The columns that hold data of their own: all but generated ones."""
        return tuple(column for column in self.columns if column.computed is None)


@dataclass(frozen=True, slots=True, order=True)
class Unfaithful:
    """Something that is not carried as it is.

    Attributes:
        table, column: where; no column where it is about the table.
        what: what is different.
        consequence: what follows from it for those who use the target.
        prevents: the copy is not possible with it.
    """

    table: str
    column: str | None
    what: str
    consequence: str
    prevents: bool = False

    def __str__(self) -> str:
        where = self.table if self.column is None else f"{self.table}.{self.column}"
        return f"{where}: {self.what}; {self.consequence}"


@dataclass(frozen=True, slots=True)
class Difference:
    """What the verification found in one table.

    Attributes:
        source_rows, target_rows: how many there are.
        keys: the first keys whose rows differ, each with what is the matter: ``missing``, ``superfluous`` or
            ``different``. Empty for a table without a key.
    """

    table: str
    source_rows: int
    target_rows: int
    keys: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        rows = f"{self.source_rows} rows in the source, {self.target_rows} in the target"
        found = "; ".join(f"{key} {what}" for key, what in self.keys) or "no key tells which rows differ"
        return f"{self.table}: {rows}: {found}"


@dataclass(slots=True)
class TableCopy:
    """What became of one table.

    Attributes:
        source_rows: rows that the survey has counted in the source; None without one.
        rows: rows in the target that this copy has written, earlier runs included.
        rows_now: of them, those of this run.
        checksum: of the source, as hexadecimal text; None where it was not verified.
        verified: both sides have the same rows; None where nobody looked.
    """

    table: str
    columns: tuple[tuple[str, str, str], ...] = ()
    source_rows: int | None = None
    rows: int = 0
    rows_now: int = 0
    checksum: str | None = None
    verified: bool | None = None


@dataclass(slots=True)
class CopyReport:
    """What a copy did, or would do.

    Attributes:
        source, target: engine, addresses and name; no user, no password.
        unfaithful: what is not carried as it is.
        tables: what became of each.
        differences: what the verification found.
        snapshot: the source was read as it was at one moment.
        notes: what holds for all of it.
        seconds: how long it took.
    """

    source: str
    target: str
    dry_run: bool = False
    unfaithful: list[Unfaithful] = field(default_factory=list)
    tables: list[TableCopy] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    snapshot: bool = True
    resumed: bool = False
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.rows for table in self.tables)

    @property
    def verified(self) -> bool:
        """Every table was compared, and none differs."""
        return bool(self.tables) and all(table.verified for table in self.tables)

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "source": self.source, "target": self.target, "dry_run": self.dry_run, "resumed": self.resumed,
            "snapshot": self.snapshot, "rows": self.rows, "verified": self.verified, "seconds": round(self.seconds, 3),
            "notes": list(self.notes),
            "tables": [
                {"table": each.table, "source_rows": each.source_rows, "rows": each.rows, "rows_now": each.rows_now,
                 "checksum": each.checksum,
                 "verified": each.verified,
                 "columns": [dict(zip(("name", "from", "to"), column, strict=True)) for column in each.columns]}
                for each in self.tables
            ],
            "unfaithful": [
                {"table": each.table, "column": each.column, "what": each.what, "consequence": each.consequence,
                 "prevents": each.prevents}
                for each in self.unfaithful
            ],
            "differences": [
                {"table": each.table, "source_rows": each.source_rows, "target_rows": each.target_rows,
                 "keys": [list(key) for key in each.keys]}
                for each in self.differences
            ],
        }  # fmt: skip
