"""The one path: whatever touches a database goes through here."""

from sillar.execution.bulk_run import BulkReport
from sillar.execution.coalescing import Lookups
from sillar.execution.commit_outcome import CommitMarkers, CommitResolution
from sillar.execution.execution import Execution
from sillar.execution.executor import Executor
from sillar.execution.pipeline import Interceptor, Observer, Proceed, Stage
from sillar.execution.result import QueryResult
from sillar.execution.session import DatabaseSession
from sillar.execution.stream import RowStream
from sillar.execution.transaction import Transaction

__all__ = [
    "BulkReport",
    "CommitMarkers",
    "CommitResolution",
    "DatabaseSession",
    "Execution",
    "Executor",
    "Interceptor",
    "Lookups",
    "Observer",
    "Proceed",
    "QueryResult",
    "RowStream",
    "Stage",
    "Transaction",
]
