"""Positions of PostgreSQL, and the poll that asks for them."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sillar.engines.postgresql.position import LogPosition
from sillar.errors import NodeUnavailableError, UsageError
from sillar.pool.positions import PositionPoll, WriteMark

positions = st.builds(
    LogPosition,
    system=st.integers(0, 2**63).map(str),
    timeline=st.integers(1, 2**31),
    lsn=st.integers(0, 2**64 - 1),
)


@given(positions)
def test_a_position_comes_back_from_text(position: LogPosition) -> None:
    assert LogPosition.decode(position.encode()) == position
    assert position.covers(position)


@given(positions, positions)
def test_what_is_merged_covers_both_on_one_timeline(one: LogPosition, two: LogPosition) -> None:
    two = LogPosition(one.system, one.timeline, two.lsn)
    merged = one.merged(two)
    assert merged.covers(one)
    assert merged.covers(two)
    assert merged in (one, two)


def test_another_timeline_or_system_is_never_covered() -> None:
    position = LogPosition("7", 2, 100)
    assert position.covers(LogPosition("7", 2, 100))
    assert not position.covers(LogPosition("7", 1, 50))
    assert not position.covers(LogPosition("7", 3, 50))
    assert not position.covers(LogPosition("8", 2, 50))
    assert not position.covers(LogPosition("7", 2, 101))
    assert not position.covers("pg:7:2:0/0")
    assert position.merged(LogPosition("7", 3, 1)) == LogPosition("7", 3, 1)
    assert position.merged(LogPosition("8", 3, 1)) == position


@pytest.mark.parametrize(
    "text", ["", "pg:1:1:0", "pg:1:1:0/G", "pg:x:1:0/0", "mysql:1", "pg:1:1:0/0\n", "pg:1:1:00000000F/0"]
)
def test_something_else_is_no_position(text: str) -> None:
    with pytest.raises(UsageError, match="no position"):
        LogPosition.decode(text)


class Log:
    """A log that grows when the test says so, and answers when it lets it."""

    def __init__(self) -> None:
        self.lsn = 0
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.fails = False

    async def ask(self) -> LogPosition:
        self.asked += 1
        lsn = self.lsn
        await self.answers.wait()
        if self.fails:
            raise NodeUnavailableError("it does not answer now")
        return LogPosition("1", 1, lsn)


async def test_a_write_is_covered_by_a_question_that_was_asked_after_it() -> None:
    log = Log()
    poll = PositionPoll(log.ask)
    log.answers.clear()
    log.lsn = 10
    first = poll.note_write()  # nobody has asked for long: this does
    await asyncio.sleep(0)
    assert log.asked == 1
    log.lsn = 20
    second = poll.note_write()
    assert poll.of_write(first) is None
    log.answers.set()
    async with asyncio.timeout(10):
        while poll._task is not None:
            await asyncio.sleep(0)
    assert poll.of_write(first) == LogPosition("1", 1, 10)
    assert poll.of_write(second) is None  # the question had left before
    assert await poll.wait_for(second) == LogPosition("1", 1, 20)
    assert log.asked == 2


async def test_many_who_wait_share_a_question() -> None:
    log = Log()
    poll = PositionPoll(log.ask)
    await poll.wait_for(poll.note_write())
    asked = log.asked
    numbers = [poll.note_write() for _ in range(200)]
    await asyncio.gather(*(poll.wait_for(number) for number in numbers))
    assert log.asked - asked <= 2


async def test_who_waits_is_answered_though_others_keep_asking() -> None:
    log = Log()

    async def asked_again() -> LogPosition:
        answer = await log.ask()
        poll.request()
        return answer

    poll = PositionPoll(asked_again)
    async with asyncio.timeout(5):
        assert await poll.wait_for(poll.note_write()) == LogPosition("1", 1, 0)
    poll.close()


async def test_an_answer_that_cannot_be_understood_is_said_to_whoever_waits() -> None:
    async def nonsense() -> LogPosition:
        raise ValueError("no number")

    poll = PositionPoll(nonsense)
    async with asyncio.timeout(5):
        with pytest.raises(NodeUnavailableError, match="cannot be told: ValueError"):
            await poll.wait_for(poll.note_write())


async def test_writes_that_nobody_reads_after_are_asked_about_seldom() -> None:
    log = Log()
    poll = PositionPoll(log.ask)
    began = monotonic()
    for _ in range(200):
        poll.note_write()
        await asyncio.sleep(0.001)
    assert 1 <= log.asked <= 2 + (monotonic() - began) / 0.1  # every tenth of a second


async def test_a_node_that_does_not_answer_is_said_to_whoever_waits() -> None:
    log = Log()
    log.fails = True
    poll = PositionPoll(log.ask)
    number = poll.note_write()
    with pytest.raises(NodeUnavailableError):
        await poll.wait_for(number)
    log.fails = False
    assert await poll.wait_for(number) == LogPosition("1", 1, 0)


async def test_a_position_never_goes_back_on_one_timeline() -> None:
    poll = PositionPoll(Log().ask)
    poll.learned(LogPosition("1", 1, 50), 1.0)
    poll.learned(LogPosition("1", 1, 40), 2.0)
    assert poll.position == LogPosition("1", 1, 50)
    poll.learned(LogPosition("1", 2, 45), 3.0)  # rewound, and on the new timeline
    assert poll.position == LogPosition("1", 2, 45)
    poll.learned(None, 4.0)
    assert poll.position == LogPosition("1", 2, 45)


async def test_how_old_data_is_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sillar.pool.positions.monotonic", lambda: 100.0)
    poll = PositionPoll(Log().ask)
    for at in range(90, 100):
        poll.learned(LogPosition("1", 1, at), float(at))
    assert poll.seconds_behind(LogPosition("1", 1, 99)) == 1.0
    assert poll.seconds_behind(LogPosition("1", 1, 95)) == 5.0
    assert poll.seconds_behind(LogPosition("1", 1, 89)) is None
    assert poll.seconds_behind(LogPosition("1", 2, 99)) is None
    assert poll.seconds_behind(None) is None
    for at in range(100_000):  # the fine samples are of the last half minute, the coarse ones reach further
        poll.learned(LogPosition("1", 1, 1000 + at), 100.0 + at / 1000)
    assert poll.seconds_behind(LogPosition("1", 1, 95)) == 5.0


async def test_a_mark_remembers_its_position() -> None:
    log = Log()
    poll = PositionPoll(log.ask)
    mark = WriteMark(poll, poll.note_write())
    await poll.wait_for(mark.number)
    assert mark.position == LogPosition("1", 1, 0)
    log.lsn = 99
    await poll.wait_for(poll.note_write())
    assert mark.position == LogPosition("1", 1, 0)
    assert WriteMark(None, 0, LogPosition("1", 1, 7)).position == LogPosition("1", 1, 7)
    poll.close()
