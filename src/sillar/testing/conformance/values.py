"""Values on their way into a column and back."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from sillar import Capability, DatabaseSession, Json
from sillar.errors import DatabaseError, ParameterError, ResultError, StatementError
from sillar.testing.conformance.cases import MakeTable, SQLCases
from sillar.testing.conformance.specimen import COLUMNS, DEFINITION, SPECIMENS, Colour, Level, Specimen, values
from sillar.testing.conformance.subject import SQLSubject

Keep = Callable[[str, Any, Any], Awaitable[Any]]
_MEGABYTE = 1_000_000


class ValueCases(SQLCases):
    """What goes in comes back: exactly, and alike on every engine."""

    @pytest.fixture
    def keep(self, define: MakeTable, session: DatabaseSession) -> Keep:
        """Stores a value in a column of a type and reads it back as a Python type (None: as the engine gives it)."""
        tables: dict[str, str] = {}

        async def store(kind: str, value: Any, into: Any) -> Any:
            name = tables.get(kind)
            if name is None:
                name = tables[kind] = await define(f"id {{integer}} PRIMARY KEY, kept {{{kind}}}")
            await session.execute(f"DELETE FROM {name}")
            await session.execute(f"INSERT INTO {name} (id, kept) VALUES (1, :kept)", {"kept": value})
            query = f"SELECT kept FROM {name}"
            return await session.fetch_value(query, **({} if into is None else {"into": into}))

        return store

    async def test_a_record_of_all_types_reads_back_equal(self, define: MakeTable, session: DatabaseSession) -> None:
        table = await define(DEFINITION)
        names = ", ".join(COLUMNS)
        places = ", ".join(f":{name}" for name in COLUMNS)
        await session.execute_many(
            f"INSERT INTO {table} ({names}) VALUES ({places})", [values(each) for each in SPECIMENS]
        )
        found = await session.fetch_all(f"SELECT * FROM {table} ORDER BY id", into=Specimen)
        assert found == list(SPECIMENS)
        for specimen, expected in zip(found, SPECIMENS, strict=True):
            for name, value in values(expected).items():
                assert isinstance(getattr(specimen, name), type(value)), name
            assert specimen.seen_at.utcoffset() == dt.timedelta(0)
            assert str(specimen.amount) == str(expected.amount.quantize(Decimal("1e-10")))

    async def test_a_bulk_insert_stores_the_same(self, define: MakeTable, session: DatabaseSession) -> None:
        table = await define(DEFINITION)
        rows = [tuple(values(each).values()) for each in SPECIMENS]
        assert await session.bulk_insert(table, COLUMNS, rows) == 2
        assert await session.fetch_all(f"SELECT * FROM {table} ORDER BY id", into=Specimen) == list(SPECIMENS)

    @pytest.mark.parametrize(
        "text",
        ["1234567890123456789012345678.0123456789", "-9999999999999999999999999999.9999999999", "0.0000000001", "0"],
    )
    async def test_decimals_are_exact(self, keep: Keep, text: str) -> None:
        assert await keep("decimal", Decimal(text), Decimal) == Decimal(text)

    async def test_times_come_back_in_utc(self, keep: Keep) -> None:
        zone = dt.timezone(dt.timedelta(hours=-9, minutes=-30))
        given = dt.datetime(2026, 3, 29, 1, 59, 59, 123456, zone)
        found = await keep("aware_time", given, dt.datetime)
        assert (found, found.utcoffset()) == (given, dt.timedelta(0))
        whole = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
        assert await keep("aware_time", whole, dt.datetime) == whole

    async def test_naive_times_and_dates_stay_as_they_are(self, keep: Keep) -> None:
        given = dt.datetime(1969, 7, 20, 20, 17, 40, 999999)
        assert await keep("naive_time", given, dt.datetime) == given
        for day in (dt.date(1900, 1, 1), dt.date(2024, 2, 29), dt.date(9999, 12, 31)):
            assert await keep("date", day, dt.date) == day

    async def test_uuids(self, keep: Keep) -> None:
        for value in (UUID(int=0), UUID(int=2**128 - 1), UUID("12345678-9abc-4def-8123-456789abcdef")):
            assert await keep("uuid", value, UUID) == value

    @pytest.mark.parametrize(
        "value",
        [{"a": [1, {"b": None}], "ü🪨": "𝄞", "": ""}, {}, {"large": 2**53, "tiny": 1e-9, "yes": True, "text": "null"}],
    )
    async def test_json(self, keep: Keep, value: Any) -> None:
        assert await keep("json", value, dict[str, Any]) == value

    async def test_json_of_other_shapes(self, keep: Keep) -> None:
        assert await keep("json", Json([1, None, "x", {"a": []}]), list[Any]) == [1, None, "x", {"a": []}]
        assert await keep("json", None, dict[str, Any] | None) is None

    async def test_bytes(self, keep: Keep) -> None:
        for value in (bytes(range(256)), b"", b"\x00", bytes(range(256)) * (_MEGABYTE // 256)):
            assert await keep("bytes", value, bytes) == value

    async def test_lists(self, keep: Keep) -> None:
        for value in ([], [""], ["a", 'b"', "c,d", "{e}", "NULL", "\\", "🪨"]):
            assert await keep("list", value, list[str]) == value

    async def test_enumerations(self, keep: Keep) -> None:
        for colour in Colour:
            assert await keep("key_text", colour, Colour) is colour
        for level in Level:
            assert await keep("integer", level, Level) is level

    async def test_integers_up_to_64_bits(self, keep: Keep) -> None:
        for value in (2**63 - 1, -(2**63), 2**53 + 1, 0, -1):
            assert await keep("big_integer", value, int) == value
        for value in (2**63, -(2**63) - 1, 2**64):
            with pytest.raises((ParameterError, StatementError)) as caught:
                await keep("big_integer", value, int)
            assert str(value) not in str(caught.value)

    async def test_floating_point_numbers(self, keep: Keep) -> None:
        for value in (0.1, -1 / 3, 1e-300, 2.2250738585072014e-308, 1.7976931348623157e308, 1e16 + 2, 0.0):
            assert await keep("float", value, float) == value

    async def test_not_a_number_is_kept_or_refused(self, keep: Keep, session: DatabaseSession) -> None:
        if session.capabilities.has(Capability.NAN):
            assert math.isnan(await keep("float", math.nan, float))
            assert await keep("float", -math.inf, float) == -math.inf
            return
        with pytest.raises(ParameterError, match="NaN"):
            await keep("float", math.nan, float)

    async def test_truth(self, keep: Keep) -> None:
        assert await keep("bool", True, bool) is True
        assert await keep("bool", False, bool) is False
        assert await keep("bool", None, bool | None) is None

    @pytest.mark.parametrize(
        "value",
        [
            "",
            " ",
            "null",
            "\\0",
            "\\",
            "'",
            '"',
            "a\nb\r\n\tc",
            "🪨𝄞\U0010ffff",
            "e\u0301 é",
            "\ufeff\u200b",
            "%s :a $1 ?",
        ],
    )
    async def test_text(self, keep: Keep, value: str) -> None:
        assert await keep("text", value, str) == value

    async def test_an_empty_text_is_not_null(self, keep: Keep) -> None:
        assert await keep("text", "", None) == ""
        assert await keep("text", None, None) is None

    async def test_a_megabyte_of_text(self, keep: Keep) -> None:
        value = "0123456789abcdé🪨" * (_MEGABYTE // 16)
        assert await keep("text", value, str) == value

    async def test_a_nul_in_text_is_kept_or_refused(self, keep: Keep, session: DatabaseSession) -> None:
        if session.capabilities.has(Capability.NUL_IN_TEXT):
            assert await keep("text", "a\x00b\x00", str) == "a\x00b\x00"
            return
        with pytest.raises((ParameterError, StatementError)):
            await keep("text", "secret\x00b", str)

    async def test_a_lone_surrogate_is_refused(self, keep: Keep) -> None:
        with pytest.raises(DatabaseError):
            await keep("text", "a\ud800b", str)

    async def test_native_types_come_as_such(self, subject: SQLSubject, keep: Keep, session: DatabaseSession) -> None:
        """Without ``into``: what the engine has a type for is of that type already, the rest is its stored form."""
        native = session.capabilities.has
        uuid, amount = UUID(int=7), Decimal("1.5")
        moment = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
        found = await keep("uuid", uuid, None)
        assert found == (uuid if native(Capability.NATIVE_UUID) and subject.types["uuid"] == "uuid" else str(uuid))
        found = await keep("decimal", amount, None)
        assert (type(found), Decimal(found)) == (Decimal if native(Capability.NATIVE_DECIMAL) else str, amount)
        found = await keep("json", {"a": 1}, None)
        assert found == {"a": 1} if native(Capability.NATIVE_JSON) else isinstance(found, str)
        found = await keep("list", ["a"], None)
        assert found == ["a"] if native(Capability.ARRAYS) else found is not None
        if native(Capability.NATIVE_TIME_ZONE):
            assert await keep("aware_time", moment, None) == moment

    async def test_a_value_of_the_wrong_type_is_told_without_the_value(self, keep: Keep) -> None:
        """By the server or the driver when it is sent; where the engine stores anything, when it is read."""
        for kind, into in (("date", dt.date), ("integer", int)):
            with pytest.raises((ParameterError, StatementError, ResultError)) as caught:
                await keep(kind, "my-secret-date", into)
                await keep(kind, "my-secret-date", dt.date)
            assert "my-secret" not in str(caught.value)
