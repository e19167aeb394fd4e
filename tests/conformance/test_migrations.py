"""The conformance suite's cases of migrations, on every engine."""

from __future__ import annotations

import pytest

from sillar.testing import conformance

ENGINES = ["postgresql", "postgresql18", "mariadb", "mysql", "sqlite", "memory", "mongodb"]
pytestmark = pytest.mark.parametrize("subject", ENGINES, indirect=True)


class TestMigrations(conformance.MigrationCases): ...
