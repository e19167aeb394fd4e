"""squawk beside our own rules: merged, added, missing, failing."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog

from sillar.migrations.lint import Linter, planned_statements
from sillar.migrations.lint import squawk as asked
from sillar.migrations.lint.postgresql.rules import PostgreSQLRules
from sillar.migrations.lint.reader import read_statements

SQL = """
BEGIN;
CREATE INDEX i ON users
    (a);
ALTER DOMAIN amount ADD CONSTRAINT positive CHECK (value > 0);
ALTER TABLE users ADD COLUMN n int;
TRUNCATE users CASCADE;
COMMIT;
"""


def report(sql: str = SQL, program: str | None = None, version: tuple[int, ...] = (15, 8)) -> asked.SquawkReport:
    statements = read_statements(planned_statements(sql, "postgresql"), PostgreSQLRules.lexicon)
    return asked.ask_squawk(statements, dialect="postgresql", version=version, program=program)


def test_what_both_know_is_ours_to_judge_and_the_rest_is_added() -> None:
    found = report()
    assert found.note == ""
    assert found.merged == 2  # the index and the domain
    assert [(each.rule, each.statement) for each in found.findings] == [
        ("squawk:ban-truncate-cascade", 5),
    ]
    assert "CREATE INDEX" not in found.findings[0].sql


def test_the_linter_asks_it_and_keeps_the_order_of_statements() -> None:
    found = Linter("postgresql").lint(
        planned_statements(SQL, "postgresql"), "# sillar: acknowledge truncate: empty yet"
    )
    numbers = [each.statement for each in found]
    assert numbers == sorted(numbers)
    assert {each.rule for each in found if each.rule.startswith("squawk:")} == {
        "squawk:ban-truncate-cascade",
    }
    assert not any(each.rule.startswith("squawk:") for each in Linter("sqlite").lint(planned_statements(SQL, "sqlite")))
    without = Linter("postgresql", squawk=False).lint(planned_statements(SQL, "postgresql"))
    assert not any(each.rule.startswith("squawk:") for each in without)


def test_statements_outside_of_a_transaction_stay_outside() -> None:
    assert (
        report("CREATE INDEX CONCURRENTLY i ON users (a); BEGIN; SELECT 1; COMMIT; DROP INDEX CONCURRENTLY i").merged
        == 0
    )


def test_missing_or_failing_it_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "did not answer (FileNotFoundError)" in report(program=str(tmp_path / "nothing")).note
    broken = tmp_path / "squawk"
    broken.write_text("#!/bin/sh\necho oops\nexit 3\n")
    broken.chmod(0o755)
    assert "did not answer (JSONDecodeError)" in report(program=str(broken)).note
    monkeypatch.setattr(asked, "find_squawk", lambda: None)
    linter = Linter("postgresql")
    with structlog.testing.capture_logs() as logs:
        found = linter.lint(planned_statements(SQL, "postgresql"))
    assert [each.rule for each in found if each.blocks] == [
        "index-blocks-writes",
        "domain-constraint-scans",
        "truncate",
    ]
    assert "not installed" in linter.notes[0]
    assert [(each["log_level"], "not installed" in each["event"]) for each in logs] == [("debug", True)]
