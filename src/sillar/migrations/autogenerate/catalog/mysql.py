"""MySQL and MariaDB: the server prints what it parsed in SHOW CREATE TABLE, of temporary tables, too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final

from sqlalchemy import Connection, Index, Table, inspect, text
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex

from sillar.migrations.autogenerate.catalog.catalog import (
    Catalog,
    ColumnText,
    PrintedColumn,
    PrintedTable,
    checks_of,
    plain,
    reflected_index,
    shadow_name,
    shadow_statement,
    type_text,
)
from sillar.migrations.autogenerate.catalog.objects import LiveView
from sillar.migrations.autogenerate.names import given_name

_COLUMNS_MAX: Final = 40  # of one table: a row has 65,535 bytes at most, and a table 4096 columns

_COLLATIONS: Final = text(
    "SELECT table_name, table_collation FROM information_schema.tables"
    " WHERE table_schema = COALESCE(:schema, DATABASE())"
)
_VIEWS: Final = text(
    "SELECT table_name, view_definition, table_schema FROM information_schema.views"
    " WHERE table_schema = COALESCE(:schema, DATABASE())"
)


def _definition(rows: Iterable[Mapping[str, Any]]) -> str:
    """One index, of its rows in information_schema.STATISTICS or SHOW INDEX."""
    parts, head = [], ""
    for row in rows:
        each = {key.lower(): value for key, value in row.items()}
        kind = each["index_type"]
        head = f"{'' if each['non_unique'] else 'UNIQUE '}USING {kind} "
        part = f"({each['expression']})" if each.get("expression") else f"`{each['column_name']}`"
        part += f"({each['sub_part']})" if each.get("sub_part") and kind not in ("SPATIAL", "FULLTEXT") else ""
        parts.append(part + (" DESC" if each.get("collation") == "D" else ""))
    return f"{head}({', '.join(parts)})"


class MySQLCatalog(Catalog):
    """MySQL and MariaDB. Needs the right to create temporary tables; without it, texts are compared as they are."""

    dialects = ("mysql", "mariadb")
    renames_in_checks = False
    keys_make_indexes = True
    no_cycle = "NOCYCLE"
    declares: ClassVar[frozenset[str]] = frozenset({"views", "sequences"})

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._definitions: dict[str | None, dict[str, dict[str, str]]] = {}

    def form(self, expression: str | None) -> tuple[str, ...] | None:
        """Numbers of defaults are printed in quotes."""
        found = super().form(expression)
        if found is not None and len(found) == 1:
            token = found[0]
            bare = token[1:-1] if token[0] == "'" else token
            return ({"false": "0", "true": "1"}.get(bare, bare) if token[0] != "'" else bare,)
        return found

    exact = form

    def read(self, inspector: Inspector, schema: str | None, names: Sequence[str]) -> dict[str, dict[Any, Any]]:
        """With the expressions and the order of indexes, which SQLAlchemy does not read."""
        found = super().read(inspector, schema, names)
        for table, definitions in self.index_definitions(schema).items():
            listed = found["indexes"].get((schema, table), [])
            for number, each in enumerate(listed):
                definition = definitions.get(each["name"], "")
                if "((" in definition or " DESC" in definition:
                    listed[number] = reflected_index(each["name"], definition)
            hidden = {each["name"] for each in listed if None in each["column_names"]}
            uniques = found["unique_constraints"]
            if hidden and (schema, table) in uniques:
                uniques[schema, table] = [each for each in uniques[schema, table] if each["name"] not in hidden]
        return found

    def print_columns(self, texts: Sequence[ColumnText]) -> list[PrintedColumn | None]:
        """In one temporary table; if the server does not take it, in halves of it."""
        if not texts:
            return []
        if len(texts) > _COLUMNS_MAX:
            return self.print_columns(texts[:_COLUMNS_MAX]) + self.print_columns(texts[_COLUMNS_MAX:])
        columns = ", ".join(
            f"c{number} {each.type} NULL" + (f" DEFAULT {each.default}" if each.default is not None else "")
            for number, each in enumerate(texts)
        )
        try:
            self.execute(f"CREATE TEMPORARY TABLE sillar_columns ({columns})")
        except DBAPIError:
            if len(texts) == 1:
                return [None]
            middle = len(texts) // 2
            return self.print_columns(texts[:middle]) + self.print_columns(texts[middle:])
        try:
            return [
                PrintedColumn(type_text(each["type"], self.dialect), each["default"])
                for each in inspect(self.connection).get_columns("sillar_columns")
            ]
        finally:
            self.execute("DROP TEMPORARY TABLE sillar_columns")

    def print_table(self, table: Table) -> PrintedTable | None:
        """In a temporary table of the same name, which hides the real one until it is dropped."""
        preparer = self.dialect.identifier_preparer
        name = preparer.quote(table.name)
        try:
            self.execute(shadow_statement(table, self.dialect))
        except DBAPIError:
            return None
        try:
            for index in table.indexes:
                created = plain(str(CreateIndex(index).compile(dialect=self.dialect)), self.dialect)
                place = f" ON {preparer.format_table(table)} "
                self.execute(created.replace(place, f" ON {name} ", 1))
            return self._read_shadow(table)
        except DBAPIError:
            return None
        finally:
            self.execute(f"DROP TEMPORARY TABLE {name}")

    def table_collations(self, schema: str | None) -> dict[str, str]:
        """MySQL prints it with each column, if it is not that of the character set."""
        rows = self.connection.execute(_COLLATIONS, {"schema": schema})
        return {row[0]: row[1] for row in rows if row[1] is not None}

    def index_definitions(self, schema: str | None) -> dict[str, dict[str, str]]:
        """All of a schema in one query."""
        if schema in self._definitions:
            return self._definitions[schema]
        rows = self.connection.execute(
            text(
                "SELECT * FROM information_schema.statistics WHERE table_schema = COALESCE(:schema, DATABASE())"
                " ORDER BY table_name, index_name, seq_in_index"
            ),
            {"schema": schema},
        ).mappings()
        grouped: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for row in rows:
            each = {key.lower(): value for key, value in row.items()}
            grouped.setdefault((each["table_name"], each["index_name"]), []).append(each)
        found: dict[str, dict[str, str]] = {}
        for (table, name), parts in grouped.items():
            found.setdefault(table, {})[name] = _definition(parts)
        self._definitions[schema] = found
        return found

    def index_text(self, index: Index) -> str:
        """With the method, which the catalogue always has."""
        found = super().index_text(index)
        options = index.dialect_options[self.dialect.name]
        prefix = options.get("prefix")
        unique = "UNIQUE " if index.unique else ""
        kind = (prefix or options.get("using") or "btree").upper()
        return f"{unique}USING {kind} {found.removeprefix(unique)}"

    def live_views(self, schema: str | None) -> dict[str, LiveView]:
        """Without the name of the database before those of its tables."""
        rows = self.connection.execute(_VIEWS, {"schema": schema})
        return {row[0]: LiveView(row[0], row[1].replace(f"`{row[2]}`.", "")) for row in rows}

    def print_view(self, name: str, query: str) -> str | None:
        """Of a view that is made and dropped: MySQL has no temporary ones."""
        shadow = f"sillar_shadow_{name}"[:64]
        quoted = self.dialect.identifier_preparer.quote(shadow)
        try:
            self.execute(f"CREATE OR REPLACE VIEW {quoted} AS {query}")
        except DBAPIError:
            return None
        try:
            return self.live_views(None)[shadow].definition
        finally:
            self.execute(f"DROP VIEW {quoted}")

    def can_replace(self, replaced: str, replaced_back: str) -> bool:
        """Always."""
        return True

    def live_sequences(self, schema: str | None) -> dict[str, dict[str, Any]]:
        """Of MariaDB."""
        if not self.dialect.supports_sequences:
            return {}
        quote = self.dialect.identifier_preparer.quote
        names = (
            "start_value",
            "increment",
            "minimum_value",
            "maximum_value",
            "cycle_option",
            "cache_size",
        )
        found = {}
        for name in inspect(self.connection).get_sequence_names(schema):
            place = f"{quote(schema)}.{quote(name)}" if schema else quote(name)
            row: Any = self.execute(f"SELECT {', '.join(names)} FROM {place}").one()  # noqa: S608
            start, increment, low, high, cycle, cache = row
            found[name] = {
                "start": start,
                "increment": increment,
                "minvalue": low,
                "maxvalue": high,
                "cycle": bool(cycle),
                "cache": cache,
                "type": "bigint",
            }
        return found

    def is_implied(self, condition: str) -> bool:
        """MariaDB checks what is in a JSON column."""
        return condition.replace("`", "").lower().startswith("json_valid(")

    def is_implied_index(self, live: Any, model: Table) -> bool:
        """InnoDB makes an index for a foreign key that has none, under the name of the constraint or of its column."""
        if live["unique"]:
            return False
        names = set()
        for constraint in model.foreign_key_constraints:
            columns = [column.name for column in constraint.columns]
            if live["column_names"][: len(columns)] == columns:
                names |= {constraint.name, columns[0]}
                if constraint.name is None:
                    names.add(given_name("foreignkey", model.name, "_".join(columns)))
                    names.add(live["name"] if f"{model.name}_ibfk_" in live["name"] else columns[0])
        return live["name"] in names

    def _read_shadow(self, table: Table) -> PrintedTable:
        inspector = inspect(self.connection)
        printed = PrintedTable()
        live = {each["name"]: each["sqltext"] for each in inspector.get_check_constraints(table.name)}
        for number, _ in enumerate(checks_of(table, self.dialect)):
            printed.checks[shadow_name(number)] = live[shadow_name(number)]
        for column in inspector.get_columns(table.name):
            if column.get("computed"):
                printed.computed[column["name"]] = column["computed"]["sqltext"]
        name = self.dialect.identifier_preparer.quote(table.name)
        grouped: dict[str, list[Mapping[str, Any]]] = {}
        for row in self.execute(f"SHOW INDEX FROM {name}").mappings():
            grouped.setdefault(row["Key_name"], []).append(dict(row))
        printed.indexes = {key: _definition(rows) for key, rows in grouped.items()}
        return printed


CATALOG = MySQLCatalog
