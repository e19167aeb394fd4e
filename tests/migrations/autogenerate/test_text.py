from __future__ import annotations

import pytest

from sillar.migrations.autogenerate.text import (
    as_text,
    mentions,
    normal_form,
    split_list,
    with_name,
    without_text_casts,
)

SAME = [
    ("now()", "CURRENT_TIMESTAMP"),
    ("(((a > 0)))", "a>0"),
    ('"a" > 0', "A > 0"),
    ("a <> 1", "a != 1"),
    ("_utf8mb4'x'", "'x'"),
    ("lower((name))", "lower(name)"),
    ("a AND (b)", "a and b"),
]
OTHER = [
    ("a > 0", "a > 1"),
    ("'A'", "'a'"),
    ("(a OR b) AND c", "a OR (b AND c)"),
    ('"A" > 0', "a > 0"),
    ("f(a)", "f"),
    ("a - b", "b - a"),
]


@pytest.mark.parametrize(("one", "two"), SAME)
def test_spellings_of_the_same_are_alike(one: str, two: str) -> None:
    assert normal_form(one) == normal_form(two)


@pytest.mark.parametrize(("one", "two"), OTHER)
def test_what_means_something_else_is_not_alike(one: str, two: str) -> None:
    assert normal_form(one) != normal_form(two)


def test_nothing_is_nothing() -> None:
    assert normal_form(None) is None
    assert without_text_casts(None) is None


def test_casts_that_postgresql_adds_are_left_out_and_others_stay() -> None:
    assert without_text_casts("(a)::text = 'x'::character varying(20)") == "(a) = 'x'"
    assert without_text_casts("a::integer > 1") == "a::integer > 1"


def test_a_column_is_renamed_outside_of_strings() -> None:
    assert with_name("""a > 0 AND "a" <> 'a' AND ab = `a`""", "a", "b") == """b > 0 AND "b" <> 'a' AND ab = `b`"""
    assert with_name("a > 0", "a", "Mixed") == '"Mixed" > 0'


def test_a_mention_is_a_name_and_no_string() -> None:
    assert mentions("SELECT 1 FROM sale", "sale")
    assert mentions('SELECT 1 FROM "Sale"', "sale")
    assert not mentions("SELECT 'sale' FROM sales", "sale")


def test_a_list_is_split_at_its_own_commas() -> None:
    statement = "(a, f(b, 'c)'), d DESC) WHERE e"
    assert split_list(statement, 0) == (["a", "f(b, 'c)')", "d DESC"], len("(a, f(b, 'c)'), d DESC)"))


def test_what_looks_like_a_parameter_is_escaped() -> None:
    assert as_text("a = ':x' AND b::text = 'c:d'") == r"a = '\:x' AND b::text = 'c:d'"
