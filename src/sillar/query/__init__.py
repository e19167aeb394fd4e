"""Statements: their text, their parameters, and what can be known of them before anything is sent."""

from sillar.query.document import DocumentCommand, value
from sillar.query.json import Json
from sillar.query.statement import Query

__all__ = ["DocumentCommand", "Json", "Query", "value"]
