"""The conformance suite on every engine that speaks SQL."""

from __future__ import annotations

import pytest

from sillar.testing import conformance

ENGINES = ["postgresql", "postgresql18", "mariadb", "mysql", "sqlite", "memory"]
pytestmark = pytest.mark.parametrize("subject", ENGINES, indirect=True)


class TestStatements(conformance.StatementCases): ...


class TestValues(conformance.ValueCases): ...


class TestTransactions(conformance.TransactionCases): ...


class TestErrors(conformance.ErrorCases): ...


class TestConflicts(conformance.ConflictCases): ...


class TestStreams(conformance.StreamCases): ...


class TestBulk(conformance.BulkCases): ...


class TestCancellation(conformance.CancellationCases): ...


class TestHealth(conformance.HealthCases): ...


class TestSeams(conformance.SeamCases): ...
