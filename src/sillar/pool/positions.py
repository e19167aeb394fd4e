"""Positions in the replication: what a node has, asked for by one shared poll, and what somebody has written.

A position is taken *after* the reply to a COMMIT, by a query that answers for all commits before it. Until somebody
reads after a write it is asked for a few times a second at most.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final

import structlog

from sillar.consistency import Position
from sillar.errors import DatabaseError, NodeUnavailableError, UsageError

_log = structlog.get_logger("sillar.topology")
_BETWEEN_POLLS_SECONDS: Final = 0.002
_AFTER_FAILURE_SECONDS: Final = 0.1
_UNASKED_SECONDS: Final = 0.1
_FINE_SECONDS: Final = 0.05
_COARSE_SECONDS: Final = 1.0
_SAMPLES: Final = 600  # of each: half a minute, and ten minutes


class PositionPoll:
    """The position of one node, cached; one query at a time, whoever asks.

    Args:
        ask: one round trip to the node.
        heard: called after each answer.

    Attributes:
        position: the last answer. It only grows while the node's history stays the same.
        polls_total: queries sent.
    """

    def __init__(self, ask: Callable[[], Awaitable[Position | None]], heard: Callable[[], None] = lambda: None) -> None:
        self._ask = ask
        self._heard = heard
        self.position: Position | None = None
        self.polls_total = 0
        self._written = 0  # writes acknowledged by this node so far
        self._answered = 0  # of these, how many the position covers
        self._last_poll = 0.0
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._failure: DatabaseError | None = None
        self._answer = asyncio.Event()  # set with the next answer or failure, then replaced
        self._fine: deque[tuple[float, Position]] = deque(maxlen=_SAMPLES)
        self._coarse: deque[tuple[float, Position]] = deque(maxlen=_SAMPLES)

    def note_write(self) -> int:
        """A write was acknowledged; its number, for :meth:`of_write`."""
        self._written += 1
        if self._task is None and monotonic() - self._last_poll > _UNASKED_SECONDS:
            self.request()
        return self._written

    def next_write(self) -> int:
        """As :meth:`note_write`, of what is asked about by :meth:`expect` alone."""
        self._written += 1
        return self._written

    def covers_write(self, number: int) -> bool:
        """Whether an answer came to a question that was sent after the write of that number."""
        return number <= self._answered

    def of_write(self, number: int) -> Position | None:
        """A position that covers the write of that number, or None while nobody has asked since."""
        return self.position if number <= self._answered else None

    def request(self) -> None:
        """Ask in the background, once more if a query is under way (it may have left before what is asked about)."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._poll())
        else:
            self._again = True

    def expect(self) -> None:
        """Ask in the background, unless a query is under way."""
        if self._task is None:
            self.request()

    async def wait_for(self, number: int) -> Position:
        """The position of a write; asks for it if nobody has.

        Raises:
            DatabaseError: the node does not answer. (The caller's deadline bounds the wait.)
            UsageError: it has no positions.
        """
        while (position := self.of_write(number)) is None:
            if number <= self._answered:
                raise UsageError("the primary has no replication positions; what the engine's page names has to be on")
            self.request()
            await self._answer.wait()  # not for the end of the task, which others may keep asking
            if self._failure is not None:
                raise self._failure
        return position

    def learned(self, position: Position | None, asked_at: float, written: int | None = None) -> None:
        """Take in a position that was asked for at that instant (``time.monotonic()``), by a poll or a probe."""
        if written is not None:
            self._answered = max(self._answered, written)
        if position is None:
            return
        if self.position is None or position.covers(self.position) or not self.position.covers(position):
            self.position = position  # later, or of another timeline
        for samples, seconds in ((self._fine, _FINE_SECONDS), (self._coarse, _COARSE_SECONDS)):
            if not samples or asked_at - samples[-1][0] >= seconds:
                samples.append((asked_at, position))

    def forget(self) -> None:
        """What the node had is not certain any more: it may have been restarted."""
        self.position = None
        self._answered = 0

    def forget_samples(self) -> None:
        """The node has become the primary: what it had as a replica was older than what its primary had then."""
        self._fine.clear()
        self._coarse.clear()

    def written_before(self) -> int:
        """How many writes are acknowledged now: for :meth:`learned`, noted before the question is sent."""
        return self._written

    def seconds_behind(self, position: Position | None) -> float | None:
        """By how much at most data that goes to ``position`` is older than this node's; None where that is unknown.

        Everything that this node had at the latest instant that ``position`` covers is there.
        """
        if position is None:
            return None
        for samples in (self._fine, self._coarse):
            for asked_at, sample in reversed(samples):
                if position.covers(sample):
                    return monotonic() - asked_at
        return None

    def close(self) -> None:
        """Stop asking."""
        if self._task is not None:
            self._task.cancel()

    async def _poll(self) -> None:
        try:
            while True:
                self._again = False
                between = _BETWEEN_POLLS_SECONDS if self._failure is None else _AFTER_FAILURE_SECONDS
                pause = self._last_poll + between - monotonic()
                if pause > 0:
                    await asyncio.sleep(pause)
                self._last_poll, written = monotonic(), self._written
                self.polls_total += 1
                self._failure = None
                self.learned(await self._ask(), self._last_poll, written)
                self._tell()
                self._heard()
                if not self._again:
                    return
        except DatabaseError as error:  # the watch of this node finds out what is wrong with it
            self._failure = error
            _log.debug("position not known", node=error.node, error=str(error))
        except Exception as error:  # a defect, or an answer that no server should give: nobody may wait for ever
            self._failure = NodeUnavailableError(f"the position cannot be told: {type(error).__name__}")
            _log.exception("position not known", error=type(error).__name__)
        finally:
            self._task = None
            self._tell()

    def _tell(self) -> None:
        answer, self._answer = self._answer, asyncio.Event()
        answer.set()


class WriteMark:
    """The last write of a line of work: where, and up to which position once that is known.

    Args:
        poll: of the node that was written on; None where the position is known.
        number: of the write there.
        position: the position, if it is known.
        received: besides, a position that somebody else has sent.

    Attributes:
        reached: the topology (by its version) of which all readers have been seen to cover it: they go on to.
    """

    __slots__ = ("_position", "number", "poll", "reached", "received")

    def __init__(
        self,
        poll: PositionPoll | None,
        number: int,
        position: Position | None = None,
        received: Position | None = None,
    ) -> None:
        self.poll = poll
        self.number = number
        self.reached: object = None
        self.received = received
        self._position = position

    @property
    def position(self) -> Position | None:
        """What a replica has to cover; None while it is not known."""
        if self._position is None and self.poll is not None:
            position = self.poll.of_write(self.number)
            if position is not None and self.received is not None:
                position = position.merged(self.received)
            self._position = position
        return self._position
