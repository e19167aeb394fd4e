"""Statements: their text, their parameters, and what can be known of them before anything is sent."""

from sillar.query.binding import bind_model
from sillar.query.builder import QueryBuilder
from sillar.query.column import Columns, column, columns
from sillar.query.condition import Condition
from sillar.query.document import DocumentCommand, value
from sillar.query.explanation import Explanation
from sillar.query.hints import Hint
from sillar.query.json import Json
from sillar.query.lane import Lane
from sillar.query.paging import Page
from sillar.query.parts import QueryPart
from sillar.query.prepared import PreparedQuery, parameter
from sillar.query.schema import check_models, validate_models
from sillar.query.statement import Query
from sillar.query.writes import WriteQuery

__all__ = [
    "Columns",
    "Condition",
    "DocumentCommand",
    "Explanation",
    "Hint",
    "Json",
    "Lane",
    "Page",
    "PreparedQuery",
    "Query",
    "QueryBuilder",
    "QueryPart",
    "WriteQuery",
    "bind_model",
    "check_models",
    "column",
    "columns",
    "parameter",
    "validate_models",
    "value",
]
