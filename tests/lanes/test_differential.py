"""The differential proof: what the fast lane gives is what SQLAlchemy gives, in values and types."""

from __future__ import annotations

import math
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy
from tests.lanes.conftest import Ground
from tests.lanes.shapes import Shape, all_shapes

from sillar.execution import execution as operations
from sillar.execution.lanes import operation_for
from sillar.execution.statements import Statements
from sillar.query.lane import Lane
from sillar.query.plans import PlannedRows, SlowStatement, compilation, plan
from sillar.query.plans.arguments import Place
from sillar.query.plans.lists import ExpandedLists

pytestmark = [
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning"),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
]


def comparable(value: Any) -> Any:
    """A value with its type, so that 1, 1.0, True and Decimal(1) are different."""
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, [comparable(item) for item in value])
    if isinstance(value, dict):
        return ("dict", {key: comparable(item) for key, item in value.items()})
    if isinstance(value, (float, Decimal)) and math.isnan(value):
        return (type(value).__name__, "nan")
    if isinstance(value, Decimal):
        return ("Decimal", str(value))
    return (type(value).__name__, value)


def outcome(reply: Any) -> tuple[Any, ...]:
    columns = reply.shape.columns if reply.shape is not None else ()
    rows = sorted(repr([comparable(value) for value in row]) for row in reply.rows)
    return columns, rows, reply.rows_affected


async def in_lane(statements: Statements, shape: Shape, lane: Lane) -> Any:
    """The reply to a statement in one of the lanes."""
    executor = statements._executor
    statement = shape.build()
    bound, args = executor.adapter.bind(statement, shape.params)
    if lane is Lane.SLOW and bound.lane is Lane.FAST:
        bound, args = SlowStatement(bound, statement, shape.params, "to compare"), ()
    assert bound.lane is lane
    return await statements._run_bound(operation_for(executor, operations.run, bound), bound, args, None)


_NO_KEY = "SQLAlchemy has no cache key for it"


async def attempted(ground: Ground, shape: Shape, lane: Lane) -> Any:
    """What comes of it; writes are rolled back."""
    try:
        if not shape.writes:
            return outcome(await in_lane(ground.manager.session(), shape, lane))
        tx = await ground.manager.begin_transaction()
        try:
            return outcome(await in_lane(tx, shape, lane))
        finally:
            await tx.rollback()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


async def compared(ground: Ground, shape: Shape) -> tuple[Lane, str | None, str | None]:
    """The lane that a shape takes, why, and what is wrong."""
    try:
        bound, _ = ground.adapter.plans.bind(shape.build(), shape.params)
    except Exception as error:
        return Lane.FAST, None, f"{shape.name}: {type(error).__name__}: {error}"
    wanted = await attempted(ground, shape, Lane.SLOW)
    if isinstance(wanted, str):
        return bound.lane, None, f"{shape.name}:\n   SQLAlchemy {wanted}"
    if bound.lane is Lane.SLOW:
        return Lane.SLOW, bound.lane_reason, None
    got = await attempted(ground, shape, Lane.FAST)
    if got != wanted:
        return Lane.FAST, None, f"{shape.name}:\n   SQLAlchemy {wanted}\n   fast lane  {got}"
    return Lane.FAST, None, None


async def test_both_lanes_give_the_same(ground: Ground) -> None:
    shapes = all_shapes(ground.tables)
    assert len({shape.name for shape in shapes}) == len(shapes)
    lanes: Counter[tuple[bool, Lane]] = Counter()
    reasons: Counter[str] = Counter()
    wrong = []
    for shape in shapes:
        lane, reason, fault = await compared(ground, shape)
        lanes[shape.writes, lane] += 1
        reasons[reason or ""] += 1
        if fault is not None:
            wrong.append(fault)
        elif reason == _NO_KEY and sqlalchemy.__version__ < "2.1":
            continue  # 2.0 has no key for ON CONFLICT
        elif shape.slow is not (lane is Lane.SLOW):
            wrong.append(f"{shape.name}: expected the {'slow' if shape.slow else 'fast'} lane, {reason}")
    reads = lanes[False, Lane.FAST], lanes[False, Lane.SLOW]
    print(f"{ground.engine}: {len(shapes)} shapes; reads {reads[0]} fast, {reads[1]} slow;"
          f" writes {lanes[True, Lane.FAST]} fast, {lanes[True, Lane.SLOW]} slow")  # fmt: skip
    for reason, count in reasons.most_common():
        print(f"   {count} {reason or 'fast'}")
    assert wrong == [], "\n".join([f"{len(wrong)} shapes:", *wrong])
    assert len(shapes) >= 300
    assert reads[0] >= 0.6 * sum(reads)


def _cut(self: ExpandedLists, values: Any, bound: Any = ExpandedLists.bound) -> Any:
    return bound(self, [value[:-1] if isinstance(value, list) else value for value in values])


@pytest.mark.parametrize("broken", ["no result processors", "no bind processors", "lists cut short", "values swapped"])
async def test_a_broken_lane_is_noticed(grounds: Any, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof is one: with a piece of the fast lane missing, shapes differ."""
    ground = await grounds("sqlite")
    if broken == "no result processors":
        monkeypatch.setattr(PlannedRows, "_processors", lambda self, kind, code: [])
    elif broken == "no bind processors":
        monkeypatch.setattr(compilation, "Place", _without_processor)
    elif broken == "lists cut short":
        monkeypatch.setattr(ExpandedLists, "bound", _cut)
    else:
        monkeypatch.setattr(plan, "arguments_of", lambda places, count: lambda values: list(values)[::-1])
    ground.adapter.plans.replace(ground.adapter.plans.compiler)
    kinds = ("made:", "ident:", "color:", "cents:", "folded:", "price:")
    shapes = [shape for shape in all_shapes(ground.tables) if shape.name.startswith(kinds) or "value" in shape.name]
    try:
        faults = [(await compared(ground, shape))[2] for shape in shapes]
    finally:
        ground.adapter.plans.replace(ground.adapter.plans.compiler)
    assert sum(fault is not None for fault in faults) >= 8


def _without_processor(what: str, kind: str, index: Any = None, process: Any = None, **more: Any) -> Place:
    return Place(what, kind, index, None, **more)
