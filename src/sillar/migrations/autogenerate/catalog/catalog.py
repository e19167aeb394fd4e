"""The contract for the catalogues of engines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar, Final, TypeAlias

from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    Constraint,
    CursorResult,
    Dialect,
    Index,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.exc import CompileError
from sqlalchemy.schema import CreateIndex
from sqlalchemy.types import TypeEngine

from sillar.migrations.autogenerate import stock
from sillar.migrations.autogenerate.catalog.objects import LiveEnum, LiveFunction, LivePolicy, LiveView
from sillar.migrations.autogenerate.text import as_text, normal_form, split_list

TableKey: TypeAlias = tuple[str | None, str]
"""Schema (None: the default one) and name."""

LOST: Final = "sillar_lost"
"""Marks what SQLAlchemy does not read of a table of SQLite by itself: a table that it copies would be without it."""
SERIAL: Final = "sillar_serial"
"""Of a column that was read: the default of a SERIAL one, which is not compared."""
_NAME: Final = re.compile(r'CONSTRAINT (?:"(?:[^"]|"")*"|\S+) ')
_PACKAGE: Final = "sillar.migrations.autogenerate.catalog"
_MODULES: Final = ("postgresql", "mysql", "sqlite")


@dataclass(frozen=True, slots=True)
class ColumnText:
    """A column as DDL of the model spells it.

    Attributes:
        type: its type.
        default: its default; None: none.
    """

    type: str
    default: str | None


@dataclass(frozen=True, slots=True)
class PrintedColumn:
    """A column as the engine prints it.

    Attributes:
        type: its type, as SQLAlchemy compiles what was read; None: it does not know it.
        default: its default.
    """

    type: str | None
    default: str | None


@dataclass(slots=True)
class PrintedTable:
    """What the engine makes of a table's expressions.

    Attributes:
        checks: by name.
        indexes: definitions by name, without the name itself.
        computed: expressions by column.
    """

    checks: dict[str, str] = field(default_factory=dict)
    indexes: dict[str, str] = field(default_factory=dict)
    computed: dict[str, str] = field(default_factory=dict)


class Catalog:
    """How the schema of one engine is read and compared. This one knows nothing but text.

    Args:
        connection: to the database. What is created for comparing is gone before a method returns.
    """

    dialects: ClassVar[tuple[str, ...]] = ()
    fold_quoted: ClassVar[bool] = True
    """Names of columns are the same in any case, in quotes, too."""
    declares: ClassVar[frozenset[str]] = frozenset()
    """Kinds of objects beside tables that are compared."""
    copies_tables: ClassVar[bool] = False
    """Most changes of a table are made by copying it."""
    converts_using: ClassVar[bool] = False
    """A change of a type may have to say how values are converted."""
    no_cycle: ClassVar[str] = "NO CYCLE"
    """How a sequence is told to end."""
    keys_make_indexes: ClassVar[bool] = False
    """A foreign key makes an index for itself, which stays when the key is dropped."""
    exchanges_primary_keys: ClassVar[bool] = False
    """A primary key may be dropped, and another one added, by themselves."""
    unique_needs_text: ClassVar[bool] = False
    """A unique constraint may have columns beside its own, which Alembic does not know how to add."""
    renames_in_checks: ClassVar[bool] = True
    """A column that gets another name gets it in check constraints, too; otherwise they have to be made anew."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.dialect = connection.dialect

    def form(self, expression: str | None) -> tuple[str, ...] | None:
        """An expression in its normal form, as far as text alone tells."""
        return normal_form(expression, fold_quoted=self.fold_quoted)

    def exact(self, expression: str | None) -> tuple[str, ...] | None:
        """The form of a text that the engine printed."""
        return normal_form(expression, fold_quoted=self.fold_quoted)

    def read(self, inspector: Inspector, schema: str | None, names: Sequence[str]) -> dict[str, dict[Any, Any]]:
        """What Alembic reads of tables: kind → (schema, table) → what SQLAlchemy's inspector gives."""
        return stock.read_tables(inspector, schema, names)

    @contextmanager
    def printing(self, tables: Sequence[Table]) -> Iterator[None]:
        """Around ``print_columns`` and ``print_table``: what they make is undone after it.

        Args:
            tables: all tables of the models, for the types they need.
        """
        yield

    def print_columns(self, texts: Sequence[ColumnText]) -> list[PrintedColumn | None]:
        """How the engine prints columns; None where it does not take one."""
        return [None for _ in texts]

    def print_table(self, table: Table) -> PrintedTable | None:
        """How the engine prints what a model's table says; None: it does not take it."""
        return None

    def live_exclusions(self, schema: str | None) -> dict[str, dict[str, str]]:
        """Exclusion constraints: table → name → what stands behind the name."""
        return {}

    def print_exclusions(self, table: Table) -> list[str] | None:
        """How the engine prints the exclusion constraints of a model's table, in order; None: it does not take them."""
        return None

    def table_collations(self, schema: str | None) -> dict[str, str]:
        """The collation of a table's columns that say nothing, where tables have one."""
        return {}

    def index_definitions(self, schema: str | None) -> dict[str, dict[str, str]]:
        """Table → name of the index → its definition, without name and table."""
        return {}

    def index_text(self, index: Index) -> str:
        """The definition of a model's index, without name and table."""
        created = str(CreateIndex(index).compile(dialect=self.dialect))
        unique = "UNIQUE " if index.unique else ""
        assert index.table is not None
        table = self.dialect.identifier_preparer.format_table(index.table)
        return unique + plain(created, self.dialect).split(f" ON {table} ", 1)[1]

    def execute(self, statement: str) -> CursorResult[Any]:
        """Run a statement as it stands."""
        return self.connection.execute(text(as_text(statement)))

    # --- beside tables ----------------------------------------------------------------------------------------------

    def live_views(self, schema: str | None) -> dict[str, LiveView]:
        """The views of a schema."""
        return {}

    def print_view(self, name: str, query: str) -> str | None:
        """How the engine prints a query that a view has; None: it does not take it now."""
        return None

    def can_replace(self, replaced: str, replaced_back: str) -> bool:
        """Whether these two CREATE OR REPLACE VIEW go one after the other. It is tried, and undone."""
        return False

    def live_functions(self, schema: str | None) -> dict[tuple[str, str], LiveFunction]:
        """The functions of a schema, by name and types of arguments."""
        return {}

    def print_function(self, name: str, created: str) -> LiveFunction | None:
        """What a function is that a statement makes in ``pg_temp``; None: the engine does not take it now."""
        return None

    def live_policies(self, schema: str | None) -> dict[str, dict[str, LivePolicy]]:
        """Policies by table and name."""
        return {}

    def live_row_security(self, schema: str | None) -> dict[str, bool]:
        """Tables with row security → whether it is forced."""
        return {}

    def print_policies(self, table: Table, created: Sequence[str]) -> dict[str, LivePolicy] | None:
        """The policies that statements make on a temporary table of this name; None: the engine does not take it."""
        return None

    def live_sequences(self, schema: str | None) -> dict[str, dict[str, Any]]:
        """Sequences that no column owns, with their options."""
        return {}

    def live_enums(self, schema: str | None) -> dict[str, LiveEnum]:
        """Enum types, where the engine has types of their own for them."""
        return {}

    def autoincremented(self) -> set[str]:
        """Tables whose keys are never used twice, where a changed table forgets that."""
        return set()

    def live_triggers(self) -> dict[str, dict[str, str]]:
        """Table → name → statement of triggers, where a changed table loses them."""
        return {}

    # --- what an engine does by itself ------------------------------------------------------------------------------

    def is_implied(self, condition: str) -> bool:
        """Whether the engine adds a check with this condition by itself."""
        return False

    def is_implied_index(self, live: Any, model: Table) -> bool:
        """Whether the engine made an index by itself, for a foreign key."""
        return False

    def unique_options(self, constraint: UniqueConstraint) -> tuple[str, ...]:
        """What a unique constraint of a model says beside its columns."""
        return ()

    def live_unique_options(self, live: Any) -> tuple[str, ...]:
        """The same of one that was read."""
        return ()

    def check_text(self, check: CheckConstraint) -> str:
        """The condition of a model's constraint."""
        options = {"literal_binds": True, "include_table": False}
        return plain(str(check.sqltext.compile(dialect=self.dialect, compile_kwargs=options)), self.dialect)


def reflected_index(name: str, definition: str) -> dict[str, Any]:
    """An index as SQLAlchemy's inspector gives one, of a definition such as ``UNIQUE (a, lower(b)) WHERE c``."""
    unique = definition.startswith("UNIQUE ")
    start = definition.index("(")
    parts, end = split_list(definition, start)
    where = re.match(r"\s*WHERE\s+(.*)", definition[end:], re.I | re.S)
    columns = [part.strip('"`') if re.fullmatch(r"\w+|\"[^\"]+\"|`[^`]+`", part) else None for part in parts]
    return {
        "name": name,
        "unique": unique,
        "column_names": columns,
        "expressions": [column or part for column, part in zip(columns, parts, strict=True)],
        "dialect_options": {"sqlite_where": text(as_text(where.group(1)))} if where else {},
    }


def plain(compiled: str, dialect: Dialect) -> str:
    """A text that a compiler made, without the doubled percent signs that some drivers want."""
    preparer: Any = dialect.identifier_preparer
    return compiled.replace("%%", "%") if preparer._double_percents else compiled


def checks_of(table: Table, dialect: Dialect) -> list[CheckConstraint]:
    """The checks that CREATE TABLE of a model makes, those of columns and of types with it, in a fixed order."""
    compiler: Any = dialect.ddl_compiler(dialect, None)  # type: ignore[arg-type]
    found = [each for each in table.constraints if isinstance(each, CheckConstraint)]
    for column in table.columns:
        found += [each for each in column.constraints if isinstance(each, CheckConstraint) and each not in found]
    made = [each for each in found if each._create_rule is None or each._create_rule(compiler)]
    return sorted(made, key=lambda each: each._creation_order if hasattr(each, "_creation_order") else 0)


def exclusions_of(table: Table) -> list[Constraint]:
    """The exclusion constraints of a model's table, in a fixed order."""
    found = [each for each in table.constraints if each.__visit_name__ == "exclude_constraint"]
    return sorted(found, key=lambda each: each._creation_order if hasattr(each, "_creation_order") else 0)


def definition_of(constraint: Constraint, dialect: Dialect) -> str:
    """What stands behind the name of a constraint in DDL."""
    compiler: Any = dialect.ddl_compiler(dialect, None)  # type: ignore[arg-type]
    return _NAME.sub("", plain(compiler.process(constraint), dialect), count=1)


def shadow_name(number: int) -> str:
    """The name of a check in a shadow."""
    return f"sillar_check_{number}"


def shadow_statement(table: Table, dialect: Dialect) -> str:
    """CREATE TEMPORARY TABLE with a model's columns, computed ones with it, and its checks, named by number."""
    compiler: Any = dialect.ddl_compiler(dialect, None)  # type: ignore[arg-type]
    preparer = dialect.identifier_preparer
    lines = []
    for column in table.columns:
        line = f"{preparer.format_column(column)} {column_text(column, dialect).type}"
        if column.computed is not None:
            line += f" {compiler.process(column.computed)}"
        lines.append(line)
    for number, check in enumerate(checks_of(table, dialect)):
        condition = compiler.sql_compiler.process(check.sqltext, include_table=False, literal_binds=True)
        lines.append(f"CONSTRAINT {shadow_name(number)} CHECK ({condition})")
    return plain(f"CREATE TEMPORARY TABLE {preparer.quote(table.name)} ({', '.join(lines)})", dialect)


def type_text(kind: TypeEngine[Any], dialect: Dialect) -> str | None:
    """A type that was read, as SQLAlchemy spells it; None: it is one that SQLAlchemy does not know."""
    try:
        return dialect.type_compiler_instance.process(kind)
    except CompileError:
        return None


def column_text(column: Column[Any], dialect: Dialect) -> ColumnText:
    """A column as its DDL spells it."""
    compiler: Any = dialect.ddl_compiler(dialect, None)  # type: ignore[arg-type]
    kind = dialect.type_compiler_instance.process(column.type, type_expression=column)
    default = compiler.get_column_default_string(column)
    return ColumnText(plain(kind, dialect), None if default is None else plain(default, dialect))


def catalog_class(dialect_name: str) -> type[Catalog]:
    """The catalogue of a dialect; the plain one for a dialect that nobody wrote one for."""
    for name in _MODULES:
        found: type[Catalog] = import_module(f"{_PACKAGE}.{name}").CATALOG
        if dialect_name in found.dialects:
            return found
    return Catalog


def catalog_for(connection: Connection) -> Catalog:
    """The catalogue of a connection's engine."""
    return catalog_class(connection.dialect.name)(connection)
