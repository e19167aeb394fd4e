"""The lint against the labelled corpus: everything that is unsafe is found, and nothing else."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.migrations.lint.alembic_cases import alembic_cases
from tests.migrations.lint.labelled import Case, document_cases, sql_cases

from sillar.migrations.lint import RULES, Finding, Severity, lint, lint_documents

SQL_DIALECTS = ("postgresql", "mysql", "mariadb", "sqlite")


def all_cases() -> list[Case]:
    raw = [case for dialect in SQL_DIALECTS for case in sql_cases(dialect)]
    return [*raw, *alembic_cases(), *document_cases()]


CASES = all_cases()


def found_in(case: Case) -> list[Finding]:
    if case.operations:
        return lint_documents(case.operations, facts=case.facts(), created=case.created)
    return lint(case.statements, dialect=case.dialect, facts=case.facts(), created=case.created)


def rules_of(case: Case) -> list[str]:
    return sorted(finding.rule for finding in found_in(case) if finding.severity is not Severity.HINT)


@pytest.fixture(scope="module", autouse=True)
def figures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Precision and recall of each dialect, printed at the end."""
    yield
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for case in CASES:
        expected, found = Counter(case.expected), Counter(rules_of(case))
        figures = counts[case.dialect]
        figures["cases"] += 1
        figures["alembic"] += case.alembic
        figures["unsafe"] += bool(case.expected)
        figures["right"] += (expected & found).total()
        figures["missed"] += (expected - found).total()
        figures["false"] += (found - expected).total()
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    assert capture is not None
    assert reporter is not None
    with capture.global_and_fixture_disabled():
        reporter.ensure_newline()
        show(reporter, counts)


def show(reporter: Any, counts: dict[str, Counter[str]]) -> None:
    for dialect, figures in counts.items():
        right = figures["right"]
        reporter.write_line(
            f"lint corpus {dialect:10}: {figures['cases']:3} migrations ({figures['unsafe']} unsafe,"
            f" {figures['alembic']} by Alembic), precision {right / max(1, right + figures['false']):.3f},"
            f" recall {right / max(1, right + figures['missed']):.3f}"
        )


@pytest.mark.parametrize("dialect", [*SQL_DIALECTS, "mongodb"])
def test_what_is_unsafe_is_found_and_nothing_else(dialect: str) -> None:
    wrong = [
        f"{case.name}: {rules_of(case)} instead of {case.expected}\n" + "\n".join(map(str, found_in(case)))
        for case in CASES
        if case.dialect == dialect and rules_of(case) != case.expected
    ]
    assert not wrong, "\n".join(wrong)


def test_the_corpus_is_large_and_mixed() -> None:
    assert len(CASES) >= 150
    assert sum(case.alembic for case in CASES) >= 0.2 * len(CASES)
    names = Counter((case.dialect, case.name) for case in CASES)
    assert not [name for name, count in names.items() if count > 1]
    assert sum(not case.expected for case in CASES) >= 0.3 * len(CASES)


def test_every_rule_is_in_the_corpus_and_on_the_page() -> None:
    of_the_file = {"acknowledgement-invalid", "acknowledgement-unused", "unreadable-statement", "revision-not-read"}
    labelled = {rule for case in CASES for rule in case.expected}
    assert {rule.name for rule in RULES} - labelled == of_the_file
    page = (Path(__file__).parents[3] / "docs" / "migration-recipes.md").read_text(encoding="utf-8")
    assert [rule.name for rule in RULES if f"`{rule.name}`" not in page] == []
    assert [rule.name for rule in RULES if rule.why not in page or rule.remedy not in page] == []
