"""Statements, and the shapes of their results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import pydantic
import pytest

from sillar import Capability, DatabaseManager, DatabaseSession, DocumentCommand, Query
from sillar.errors import ParameterError, ResultError, StatementSyntaxError, UniqueViolationError, UsageError
from sillar.testing.conformance.cases import MakeTable, SQLCases, lacks, refused


@dataclass
class Stone:
    id: int
    name: str
    weight: float = 1.5


class StoneStruct(msgspec.Struct):
    id: int
    name: str


class StoneModel(pydantic.BaseModel):
    id: int
    name: str


class StoneTuple(NamedTuple):
    id: int
    name: str


class Numbered(msgspec.Struct):
    id: int
    name: int


STONES = "id {integer} PRIMARY KEY, name {text}"


class StatementCases(SQLCases):
    """``execute`` and its sisters, and ``into=``."""

    @pytest.fixture
    async def stones(self, define: MakeTable, session: DatabaseSession) -> str:
        """A table of three stones."""
        name = await define(STONES)
        rows = [{"id": number, "name": text} for number, text in ((1, "granite"), (2, "basalt"), (3, "slate"))]
        assert await session.execute_many(f"INSERT INTO {name} (id, name) VALUES (:id, :name)", rows) == 3
        return name

    async def test_rows_come_as_dicts_and_counts_as_numbers(self, stones: str, session: DatabaseSession) -> None:
        found = await session.execute(f"SELECT id, name FROM {stones} WHERE id > :least ORDER BY id", {"least": 1})
        assert found.columns == ("id", "name")
        assert found.rows == list(found) == [{"id": 2, "name": "basalt"}, {"id": 3, "name": "slate"}]
        assert (found.first(), found.scalar(), found.scalars()) == ({"id": 2, "name": "basalt"}, 2, [2, 3])
        assert found.duration_seconds > 0
        changed = await session.execute(f"UPDATE {stones} SET name = :name WHERE id <= :most", {"name": "x", "most": 2})
        assert (changed.rows_affected, changed.rows, changed.columns) == (2, [], ())
        assert (await session.execute(f"DELETE FROM {stones} WHERE id = 77")).rows_affected == 0
        with pytest.raises(ResultError, match="exactly one row"):
            found.one()

    async def test_one_row_or_none(self, stones: str, session: DatabaseSession) -> None:
        by_id = f"SELECT name FROM {stones} WHERE id = :id"
        assert await session.fetch_one(by_id, {"id": 2}) == {"name": "basalt"}
        assert await session.fetch_one(by_id, {"id": 99}) is None
        assert await session.fetch_value(by_id, {"id": 3}) == "slate"
        assert await session.fetch_value(by_id, {"id": 99}) is None
        assert await session.fetch_all(by_id, {"id": 99}) == []

    async def test_rows_become_objects(self, stones: str, session: DatabaseSession) -> None:
        everything = f"SELECT name, id FROM {stones} ORDER BY id"
        assert (await session.fetch_all(everything, into=Stone))[1] == Stone(2, "basalt", 1.5)
        assert (await session.fetch_all(everything, into=StoneStruct))[0] == StoneStruct(1, "granite")
        assert (await session.fetch_all(everything, into=StoneModel))[2] == StoneModel(id=3, name="slate")
        assert (await session.fetch_all(everything, into=StoneTuple))[0] == StoneTuple(1, "granite")
        assert await session.fetch_all(everything, into=str) == ["granite", "basalt", "slate"]
        assert await session.fetch_one(everything, into=Stone) == Stone(1, "granite")
        assert await session.fetch_value(everything, into=str) == "granite"
        result = await session.execute(everything)
        assert result.into(StoneTuple)[1] == (2, "basalt")

    async def test_objects_are_validated_where_asked(self, stones: str, session: DatabaseSession) -> None:
        everything = f"SELECT id, name FROM {stones} ORDER BY id"
        assert (await session.fetch_all(everything, into=StoneStruct, validate=True))[0] == StoneStruct(1, "granite")
        with pytest.raises(ResultError, match="does not fit Numbered") as caught:
            await session.fetch_all(everything, into=Numbered, validate=True)
        assert "granite" not in str(caught.value)

    async def test_results_that_do_not_fit_say_what_is_missing(self, stones: str, session: DatabaseSession) -> None:
        with pytest.raises(ResultError, match="did you mean the column naem"):
            await session.fetch_all(f"SELECT id, name AS naem FROM {stones}", into=Stone)
        with pytest.raises(ResultError, match="no column for: id, name"):
            await session.fetch_one(f"SELECT 1 AS unrelated FROM {stones}", into=StoneTuple)
        assert await session.fetch_all(f"DELETE FROM {stones} WHERE id = 77") == []

    async def test_many_sets_all_or_nothing(self, stones: str, session: DatabaseSession) -> None:
        insert = f"INSERT INTO {stones} (id, name) VALUES (:id, :name)"
        with pytest.raises(UniqueViolationError):
            await session.execute_many(insert, [{"id": number, "name": "n"} for number in (10, 11, 1, 12)])
        with pytest.raises(ParameterError) as caught:
            await session.execute_many(insert, [{"id": 20, "name": "n"}, {"id": 21}])
        assert "in parameter set 2" in caught.value.__notes__
        assert await session.fetch_value(f"SELECT count(*) FROM {stones}") == 3
        assert await session.execute_many(insert, []) == 0

    async def test_many_sets_count_the_rows_they_change(self, stones: str, session: DatabaseSession) -> None:
        update = f"UPDATE {stones} SET name = :name WHERE id >= :id"
        assert await session.execute_many(update, [{"id": 3, "name": "a"}, {"id": 2, "name": "b"}]) == 3
        assert await session.execute_many(f"DELETE FROM {stones} WHERE id = :id", [{"id": 1}, {"id": 77}]) == 1

    async def test_a_batch_on_one_connection(self, stones: str, session: DatabaseSession) -> None:
        results = await session.execute_batch(
            [
                (f"INSERT INTO {stones} (id, name) VALUES (:id, :name)", {"id": 4, "name": "marble"}),
                (f"SELECT count(*) AS many FROM {stones}", None),
                (f"DELETE FROM {stones} WHERE id = :id", {"id": 1}),
            ]
        )
        assert [result.rows_affected for result in results] == [1, 1, 1]
        assert results[1].rows == [{"many": 4}]
        assert await session.execute_batch([]) == []

    async def test_rows_of_a_write(self, stones: str, session: DatabaseSession) -> None:
        insert = f"INSERT INTO {stones} (id, name) VALUES (:id, :name) RETURNING id, name"
        if lacks(session, Capability.RETURNING):
            with pytest.raises(StatementSyntaxError):
                await session.fetch_one(insert, {"id": 9, "name": "chalk"})
            return
        assert await session.fetch_one(insert, {"id": 9, "name": "chalk"}, into=Stone) == Stone(9, "chalk")

    async def test_parameters_have_to_fit(self, stones: str, session: DatabaseSession) -> None:
        by_id = f"SELECT name FROM {stones} WHERE id = :id"
        for params in ({}, {"idd": 1}, {"id": 1, "more": 2}, None):
            with pytest.raises(ParameterError, match="id"):
                await session.fetch_all(by_id, params)
        with pytest.raises(ParameterError):
            await session.fetch_all(by_id, {"id": object()})
        assert (
            await session.fetch_value(f"SELECT count(*) FROM {stones} WHERE name = ':id' OR id = :id", {"id": 2}) == 1
        )

    async def test_a_parameter_may_be_used_twice(self, stones: str, session: DatabaseSession) -> None:
        found = await session.fetch_all(
            f"SELECT id FROM {stones} WHERE id = :id OR id = :other OR id = :id ORDER BY id", {"other": 3, "id": 1}
        )
        assert found == [{"id": 1}, {"id": 3}]

    async def test_values_are_never_part_of_the_text(self, stones: str, session: DatabaseSession) -> None:
        nasty = f"'; DROP TABLE {stones}; -- \\' \" ` %s $1 ? :id"
        await session.execute(f"INSERT INTO {stones} (id, name) VALUES (:id, :name)", {"id": 8, "name": nasty})
        assert await session.fetch_value(f"SELECT id FROM {stones} WHERE name = :name", {"name": nasty}) == 8
        assert await session.fetch_value(f"SELECT name FROM {stones} WHERE id = 8") == nasty

    async def test_a_query_object_runs_through_the_manager(self, stones: str, manager: DatabaseManager) -> None:
        query = Query(f"SELECT name FROM {stones} WHERE id = :id", {"id": 2})
        assert (await manager.execute_query(query)).scalar() == "basalt"

    async def test_document_verbs_are_refused(self, session: DatabaseSession) -> None:
        assert lacks(session, Capability.DOCUMENTS)
        with refused(Capability.DOCUMENTS):
            session.documents("stones")
        with refused(Capability.DOCUMENTS):
            await session.execute(DocumentCommand("stones", "find", {}))

    async def test_copy_is_there_or_refused(self, stones: str, session: DatabaseSession) -> None:
        pieces: list[bytes] = []

        async def write(piece: bytes) -> None:
            pieces.append(piece)

        if lacks(session, Capability.COPY):
            with refused(Capability.COPY):
                await session.copy_out(f"SELECT id FROM {stones}", write)
            return
        assert await session.copy_out(f"SELECT id FROM {stones} ORDER BY id", write) == 3
        assert b"".join(pieces) == b"1\n2\n3\n"

    async def test_a_closed_session_is_of_no_use(self, session: DatabaseSession) -> None:
        await session.close()
        await session.close()
        with pytest.raises(UsageError, match="closed"):
            await session.fetch_value("SELECT 1")
