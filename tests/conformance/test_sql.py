"""The conformance suite on every engine that speaks SQL."""

from __future__ import annotations

import pytest

from sillar.testing import conformance

pytestmark = pytest.mark.parametrize("subject", ["postgresql", "postgresql18", "mariadb", "mysql", "sqlite", "memory"], indirect=True)


class TestStatements(conformance.StatementCases): ...


class TestValues(conformance.ValueCases): ...
