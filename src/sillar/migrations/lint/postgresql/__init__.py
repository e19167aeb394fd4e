"""The rules of PostgreSQL."""
