"""The scanner: placeholders, what is known of a statement, fingerprints."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sillar.errors import ParameterError
from sillar.query.text import LexicalRules, Placeholder, StatementTexts

POSTGRESQL = LexicalRules(Placeholder.DOLLAR, dollar_quotes=True)
MYSQL = LexicalRules(Placeholder.FORMAT, backslash_escapes=True, hash_comments=True, user_variables=True)
SQLITE = LexicalRules(Placeholder.NUMBERED)


@pytest.mark.parametrize(
    ("rules", "source", "sql", "names"),
    [
        (POSTGRESQL, "SELECT :a, :b, :a", "SELECT $1, $2, $1", ("a", "b")),
        (SQLITE, "SELECT :a, :b, :a", "SELECT ?1, ?2, ?1", ("a", "b")),
        (MYSQL, "SELECT :a, :b, :a", "SELECT %s, %s, %s", ("a", "b", "a")),
        (POSTGRESQL, "SELECT :a::int", "SELECT $1::int", ("a",)),
        (POSTGRESQL, "SELECT ':a', \":b\", $$ :c $$, $t$ :d $t$ -- :e\n /* :f */", None, ()),
        (POSTGRESQL, "SELECT E'\\':a', array[1:2], x[1:n]", None, ()),
        (MYSQL, "SELECT 'it\\'s :a', \":b\", `:c` # :d\n", None, ()),
        (MYSQL, "SELECT 5 % 2, :a", "SELECT 5 %% 2, %s", ("a",)),
        (MYSQL, "SELECT 5 % 2", "SELECT 5 % 2", ()),
        (SQLITE, "SELECT '$1', '?'", None, ()),
    ],
)
def test_placeholders(rules: LexicalRules, source: str, sql: str | None, names: tuple[str, ...]) -> None:
    text = StatementTexts(rules).get(source)
    assert text.sql == (source if sql is None else sql)
    assert text.names == names


@pytest.mark.parametrize(
    ("source", "reads", "clean"),
    [
        ("SELECT * FROM t WHERE id = :id", True, True),
        ("  /* hint */ select count(*) FROM t", True, True),
        ("WITH x AS (SELECT 1) SELECT * FROM x", True, True),
        ("VALUES (1), (2)", True, True),
        ("WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n", True, True),
        ("SELECT * FROM t JOIN my_function(1) AS f ON true", False, False),
        ("INSERT INTO s.t (a, b) VALUES (:a, lower(:b)) RETURNING id", False, True),
        ("UPDATE t SET a = coalesce(a, 1)", False, True),
        ("DELETE FROM t WHERE a IN (1, 2)", False, True),
        ("WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d", False, True),
        ("SELECT * FROM t FOR UPDATE", False, True),
        ("SELECT my_function(1)", False, False),
        ("SELECT set_config('a', 'b', false)", False, False),
        ("SELECT pg_advisory_lock(1)", False, False),
        ("SELECT public.lower('a')", False, False),
        ("SELECT * INTO TEMP x FROM t", False, False),
        ("CREATE TEMP TABLE x (a int)", False, False),
        ("SET x = 1", False, False),
        ("LISTEN x", False, False),
        ("SELECT 1; SET x = 1", False, False),
        ("SELECT 1;", True, True),
        ("EXPLAIN ANALYZE DELETE FROM t", False, True),
        ("CALL p()", False, False),
        ("", False, False),
    ],
)
def test_what_is_known_of_a_statement(source: str, reads: bool, clean: bool) -> None:
    text = StatementTexts(POSTGRESQL).get(source)
    assert (text.is_read, text.is_clean) == (reads, clean)


@pytest.mark.parametrize(
    "source",
    ["SELECT @a := 1", "SELECT get_lock('a', 1)", "SELECT 1 INTO @x", "SELECT /*!50000 SQL_NO_CACHE */ sleep(0), f(1)"],
)
def test_what_leaves_a_trace_in_a_mysql_session(source: str) -> None:
    assert not StatementTexts(MYSQL).get(source).is_clean


def test_a_fingerprint_has_no_values() -> None:
    texts = StatementTexts(POSTGRESQL)
    one = texts.get("SELECT *\n FROM t -- why\n WHERE a = 'secret' AND b IN (1, 2.5, 3) AND c = :c AND d = $1")
    assert one.fingerprint == "SELECT * FROM t WHERE a = ? AND b IN (?) AND c = ? AND d = ?"
    other = texts.get("SELECT * FROM t WHERE a = 'x' AND b IN (9) AND c = :name AND d = $2")
    assert one.fingerprint_id == other.fingerprint_id
    many = texts.get("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    assert many.fingerprint == "INSERT INTO t VALUES (?)"


def test_parameters_missing_and_superfluous_are_named() -> None:
    texts = StatementTexts(POSTGRESQL)
    with pytest.raises(ParameterError, match=r"missing: b; superfluous: c"):
        texts.bound("SELECT :a, :b", {"a": 1, "c": 3})
    with pytest.raises(ParameterError, match="missing: a"):
        texts.bound("SELECT :a", None)
    with pytest.raises(ParameterError, match="superfluous: x"):
        texts.bound("SELECT 1", {"x": 1})
    with pytest.raises(ParameterError, match="not set"):
        texts.bound("SELECT 1", {1, 2})  # type: ignore[arg-type]


def test_a_list_uses_the_engines_own_placeholders_and_leaves_the_text_alone() -> None:
    text, args = StatementTexts(POSTGRESQL).bound("SELECT $1, a[:n]", [1])
    assert (text.sql, list(args)) == ("SELECT $1, a[:n]", [1])


def test_texts_are_scanned_once_and_bounded() -> None:
    texts = StatementTexts(POSTGRESQL, size_max=3)
    first = texts.get("SELECT 0")
    assert texts.get("SELECT 0") is first
    for number in range(1, 5):
        texts.get(f"SELECT {number}")
    assert texts.get("SELECT 0") is not first
    assert (texts.hits, texts.misses) == (1, 6)


def test_positions_are_mapped_back_to_the_source() -> None:
    text = StatementTexts(POSTGRESQL).get("SELECT :first, :second FORM t")
    sent = text.sql.index("FORM") + 1
    assert text.source_position(sent) == text.source.index("FORM") + 1
    doubled = StatementTexts(MYSQL).get("SELECT 7 % 3, :first FORM t")
    assert doubled.source_position(doubled.sql.index("FORM") + 1) == doubled.source.index("FORM") + 1


@given(st.text(alphabet=st.sampled_from(list("aB1 '\"`$:;-/*#%?()[],.\\\n@_E")), max_size=60))
def test_any_text_is_scanned_without_loss(source: str) -> None:
    for rules in (POSTGRESQL, MYSQL, SQLITE):
        text = StatementTexts(rules).get(source)
        assert "".join(piece for _, piece in text._tokens) == source
        assert isinstance(text.fingerprint, str)
        if not text.names:
            assert text.sql == source
