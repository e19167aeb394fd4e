"""Values in the form of their kind, and what does not fit."""

# ruff: noqa: E501 (tables of cases)

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from tests.migrations.copying.conftest import Open

from sillar.migrations.copying import copy_database, fit
from sillar.migrations.copying.dialects.mysql import MySQLDialect
from sillar.migrations.copying.dialects.postgresql import PostgreSQLDialect, _unescaped
from sillar.migrations.copying.document_side import DocumentSide
from sillar.migrations.copying.documents import decoder, encoder
from sillar.migrations.copying.expressions import Words, default_of, translated
from sillar.migrations.copying.model import Column, ColumnType, Kind
from sillar.migrations.copying.side import Field
from sillar.migrations.copying.values import UnfitError, as_kind

FORMS: list[tuple[Kind, Any, Any]] = [
    (Kind.BOOLEAN, "TRUE", True), (Kind.BOOLEAN, "off", False), (Kind.INTEGER, 3.0, 3), (Kind.INTEGER, "12", 12),
    (Kind.FLOAT, 3, 3.0), (Kind.FLOAT, "1e3", 1000.0), (Kind.FLOAT32, 0.1, 0.10000000149011612),
    (Kind.DECIMAL, 0.1, Decimal("0.1")), (Kind.TEXT, 1.5, "1.5"), (Kind.DATE, "2024-01-01T00:00:00", "2024-01-01"),
    (Kind.TIME, "10:30", "10:30:00"), (Kind.UUID, b"\0" * 16, "00000000-0000-0000-0000-000000000000"),
    (Kind.UUID, "A" * 32, "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"), (Kind.JSON, 5, "5"),
    (Kind.DATE, "0044-03-15 BC", "0044-03-15 BC"), (Kind.MOMENT, "0044-03-15 10:00:00.50 BC", "0044-03-15 10:00:00.5 BC"),
]  # fmt: skip
UNFIT: list[tuple[Kind, Any, str]] = [
    (Kind.BOOLEAN, 2, "neither true nor false"), (Kind.INTEGER, 1.5, "no whole number"), (Kind.INTEGER, "x", "no whole"),
    (Kind.FLOAT, "x", "no number"), (Kind.FLOAT, 2**53 + 1, "more than 53 bits"), (Kind.FLOAT32, 1e300, "32-bit"),
    (Kind.UUID, "x", "no UUID"), (Kind.INSTANT, "2024-02-31 10:00:00+01", "brought to UTC"),
    (Kind.DATE, "2024-01-01 10:00:00", "no date"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "given", "expected"), FORMS)
def test_each_kind_has_one_form(kind: Kind, given: Any, expected: Any) -> None:
    found = as_kind(ColumnType(kind))(given)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(("kind", "given", "reason"), UNFIT)
def test_what_is_not_of_its_kind(kind: Kind, given: Any, reason: str) -> None:
    with pytest.raises(UnfitError, match=reason):
        as_kind(ColumnType(kind))(given)


CHECKS: list[tuple[Any, Any, Any]] = [
    (fit.without_nul, "fine", "a\0"), (fit.without_nul, "ñ", "\ud800"), (fit.json_without_nul, '["\\\\u0000"]', '["\\u0000"]'),
    (fit.json_without_nul, '{"a": 1}', '{"\\ud800": 1}'), (fit.json_of_doubles, "[0.1, 18446744073709551615]", "[1e-400]"),
    (fit.json_of_doubles, '{"a": 1e5}', '{"a": [0.1234567890123456789]}'), (fit.finite, 1.5, float("inf")),
    (fit.finite_decimal, Decimal(1), Decimal("NaN")), (fit.not_nan, float("inf"), float("nan")),
    (fit.valid_json, "[1]", "[NaN]"), (fit.common_date, "2024-02-29", "2023-02-29"), (fit.common_date, "0001-01-01", "0000-01-01"),
    (fit.common_moment, "9999-12-31 23:59:59.999999", "9999-12-31 24:00:00"), (fit.common_time, "00:00:00", "-01:00:00"),
    (fit.seconds_of(3), "10:00:00.123", "10:00:00.1234"),
    (fit.within(ColumnType(Kind.INTEGER), ColumnType(Kind.INTEGER, bits=16), trusted=True), 32767, 32768),
    (fit.within(ColumnType(Kind.INTEGER), ColumnType(Kind.INTEGER, bits=8, unsigned=True), trusted=True), 255, -1),
    (fit.within(ColumnType(Kind.TEXT), ColumnType(Kind.TEXT, length=3), trusted=True), "ñññ", "ññññ"),
    (fit.within(ColumnType(Kind.TEXT), ColumnType(Kind.ENUM, values=("a",)), trusted=True), "a", "b"),
    (fit.within(ColumnType(Kind.DECIMAL), ColumnType(Kind.DECIMAL, precision=4, scale=2), trusted=True), Decimal("99.990"), Decimal("100")),
]  # fmt: skip


@pytest.mark.parametrize(("check", "good", "bad"), CHECKS)
def test_checks_let_through_what_fits_alone(check: Any, good: Any, bad: Any) -> None:
    assert check(good) == good
    with pytest.raises(UnfitError):
        check(bad)


def test_what_fits_for_certain_is_not_looked_at() -> None:
    narrow, wide = ColumnType(Kind.INTEGER, bits=16), ColumnType(Kind.INTEGER, bits=32)
    assert fit.within(narrow, wide, trusted=True) is None
    assert fit.within(narrow, wide, trusted=False) is not None
    assert fit.chained(None, None) is None
    assert fit.chained(str.strip, str.upper, str.title)(" ab ") == "Ab"  # type: ignore[misc]


def test_copys_text_format() -> None:
    assert _unescaped(r"a\tb\\n\\\\c\x") == "a\tb\\n\\\\cx"


def test_documents_refuse_what_they_cannot_hold() -> None:
    json_field = Field("x", ColumnType(Kind.JSON, "any"), ColumnType(Kind.JSON))
    encode = encoder(json_field)
    assert encode is not None
    assert encode("[18446744073709551615, 0.10, 0.1234567890123456789]") == [
        Decimal(18446744073709551615), 0.1, Decimal("0.1234567890123456789"),
    ]  # fmt: skip
    for bad in ('{"a\\u0000": 1}', '{"a": "\\ud800"}', f"[0.{'1' * 40}]"):
        with pytest.raises(UnfitError):
            encode(bad)
    number = Field("x", ColumnType(Kind.INTEGER, "int"), ColumnType(Kind.INTEGER))
    with pytest.raises(UnfitError, match="true or false"):
        decoder(number)(True)
    with pytest.raises(UnfitError, match="complex of BSON"):
        decoder(number)(1j)


MEANINGS = [
    ("CHECK", "(price > (0)::numeric) AND length(name) > 3", "`price` > (0) AND LENGTH(`name`) > 3"),
    ("CHECK", "(kind)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[])", "(`kind`) IN ('a', 'b')"),
    ("CHECK", "name ~ '^a'", None),
    ("CHECK", "not (((", None),
]  # fmt: skip


@pytest.mark.parametrize(("_", "given", "expected"), MEANINGS)
def test_expressions_that_mean_the_same(_: str, given: str, expected: str | None) -> None:
    found = translated(given, Words("postgresql", "postgres"), MySQLDialect()).sql
    assert (found is None) == (expected is None)
    if expected is not None:
        assert found is not None
        assert found.replace("CHAR_LENGTH", "LENGTH").replace("(`price` > (0))", "`price` > (0)") == expected


DEFAULTS = [
    ("'it''s'::text", Kind.TEXT, "'it''s'"), ("true", Kind.BOOLEAN, "true"), ("0", Kind.BOOLEAN, "false"),
    ("(-1)", Kind.INTEGER, "-1"), ("now()", Kind.INSTANT, "CURRENT_TIMESTAMP"), ("now()", Kind.TEXT, None),
    ("uuid()", Kind.UUID, "gen_random_uuid()"), ("NULL", Kind.TEXT, "NULL"), ("south", Kind.TEXT, "'south'"),
    ("current_timestamp() ON UPDATE current_timestamp()", Kind.MOMENT, "CURRENT_TIMESTAMP"), ("f(1)", Kind.INTEGER, None),
]  # fmt: skip


@pytest.mark.parametrize(("given", "kind", "expected"), DEFAULTS)
def test_defaults_that_mean_the_same(given: str, kind: Kind, expected: str | None) -> None:
    column = Column("x", ColumnType(kind), default=given)
    assert default_of(column, column.type, Words("mysql", "mysql"), PostgreSQLDialect()).sql == expected


async def test_a_deployment_without_transactions(open_database: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for a standalone server, which is not at hand: batches are written so that twice does no harm."""
    monkeypatch.setattr(DocumentSide, "has_transactions", property(lambda _: False, lambda *_: None), raising=False)
    ours, theirs = await open_database("sqlite", "other"), await open_database("mongodb")
    await ours.session().execute("CREATE TABLE stone (id INTEGER PRIMARY KEY, kind TEXT)")
    await ours.session().execute("CREATE TABLE note (line TEXT)")
    await ours.session().bulk_insert("stone", ["id", "kind"], [(number, "tuff") for number in range(50)])
    await ours.session().bulk_insert("note", ["line"], [("a",)] * 5)
    report = await copy_database(ours, theirs, batch_rows=20)
    assert (report.verified, report.rows) == (True, 55)
