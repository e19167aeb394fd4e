"""SQL expressions (checks, defaults, predicates) from one engine's words into another's, where they mean the same.

sqlglot parses; what comes through is only what an allow-list of nodes holds, since it is a parser and no judge of
meaning. Everything else is reported as not carried.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sillar.errors import UsageError
from sillar.migrations.copying.model import Column, ColumnType, Kind

if TYPE_CHECKING:
    from sillar.migrations.copying.dialects.dialect import Dialect

_NOW: Final = re.compile(r"(current_timestamp(\(\d?\))?|now\(\)|localtimestamp(\(\d?\))?)(::[\w ]+)?", re.IGNORECASE)
_ON_UPDATE: Final = re.compile(r"\s+ON UPDATE .*", re.IGNORECASE)
_UUID: Final = re.compile(r"(gen_random_uuid\(\)|uuid\(\))", re.IGNORECASE)
_TEXT: Final = re.compile(r"'((?:[^']|'')*)'(?:::[\w \"\[\]().,]+)?")
_NUMBER: Final = re.compile(r"\(?'?(-?\d+(?:\.\d+)?)'?\)?(?:::[\w ()]+)?")
_WORD: Final = re.compile(r"(true|false|null)(?:::[\w ()]+)?", re.IGNORECASE)


class Words(NamedTuple):
    """Whose expressions they are.

    Attributes:
        family: of engines that take each other's expressions as they are.
        translator: what sqlglot calls it; empty: it has none.
    """

    family: str
    translator: str = ""


class Translation(NamedTuple):
    """An expression for the target, or the reason why there is none."""

    sql: str | None
    reason: str | None


def translated(sql: str, source: Words, dialect: Dialect) -> Translation:
    """An expression of the source in the words of ``dialect``."""
    if source.family == dialect.family:
        return Translation(sql, None)
    return _translated(sql, source.translator or None, dialect.translator)


@lru_cache(maxsize=500)
def _translated(sql: str, read: str | None, write: str) -> Translation:
    try:
        import sqlglot
        from sqlglot import exp
    except ImportError as error:
        raise UsageError(
            f"copying schemas needs {error.name}, which is not installed: pip install 'sillar[migrations]'"
        ) from None
    plain = (
        exp.Column, exp.Identifier, exp.Literal, exp.Boolean, exp.Null, exp.Paren, exp.And, exp.Or, exp.Not, exp.EQ,
        exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between, exp.In, exp.Is, exp.Add, exp.Sub, exp.Mul, exp.Neg,
        exp.Length, exp.Lower, exp.Upper, exp.Coalesce,
    )  # fmt: skip
    try:
        tree = sqlglot.parse_one(sql, read=read)
    except sqlglot.errors.SqlglotError:
        return Translation(None, "it could not be parsed")

    def simpler(node: Any) -> Any:
        if isinstance(node, exp.Cast):
            return node.this
        if isinstance(node, exp.EQ) and isinstance(node.expression, exp.Any):
            array = node.expression.find(exp.Array)
            if array is not None:
                return exp.In(this=node.this, expressions=array.expressions)
        return node

    tree = tree.transform(simpler).transform(simpler)
    for node in tree.walk():
        if not isinstance(node, plain):
            return Translation(None, f"it has {type(node).__name__.lower()}, which may mean something else there")
    for length in tree.find_all(exp.Length):
        length.set("binary", None)
    return Translation(tree.sql(dialect=write, identify=True), None)


def index_expressions(sql: str, translator: str) -> tuple[str, ...]:
    """The expressions in a CREATE INDEX; one that nobody can parse stands for itself."""
    from sqlglot import errors, exp, parse_one

    try:
        tree = parse_one(sql, read=translator)
    except errors.SqlglotError:
        return (sql,)
    columns = [
        each.this if isinstance(each, exp.Ordered) else each
        for each in tree.args["this"].args["params"].args["columns"]
    ]
    return tuple(each.sql(dialect=translator) for each in columns if not isinstance(each, (exp.Column, exp.Identifier)))


def default_of(column: Column, stored: ColumnType, source: Words, dialect: Dialect) -> Translation:
    """The default of a column: a literal, the time now, a random UUID; another expression only within a family."""
    given = _ON_UPDATE.sub("", column.default or "").strip()
    if source.family == dialect.family:
        return Translation((column.default or "").strip(), None)
    while given.startswith("(") and given.endswith(")") and given.count("(") == given.count(")"):
        given = given[1:-1].strip()
    if _NOW.fullmatch(given):
        if stored.kind in (Kind.MOMENT, Kind.INSTANT):
            return Translation(dialect.now_for(stored), None)
        return Translation(None, "the time now, in a column that holds no times")
    if _UUID.fullmatch(given):
        return Translation(dialect.generated_uuid, "the engine generates no UUIDs")
    word = _WORD.fullmatch(given)
    if word is not None:
        if word[1].lower() == "null":
            return Translation("NULL", None)
        return Translation(dialect.true_false[word[1].lower() == "false"], None)
    number = _NUMBER.fullmatch(given)
    if number is not None and stored.kind in _NUMBERS:
        if stored.kind is Kind.BOOLEAN:
            return Translation(dialect.true_false[number[1] == "0"], None)
        return Translation(number[1], None)
    text = _TEXT.fullmatch(given)
    if text is not None and stored.kind in _LITERALS:
        return dialect.default_text(text[1].replace("''", "'"), stored)
    if text is None and given.isalnum() and stored.kind in (Kind.TEXT, Kind.ENUM):
        return dialect.default_text(given, stored)
    return Translation(None, "it is no literal, no time now and no random UUID")


_NUMBERS: Final = (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT, Kind.FLOAT32, Kind.BOOLEAN)
_LITERALS: Final = (Kind.TEXT, Kind.ENUM, Kind.DATE, Kind.TIME, Kind.MOMENT, Kind.INSTANT, Kind.UUID, Kind.JSON)
