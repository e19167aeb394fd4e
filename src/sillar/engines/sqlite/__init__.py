"""SQLite: one writer and several readers, over the standard library's sqlite3."""

from sillar.engines.sqlite.adapter import SQLiteAdapter
from sillar.engines.sqlite.connection import SQLiteConnection
from sillar.engines.sqlite.figures import SQLiteFigures
from sillar.engines.sqlite.source import SQLiteSource
from sillar.engines.sqlite.statement import SQLiteStatement

__all__ = ["SQLiteAdapter", "SQLiteConnection", "SQLiteFigures", "SQLiteSource", "SQLiteStatement"]
