"""Points at which a migration is broken off: put into the journal's way, where the statements pass."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sillar import DatabaseConfig
from sillar.migrations import MigrationManager
from sillar.migrations.sql.journal import Watch
from sillar.migrations.sql.statement import is_step

POINTS = ("before", "announced", "sent", "marked")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def broken_off(number: int, point: str, strike: Callable[[], None]) -> Iterator[list[str]]:
    """Within the block, ``strike`` is called around the statement with that number of the migrations that run.

    Args:
        number: from 1.
        point: ``before`` it; when it is ``announced`` and not sent; when it is ``sent`` and not marked; ``marked``.
        strike: what happens then.
    """
    original = Watch._take
    seen: list[str] = []

    def take(self: Watch, cursor: Any, statement: str, parameters: Any, context: Any, send: Callable[[], None]) -> Any:
        journal = self.journal
        if journal is None or journal._busy or context.root_connection is not self.connection or not is_step(statement):
            return original(self, cursor, statement, parameters, context, send)
        seen.append(statement)
        if len(seen) != number:
            return original(self, cursor, statement, parameters, context, send)
        if point == "before":
            strike()

        def sending() -> None:
            if point == "announced":
                strike()
            send()
            if point == "sent":
                strike()

        taken = original(self, cursor, statement, parameters, context, sending)
        if taken is None:
            sending()
        if point == "marked":
            strike()
        return True

    Watch._take = take  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        Watch._take = original  # type: ignore[method-assign]


def run_killed(config: DatabaseConfig, direction: str, number: int, point: str) -> bool:
    """Migrate in a child process that is killed at that point; whether it came that far."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with broken_off(number, point, die):
                asyncio.run(migrate(config, direction))
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the child failed"
    return False


async def migrate(config: DatabaseConfig, direction: str) -> list[str]:
    manager = MigrationManager.of(config)
    if direction == "up":
        return [each.version for each in await manager.apply_migrations()]
    return [each.version for each in await manager.rollback_migration("a1")]
