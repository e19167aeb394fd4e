"""Looks at one node now and then, on a connection of its own, and says what it found."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Final, Protocol

import structlog

from sillar.clock import Random
from sillar.config import TopologyConfig
from sillar.consistency import Position
from sillar.engines.connection import DriverConnection
from sillar.engines.node import NodeStatus
from sillar.errors import DatabaseError, NodeUnavailableError, TooManyConnectionsError
from sillar.pool.positions import PositionPoll

_log = structlog.get_logger("sillar.topology")
_STALL_SECONDS: Final = 0.25
_FIRST_PAUSE_SECONDS: Final = 0.05
_CANCEL_AGAIN_SECONDS: Final = 0.5
_CATCH_UP_SECONDS: Final = 30.0


class WatchListener(Protocol):
    """Who is told what a watch finds."""

    def attached(self, watch: NodeWatch) -> None:
        """A new connection was opened: whatever was known of the node's data may hold no more."""
        ...

    def answered(self, watch: NodeWatch, status: NodeStatus, asked_at: float) -> None:
        """The node said this of itself, when it was asked at that instant (``time.monotonic()``)."""
        ...

    def refused(self, watch: NodeWatch, error: DatabaseError) -> None:
        """Nobody is there, or the node lets nobody in."""
        ...

    def silent(self, watch: NodeWatch) -> None:
        """The node did not answer, so often that it counts as down: frozen, cut off, or far too busy."""
        ...

    def caught_up(self) -> None:
        """A node has caught up with its cluster: whoever waits for that may look again."""
        ...


class NodeWatch:
    """One task and one connection, outside the pool's budget.

    Args:
        name: the node's address, for logs.
        config: how often, how long, how many silences in a row.
        open_connection: opens a connection to the node.
        listener: told what is found.
        random: where jitter comes from.

    Attributes:
        poll: the node's position, asked for on the same connection.
        levelling: the same once it has caught up with its cluster, asked for on a connection of its own: that takes as
            long as the cluster needs to leave out a member that is gone.
        looks_total: looks begun.
    """

    def __init__(
        self,
        name: str,
        config: TopologyConfig,
        open_connection: Callable[[], Awaitable[DriverConnection[Any]]],
        listener: WatchListener,
        random: Random,
    ) -> None:
        self.name = name
        self.poll = PositionPoll(self._position)
        self.levelling = PositionPoll(self._level_position, listener.caught_up)
        self.looks_total = 0
        self._config = config
        self._open_connection = open_connection
        self._listener = listener
        self._random = random
        self._connection: DriverConnection[Any] | None = None
        self._in_use = asyncio.Lock()
        self._wake = asyncio.Event()
        self._looked = asyncio.Event()
        self._looked_again = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failures = self._silences = 0

    @property
    def is_attached(self) -> bool:
        """Whether the connection on which the node said what is known of it is still open."""
        connection = self._connection
        return connection is not None and not connection.is_closed()

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def look_now(self) -> None:
        """Do not wait for the next turn: something has happened."""
        self._wake.set()

    async def first_look(self) -> None:
        """Wait until the node has been looked at once."""
        await self._looked.wait()

    async def look_again(self) -> None:
        """Have the node looked at now, and wait for that."""
        self._looked_again.clear()
        self.look_now()
        await self._looked_again.wait()

    async def close(self) -> None:
        """Stop looking and close the connection."""
        self.poll.close()
        self.levelling.close()
        try:
            while self._task is not None and not self._task.done():
                # Again, because a connect that fails just then loses the cancellation (asyncio.wait_for until 3.11).
                self._task.cancel()
                await asyncio.wait((self._task,), timeout=_CANCEL_AGAIN_SECONDS)
        finally:
            self._drop()

    async def members(self) -> list[tuple[str, int]]:
        """Host and port of the replicas that this node knows.

        Raises:
            NodeUnavailableError: it does not answer now.
        """
        async with self._in_use:
            connection = self._connected()
            async with asyncio.timeout(self._config.check_timeout):
                return await connection.members()

    # --- within -----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self._look()
            self._looked.set()
            self._looked_again.set()
            try:
                async with asyncio.timeout(self._pause()):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    def _pause(self) -> float:
        """Until the next look: the interval while all is well, else growing from almost nothing to the interval."""
        interval = self._config.check_interval
        if self._failures:
            interval = min(interval, _FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures, 10))
        return self._random.uniform(interval / 2, interval) if self._failures else interval

    async def _look(self) -> None:
        self.looks_total += 1
        loop = asyncio.get_running_loop()
        limit = self._config.check_timeout * (1 if self._connection is not None else 2)  # then a handshake comes first
        due = loop.time() + limit
        try:
            async with self._in_use, asyncio.timeout_at(due):
                if self._connection is None or self._connection.is_closed():
                    self._connection = await self._open_connection()
                    self.poll.forget()
                    self._listener.attached(self)
                asked_at, written = monotonic(), self.poll.written_before()
                status = await self._connection.probe()
        except TimeoutError:
            self._drop()
            if loop.time() - due > _STALL_SECONDS:
                _log.warning("this process was too busy to look at a node", node=self.name)
                self.look_now()
                return
            self._failures += 1
            self._silences += 1
            if self._silences >= self._config.checks_failed_max:
                self._listener.silent(self)
            else:
                self.look_now()
        except TooManyConnectionsError as error:  # it is up, and this says nothing of its role
            self._failures += 1
            _log.warning("a node has no room to be looked at", node=self.name, error=str(error))
        except DatabaseError as error:
            self._drop()
            self._failures += 1
            self._silences = 0
            self._listener.refused(self, error)
        except Exception as error:  # of the host application: its secrets manager
            self._drop()
            self._failures += 1
            _log.exception("a node could not be looked at", node=self.name, error=type(error).__name__)
        else:
            self._failures = self._silences = 0
            self.poll.learned(status.position, asked_at, written)
            self._listener.answered(self, status, asked_at)

    async def _position(self) -> Position | None:
        try:
            async with self._in_use:
                connection = self._connected()
                async with asyncio.timeout(self._config.check_timeout):
                    return await connection.position()
        except TimeoutError as error:
            self._drop()
            self.look_now()
            raise NodeUnavailableError(f"{self.name} did not say its position in time") from error
        except DatabaseError:
            if self._connection is not None:  # else it is being looked for already, with pauses
                self.look_now()
            raise

    async def _level_position(self) -> Position | None:
        try:
            async with asyncio.timeout(_CATCH_UP_SECONDS):
                connection = await self._open_connection()
                try:
                    return await connection.catch_up()
                finally:
                    connection.terminate()
        except DatabaseError:
            raise
        except Exception as error:  # it did not in time, or the host application's secrets manager failed
            raise NodeUnavailableError(f"{self.name} did not catch up: {type(error).__name__}") from error

    def _connected(self) -> DriverConnection[Any]:
        if self._connection is None or self._connection.is_closed():
            raise NodeUnavailableError(f"{self.name} does not answer now")
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
