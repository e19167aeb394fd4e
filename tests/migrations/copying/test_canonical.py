"""The canonical encoding: the same for what is the same, different for what is not."""

from __future__ import annotations

import struct
from decimal import Decimal
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sillar.migrations.copying.canonical import (
    NULL,
    RowEncoder,
    TableSums,
    canonical_json,
    decimal_text,
    value_encoder,
)
from sillar.migrations.copying.model import ColumnType, Kind
from sillar.migrations.copying.rows import key_from_text, key_to_text
from sillar.migrations.copying.values import as_kind, instant, moment

VALUES = {
    Kind.BOOLEAN: st.booleans(),
    Kind.INTEGER: st.integers(),
    Kind.DECIMAL: st.decimals(),
    Kind.FLOAT: st.floats(),
    Kind.FLOAT32: st.floats(width=32),
    Kind.TEXT: st.text(),
    Kind.BYTES: st.binary(),
    Kind.UUID: st.uuids().map(str),
    Kind.MOMENT: st.datetimes().map(str).map(moment),
}
pairs = st.sampled_from(sorted(VALUES)).flatmap(lambda kind: st.tuples(st.just(ColumnType(kind)), VALUES[kind]))


def test_the_bytes_are_those_of_the_documentation() -> None:
    assert value_encoder(ColumnType(Kind.INTEGER))(-7) == b"I" + (2).to_bytes(8, "big") + b"-7"
    assert value_encoder(ColumnType(Kind.TEXT))("ñ") == b"T" + (2).to_bytes(8, "big") + "ñ".encode()
    assert value_encoder(ColumnType(Kind.FLOAT))(-0.0) == b"F" + (8).to_bytes(8, "big") + bytes(8)
    assert value_encoder(ColumnType(Kind.BOOLEAN))(True) == b"B" + (1).to_bytes(8, "big") + b"\1"
    assert value_encoder(ColumnType(Kind.TEXT, fixed=True))("ab  ") == value_encoder(ColumnType(Kind.TEXT))("ab")
    assert b"N" + bytes(8) == NULL
    row = RowEncoder([ColumnType(Kind.INTEGER), ColumnType(Kind.TEXT)])
    sums = TableSums([ColumnType(Kind.INTEGER), ColumnType(Kind.TEXT)], [0])
    sums.add([(1, None), (2, "")])
    hashes = [int.from_bytes(sha256(row(each)).digest(), "big") for each in ((1, None), (2, ""))]
    assert sums.checksum == f"{sum(hashes) % 2**256:064x}"


@given(st.lists(st.tuples(st.integers(), st.none() | st.text()), max_size=20))
def test_the_order_of_rows_does_not_matter_and_their_number_does(rows: list[Any]) -> None:
    types = [ColumnType(Kind.INTEGER), ColumnType(Kind.TEXT)]
    first, second = TableSums(types, [0]), TableSums(types, [0])
    first.add(rows)
    rows.sort(key=repr)
    second.add(rows[:3])
    second.add(rows[3:])
    assert (first.checksum, first.parts) == (second.checksum, second.parts)
    second.add([(1, "x")])
    assert (first.total, first.rows) != (second.total, second.rows)


@given(st.lists(pairs, min_size=1, max_size=4), st.lists(pairs, min_size=1, max_size=4))
def test_different_rows_have_different_bytes(one: list[Any], other: list[Any]) -> None:
    def bytes_of(given: list[Any]) -> bytes:
        return RowEncoder([kind for kind, _ in given])([value for _, value in given])

    def meaning(given: list[Any]) -> list[Any]:
        return [(kind.kind, value_encoder(kind)(value)) for kind, value in given]

    assert (bytes_of(one) == bytes_of(other)) == (meaning(one) == meaning(other))


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_decimals_are_written_by_their_value(value: Decimal) -> None:
    shown = decimal_text(value)
    assert Decimal(shown) == value
    assert "E" not in shown
    longer = format(value, "f")
    assert decimal_text(Decimal(longer + ("0" if "." in longer else ".00"))) == shown
    assert shown == "0" or not shown.startswith("0") or shown.startswith("0.")


@given(st.floats(allow_nan=False))
def test_floats_keep_every_bit(value: float) -> None:
    encoded = value_encoder(ColumnType(Kind.FLOAT))(value)
    assert struct.unpack(">d", encoded[9:])[0] == value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a": 1.0, "b": [1e2]}', '{"b":[100],"a":1}'),
        ('"\\u00f1"', '"ñ"'),
        ("[1.10, null, true]", "[1.1,null,true]"),
    ],
)
def test_json_is_compared_by_value(one: str, other: str) -> None:
    assert canonical_json(one) == canonical_json(other)
    assert canonical_json('{"a": null}') != canonical_json("{}")
    assert canonical_json("[9007199254740993]") != canonical_json("[9007199254740992]")


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("2024-02-29T10:00:00Z", "2024-02-29 10:00:00"),
        ("2024-02-29 10:00:00.500000+00", "2024-02-29 10:00:00.5"),
        ("2024-02-29 10:00:00+05:30", "2024-02-29 04:30:00"),
        ("2024-02-29 10:00", "2024-02-29 10:00:00"),
        ("2024-02-29", "2024-02-29 00:00:00"),
        ("infinity", "infinity"),
        ("0044-03-15 12:00:00+00 BC", "0044-03-15 12:00:00 BC"),
        ("20000-01-01 00:00:00+00", "20000-01-01 00:00:00"),
    ],
)
def test_points_in_time_have_one_form(given_text: str, expected: str) -> None:
    assert instant(given_text) == expected


@given(st.lists(pairs, min_size=1, max_size=4))
def test_keys_come_back_from_the_progress_table(given_pairs: list[Any]) -> None:
    types = [kind for kind, _ in given_pairs]
    values = [as_kind(kind)(value) for kind, value in given_pairs]
    found = key_from_text(types, key_to_text(types, values))
    assert [value_encoder(kind)(value) for kind, value in zip(types, found, strict=True)] == [
        value_encoder(kind)(value) for kind, value in zip(types, values, strict=True)
    ]
