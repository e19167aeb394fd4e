"""The conformance suite's faults, on every engine that is reached by TCP (PostgreSQL 15: in tests/postgresql)."""

from __future__ import annotations

import pytest

from sillar.testing import conformance

pytestmark = pytest.mark.parametrize("subject", ["postgresql18", "mariadb", "mysql", "mongodb"], indirect=True)


class TestFaults(conformance.FaultCases): ...
