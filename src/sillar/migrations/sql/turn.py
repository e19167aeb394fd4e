"""Alembic's ``op`` and ``context`` are the process's: one run has them at a time, but not while it waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Hashable
from time import monotonic
from typing import Final

from sqlalchemy.engine import Connection

from sillar.migrations.sql.connections import pause

_BETWEEN_LOOKS_SECONDS: Final = 0.02
_alembic: Final = threading.Lock()
_guard: Final = threading.Lock()
_first: Final[set[Hashable]] = set()
"""Those of which a run of this process has the migrators' lock, or waits for it."""


class Turn:
    """The turn of one run. Whoever waits for the migrators' lock of a database lets runs on others have theirs
    meanwhile; so nobody who has such a lock waits for his turn, and two runs cannot wait for each other. Of several
    that want the same lock, one at a time waits for it in the server.

    Args:
        wanted: stands for the lock that the run takes; None: it takes none.

    Attributes:
        is_held: it is this run's turn.
    """

    def __init__(self, wanted: Hashable = None) -> None:
        self._wanted = wanted
        self._is_first = wanted is None
        self.is_held = False

    async def wait(self, seconds: float) -> None:
        """Return when it is held.

        Args:
            seconds: how long another run of this process may be at work on the same database, or wait for it.

        Raises:
            TimeoutError: it was for longer.
        """
        until = monotonic() + seconds
        while not self._come_first():
            if monotonic() >= until:
                raise TimeoutError
            await asyncio.sleep(_BETWEEN_LOOKS_SECONDS)
        while not self.take():  # noqa: ASYNC110 - among threads, and several loops
            await asyncio.sleep(_BETWEEN_LOOKS_SECONDS)

    def take(self) -> bool:
        """Take it if nobody has it; whether it is held."""
        self.is_held = self.is_held or _alembic.acquire(blocking=False)
        return self.is_held

    def give_back(self) -> None:
        """Let others have it, if it is held."""
        if self.is_held:
            self.is_held = False
            _alembic.release()

    def end(self) -> None:
        """The run is over, or has never begun."""
        self.give_back()
        if self._wanted is not None and self._is_first:
            self._is_first = False
            with _guard:
                _first.discard(self._wanted)

    def look_again(self, connection: Connection) -> None:
        """A while between two attempts to take it."""
        pause(connection, _BETWEEN_LOOKS_SECONDS)

    def _come_first(self) -> bool:
        with _guard:
            if not self._is_first and self._wanted not in _first:
                _first.add(self._wanted)
                self._is_first = True
        return self._is_first


__all__ = ["Turn"]
