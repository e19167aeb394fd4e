"""Reading in one service what another one has written, and what a token may not be."""

from __future__ import annotations

import asyncio
from contextvars import Context

import pytest
from bson import Timestamp
from tests.topology_mongodb.conftest import PRIMARY, SECONDARY, OpenManager, elsewhere, seen

from sillar import CausalTokens, DatabaseManager
from sillar.config import load_config
from sillar.consistency import CausalContext
from sillar.engines.mongodb.reading import UNKNOWN, ReadRules, WriteTime
from sillar.errors import UsageError
from sillar.testing.servers.mongodb_gateway.stand_in_set import StandInReplicaSet

KEY = "a key that is long enough for this"


async def _count(manager: DatabaseManager, name: str, token: str | None = None) -> int:
    if token is not None:
        CausalTokens(manager, KEY).accept(token)
    return len(await manager.session().documents(name).find({}))


async def _write(manager: DatabaseManager, name: str) -> str:
    await manager.session().documents(name).insert_one({"_id": 1})
    token = await CausalTokens(manager, KEY).issue()
    assert token is not None
    return token


async def test_another_service_reads_what_the_token_stands_for(
    open_manager: OpenManager, replica_set: StandInReplicaSet, name: str
) -> None:
    orders, bills = await open_manager(), await open_manager()
    assert await elsewhere(CausalTokens(bills, KEY).issue()) is None
    await elsewhere(orders.session().documents(name).create_index([("a", 1)]))
    await replica_set.hold_back(SECONDARY)
    token = await elsewhere(_write(orders, name))
    assert await elsewhere(_count(bills, name)) == 0
    # The other client has never talked to the primary since: it shows the cluster time of the token.
    waiting = asyncio.create_task(_count(bills, name, token), context=Context())
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await replica_set.catch_up(SECONDARY)
    assert await asyncio.wait_for(waiting, 10) == 1
    assert [each.after is not None for each in seen(replica_set, SECONDARY, name)] == [False, True]
    assert not seen(replica_set, PRIMARY, name)


def _time(seconds: int) -> WriteTime:
    return WriteTime(Timestamp(seconds, 1), {"clusterTime": Timestamp(seconds, 1)})


def test_times_as_text() -> None:
    for each in (_time(5), UNKNOWN):
        back = WriteTime.decode(each.encode())
        assert (back, back.cluster_time) == (each, each.cluster_time)
        assert hash(back) == hash(each)
    for text in ("é", "!", "AAAA", "0/16B3748", _time(5).encode()[:-8]):
        with pytest.raises(UsageError, match="no operation time"):
            WriteTime.decode(text)


async def test_what_is_later_counts() -> None:
    config = load_config(overrides={"databases": {"default": {"url": "mongodb://h/x"}}}, environment={})
    rules = ReadRules("default", config.connection("default"))  # type: ignore[arg-type]
    line = CausalContext({})
    assert await _token(rules, line) is None
    rules.accept_position(line, _time(7).encode())
    rules.accept_position(line, _time(6).encode())
    assert line.marks["default"] == _time(7)
    rules.note(line, _time(3))
    assert line.marks["default"] == _time(7)
    rules.note(line, UNKNOWN)
    rules.accept_position(line, _time(9).encode())
    assert line.marks["default"] == UNKNOWN  # nobody can tell: the primary
    rules.note(line, _time(8))
    assert line.marks["default"] == _time(8)


async def _token(rules: ReadRules, line: CausalContext) -> str | None:
    return rules.token_position(line)
