"""The conformance suite's faults, on every engine that is reached by TCP (PostgreSQL 15: in tests/postgresql)."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest

from sillar.testing import conformance

# PyMongo forgets to close a socket whose opening failed, or was cancelled when its client closed.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.parametrize("subject", ["postgresql18", "mariadb", "mysql", "mongodb"], indirect=True),
]


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What the driver forgot is collected here, and not in a later test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


class TestFaults(conformance.FaultCases): ...
