"""Large results and bulk writes, with bounded memory."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from sillar import DatabaseManager, DatabaseSession
from sillar.errors import ResultError, StatementError, UniqueViolationError, UsageError
from sillar.testing.conformance.cases import MakeTable, OpenManager, SQLCases
from sillar.testing.conformance.subject import SQLSubject, series

_WIDE_BYTES = 10_000


@dataclass
class Numbered:
    number: int


class StreamCases(SQLCases):
    """``stream``."""

    async def test_rows_come_in_order_and_in_batches(self, session: DatabaseSession) -> None:
        query = f"{series(3)} ORDER BY number"
        async with session.stream(query, into=Numbered, batch_rows=300) as rows:
            sizes = []
            numbers = []
            async for batch in rows.batches():
                sizes.append(len(batch))
                numbers += [row.number for row in batch]
        assert numbers == list(range(1, 1001))
        assert sizes == [300, 300, 300, 100]
        async with session.stream("SELECT :first AS a WHERE 1 = 0", {"first": "x"}) as none:
            assert [row async for row in none] == []

    async def test_a_huge_result_is_read_with_bounded_memory(
        self, subject: SQLSubject, define: MakeTable, session: DatabaseSession
    ) -> None:
        table = await define("id {integer} PRIMARY KEY, content {text}")
        rows_wide = [{"id": number, "x": "x" * _WIDE_BYTES} for number in (1, 2)]
        await session.execute_many(f"INSERT INTO {table} (id, content) VALUES (:id, :x)", rows_wide)
        query = f"SELECT number, content FROM ({series(4)}) AS s CROSS JOIN {table}"
        total = count = 0
        if subject.buffers_streams:
            await session.transaction().begin()
        gc.collect()
        tracemalloc.start()
        try:
            async with session.stream(query, batch_rows=50) as rows:
                async for batch in rows.batches():
                    count += len(batch)
                    total += sum(row["number"] for row in batch)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        await session.rollback()
        assert (count, total) == (20_000, 10_000 * 10_001)
        assert peak < subject.stream_bytes_max, "the result has 200 MB"

    async def test_a_stream_left_early_gives_its_connection_back(
        self, subject: SQLSubject, open_manager: OpenManager
    ) -> None:
        manager = await open_manager(pool={"max_connections": 1, "connection_timeout": 5})
        session = manager.session()
        query = f"{series(5)} ORDER BY number"
        async with session.stream(query, batch_rows=10) as rows:
            async for row in rows:
                assert row == {"number": 1}
                break
        assert await asyncio.wait_for(session.fetch_value(*subject.one), 5) == 1
        with pytest.raises(LookupError):
            async with session.stream(query, batch_rows=10) as rows:
                async for _ in rows:
                    raise LookupError
        assert await asyncio.wait_for(session.fetch_value(*subject.one), 5) == 1
        assert manager.pools["default"].stats().leased == 0

    async def test_a_stream_inside_a_transaction_sees_its_work(
        self, define: MakeTable, session: DatabaseSession
    ) -> None:
        table = await define("id {integer} PRIMARY KEY")
        async with session.transaction():
            await session.bulk_insert(table, ["id"], [(number,) for number in range(50)])
            async with session.stream(f"SELECT id FROM {table} ORDER BY id", into=int, batch_rows=7) as rows:
                assert [row async for row in rows] == list(range(50))
            await session.execute(f"DELETE FROM {table} WHERE id < 25")
        assert await session.fetch_value(f"SELECT count(*) FROM {table}") == 25

    async def test_a_failing_stream_is_told_and_ends(self, manager: DatabaseManager, session: DatabaseSession) -> None:
        with pytest.raises(StatementError):
            async with session.stream("SELECT nothing FROM nowhere"):
                pass
        with pytest.raises(ResultError):
            async with session.stream("SELECT 1 AS one", into=Numbered) as rows:
                async for _ in rows:
                    pass
        with pytest.raises(UsageError, match="async with"):
            async for _ in session.stream("SELECT 1 AS one"):
                pass
        with pytest.raises(UsageError, match="at least 1"):
            session.stream("SELECT 1 AS one", batch_rows=0)
        assert manager.pools["default"].stats().leased == 0


class BulkCases(SQLCases):
    """``bulk_insert``."""

    async def test_many_rows_arrive(self, define: MakeTable, session: DatabaseSession) -> None:
        table = await define("id {integer} PRIMARY KEY, name {text}, data {json}")
        rows = ((number, f"näme {number}", {"n": number}) for number in range(20_000))  # consumed once
        assert await session.bulk_insert(table, ["id", "name", "data"], rows) == 20_000
        found = await session.fetch_one(f"SELECT count(*) AS n, sum(id) AS total FROM {table}")
        assert found == {"n": 20_000, "total": 19_999 * 10_000}
        assert await session.fetch_value(f"SELECT name FROM {table} WHERE id = 777") == "näme 777"
        assert await session.bulk_insert(table, ["id"], []) == 0

    async def test_all_or_nothing(self, define: MakeTable, session: DatabaseSession) -> None:
        table = await define("id {integer} PRIMARY KEY, name {text}")
        await session.execute(f"INSERT INTO {table} (id) VALUES (4999)")
        with pytest.raises(UniqueViolationError):
            await session.bulk_insert(table, ["id"], [(number,) for number in range(5000)])
        assert await session.fetch_value(f"SELECT count(*) FROM {table}") == 1

    async def test_a_source_that_fails_leaves_nothing(self, define: MakeTable, session: DatabaseSession) -> None:
        table = await define("id {integer} PRIMARY KEY, name {text}")

        def rows() -> Iterator[tuple[Any, ...]]:
            yield from ((number, "x" * 100) for number in range(10_000))
            raise LookupError("the source broke")

        with pytest.raises(LookupError, match="the source broke"):
            await session.bulk_insert(table, ["id", "name"], rows())
        assert await session.fetch_value(f"SELECT count(*) FROM {table}") == 0
        assert await session.bulk_insert(table, ["id", "name"], [(1, None)]) == 1

    async def test_names_are_quoted(self, define: MakeTable, subject: SQLSubject, session: DatabaseSession) -> None:
        table = await define("id {integer} PRIMARY KEY, name {text}")
        with pytest.raises(StatementError):
            await session.bulk_insert(table, ["id", "name) VALUES (1, 'x'); --"], [(1, "x")])
        with pytest.raises(StatementError):
            await session.bulk_insert(f"{table}; DROP TABLE {table}", ["id"], [(1,)])
        assert await session.fetch_value(f"SELECT count(*) FROM {table}") == 0

    async def test_in_a_transaction_it_is_part_of_it(self, define: MakeTable, session: DatabaseSession) -> None:
        table = await define("id {integer} PRIMARY KEY")
        with pytest.raises(RuntimeError):
            async with session.transaction():
                assert await session.bulk_insert(table, ["id"], [(number,) for number in range(100)]) == 100
                raise RuntimeError
        assert await session.fetch_value(f"SELECT count(*) FROM {table}") == 0
