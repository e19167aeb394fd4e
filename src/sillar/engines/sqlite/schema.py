"""Tables of SQLite, from its PRAGMAs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from sillar.engines.inspection import Ask, Catalogue, first_word
from sillar.query.live import LiveColumn, LiveIndex, LiveTable

_FAMILIES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("boolean", "bool"), "boolean"),
    **dict.fromkeys(("numeric", "decimal"), "decimal"),
    **dict.fromkeys(("datetime", "timestamp", "timestamptz"), "datetime"),
    **dict.fromkeys(("json", "jsonb"), "json"),
    "date": "date",
    "time": "time",
    "uuid": "uuid",
}
_AFFINITIES: Final = (
    ("int", "integer"),
    ("char", "text"),
    ("clob", "text"),
    ("text", "text"),
    ("blob", "bytes"),
    ("real", "float"),
    ("floa", "float"),
    ("doub", "float"),
)
"""Type names are free in SQLite; their letters decide (sqlite.org/datatype3.html, 3.1)."""


class SQLiteCatalogue(Catalogue):
    """Asks SQLite for tables and views. A column without a type takes everything."""

    alternatives: ClassVar = {
        "boolean": frozenset({"boolean", "integer"}),
        "date": frozenset({"text"}),
        "time": frozenset({"text"}),
        "datetime": frozenset({"text"}),
        "json": frozenset({"json", "text"}),
        "array": frozenset({"json", "text"}),
        "uuid": frozenset({"uuid", "text", "bytes"}),
        "decimal": frozenset({"float", "text"}),
        "float": frozenset({"decimal"}),
        "interval": frozenset({"datetime", "text", "integer"}),
    }

    async def look(self, ask: Ask, table: str, schema: str | None) -> LiveTable | None:
        bind = self.adapter.bind
        values = {"table": table, "schema": schema or "main"}
        columns, indexes = await ask(
            [
                bind('SELECT name, type, "notnull", dflt_value IS NOT NULL, pk, hidden'
                     " FROM pragma_table_xinfo(:table, :schema) ORDER BY cid", values),
                bind('SELECT l.name, l."unique", l.partial, i.name, i.coll'
                     " FROM pragma_index_list(:table, :schema) AS l JOIN pragma_index_xinfo(l.name, :schema) AS i"
                     " WHERE i.key = 1 ORDER BY l.seq, i.seqno", values),
            ]
        )  # fmt: skip
        if not columns.rows:
            return None
        found: dict[str, LiveColumn] = {}
        key: dict[int, str] = {}
        for name, type_name, not_null, default, place, hidden in columns.rows:
            if place:
                key[place] = name
            rowid = bool(place) and type_name.lower() == "integer"
            generated = bool(default) or hidden in (2, 3) or rowid
            family = self.family(type_name)
            found[name] = LiveColumn(name, type_name, family, not not_null and not rowid, generated)
        parts: dict[str, list[tuple[str, bool, bool, str]]] = {}
        for index, unique, partial, column, collation in indexes.rows:
            parts.setdefault(index, []).append((column or "", bool(unique), bool(partial), collation))
        live = [
            LiveIndex(index, tuple(each[0] for each in rows), rows[0][1], rows[0][2], rows[0][3].upper() == "NOCASE")
            for index, rows in parts.items()
        ]
        columns_of_key = tuple(key[place] for place in sorted(key))
        if columns_of_key:
            live.append(LiveIndex("PRIMARY KEY", columns_of_key, unique=True, serves_prefix=False))
        return LiveTable(table, found, columns_of_key, tuple(live), self.families)

    def family(self, type_name: str) -> str:
        known = _FAMILIES.get(first_word(type_name))
        if known is not None:
            return known
        lower = type_name.lower()
        return next((family for letters, family in _AFFINITIES if letters in lower), "")
