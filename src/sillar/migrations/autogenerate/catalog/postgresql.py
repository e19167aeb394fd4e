"""PostgreSQL: the server parses an expression and prints it again, in temporary tables that are rolled back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final, TypeVar

from sqlalchemy import Connection, Enum, Index, Table, UniqueConstraint, inspect, text
from sqlalchemy.engine.reflection import Inspector, ObjectScope
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex

from sillar.migrations.autogenerate.catalog import postgresql_objects as objects
from sillar.migrations.autogenerate.catalog.catalog import (
    SERIAL,
    Catalog,
    ColumnText,
    PrintedColumn,
    PrintedTable,
    checks_of,
    definition_of,
    exclusions_of,
    plain,
    shadow_name,
    shadow_statement,
    type_text,
)
from sillar.migrations.autogenerate.catalog.objects import LiveEnum, LiveFunction, LivePolicy, LiveView
from sillar.migrations.autogenerate.text import without_text_casts

T = TypeVar("T")
_INDEXES: Final = text(
    "SELECT t.relname, i.relname, pg_get_indexdef(x.indexrelid), x.indisunique"
    " FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid"
    " JOIN pg_namespace n ON n.oid = t.relnamespace WHERE n.nspname = COALESCE(:schema, current_schema())"
)
_OWN_INDEXES: Final = text(
    "SELECT i.relname, pg_get_indexdef(x.indexrelid), x.indisunique"
    " FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid"
    " WHERE x.indrelid = to_regclass('pg_temp.' || quote_ident(:name))"
)
_EXCLUSIONS: Final = text(
    "SELECT t.relname, c.conname, pg_get_constraintdef(c.oid) FROM pg_constraint c"
    " JOIN pg_class t ON t.oid = c.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace"
    " WHERE c.contype = 'x' AND c.conislocal AND n.nspname = COALESCE(:schema, current_schema()) ORDER BY c.conname"
)
_OWN_EXCLUSIONS: Final = text(
    "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE contype = 'x' AND conrelid = to_regclass('pg_temp.' || quote_ident(:name))"
)
_DEFERRABLE: Final = text(
    "SELECT t.relname, c.conname, c.condeferred FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid"
    " JOIN pg_namespace n ON n.oid = t.relnamespace"
    " WHERE c.contype = 'u' AND c.condeferrable AND n.nspname = COALESCE(:schema, current_schema())"
)
_COLUMNS_MAX: Final = 500  # of one table that is created for printing; PostgreSQL takes 1600


def _definition(printed: str, unique: bool) -> str:
    """``CREATE UNIQUE INDEX a ON b USING btree (c)`` → ``UNIQUE USING btree (c)``."""
    return ("UNIQUE " if unique else "") + printed[printed.index(" USING ") + 1 :]


def _unique_options(
    nulls_not_distinct: Any, include: Sequence[str], deferrable: bool | None, initially: str | None
) -> tuple[str, ...]:
    is_deferred = (initially or "").upper() == "DEFERRED"
    deferral = ("deferred",) if is_deferred else ("deferrable",) if deferrable else ()
    return (*(("nulls not distinct",) if nulls_not_distinct else ()), *deferral, *include)


class PostgreSQLCatalog(Catalog):
    """PostgreSQL. Needs the right to create temporary tables, which everybody has by default."""

    dialects = ("postgresql",)
    fold_quoted: ClassVar[bool] = False
    declares: ClassVar[frozenset[str]] = frozenset({"views", "functions", "policies", "sequences", "enums"})
    converts_using = True
    unique_needs_text = True
    exchanges_primary_keys = True

    def form(self, expression: str | None) -> tuple[str, ...] | None:
        """Without the casts that the server adds when it prints."""
        return super().form(without_text_casts(expression))

    exact = form  # what is printed, parsed and printed again has its casts at other places

    def read(self, inspector: Inspector, schema: str | None, names: Sequence[str]) -> dict[str, dict[Any, Any]]:
        """Without the defaults of SERIAL columns: Alembic would ask for the owner of each sequence by itself."""
        found = super().read(inspector, schema, names)
        owned = objects.serial_columns(self.connection, schema)
        for (_, table), columns in found["columns"].items():
            for each in columns:
                if (table, each["name"]) in owned and str(each.get("default") or "").startswith("nextval("):
                    each[SERIAL], each["default"] = each["default"], None
        deferrable = {
            (table, name): deferred
            for table, name, deferred in self.connection.execute(_DEFERRABLE, {"schema": schema})
        }
        for (_, table), uniques in found["unique_constraints"].items():
            for each in uniques:
                if (table, each["name"]) in deferrable:
                    each["deferrable"] = True
                    each["initially"] = "DEFERRED" if deferrable[table, each["name"]] else None
        return found

    @contextmanager
    def printing(self, tables: Sequence[Table]) -> Iterator[None]:
        """In a savepoint, with the enum types that models have and the database has not yet."""
        with self.connection.begin_nested() as savepoint:
            _create_missing_types(self.connection, tables)
            try:
                yield
            finally:
                if savepoint.is_active:
                    savepoint.rollback()

    def print_columns(self, texts: Sequence[ColumnText]) -> list[PrintedColumn | None]:
        """In one temporary table; if the server does not take it, in halves of it."""
        if len(texts) > _COLUMNS_MAX:
            return self.print_columns(texts[:_COLUMNS_MAX]) + self.print_columns(texts[_COLUMNS_MAX:])
        columns = ", ".join(
            f"c{number} {each.type}" + (f" DEFAULT {each.default}" if each.default is not None else "")
            for number, each in enumerate(texts)
        )
        try:
            with self.connection.begin_nested() as savepoint:
                self.execute(f"CREATE TEMPORARY TABLE sillar_columns ({columns})")
                found = inspect(self.connection).get_multi_columns(
                    filter_names=["sillar_columns"], scope=ObjectScope.TEMPORARY
                )
                savepoint.rollback()
        except DBAPIError:
            if len(texts) == 1:
                return [None]
            middle = len(texts) // 2
            return self.print_columns(texts[:middle]) + self.print_columns(texts[middle:])
        return [
            PrintedColumn(type_text(each["type"], self.dialect), each["default"])
            for columns_found in found.values()
            for each in columns_found
        ]

    def print_table(self, table: Table) -> PrintedTable | None:
        """In a temporary table of the same name."""

        def read() -> PrintedTable:
            self.execute(shadow_statement(table, self.dialect))
            for index in table.indexes:
                self.execute(self._shadow_index(index))
            return self._read_shadow(table)

        return self._tried(read)

    def index_definitions(self, schema: str | None) -> dict[str, dict[str, str]]:
        """All of a schema in one query."""
        found: dict[str, dict[str, str]] = {}
        for table, name, printed, unique in self.connection.execute(_INDEXES, {"schema": schema}):
            found.setdefault(table, {})[name] = _definition(printed, unique)
        return found

    def index_text(self, index: Index) -> str:
        """With the method, which the server always prints."""
        found = super().index_text(index)
        if "USING " not in found.split("(", 1)[0]:
            unique = "UNIQUE " if index.unique else ""
            found = f"{unique}USING btree {found.removeprefix(unique)}"
        return found

    def live_exclusions(self, schema: str | None) -> dict[str, dict[str, str]]:
        """All of a schema in one query."""
        found: dict[str, dict[str, str]] = {}
        for table, name, definition in self.connection.execute(_EXCLUSIONS, {"schema": schema}):
            found.setdefault(table, {})[name] = definition
        return found

    def print_exclusions(self, table: Table) -> list[str] | None:
        """On a temporary table with the model's columns."""
        place = f"pg_temp.{self.dialect.identifier_preparer.quote(table.name)}"

        def read() -> list[str]:
            self.execute(shadow_statement(table, self.dialect))
            for number, each in enumerate(exclusions_of(table)):
                definition = definition_of(each, self.dialect)
                self.execute(f"ALTER TABLE {place} ADD CONSTRAINT {shadow_name(number)} {definition}")
            rows = self.connection.execute(_OWN_EXCLUSIONS, {"name": table.name})
            found = {row[0]: row[1] for row in rows}
            return [found[shadow_name(number)] for number, _ in enumerate(exclusions_of(table))]

        return self._tried(read)

    def live_views(self, schema: str | None) -> dict[str, LiveView]:
        """Materialised ones with their indexes."""
        return objects.live_views(self.connection, schema)

    def print_view(self, name: str, query: str) -> str | None:
        """Of a temporary view."""
        quoted = self.dialect.identifier_preparer.quote(name)

        def read() -> str:
            self.execute(f"CREATE TEMPORARY VIEW {quoted} AS {query}")
            found: str = self.connection.execute(
                text("SELECT pg_get_viewdef(to_regclass('pg_temp.' || quote_ident(:name)))"), {"name": name}
            ).scalar_one()
            return found.strip().rstrip(";")

        return self._tried(read)

    def can_replace(self, replaced: str, replaced_back: str) -> bool:
        """In a savepoint."""

        def replace() -> bool:
            self.execute(replaced)
            self.execute(replaced_back)
            return True

        return bool(self._tried(replace))

    def live_functions(self, schema: str | None) -> dict[tuple[str, str], LiveFunction]:
        """Without those of extensions, and without aggregates and procedures."""
        return objects.live_functions(self.connection, schema)

    def print_function(self, name: str, created: str) -> LiveFunction | None:
        """Bodies are not checked: what they need may not be there yet."""

        def read() -> LiveFunction:
            self.execute("SET LOCAL check_function_bodies = off")
            self.execute(created)
            return objects.own_function(self.connection, name)

        return self._tried(read)

    def live_policies(self, schema: str | None) -> dict[str, dict[str, LivePolicy]]:
        """All of a schema in one query."""
        return objects.live_policies(self.connection, schema)

    def live_row_security(self, schema: str | None) -> dict[str, bool]:
        """All of a schema in one query."""
        return objects.live_row_security(self.connection, schema)

    def print_policies(self, table: Table, created: Sequence[str]) -> dict[str, LivePolicy] | None:
        """On a temporary table with the model's columns."""

        def read() -> dict[str, LivePolicy]:
            self.execute(shadow_statement(table, self.dialect))
            for each in created:
                self.execute(each)
            return objects.live_policies(self.connection, None, own=True).get(table.name, {})

        return self._tried(read)

    def live_sequences(self, schema: str | None) -> dict[str, dict[str, Any]]:
        """Without those of SERIAL and identity columns."""
        return objects.live_sequences(self.connection, schema)

    def live_enums(self, schema: str | None) -> dict[str, LiveEnum]:
        """With the columns that have them."""
        return objects.live_enums(self.connection, schema)

    def _tried(self, read: Callable[[], T]) -> T | None:
        """Do something in a savepoint, and undo it; None where the server refuses it."""
        try:
            with self.connection.begin_nested() as savepoint:
                found = read()
                savepoint.rollback()
        except DBAPIError:
            return None
        return found

    def unique_options(self, constraint: UniqueConstraint) -> tuple[str, ...]:
        """NULLS NOT DISTINCT, INCLUDE, and when it is looked at."""
        options = constraint.dialect_options["postgresql"]
        include = [getattr(each, "name", each) for each in options.get("include") or ()]
        deferred = (constraint.deferrable, constraint.initially)
        return _unique_options(options.get("nulls_not_distinct"), include, *deferred)

    def live_unique_options(self, live: Any) -> tuple[str, ...]:
        """The same."""
        options = live.get("dialect_options", {})
        include = options.get("postgresql_include") or ()
        deferred = (live.get("deferrable"), live.get("initially"))
        return _unique_options(options.get("postgresql_nulls_not_distinct"), include, *deferred)

    def _shadow_index(self, index: Index) -> str:
        assert index.table is not None
        preparer = self.dialect.identifier_preparer
        created = plain(str(CreateIndex(index).compile(dialect=self.dialect)), self.dialect).replace(
            " CONCURRENTLY", "", 1
        )
        table = preparer.format_table(index.table)
        return created.replace(f" ON {table} ", f" ON {preparer.quote(index.table.name)} ", 1)

    def _read_shadow(self, table: Table) -> PrintedTable:
        inspector = inspect(self.connection)
        options: dict[str, Any] = {"filter_names": [table.name], "scope": ObjectScope.TEMPORARY}
        live = {
            each["name"]: each["sqltext"]
            for checks in inspector.get_multi_check_constraints(**options).values()
            for each in checks
        }
        printed = PrintedTable()
        for number, _ in enumerate(checks_of(table, self.dialect)):
            printed.checks[shadow_name(number)] = live[shadow_name(number)]
        for name, definition, unique in self.connection.execute(_OWN_INDEXES, {"name": table.name}):
            printed.indexes[name] = _definition(definition, unique)
        if any(column.computed is not None for column in table.columns):
            for columns in inspector.get_multi_columns(**options).values():
                printed.computed.update(
                    {each["name"]: each["computed"]["sqltext"] for each in columns if each.get("computed")}
                )
        return printed


def _create_missing_types(connection: Connection, tables: Sequence[Table]) -> None:
    inspector: Any = inspect(connection)
    present = {(each["schema"], each["name"]) for each in inspector.get_enums("*")}
    default = connection.dialect.default_schema_name
    created: set[Any] = set()
    for table in tables:
        for column in table.columns:
            kind = column.type.dialect_impl(connection.dialect) if isinstance(column.type, Enum) else None
            if not isinstance(kind, Enum) or not kind.native_enum or kind.name is None:
                continue
            key = (kind.schema or default, kind.name)
            if key not in present and key not in created:
                created.add(key)
                kind.create(connection, checkfirst=False)


CATALOG = PostgreSQLCatalog
