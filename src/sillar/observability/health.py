"""Health of the databases: bounded in time, cached, and never in the way of the application."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sillar.clock import Clock, SystemClock
from sillar.engines import ConnectionSource
from sillar.engines.health import PoolHealth
from sillar.errors import DatabaseError


@dataclass(frozen=True, slots=True)
class DatabaseHealth:
    """The health of all databases.

    Attributes:
        healthy: every database is, and there is one.
        databases: each database's pool by name.
        checked_at: seconds since the epoch.
    """

    healthy: bool
    databases: Mapping[str, PoolHealth] = field(default_factory=dict)
    checked_at: float = 0.0


class DatabaseHealthMonitor:
    """Checks the sources of connections, all at once, and remembers the answer for a moment.

    Args:
        timeout_seconds: how long one database may take to answer; one that takes longer is not healthy.
        cache_seconds: how long an answer is good for, so that a storm of readiness probes costs one check.
    """

    def __init__(self, *, timeout_seconds: float = 2.0, cache_seconds: float = 1.0, clock: Clock | None = None) -> None:
        self.sources: dict[str, ConnectionSource] = {}
        self._timeout_seconds = timeout_seconds
        self._cache_seconds = cache_seconds
        self._clock: Clock = clock or SystemClock()
        self._known: DatabaseHealth | None = None
        self._known_at = 0.0
        self._checking: asyncio.Task[DatabaseHealth] | None = None

    async def check(self, *, fresh: bool = False) -> DatabaseHealth:
        """The health of all databases.

        Args:
            fresh: ask again even if the last answer is still good.
        """
        now = self._clock.monotonic()
        if not fresh and self._known is not None and now - self._known_at < self._cache_seconds:
            return self._known
        if self._checking is None or self._checking.done():
            self._checking = asyncio.get_running_loop().create_task(self._check())
        return await asyncio.shield(self._checking)

    def forget(self) -> None:
        """Drop the sources and the last answer: the manager is closed."""
        self.sources.clear()
        self._known = self._checking = None

    async def _check(self) -> DatabaseHealth:
        names = list(self.sources)
        found = await asyncio.gather(*(self._one(name) for name in names))
        databases = dict(zip(names, found, strict=True))
        healthy = bool(found) and all(each.healthy for each in found)  # a closed manager has none
        health = DatabaseHealth(healthy, databases, self._clock.time())
        self._known, self._known_at = health, self._clock.monotonic()
        return health

    async def _one(self, name: str) -> PoolHealth:
        source = self.sources[name]
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await source.health_check()
        except TimeoutError:
            reason = f"no answer within {self._timeout_seconds} s"
        except DatabaseError as error:
            reason = str(error)
        return replace(source.stats(), healthy=False, reason=reason)
