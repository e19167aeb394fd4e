"""The conformance suite: what every engine promises, as tests against a real server.

Whoever writes an engine adapter runs it: describe the engine in a :class:`ConformanceSubject` (for SQL a
:class:`SQLSubject`), inherit the classes of cases, and give them a fixture ``subject``::

    import pytest
    from sillar.testing.conformance import SQLSubject, StatementCases, TransactionCases, ValueCases

    class MyDatabase(SQLSubject):
        name = "mydb"
        types = {"integer": "int", "text": "text", ...}
        ...

    @pytest.fixture(scope="session")
    def subject() -> MyDatabase:
        return MyDatabase()

    class TestStatements(StatementCases): ...
    class TestValues(ValueCases): ...
    class TestTransactions(TransactionCases): ...

It needs pytest with pytest-asyncio in the mode ``auto`` and one event loop for all (``asyncio_default_test_loop_scope =
"session"`` and the same for fixtures). A capability that the engine lacks is not skipped: the case asserts the typed
error.
"""

import pytest

_CASES = (
    *("cancellation", "conflicts", "documents", "errors", "faults", "health", "migrations", "seams"),
    *("statements", "streams", "transactions", "values"),
    *("orm", "orm_across", "orm_load", "orm_pairs", "orm_transactions"),
)
pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in _CASES))  # so that a failing case shows its values

from sillar.testing.conformance.cancellation import CancellationCases  # noqa: E402
from sillar.testing.conformance.cases import Cases, SQLCases, eventually, lacks, refused  # noqa: E402
from sillar.testing.conformance.conflicts import ConflictCases  # noqa: E402
from sillar.testing.conformance.documents import DocumentCases  # noqa: E402
from sillar.testing.conformance.errors import ErrorCases  # noqa: E402
from sillar.testing.conformance.faults import FaultCases  # noqa: E402
from sillar.testing.conformance.health import HealthCases  # noqa: E402
from sillar.testing.conformance.migrations import MigrationCases  # noqa: E402
from sillar.testing.conformance.orm import ORMCases, ORMModelCases  # noqa: E402
from sillar.testing.conformance.orm_across import ORMAcrossCases  # noqa: E402
from sillar.testing.conformance.orm_engine import ORMEngine  # noqa: E402
from sillar.testing.conformance.orm_load import ORMLoadCases  # noqa: E402
from sillar.testing.conformance.orm_pairs import ORMPairCases  # noqa: E402
from sillar.testing.conformance.orm_records import (  # noqa: E402
    RECORD_FIELDS,
    RECORDS,
    ORMAuthor,
    ORMBook,
    ORMRecord,
)
from sillar.testing.conformance.orm_subject import ORMSubject  # noqa: E402
from sillar.testing.conformance.orm_transactions import ORMTransactionCases  # noqa: E402
from sillar.testing.conformance.seams import SeamCases  # noqa: E402
from sillar.testing.conformance.specimen import COLUMNS, DEFINITION, SPECIMENS, Colour, Level, Specimen  # noqa: E402
from sillar.testing.conformance.statements import StatementCases  # noqa: E402
from sillar.testing.conformance.streams import BulkCases, StreamCases  # noqa: E402
from sillar.testing.conformance.subject import (  # noqa: E402
    Command,
    ConformanceSubject,
    Settings,
    SQLSubject,
    series,
)
from sillar.testing.conformance.transactions import TransactionCases  # noqa: E402
from sillar.testing.conformance.values import ValueCases  # noqa: E402

__all__ = [
    "COLUMNS",
    "DEFINITION",
    "RECORDS",
    "RECORD_FIELDS",
    "SPECIMENS",
    "BulkCases",
    "CancellationCases",
    "Cases",
    "Colour",
    "Command",
    "ConflictCases",
    "ConformanceSubject",
    "DocumentCases",
    "ErrorCases",
    "FaultCases",
    "HealthCases",
    "Level",
    "MigrationCases",
    "ORMAcrossCases",
    "ORMAuthor",
    "ORMBook",
    "ORMCases",
    "ORMEngine",
    "ORMLoadCases",
    "ORMModelCases",
    "ORMPairCases",
    "ORMRecord",
    "ORMSubject",
    "ORMTransactionCases",
    "SQLCases",
    "SQLSubject",
    "SeamCases",
    "Settings",
    "Specimen",
    "StatementCases",
    "StreamCases",
    "TransactionCases",
    "ValueCases",
    "eventually",
    "lacks",
    "refused",
    "series",
]
