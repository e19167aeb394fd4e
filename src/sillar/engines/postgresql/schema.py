"""Tables of PostgreSQL, from its catalogues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from sillar.engines.inspection import Ask, Catalogue, first_word
from sillar.query.live import LiveColumn, LiveIndex, LiveTable

_COLUMNS: Final = """
    SELECT a.attname, format_type(a.atttypid, a.atttypmod), COALESCE(b.typname, t.typname),
        COALESCE(b.typtype, t.typtype)::text, COALESCE(b.typcategory, t.typcategory)::text,
        NOT (a.attnotnull OR t.typnotnull), a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> ''
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = NULLIF(t.typbasetype, 0)
    WHERE a.attrelid = to_regclass(:name) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_INDEXES: Final = """
    SELECT c.relname, i.indisunique, i.indisprimary, i.indpred IS NOT NULL, ARRAY(
        SELECT COALESCE(a.attname::text, '') FROM generate_series(0, i.indnkeyatts - 1) AS k
        LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k] AND a.attnum > 0 ORDER BY k)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = to_regclass(:name) AND i.indisvalid ORDER BY c.relname
"""
_FAMILIES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("int2", "int4", "int8", "smallint", "integer", "bigint", "serial", "bigserial"), "integer"),
    **dict.fromkeys(("numeric", "decimal", "money"), "decimal"),
    **dict.fromkeys(("float4", "float8", "real", "double", "float"), "float"),
    **dict.fromkeys(("text", "varchar", "bpchar", "char", "character", "name", "citext", "xml"), "text"),
    **dict.fromkeys(("timestamp", "timestamptz"), "datetime"),
    **dict.fromkeys(("time", "timetz"), "time"),
    **dict.fromkeys(("json", "jsonb"), "json"),
    "bytea": "bytes",
    "bool": "boolean",
    "boolean": "boolean",
    "date": "date",
    "interval": "interval",
    "uuid": "uuid",
}


class PostgreSQLCatalogue(Catalogue):
    """Asks PostgreSQL for tables, views and foreign tables; names without a schema are looked up in search_path."""

    alternatives: ClassVar = {"text": frozenset({"enum"}), "decimal": frozenset({"float"})}

    async def look(self, ask: Ask, table: str, schema: str | None) -> LiveTable | None:
        name = ".".join('"' + part.replace('"', '""') + '"' for part in (schema, table) if part is not None)
        bind = self.adapter.bind
        columns, indexes = await ask([bind(_COLUMNS, {"name": name}), bind(_INDEXES, {"name": name})])
        if not columns.rows:
            return None
        found = {}
        for column, type_name, base, kind, category, nullable, generated in columns.rows:
            family = "array" if category == "A" else "enum" if kind == "e" else _FAMILIES.get(base, base)
            found[column] = LiveColumn(column, type_name, family, nullable, generated)
        rows = list(indexes.rows)
        live = tuple(LiveIndex(row[0], tuple(row[4]), row[1], row[3]) for row in rows)
        key = next((tuple(row[4]) for row in rows if row[2]), ())
        return LiveTable(table, found, key, live, self.families)

    def family(self, type_name: str) -> str:
        if type_name.endswith("]"):
            return "array"
        return _FAMILIES.get(first_word(type_name), "")
