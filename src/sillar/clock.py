"""Time and chance, replaceable in simulation."""

from __future__ import annotations

import random
import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def monotonic(self) -> float:
        """Seconds that never go backwards; only differences mean anything."""
        ...

    def time(self) -> float:
        """Seconds since the epoch."""
        ...


class Random(Protocol):
    """Where jitter comes from."""

    def uniform(self, a: float, b: float) -> float:
        """A number between the two."""
        ...


class SystemClock:
    """The machine's own clock."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)


def system_random() -> Random:
    """A generator of its own, so that a program's ``random.seed`` does not synchronise the jitter of its instances."""
    return random.Random()
