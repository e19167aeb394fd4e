"""Document verbs: the promises of statements, values and errors for an engine of documents."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import tracemalloc
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from sillar import Capability, DatabaseManager, DatabaseSession, DocumentCommand
from sillar.errors import (
    CheckViolationError,
    DatabaseError,
    ParameterError,
    ResultError,
    StatementError,
    StatementSyntaxError,
    TransientStatementError,
    UniqueViolationError,
)
from sillar.query.document import value
from sillar.testing.conformance.cases import Cases, MakeTable, lacks, refused
from sillar.testing.conformance.specimen import COLUMNS, SPECIMENS, Specimen, values
from sillar.testing.conformance.subject import ConformanceSubject

SECRET = "my-secret-value"


@dataclass
class Stone:
    id: int
    name: str
    weight: float = 1.5


class DocumentCases(Cases[ConformanceSubject]):
    """Verbs, values, errors and conflicts."""

    @pytest.fixture
    async def stones(self, table: MakeTable, session: DatabaseSession) -> Any:
        """A collection of three stones with a unique ``id``."""
        name = await table()
        rows = [(1, "granite"), (2, "basalt"), (3, "slate")]
        assert await session.bulk_insert(name, ["id", "name"], rows) == 3
        return session.documents(name)

    async def test_sql_is_refused(self, session: DatabaseSession) -> None:
        assert lacks(session, Capability.SQL)
        for use in (session.execute, session.fetch_all, session.fetch_one):
            with refused(Capability.SQL):
                await use("SELECT 1")

    async def test_verbs_read_and_write(self, stones: Any) -> None:
        found = await stones.find({"id": {"$gt": 1}}, sort=[("id", -1)], into=Stone)
        assert found == [
            Stone(3, "slate"),
            Stone(2, "basalt"),
        ]
        assert await stones.find_one({"id": 77}) is None
        assert await stones.count({"name": "slate"}) == 1
        assert sorted(await stones.distinct("name")) == ["basalt", "granite", "slate"]
        outcome = await stones.update_many({"id": {"$lte": 2}}, {"$set": {"weight": 3.0}})
        assert (outcome.matched, outcome.modified) == (2, 2)
        assert (await stones.find_one({"id": 2}, into=Stone)) == Stone(2, "basalt", 3.0)
        total = await stones.aggregate([{"$group": {"_id": None, "total": {"$sum": "$id"}}}])
        assert total[0]["total"] == 6
        assert await stones.delete_many({"id": 1}) == 1
        assert await stones.count() == 2

    async def test_results_that_do_not_fit_say_so(self, stones: Any) -> None:
        @dataclass
        class Other:
            naem: str

        with pytest.raises(ResultError, match="naem"):
            await stones.find({}, into=Other)

    async def test_a_record_of_all_types_reads_back_equal(self, table: MakeTable, session: DatabaseSession) -> None:
        name = await table()
        for specimen in SPECIMENS:
            await session.documents(name).insert_one(values(specimen))
        found = await session.documents(name).find({}, sort=[("id", 1)], into=Specimen)
        assert found == list(SPECIMENS)
        assert all(specimen.seen_at.utcoffset() == dt.timedelta(0) for specimen in found)
        await session.documents(name).delete_many({})
        await session.bulk_insert(name, COLUMNS, [tuple(values(each).values()) for each in SPECIMENS])
        assert await session.documents(name).find({}, sort=[("id", 1)], into=Specimen) == list(SPECIMENS)

    @pytest.mark.parametrize(
        "given",
        [
            *(2**63 - 1, -(2**63), 1e-300, math.inf, True, None, Decimal("1234567890123456789012345678901.234")),
            *("", "🪨𝄞\U0010ffff", "x" * 1_000_000, b"", bytes(range(256)), [], {}, {"a": [{"b": None}]}),
        ],
    )
    async def test_values(self, stones: Any, given: Any) -> None:
        await stones.insert_one({"id": 9, "kept": given})
        found = (await stones.find_one({"id": 9}))["kept"]
        assert found == given
        assert isinstance(found, type(given))

    async def test_what_cannot_be_stored_is_refused(self, stones: Any, session: DatabaseSession) -> None:
        wide = Decimal("1234567890123456789012345678.0123456789")  # 38 digits
        for given in (2**64, wide, object(), "a\ud800b", {1, 2}):
            with pytest.raises(ParameterError) as caught:
                await stones.insert_one({"id": 9, "kept": given, "secret": SECRET})
            assert SECRET not in str(caught.value)
        assert await stones.count() == 3
        if session.capabilities.has(Capability.NAN):
            await stones.insert_one({"id": 9, "kept": math.nan})
            assert math.isnan((await stones.find_one({"id": 9}))["kept"])
        if session.capabilities.has(Capability.NUL_IN_TEXT):
            await stones.insert_one({"id": 10, "kept": "a\x00b"})
            assert (await stones.find_one({"id": 10}))["kept"] == "a\x00b"

    async def test_operators_never_pass_as_values(self, stones: Any) -> None:
        with pytest.raises(ParameterError, match="operator"):
            await stones.find({"name": value({"$ne": None})})

    async def test_unique(self, stones: Any) -> None:
        with pytest.raises(UniqueViolationError) as caught:
            await stones.insert_one({"id": 1, "name": SECRET})
        assert caught.value.constraint == "one_id"
        assert caught.value.table == stones.name
        assert caught.value.code is not None
        assert SECRET not in str(caught.value)
        assert not caught.value.safe_to_retry

    async def test_a_validator(self, table: MakeTable, session: DatabaseSession) -> None:
        name = await table()
        rule = {"$jsonSchema": {"properties": {"weight": {"minimum": 10}}}}
        command = DocumentCommand("", "command", {"command": {"collMod": name, "validator": rule}})
        if lacks(session, Capability.CHECK_CONSTRAINTS):
            with refused(Capability.CHECK_CONSTRAINTS):
                session.capabilities.require(Capability.CHECK_CONSTRAINTS, remedy="check it in the application")
            return
        await session.execute(command)
        await session.documents(name).insert_one({"id": 1, "weight": 11})
        with pytest.raises(CheckViolationError) as caught:
            await session.documents(name).insert_one({"id": 2, "weight": 3, "secret": SECRET})
        assert SECRET not in str(caught.value)

    async def test_a_malformed_filter(self, stones: Any) -> None:
        with pytest.raises(StatementSyntaxError) as caught:
            await stones.find({"name": {"$nonsense": SECRET}})
        assert SECRET not in str(caught.value)
        with pytest.raises((StatementError, ParameterError)):
            await stones.update_one({"id": 1}, {"$nonsense": {"a": 1}})
        assert await stones.count() == 3

    async def test_bulk_writes_are_all_or_nothing(self, stones: Any, session: DatabaseSession) -> None:
        with pytest.raises(UniqueViolationError):
            await session.bulk_insert(stones.name, ["id"], [(number,) for number in (10, 11, 1, 12)])
        assert await stones.count() == 3
        rows = ((number, "x" * 50) for number in range(100, 10_100))
        assert await session.bulk_insert(stones.name, ["id", "name"], rows) == 10_000
        assert await stones.count() == 10_003

    async def test_transactions_that_collide(self, stones: Any, manager: DatabaseManager) -> None:
        """Two that change the same document: one commits, the other is told that it may run again."""
        both = asyncio.Barrier(2)

        async def change(number: int) -> None:
            async with manager.session().transaction() as transaction:
                documents = transaction.documents(stones.name)
                await documents.find_one({"id": 1})
                await both.wait()
                await documents.update_one({"id": 1}, {"$inc": {"weight": number}})

        outcomes = await asyncio.wait_for(asyncio.gather(change(1), change(2), return_exceptions=True), 20)
        failures = [outcome for outcome in outcomes if outcome is not None]
        assert len(failures) == 1
        assert isinstance(failures[0], TransientStatementError)
        assert failures[0].safe_to_retry

    async def test_a_huge_result_is_read_with_bounded_memory(self, table: MakeTable, session: DatabaseSession) -> None:
        name = await table()
        await session.bulk_insert(name, ["id", "content"], [(number, "x" * 1000) for number in range(20_000)])
        total = 0
        tracemalloc.start()
        try:
            async with session.documents(name).stream({}, batch_rows=200) as rows:
                async for row in rows:
                    total += row["id"]
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert total == 19_999 * 10_000
        assert peak < 8_000_000, "the result has 20 MB"

    async def test_a_session_survives_errors(self, stones: Any, session: DatabaseSession) -> None:
        for _ in range(3):
            with pytest.raises(DatabaseError):
                await stones.insert_one({"id": 1})
        assert await stones.count() == 3
