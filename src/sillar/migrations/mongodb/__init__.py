"""Migrations of document databases (MongoDB)."""

from sillar.migrations.mongodb.operations import DocumentOperations
from sillar.migrations.mongodb.runner import MongoDBRunner

__all__ = ["DocumentOperations", "MongoDBRunner"]
