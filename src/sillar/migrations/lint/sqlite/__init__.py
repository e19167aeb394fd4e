"""The rules of SQLite."""
