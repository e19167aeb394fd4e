"""Plans: found again by shape, with other values each time; what is refused before anything is sent."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import Integer, bindparam, column, insert, select, table, text, tuple_, update
from sqlalchemy.sql.elements import TextClause
from tests.lanes.conftest import Ground
from tests.lanes.tables import Color

from sillar import DatabaseManager, Query
from sillar.config import DatabaseConfig
from sillar.engines import open_adapter
from sillar.errors import ParameterError, ResultError, UnsupportedCapabilityError, UsageError
from sillar.execution import Execution
from sillar.execution import execution as operations
from sillar.query.composed import Composed
from sillar.query.lane import Lane
from sillar.query.plans import PlanCache

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")


async def test_one_plan_serves_other_values(ground: Ground) -> None:
    part, session = ground.tables.part, ground.manager.session()
    before = ground.adapter.plans.figures()
    for number in (1, 2, 3):
        statement = select(part.c.id, part.c.label).where(part.c.id == number, part.c.id < bindparam("top"))
        assert [row["id"] for row in await session.fetch_all(statement, {"top": 3})] == [number][: 3 - number]
    after = ground.adapter.plans.figures()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 2)
    assert 0 < after.hit_rate < 1
    assert after.fast + after.slow == after.size <= after.size_max


async def test_a_constant_of_the_statement_is_not_one_of_the_plan(ground: Ground) -> None:
    part, session = ground.tables.part, ground.manager.session()
    for top, below in ((2, 9), (3, 2), (5, 4)):
        statement = select(part.c.id).where(part.c.id <= bindparam("top", top), part.c.id < below).order_by(part.c.id)
        assert await session.fetch_all(statement, into=int) == list(range(1, min(top + 1, below)))
        assert await session.fetch_all(statement, {"top": 1}, into=int) == [1]
    wanted = [4, 2]
    statement = select(part.c.id).where(part.c.id == bindparam("x", callable_=wanted.pop))
    assert [await session.fetch_value(statement), await session.fetch_value(statement)] == [2, 4]


async def test_old_plans_leave_first(ground: Ground) -> None:
    plans = PlanCache(ground.adapter.plans.compiler, size_max=2)
    part = ground.tables.part
    shapes = [select(part.c.id), select(part.c.qty), select(part.c.label)]
    for shape in (*shapes, shapes[2], shapes[0]):
        plans.plan(shape)
    figures = plans.figures()
    assert (figures.size, figures.misses, figures.hits, figures.evictions) == (2, 4, 1, 2)


async def test_what_is_missing_or_too_much_is_named(ground: Ground) -> None:
    seen: list[Execution] = []
    part, session = ground.tables.part, watched(ground, seen)
    statement = select(part.c.id).where(part.c.id == bindparam("x"), part.c.qty == bindparam("y"))
    with pytest.raises(ParameterError, match="missing: x, y"):
        await session.fetch_all(statement)
    with pytest.raises(ParameterError, match="missing: y; superfluous: z"):
        await session.fetch_all(statement, {"x": 1, "z": 2})
    with pytest.raises(ParameterError, match="superfluous: z"):
        await session.fetch_one(select(part.c.id), {"z": 2})
    with pytest.raises(ParameterError, match="missing: x"):
        await session.fetch_all(text("SELECT :x"))
    with pytest.raises(ParameterError, match="mapping"):
        await session.fetch_all(statement, [1, 2])
    with pytest.raises(ParameterError, match="superfluous: nothing"):
        await session.execute(insert(part), {"nothing": 1})
    with pytest.raises(ParameterError, match="missing: many"):
        await session.execute(insert(part).values([{"id": bindparam("many")}, {"id": 2}]))
    with pytest.raises(ParameterError, match="no name"):
        await session.fetch_all(select(part.c.id).where(part.c.id == bindparam("x", unique=True, required=True)))
    assert seen == []


def watched(ground: Ground, seen: list[Execution]) -> Any:
    """A session whose executions are noted."""
    session = ground.manager.session()
    executor = session._executor
    execute = executor.execute

    class Watching:
        name, adapter, loop = executor.name, executor.adapter, executor.loop

        async def execute(self, execution: Execution) -> Any:
            seen.append(execution)
            return await execute(execution)

    session._executor = Watching()  # type: ignore[assignment]
    return session


async def test_a_value_of_the_wrong_type_is_refused_without_being_shown(ground: Ground) -> None:
    item, session = ground.tables.item, ground.manager.session()
    secret = "s3cr3t"
    refused = [(item.c.color, 918273), (item.c.folded, object()), (item.c.name, {secret: 918273})]
    if ground.engine in ("sqlite", "postgresql"):  # MySQL takes any text, and says what it makes of it
        refused.append((item.c.made, secret))
    for column_given, value in refused:
        with pytest.raises(ParameterError) as caught:
            await session.fetch_all(select(item.c.id).where(column_given == bindparam("x")), {"x": value})
        assert "918273" not in str(caught.value)
        assert secret not in str(caught.value)
        assert secret not in repr(caught.value.__cause__)
    with pytest.raises(ParameterError) as caught:
        await session.fetch_all(select(item.c.id).where(item.c.cents == secret))
    assert "Cents" in str(caught.value)
    assert secret not in str(caught.value)


async def test_a_value_that_its_type_cannot_take_back_is_not_shown(ground: Ground) -> None:
    session, kind = ground.manager.session(), ground.tables.item.c.color.type
    statement = text("SELECT 's3cr3t' AS color").columns(column("color", kind))
    with pytest.raises(ResultError, match="column color") as caught:
        await session.fetch_all(statement)
    assert "s3cr3t" not in str(caught.value)
    assert await session.fetch_value(text("SELECT 'red' AS color").columns(column("color", kind))) is Color.red


async def test_what_cannot_be_compiled_is_a_usage_error(ground: Ground) -> None:
    item, session = ground.tables.item, ground.manager.session()
    with pytest.raises(UsageError, match="cannot be compiled for"):
        await session.fetch_all(select(item.c.id).where(Unknown("x")))
    with pytest.raises(UnsupportedCapabilityError):
        await session.fetch_all(5)  # type: ignore[call-overload]


class Unknown(TextClause):
    """A text that no dialect knows how to compile."""

    __visit_name__ = "nothing_of_the_kind"
    inherit_cache = True


async def test_the_same_text_as_sql_and_as_a_plan(ground: Ground) -> None:
    item, session = ground.tables.item, ground.manager.session()
    statement = select(item.c.id, item.c.cents, item.c.color).order_by(item.c.id)
    sql = ground.adapter.plan(statement).statement.sql
    typed = [row["color"] for row in await session.fetch_all(statement)]
    raw = [row["color"] for row in await session.fetch_all(sql)]
    again = [row["color"] for row in await session.fetch_all(statement)]
    assert typed == again == [Color.red, Color.blue, Color.red, Color.blue, None]
    assert raw == ["red", "blue", "red", "blue", None]


async def test_two_types_for_one_text(ground: Ground) -> None:
    session = ground.manager.session()
    sql = "SELECT id, cents FROM lane_item WHERE id = 1"
    as_cents = text(sql).columns(column("id", Integer), column("cents", ground.tables.item.c.cents.type))
    as_ints = text(sql).columns(column("id", Integer), column("cents", Integer))
    for _ in range(2):
        assert str((await session.fetch_one(as_cents))["cents"]) == "1.25"
        assert (await session.fetch_one(as_ints))["cents"] == 125


async def test_tables_may_change_under_a_plan(ground: Ground) -> None:
    session = ground.manager.session()
    changing = table("lane_simple", column("id", Integer), column("name"))
    everything = text("SELECT * FROM lane_simple")
    async with session.transaction() as tx:
        await tx.execute(insert(ground.tables.simple), {"id": 1, "name": "x", "qty": 3})
    try:
        assert await session.fetch_all(everything) == [{"id": 1, "name": "x", "qty": 3}]
        await session.execute("ALTER TABLE lane_simple ADD COLUMN more varchar(9)")
        assert await session.fetch_all(everything) == [{"id": 1, "name": "x", "qty": 3, "more": None}]
        assert await session.fetch_all(select(changing.c.id)) == [{"id": 1}]
    finally:
        await session.execute("ALTER TABLE lane_simple DROP COLUMN more")
        await session.execute("DELETE FROM lane_simple")


async def test_composed_statements_are_built_once_per_shape(ground: Ground) -> None:
    part, session = ground.tables.part, ground.manager.session()
    built = []

    def composed(value: int) -> Composed:
        statement = select(part.c.id).where(part.c.id == value)
        generated = statement._generate_cache_key()
        assert generated is not None

        def build() -> Any:
            built.append(value)
            return statement

        return Composed(("a shape", ground.engine), generated.bindparams, build)

    assert [await session.fetch_value(composed(number)) for number in (1, 2, 3)] == [1, 2, 3]
    assert built == [1]
    assert await session.fetch_value(Composed.of(select(part.c.id).where(part.c.id == 4))) == 4
    without_key = Composed(None, (), lambda: select(part.c.id).where(part.c.id == bindparam("x")))
    result = await session.execute(without_key, {"x": 2})
    assert (result.scalar(), result.lane, result.lane_reason) == (2, Lane.SLOW, "SQLAlchemy has no cache key for it")


async def test_plans_are_used_by_hand(ground: Ground) -> None:
    """What a prepared query does."""
    part, session = ground.tables.part, ground.manager.session()
    statement = select(part.c.id, part.c.qty).where(part.c.id == bindparam("x"), part.c.qty > 1)
    composed = Composed.of(statement)
    plan = ground.adapter.plan(composed)
    assert (plan.lane, plan.lane_reason, plan.count, dict(plan.names)) == (Lane.FAST, None, 2, {"x": (0,)})
    for number, expected in ((1, [(1, 3)]), (2, [(2, 4)]), (4, [])):
        shape, rows = await session._run_planned(operations.rows, plan, [number, 1], None)
        assert [tuple(row) for row in rows] == expected
        assert shape is plan.shape
    assert plan.shape.columns == ("id", "qty")
    assert plan.values(composed.binds, {"x": 7}) == [7, 1]


async def test_slow_plans_are_used_by_hand(ground: Ground) -> None:
    part, session = ground.tables.part, ground.manager.session()
    statement = select(part.c.id).where(tuple_(part.c.id, part.c.qty).in_([(1, 3), (2, 0)]), part.c.id < 9)
    plan = ground.adapter.plan(statement)
    assert (plan.lane, plan.lane_reason) == (Lane.SLOW, "IN over tuples")
    for given, found in ((([(2, 4)], 9), [2]), (([(1, 3), (2, 4)], 2), [1])):
        _, rows = await session._run_planned(operations.rows, plan, given, None)
        assert [row[0] for row in rows] == found
    assert "slow lane (IN over tuples)" in repr(plan)


async def test_an_adapter_alone_has_plans(ground: Ground) -> None:
    part = ground.tables.part
    adapter = open_adapter(DatabaseConfig.from_url(ground.url).connection("default"))
    try:
        reply = await adapter.execute_query(select(part.c.id).where(part.c.id.in_([1, 2])).order_by(part.c.id))
        assert [row[0] for row in reply.rows] == [1, 2]
        with pytest.raises(UsageError, match=r"slow lane \(SQLAlchemy has no cache key"):
            await adapter.execute_query(insert(part).values([{"id": 91}, {"id": 92}]))
    finally:
        await adapter.close()


async def test_a_query_object_takes_statements(ground: Ground) -> None:
    part = ground.tables.part
    query = Query(select(part.c.label).where(part.c.id == bindparam("x")), {"x": 1})  # type: ignore[arg-type]
    assert (await ground.manager.execute_query(query)).scalar() == "root"


async def test_before_a_probe_the_least_is_assumed(ground: Ground) -> None:
    """Statements compiled then run on this server as well."""
    adapter = open_adapter(DatabaseConfig.from_url(ground.url).connection("default"))
    item = ground.tables.item
    bound, args = adapter.bind(select(item.c.doc["a"]["b"].as_integer(), item.c.ident).where(item.c.id == 1), None)
    async with await ground.manager.get_connection() as lease:
        _, rows = await lease.connection.fetch(bound, args)
        assert rows[0][0] == 1
    await adapter.close()


async def test_times_of_day(ground: Ground) -> None:
    """A value that its column takes and that needs a processor on one engine and none on another."""
    item, session = ground.tables.item, ground.manager.session()
    noon = select(item.c.at).where(item.c.at > dt.time(11), item.c.at < dt.time(13))
    assert await session.fetch_value(noon) == dt.time(12)


async def test_defaults_of_python_are_made_anew(manager_of_counter: tuple[DatabaseManager, Any, list[int]]) -> None:
    manager, counted, numbers = manager_of_counter
    session = manager.session()
    for _ in range(3):
        result = await session.execute(insert(counted).values(id=len(numbers)))
        assert (result.lane, result.rows_affected) == (Lane.FAST, 1)
    await session.execute(update(counted).values(id=counted.c.id + 10))
    rows = await session.fetch_all(select(counted.c.id, counted.c.number, counted.c.changed).order_by(counted.c.id))
    assert [(row["number"], row["changed"]) for row in rows] == [(1, 4), (2, 4), (3, 4)]
