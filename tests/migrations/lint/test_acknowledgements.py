"""Reasons in the file, and reasons that are none."""

from __future__ import annotations

from sillar.migrations.lint import Finding, Severity, lint, planned_statements

SQL = "CREATE INDEX i ON users (a); CREATE INDEX j ON orders (a); ALTER TABLE users DROP COLUMN b"


def found(source: str) -> list[Finding]:
    return lint(planned_statements(SQL, "postgresql"), dialect="postgresql", source=source)


def blocking(source: str) -> list[str]:
    return [f"{each.rule} {each.table}" for each in found(source) if each.blocks]


def test_without_any_all_count() -> None:
    assert blocking("") == ["index-blocks-writes users", "index-blocks-writes orders", "drop-column users"]


def test_a_rule_everywhere_and_on_one_table() -> None:
    assert blocking("    # sillar: acknowledge index-blocks-writes: built at night\n") == ["drop-column users"]
    assert blocking("# Sillar: Acknowledge index-blocks-writes on Orders: built at night") == [
        "index-blocks-writes users",
        "drop-column users",
    ]
    assert blocking("-- sillar: acknowledge drop-column: nobody reads it") == [
        "index-blocks-writes users",
        "index-blocks-writes orders",
    ]
    reasons = [each.acknowledged for each in found("# sillar: acknowledge drop-column: nobody reads it: really")]
    assert reasons == [None, None, "nobody reads it: really"]
    assert "(acknowledged: nobody reads it: really)" in str(
        found("# sillar: acknowledge drop-column: nobody reads it: really")[2]
    )


def test_a_reason_is_obligatory() -> None:
    for text in ("drop-column", "drop-column:", "drop-column: -", "drop-column on users:  "):
        faults = [each for each in found(f"\n# sillar: acknowledge {text}") if each.rule == "acknowledgement-invalid"]
        assert [each.blocks for each in faults] == [True], text
        assert "line 2: drop-column without a reason" in faults[0].message
        assert "drop-column users" in blocking(f"# sillar: acknowledge {text}")


def test_an_unknown_rule_and_what_cannot_be_read() -> None:
    assert "there is no rule 'drop-colum'" in found("# sillar: acknowledge drop-colum: no longer used")[-1].message
    assert "cannot be read" in found("# sillar: ignore everything")[-1].message


def test_one_that_speaks_of_nothing_is_a_hint() -> None:
    [hint] = [each for each in found("# sillar: acknowledge truncate: no longer used") if each.rule.endswith("unused")]
    assert (hint.severity, hint.blocks) == (Severity.HINT, False)


def test_of_squawk() -> None:
    assert not [
        each for each in found("# sillar: acknowledge squawk:some-rule: as we like") if each.rule.endswith("invalid")
    ]
