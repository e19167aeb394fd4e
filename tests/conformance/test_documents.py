"""The conformance suite on MongoDB (or its stand-in; the table of servers says which)."""

from __future__ import annotations

import pytest

from sillar.testing import conformance

pytestmark = pytest.mark.parametrize("subject", ["mongodb"], indirect=True)


class TestDocuments(conformance.DocumentCases): ...


class TestTransactions(conformance.TransactionCases): ...


class TestCancellation(conformance.CancellationCases): ...


class TestHealth(conformance.HealthCases): ...


class TestSeams(conformance.SeamCases): ...
