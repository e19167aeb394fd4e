"""Tables of MySQL and MariaDB, from information_schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from sillar.engines.inspection import Ask, Catalogue, first_word
from sillar.query.live import LiveColumn, LiveIndex, LiveTable

_COLUMNS: Final = """
    SELECT column_name, column_type, is_nullable = 'YES',
        (column_default IS NOT NULL AND column_default <> 'NULL') OR extra <> '', column_key = 'PRI'
    FROM information_schema.columns
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :name ORDER BY ordinal_position
"""
_INDEXES: Final = """
    SELECT index_name, non_unique = 0, column_name, sub_part FROM information_schema.statistics
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :name ORDER BY index_name, seq_in_index
"""
_FAMILIES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "integer", "bigint", "year"), "integer"),
    **dict.fromkeys(("decimal", "numeric", "dec"), "decimal"),
    **dict.fromkeys(("float", "double", "real"), "float"),
    **dict.fromkeys(("char", "varchar", "nvarchar", "nchar", "tinytext", "text", "mediumtext", "longtext"), "text"),
    **dict.fromkeys(("enum", "set"), "text"),
    **dict.fromkeys(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"), "bytes"),
    **dict.fromkeys(("datetime", "timestamp"), "datetime"),
    **dict.fromkeys(("bool", "boolean", "bit"), "boolean"),
    "date": "date",
    "time": "time",
    "json": "json",
    "uuid": "uuid",
}


class MySQLCatalogue(Catalogue):
    """Asks MySQL or MariaDB for tables and views; names without a schema are looked up in the current database."""

    alternatives: ClassVar = {
        "boolean": frozenset({"boolean", "integer"}),
        "json": frozenset({"json", "text"}),  # MariaDB's JSON is a LONGTEXT with a check
        "array": frozenset({"json", "text"}),
        "uuid": frozenset({"uuid", "text", "bytes"}),
        "interval": frozenset({"datetime", "integer"}),
        "decimal": frozenset({"float"}),
    }

    async def look(self, ask: Ask, table: str, schema: str | None) -> LiveTable | None:
        values = {"schema": schema, "name": table}
        columns, statistics = await ask([self.adapter.bind(sql, values) for sql in (_COLUMNS, _INDEXES)])
        if not columns.rows:
            return None
        found = {
            name: LiveColumn(name, type_name, self.family(type_name), bool(nullable), bool(generated))
            for name, type_name, nullable, generated, _ in columns.rows
        }
        parts: dict[str, list[tuple[str, bool]]] = {}
        unique: dict[str, bool] = {}
        for name, is_unique, column, beginning in statistics.rows:
            parts.setdefault(name, []).append((column or "", beginning is not None))
            unique[name] = bool(is_unique)
        indexes = tuple(
            LiveIndex(name, tuple(column for column, _ in columns), unique[name] and not any(cut for _, cut in columns))
            for name, columns in parts.items()
        )
        key = next((index.columns for index in indexes if index.name == "PRIMARY"), ())
        return LiveTable(table, found, key, indexes, self.families)

    def family(self, type_name: str) -> str:
        if type_name.lower().startswith("tinyint(1)"):
            return "boolean"
        return _FAMILIES.get(first_word(type_name), "")
