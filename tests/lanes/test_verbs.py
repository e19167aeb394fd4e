"""All verbs in both lanes, and how the lane is seen."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import MetaData, Table, bindparam, delete, func, insert, select, text, tuple_, update
from sqlalchemy.orm import selectinload
from tests.lanes.conftest import Ground

from sillar import DatabaseConfig, DatabaseManager
from sillar.errors import ParameterError, UniqueViolationError, UsageError
from sillar.execution import Execution, Executor
from sillar.query.lane import Lane

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")


def slow(ground: Ground, top: int) -> Any:
    """A query for the slow lane."""
    part = ground.tables.part
    return (
        select(part.c.id).where(tuple_(part.c.id, part.c.id).in_([(n, n) for n in range(1, top)])).order_by(part.c.id)
    )


def fast(ground: Ground, top: int) -> Any:
    """The same for the fast lane."""
    part = ground.tables.part
    return select(part.c.id).where(part.c.id < top).order_by(part.c.id)


@pytest.mark.parametrize("query", [fast, slow])
async def test_verbs_of_reading(ground: Ground, query: Any) -> None:
    session = ground.manager.session()
    statement = query(ground, 4)
    assert await session.fetch_all(statement) == [{"id": 1}, {"id": 2}, {"id": 3}]
    assert await session.fetch_all(statement, into=int) == [1, 2, 3]
    assert await session.fetch_one(statement, into=int) == 1
    assert await session.fetch_value(statement) == 1
    assert await session.fetch_one(query(ground, 1)) is None
    async with session.stream(statement, into=int, batch_rows=2) as rows:
        assert [batch async for batch in rows.batches()] == [[1, 2], [3]]
    result = await session.execute(statement)
    assert (result.scalars(), result.columns, result.rows_affected) == ([1, 2, 3], ("id",), 3)
    async with session.transaction() as tx, tx.stream(statement, into=int) as rows:
        assert [row async for row in rows] == [1, 2, 3]


async def test_the_lane_and_its_reason_are_seen(ground: Ground) -> None:
    seen: list[Execution] = []

    class Observer:
        def executed(self, execution: Execution, error: BaseException | None) -> None:
            seen.append(execution)

        def transaction_ended(self, database: str, outcome: str, duration_seconds: float) -> None: ...

    item_class = ground.tables.Item
    async with DatabaseManager(DatabaseConfig.from_url(ground.url), observers=[Observer()]) as manager:
        session = manager.session()
        results = [
            await session.execute(fast(ground, 2)),
            await session.execute(slow(ground, 2)),
            await session.execute("SELECT 1"),
            await session.execute(select(item_class).options(selectinload(item_class.parts))),
        ]
        assert [(result.lane, result.lane_reason) for result in results] == [
            (Lane.FAST, None),
            (Lane.SLOW, "IN over tuples"),
            (None, None),
            (Lane.SLOW, "it has loader options"),
        ]
        laned = [each for each in seen if each.lane is not None]
        lanes = [(result.lane, result.lane_reason) for result in results if result.lane is not None]
        assert [(each.lane, each.lane_reason) for each in laned] == lanes
        assert all(each.is_read for each in laned)
        assert " IN " in laned[1].fingerprint
        plan = manager.executor().adapter.plan(slow(ground, 2))
        assert (plan.lane, plan.lane_reason, plan.shape) == (Lane.SLOW, "IN over tuples", None)
        bound, _ = manager.executor().adapter.bind(slow(ground, 2), None)
        assert (bound.verb, bound.is_clean, bound.is_atomic, len(bound.fingerprint_id)) == ("select", True, True, 16)
        assert repr(bound).startswith("SlowStatement('SELECT")


async def test_both_lanes_share_a_transaction(ground: Ground) -> None:
    simple, session = ground.tables.simple, ground.manager.session()
    with pytest.raises(LookupError):
        async with session.transaction() as tx:
            await tx.execute(insert(simple), {"id": 1, "name": "fast"})
            inserted = await tx.execute(insert(simple).values([{"id": 2, "name": "slow"}, {"id": 3, "name": "slow"}]))
            assert (inserted.lane, inserted.rows_affected) == (Lane.SLOW, 2)
            assert await tx.fetch_value(select(func.count()).select_from(simple)) == 3
            assert await tx.fetch_value("SELECT count(*) FROM lane_simple") == 3
            raise LookupError
    assert await session.fetch_value(select(func.count()).select_from(simple)) == 0


async def test_many_sets(ground: Ground) -> None:
    simple, made, session = ground.tables.simple, ground.tables.made, ground.manager.session()
    try:
        sets = [{"id": number, "name": f"n{number}"} for number in range(1, 8)]
        assert await session.execute_many(insert(simple), sets) == 7
        assert await session.execute_many(insert(simple), []) == 0
        changes = [{"i": number, "n": "x"} for number in (1, 2, 99)]
        statement = update(simple).values(name=bindparam("n")).where(simple.c.id == bindparam("i"))
        assert await session.execute_many(statement, changes) == 2
        assert (
            await session.execute_many(delete(simple).where(simple.c.id == bindparam("i")), [{"i": 7}, {"i": 6}]) == 2
        )
        assert await session.fetch_all(select(simple.c.name).order_by(simple.c.id), into=str) == [
            "x",
            "x",
            "n3",
            "n4",
            "n5",
        ]
        slowly = [{"id": 1, "plain": "a"}, {"id": 2, "plain": "b"}]  # its defaults are SQLAlchemy's
        assert await session.execute_many(insert(made), slowly) == 2
        assert await session.fetch_all(select(made.c.plain).order_by(made.c.id), into=str) == ["a", "b"]
    finally:
        await session.execute(delete(simple))
        await session.execute(delete(made))


async def test_many_sets_are_all_or_nothing(ground: Ground) -> None:
    simple, made, session = ground.tables.simple, ground.tables.made, ground.manager.session()
    with pytest.raises(UniqueViolationError):
        await session.execute_many(insert(simple), [{"id": 1}, {"id": 2}, {"id": 1}])
    with pytest.raises(UniqueViolationError):
        await session.execute_many(insert(made), [{"id": 1}, {"id": 2}, {"id": 1}])
    for table in (simple, made):
        assert await session.fetch_value(select(func.count()).select_from(table)) == 0


async def test_a_set_that_does_not_fit_has_its_number(ground: Ground) -> None:
    simple, part, session = ground.tables.simple, ground.tables.part, ground.manager.session()
    with pytest.raises(ParameterError, match="different names") as caught:
        await session.execute_many(insert(simple), [{"id": 1, "name": "x"}, {"id": 2}])
    assert caught.value.__notes__ == ["in parameter set 2"]
    with pytest.raises(ParameterError, match="mapping"):
        await session.execute_many(insert(simple), [[1, 2]])
    listed = delete(part).where(part.c.id.in_(bindparam("ids", expanding=True)))
    if ground.engine == "postgresql":
        async with session.transaction() as tx:
            assert await tx.execute_many(listed, [{"ids": [4, 98, 99]}, {"ids": []}, {"ids": [5]}]) == 2
            await tx.rollback()
    else:
        with pytest.raises(ParameterError, match="different lengths"):
            await session.execute_many(listed, [{"ids": [98]}, {"ids": [98, 99, 97]}])


async def test_a_batch_of_both_lanes(ground: Ground) -> None:
    simple, session = ground.tables.simple, ground.manager.session()
    async with session.transaction() as tx:
        results = await tx.execute_batch(
            [
                (insert(simple), {"id": 1}),
                (insert(simple).values([{"id": 2}, {"id": 3}]), None),
                ("SELECT count(*) AS n FROM lane_simple", None),
                (select(func.count()).select_from(simple), None),
            ]
        )
        assert [result.lane for result in results] == [Lane.FAST, Lane.SLOW, None, Lane.FAST]
        assert [results[2].scalar(), results[3].scalar()] == [3, 3]
        alike = await tx.execute_batch([(fast(ground, 2), None), (fast(ground, 3), None)])
        assert [result.scalars() for result in alike] == [[1], [1, 2]]
        await tx.rollback()


async def test_a_lease_takes_the_fast_lane_alone(ground: Ground) -> None:
    async with await ground.manager.get_connection() as lease:
        assert await lease.fetch_all(fast(ground, 3)) == [{"id": 1}, {"id": 2}]
        with pytest.raises(UsageError, match=r"slow lane \(IN over tuples\)"):
            await lease.fetch_all(slow(ground, 3))


async def test_an_executor_by_itself_has_no_slow_lane(ground: Ground) -> None:
    executor = Executor("alone", ground.adapter, ground.executor.source)
    with pytest.raises(UsageError, match="DatabaseManager"):
        _ = executor.slow_lane


async def test_execution_options(ground: Ground) -> None:
    session = ground.manager.session()
    harmless = fast(ground, 2).execution_options(yield_per=10)
    assert (await session.execute(harmless)).lane is Lane.FAST
    moved = Table("lane_part", MetaData(), *[column._copy() for column in ground.tables.part.c], schema="elsewhere")
    here = {"elsewhere": {"postgresql": "public", "sqlite": "main"}.get(ground.engine, ground.adapter.config.database)}
    statement = select(moved.c.id).where(moved.c.id == 1).execution_options(schema_translate_map=here)
    result = await session.execute(statement)
    assert result.scalar() == 1
    assert (result.lane, result.lane_reason) == (Lane.SLOW, "it has the execution options schema_translate_map")


async def test_several_statements_in_one_text(ground: Ground) -> None:
    plan = ground.adapter.plan(text("SELECT 1; SELECT 2"))
    assert (plan.lane, plan.lane_reason) == (Lane.SLOW, "it is a text of several statements")


async def test_a_plan_is_clean_if_its_functions_are(ground: Ground) -> None:
    part = ground.tables.part
    known, unknown = select(func.lower(part.c.label)), select(func.some_function(part.c.label))
    assert ground.adapter.plan(known).statement.is_clean
    assert ground.adapter.plan(known).statement.is_read
    assert not ground.adapter.plan(unknown).statement.is_clean
    assert not ground.adapter.plan(update(part).values(qty=1)).statement.is_read
    assert ground.adapter.plan(select(part.c.id).where(part.c.id.in_([1, 2]))).statement.is_clean
