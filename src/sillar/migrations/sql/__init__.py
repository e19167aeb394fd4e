"""Migrations of SQL databases: Alembic's, under a lock, with a journal and a log."""
