"""What a statement does, as far as the lint cares: one dataclass for each kind of change.

Names of tables and columns are without quotes. What the reader does not know is ``Unknown``: no opinion.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A column's type.

    Attributes:
        name: in one spelling for its aliases: ``varchar``, ``integer``, ``timestamptz``.
        arguments: what stands in parentheses: ``("10", "2")``; the values of an enum.
        array: it is an array of that.
        unsigned: MySQL.
        collation: if it is written.
        charset: MySQL, if it is written.
    """

    name: str
    arguments: tuple[str, ...] = ()
    array: bool = False
    unsigned: bool = False
    collation: str | None = None
    charset: str | None = None

    def __str__(self) -> str:
        arguments = f"({', '.join(self.arguments)})" if self.arguments else ""
        return f"{self.name}{arguments}{' unsigned' if self.unsigned else ''}{'[]' if self.array else ''}"


@dataclass(frozen=True, slots=True)
class Constraint:
    """A constraint of a table.

    Attributes:
        kind: ``check``, ``foreign key``, ``unique``, ``primary key``, ``exclude`` or ``not null``.
        name: if it has one.
        columns: that it is about; empty for a check.
        expression: of a check.
        referred_table: of a foreign key.
        referred_columns: of a foreign key.
        on_delete: of a foreign key: ``CASCADE``, ``SET NULL``, …
        not_valid: existing rows are not looked at.
        enforced: rows are held to it.
        using_index: the index that it takes over.
        text: as it is written, without its name.
    """

    kind: str
    name: str | None = None
    columns: tuple[str, ...] = ()
    expression: str = ""
    referred_table: str | None = None
    referred_columns: tuple[str, ...] = ()
    on_delete: str | None = None
    not_valid: bool = False
    using_index: str | None = None
    text: str = ""
    enforced: bool = True


@dataclass(frozen=True, slots=True)
class Column:
    """A column's definition.

    Attributes:
        name: of the column.
        type: None where none is written (SQLite).
        not_null: ``NOT NULL`` is written, or it is the primary key.
        default: the text of the default, if any.
        constraints: written with the column.
        generated: ``stored``, ``virtual`` or None.
        identity: ``GENERATED … AS IDENTITY``, a serial type, ``AUTO_INCREMENT``.
    """

    name: str
    type: ColumnType | None = None
    not_null: bool = False
    default: str | None = None
    constraints: tuple[Constraint, ...] = ()
    generated: str | None = None
    identity: bool = False

    def has(self, kind: str) -> bool:
        """Whether a constraint of that kind is written with it."""
        return any(each.kind == kind for each in self.constraints)


@dataclass(frozen=True, slots=True)
class Index:
    """An index.

    Attributes:
        name: if it has one.
        columns: names or texts of expressions.
        unique: no two rows alike.
        kind: ``fulltext``, ``spatial`` or empty.
        where: of a partial index.
        definition: method, keys and options as they are written behind the table, where that is known.
    """

    name: str | None
    columns: tuple[str, ...]
    unique: bool = False
    kind: str = ""
    where: str = ""
    definition: str = ""


# --- parts of ALTER TABLE ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AddColumn:
    column: Column
    position: str = ""  # MySQL: "first" or "after x"


@dataclass(frozen=True, slots=True)
class DropColumn:
    name: str
    cascade: bool = False


@dataclass(frozen=True, slots=True)
class AlterType:
    name: str
    type: ColumnType
    using: str = ""


@dataclass(frozen=True, slots=True)
class ModifyColumn:
    """MySQL's MODIFY and CHANGE: the whole definition anew."""

    name: str
    column: Column
    position: str = ""


@dataclass(frozen=True, slots=True)
class SetNotNull:
    name: str


@dataclass(frozen=True, slots=True)
class DropNotNull:
    name: str


@dataclass(frozen=True, slots=True)
class SetDefault:
    name: str
    default: str | None


@dataclass(frozen=True, slots=True)
class AddConstraint:
    constraint: Constraint


@dataclass(frozen=True, slots=True)
class DropConstraint:
    name: str
    kind: str = ""  # "primary key", "foreign key", "check" or unknown
    cascade: bool = False


@dataclass(frozen=True, slots=True)
class ValidateConstraint:
    name: str


@dataclass(frozen=True, slots=True)
class EnforceConstraint:
    name: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class SetExpression:
    name: str


@dataclass(frozen=True, slots=True)
class AddIndex:
    index: Index


@dataclass(frozen=True, slots=True)
class DropTableIndex:
    name: str


@dataclass(frozen=True, slots=True)
class RenameColumn:
    name: str
    new_name: str


@dataclass(frozen=True, slots=True)
class RenameTable:
    new_name: str


@dataclass(frozen=True, slots=True)
class Rewrite:
    """The whole table is written anew or moved: ``set tablespace``, ``engine``, ``partition``, …"""

    what: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class RowSecurity:
    enabled: bool


@dataclass(frozen=True, slots=True)
class AttachPartition:
    name: str


@dataclass(frozen=True, slots=True)
class DetachPartition:
    name: str
    concurrently: bool


@dataclass(frozen=True, slots=True)
class Harmless:
    """A change of the catalogue that locks for an instant: a comment, an owner, statistics."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Text that the reader does not know."""


Part = (
    AddColumn
    | DropColumn
    | AlterType
    | ModifyColumn
    | SetNotNull
    | DropNotNull
    | SetDefault
    | AddConstraint
    | DropConstraint
    | ValidateConstraint
    | EnforceConstraint
    | SetExpression
    | AddIndex
    | DropTableIndex
    | RenameColumn
    | RenameTable
    | Rewrite
    | RowSecurity
    | AttachPartition
    | DetachPartition
    | Harmless
    | Unknown
)


# --- statements -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AlterTable:
    table: str
    parts: tuple[Part, ...]
    algorithm: str = ""  # MySQL: what is asked for, upper case
    lock: str = ""


@dataclass(frozen=True, slots=True)
class CreateTable:
    table: str
    columns: tuple[Column, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    indexes: tuple[Index, ...] = ()
    partition_of: str | None = None
    partitioned: bool = False
    if_not_exists: bool = False
    charset: str | None = None
    is_default: bool = False  # the partition of all other rows
    sources: tuple[str, ...] = ()  # that it is filled from
    replaces: bool = False  # MariaDB: one of that name is dropped


@dataclass(frozen=True, slots=True)
class CreateIndex:
    table: str
    index: Index
    concurrently: bool = False
    algorithm: str = ""
    lock: str = ""
    only: bool = False  # not in the partitions


@dataclass(frozen=True, slots=True)
class DropIndex:
    names: tuple[str, ...]
    table: str | None = None
    concurrently: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """``DROP TABLE``, ``VIEW``, ``TYPE``, ``SCHEMA``, ``DATABASE``, ``FUNCTION``, ``TRIGGER``, …"""

    what: str  # lower case
    names: tuple[str, ...]
    cascade: bool = False


@dataclass(frozen=True, slots=True)
class Rename:
    """``ALTER VIEW x RENAME TO y``, ``RENAME TABLE x TO y``, ``ALTER TABLE x SET SCHEMA s``."""

    what: str
    name: str
    new_name: str
    others: tuple[str, ...] = ()  # MySQL: names that other tables get in the same statement


@dataclass(frozen=True, slots=True)
class AddEnumValue:
    type: str
    value: str


@dataclass(frozen=True, slots=True)
class RenameEnumValue:
    type: str
    value: str
    new_value: str


@dataclass(frozen=True, slots=True)
class CreateObject:
    """``CREATE VIEW``, ``TYPE``, ``TRIGGER``, ``POLICY``, …: takes no lock that lasts."""

    what: str
    name: str
    table: str | None = None
    values: tuple[str, ...] = ()  # of an enum
    text: str = ""


@dataclass(frozen=True, slots=True)
class Maintain:
    """``VACUUM``, ``CLUSTER``, ``REINDEX``, ``LOCK TABLE``, ``TRUNCATE``, ``REFRESH``, ``OPTIMIZE``."""

    what: str
    tables: tuple[str, ...]
    concurrently: bool = False
    mode: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """``UPDATE``, ``DELETE``, ``INSERT`` or ``MERGE``.

    Attributes:
        what: ``update``, ``delete``, ``insert`` or ``merge``.
        table: the one that is changed.
        where: text of the condition, empty without one.
        limited: by ``LIMIT``.
        sources: tables that it selects from or joins.
        assignments: what columns are set to.
        alias: the name that the table has in it, if it has one.
    """

    what: str
    table: str
    where: str = ""
    limited: bool = False
    sources: tuple[str, ...] = ()
    assignments: tuple[tuple[str, str], ...] = ()
    alias: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """``SET name = value``, ``PRAGMA name = value``."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class TransactionControl:
    """``BEGIN``, ``COMMIT``, ``ROLLBACK``."""

    what: str


Action = (
    AlterTable
    | CreateTable
    | CreateIndex
    | DropIndex
    | Drop
    | Rename
    | AddEnumValue
    | RenameEnumValue
    | CreateObject
    | Maintain
    | Change
    | Setting
    | TransactionControl
    | Harmless
    | Unknown
)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a revision.

    Attributes:
        number: in the revision, from 1.
        sql: as it is sent.
        action: what it does.
        transaction: number of the transaction it runs in; None for one that commits by itself.
        strings: values of the string literals in it.
        batched: it runs in batches, each in a transaction of its own.
        line: of the file, that it stands in or is called from; None: not known.
    """

    number: int
    sql: str
    action: Action
    transaction: int | None = None
    strings: frozenset[str] = field(default_factory=frozenset)
    batched: bool = False
    line: int | None = None
