"""The one path: whatever touches a database goes through here."""

from sillar.execution.execution import Execution
from sillar.execution.executor import Executor
from sillar.execution.pipeline import Interceptor, Observer, Proceed, Stage
from sillar.execution.result import QueryResult
from sillar.execution.session import DatabaseSession
from sillar.execution.stream import RowStream
from sillar.execution.transaction import Transaction

__all__ = [
    "DatabaseSession",
    "Execution",
    "Executor",
    "Interceptor",
    "Observer",
    "Proceed",
    "QueryResult",
    "RowStream",
    "Stage",
    "Transaction",
]
