"""SQLite: the catalogue keeps every text as it was written; another database in memory reads what models say."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from sillar.migrations.autogenerate import stock
from sillar.migrations.autogenerate.catalog.catalog import (
    LOST,
    Catalog,
    ColumnText,
    PrintedColumn,
    reflected_index,
    type_text,
)
from sillar.migrations.autogenerate.catalog.objects import LiveView
from sillar.migrations.autogenerate.text import as_text, mentions, unquoted_number

_HEAD: Final = re.compile(
    r"\s*CREATE\s+(UNIQUE\s+)?INDEX\s+(?:IF\s+NOT\s+EXISTS\s+)?.+?\s+ON\s+(?:\"[^\"]+\"|`[^`]+`|\[[^\]]+\]|\w+)\s*(\(.*)",
    re.I | re.S,
)


def _definition(created: str) -> str:
    found = _HEAD.match(created)
    if found is None:
        return created
    return ("UNIQUE " if found.group(1) else "") + found.group(2)


_KEYS: Final = text(
    'SELECT m.name, k.id, k."table", k."from", k.on_update, k.on_delete'
    " FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) k WHERE m.type = 'table' ORDER BY m.name, k.id, k.seq"
)
_UNIQUES: Final = text(
    "SELECT m.name, l.name, i.name FROM sqlite_master m JOIN pragma_index_list(m.name) l"
    " JOIN pragma_index_info(l.name) i WHERE m.type = 'table' AND l.origin = 'u' ORDER BY m.name, l.seq, i.seqno"
)


def _complete_keys(copy: Connection, found: dict[str, dict[Any, Any]]) -> None:
    """ON DELETE and ON UPDATE of keys that stand at their column, which SQLAlchemy reads of no others."""
    keys: dict[tuple[str, int], tuple[str, list[str], dict[str, str]]] = {}
    for table, number, other, column, on_update, on_delete in copy.execute(_KEYS):
        options = {"onupdate": on_update, "ondelete": on_delete}
        said = {key: value for key, value in options.items() if value != "NO ACTION"}
        keys.setdefault((table, number), (other, [], said))[1].append(column)
    for (table, _), (other, columns, options) in keys.items():
        for each in found["foreign_keys"].get((None, table), ()):
            if each["referred_table"] == other and each["constrained_columns"] == columns:
                lost = {key: value for key, value in options.items() if key not in each["options"]}
                if lost:
                    each["options"] = {**each["options"], **lost}
                    each[LOST] = True


def _complete_uniques(copy: Connection, found: dict[str, dict[Any, Any]]) -> None:
    """UNIQUE at a column whose type has a length, which SQLAlchemy does not see."""
    uniques: dict[tuple[str, str], list[str]] = {}
    for table, name, column in copy.execute(_UNIQUES):
        uniques.setdefault((table, name), []).append(column)
    for (table, _), columns in uniques.items():
        key = (None, table)
        listed = found["unique_constraints"].get(key)
        if listed is not None and not any(each["column_names"] == columns for each in listed):
            found["unique_constraints"][key] = [*listed, {"name": None, "column_names": columns, LOST: True}]


_MASTER: Final = text("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")


class SQLiteCatalog(Catalog):
    """SQLite."""

    dialects = ("sqlite",)
    declares: ClassVar[frozenset[str]] = frozenset({"views"})
    copies_tables = True

    def form(self, expression: str | None) -> tuple[str, ...] | None:
        """A number in quotes is the number: a default of a numeric column."""
        return super().form(unquoted_number(expression))

    exact = form

    def read(self, inspector: Inspector, schema: str | None, names: Sequence[str]) -> dict[str, dict[Any, Any]]:
        """One query reads all statements of the schema; a copy in memory, without rows, is what is inspected.

        That spares a dozen PRAGMAs for each table. A schema that only its own database takes (virtual tables, functions
        of the application in indexes) is inspected there.
        """
        if schema is not None:
            return stock.read_tables(inspector, schema, names)
        made = [
            (kind, name, table, sql)
            for kind, name, table, sql in self.connection.execute(_MASTER)
            if not name.startswith("sqlite_")
        ]
        engine = create_engine("sqlite://", poolclass=StaticPool)
        try:
            with engine.connect() as copy, warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Skipped unsupported reflection of expression-based index")
                for kind, _, _, sql in made:
                    if kind in ("table", "index"):
                        copy.execute(text(as_text(sql)))
                found = stock.read_tables(inspect(copy), None, names)
                _complete_keys(copy, found)
                _complete_uniques(copy, found)
        except DBAPIError:
            found = stock.read_tables(inspector, None, names)
        finally:
            engine.dispose()
        for kind, name, table, sql in made:
            key = (None, table)
            if kind == "index" and key in found["indexes"]:
                listed = found["indexes"][key]
                index = reflected_index(name, _definition(sql))
                if None in index["column_names"]:  # an expression, or an order that SQLAlchemy does not read
                    found["indexes"][key] = [*(each for each in listed if each["name"] != name), index]
        return found

    def print_columns(self, texts: Sequence[ColumnText]) -> list[PrintedColumn | None]:
        """In a database in memory, one table for each column."""
        engine = create_engine("sqlite://", poolclass=StaticPool)
        printed: list[PrintedColumn | None] = []
        with engine.connect() as connection:
            for number, each in enumerate(texts):
                default = f" DEFAULT {each.default}" if each.default is not None else ""
                try:
                    connection.execute(text(as_text(f"CREATE TABLE t{number} (c {each.type}{default})")))
                except DBAPIError:
                    printed.append(None)
                    continue
                column = inspect(connection).get_columns(f"t{number}")[0]
                printed.append(PrintedColumn(type_text(column["type"], self.dialect), column["default"]))
        engine.dispose()
        return printed

    def live_views(self, schema: str | None) -> dict[str, LiveView]:
        """As they were created."""
        found = {}
        for kind, name, _, created in self.connection.execute(_MASTER):
            if kind == "view" and schema is None:
                found[name] = LiveView(name, re.split(r"\sAS\s", created, maxsplit=1, flags=re.I)[1].strip())
        return found

    def print_view(self, name: str, query: str) -> str | None:
        """The text itself: that is what the catalogue keeps."""
        return query

    def autoincremented(self) -> set[str]:
        """SQLAlchemy does not read AUTOINCREMENT."""
        return {
            name
            for kind, name, _, created in self.connection.execute(_MASTER)
            if kind == "table" and mentions(created, "AUTOINCREMENT")
        }

    def live_triggers(self) -> dict[str, dict[str, str]]:
        """A table that is copied loses them."""
        found: dict[str, dict[str, str]] = {}
        for kind, name, table, created in self.connection.execute(_MASTER):
            if kind == "trigger":
                found.setdefault(table, {})[name] = created
        return found

    def index_definitions(self, schema: str | None) -> dict[str, dict[str, str]]:
        """As they were created."""
        place = f"{self.dialect.identifier_preparer.quote(schema)}." if schema else ""
        found: dict[str, dict[str, str]] = {}
        rows = self.connection.execute(
            text(f"SELECT tbl_name, name, sql FROM {place}sqlite_master WHERE type = 'index' AND sql IS NOT NULL")  # noqa: S608
        )
        for table, name, created in rows:
            found.setdefault(table, {})[name] = _definition(created)
        return found


CATALOG = SQLiteCatalog
