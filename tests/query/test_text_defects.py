"""Holes of the scanner that were found once: where it took for harmless what a server would have executed."""

from __future__ import annotations

import pytest

from sillar.engines.postgresql.adapter import LEXICAL_RULES as POSTGRESQL
from sillar.query.text import LexicalRules, Placeholder, StatementText, StatementTexts

MYSQL = LexicalRules(Placeholder.FORMAT, backslash_escapes=True, hash_comments=True, user_variables=True)
SQLITE = LexicalRules(Placeholder.NUMBERED)


@pytest.mark.parametrize(
    "source",
    [
        "SELECT * FROM t JOIN set_config('a', 'b', false) ON true",
        "SELECT 1 -- a comment ends here\r, set_config('a', 'b', false)",
        "SELECT 1 /* /* */ ' */ + set_config('a', 'b', false)::int --'",
        "SELECT U&\"pg_advisory_loc!006B\" UESCAPE '!'(1)",
        'SELECT "pg_advisory_lock"(1)',
        "SELECT pg_catalog . set_config('a', 'b', false)",
        "SELECT @my_function(1)",
        "SELECT 5 %slower(1)",
        "SELECT a·lower(1)",
        "SELECT $é$ it's $é$, set_config('a', 'b', false) --'",
        "SELECT 1 ` 2, set_config('a', 'b', false), 3 ` 4",
        "SELECT unix_timestamp()",
        "SELECT match('a')",
        "EXPLAIN ANALYZE CREATE TEMPORARY TABLE t AS SELECT 1",
        "EXPLAIN ANALYSE EXECUTE prepared",
        "TABLE t; SET x = 1",
        "WITH x AS (SELECT 1) SELECT * INTO TEMPORARY t FROM x",
        "DO $$ BEGIN SET x = 1; END $$",
        "COPY t TO STDOUT",
        "CALL p(1)",
    ],
)
def test_what_postgresql_would_execute_is_no_clean_read(source: str) -> None:
    text = StatementText(source, POSTGRESQL)
    assert not text.is_clean
    assert not text.is_read


@pytest.mark.parametrize(
    "source",
    [
        "SELECT nextval('s')",
        "SELECT txid_current()",
        "EXPLAIN ANALYSE DELETE FROM t",
        "SELECT NEXT VALUE FOR s",
        "WITH d AS MATERIALIZED (UPDATE t SET a = 1 RETURNING a) TABLE d",
    ],
)
def test_what_writes_is_no_read_though_it_leaves_no_trace(source: str) -> None:
    assert not StatementText(source, POSTGRESQL).is_read
    assert StatementText(source, POSTGRESQL).is_clean


@pytest.mark.parametrize(
    "source",
    [
        "SELECT /*!get_lock('a', 1)*/",
        "SELECT 1 /*M! INTO @x */",
        "SELECT 5--get_lock('a', 1)",
        "SELECT 1 /*!50000 , get_lock('a', 1)",
        "SELECT 'it\\'s' , get_lock('a', 1) -- '",
    ],
)
def test_what_mysql_would_execute_is_no_clean_read(source: str) -> None:
    text = StatementText(source, MYSQL)
    assert not text.is_clean
    assert not text.is_read
    assert "get_lock" not in text.fingerprint or "/*!" not in source


def test_what_only_looks_like_code_stays_harmless() -> None:
    for rules, source in (
        (POSTGRESQL, "SELECT 1 /* a /* b */ set_config(:a) */"),
        (POSTGRESQL, "SELECT $é$ set_config(:a) $é$, E'\\' set_config(:a)'"),
        (POSTGRESQL, "SELECT 1 -- set_config(:a)"),
        (MYSQL, "SELECT 1 -- get_lock(:a)\n, 2 # get_lock(:a)"),
        (SQLITE, "SELECT 1 /* no end set_config(:a)"),
    ):
        text = StatementText(source, rules)
        assert (text.is_clean, text.is_read, text.names, text.sql) == (True, True, (), source)


@pytest.mark.parametrize(
    ("source", "atomic"),
    [
        ("INSERT INTO t VALUES (1)", True),
        ("ALTER TABLE t ADD x int", True),
        ("INSERT INTO t VALUES (1); COMMIT", False),
        ("CALL p()", False),
        ("DO $$ BEGIN COMMIT; END $$", False),
        ("EXECUTE prepared", False),
        ("", False),
    ],
)
def test_only_what_is_applied_whole_or_not_at_all_may_be_repeated(source: str, atomic: bool) -> None:
    assert StatementText(source, POSTGRESQL).is_atomic is atomic


def test_the_texts_that_are_kept_are_bounded() -> None:
    texts = StatementTexts(POSTGRESQL, size_max=3)
    for number in range(10):
        text, _ = texts.bound(f"SELECT $1, a[1 :n] AS x{number}, :n", [number])
        assert text.names == ()
    assert len(texts._texts) <= 3
    huge = f"SELECT '{'x' * 200_000}'"
    assert texts.get(huge).is_read
    assert huge not in texts._texts
