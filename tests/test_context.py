"""What travels with a request."""

from __future__ import annotations

import asyncio

from sillar import Capabilities, Capability, correlation, deadline
from sillar.context import current_correlation_id, current_deadline, remaining_seconds
from sillar.query.json import Json, decode, encode


async def test_a_correlation_id_follows_into_tasks_and_ends_with_its_block() -> None:
    assert current_correlation_id() is None
    with correlation("outer"):
        with correlation() as generated:
            assert len(generated) == 32
            assert await asyncio.create_task(_current()) == generated
        assert current_correlation_id() == "outer"
    assert current_correlation_id() is None


async def _current() -> str | None:
    return current_correlation_id()


def test_a_deadline_only_ever_shrinks() -> None:
    assert remaining_seconds() is None
    with deadline(10) as outer:
        with deadline(100) as inner:
            assert inner == outer
        with deadline(1) as shorter:
            assert shorter < outer
            remaining = remaining_seconds()
            assert remaining is not None
            assert 0 < remaining <= 1
        assert current_deadline() == outer
    assert current_deadline() is None


def test_capabilities_are_narrowed_with_their_reason() -> None:
    everything = Capabilities("Some SQL", [Capability.COPY, Capability.SQL])
    less = everything.without(Capability.COPY, "switched off").named("Some SQL 2")
    assert (Capability.COPY in everything, Capability.COPY in less) == (True, False)
    assert (len(less), list(less), less.engine) == (1, [Capability.SQL], "Some SQL 2")
    assert "Some SQL 2" in repr(less)


def test_json_values() -> None:
    assert decode(encode({"a": [1, None, "ñ"]})) == {"a": [1, None, "ñ"]}
    assert (Json(1) == Json(1), Json(1) == Json(2), hash(Json({"a": 1})) == hash(Json({"a": 1}))) == (True, False, True)
    assert "secret" not in repr(Json("secret"))
