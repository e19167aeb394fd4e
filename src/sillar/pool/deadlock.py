"""Tasks that hold connections while they wait for more of them. (A friend of the pool, which looks inside.)"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sillar.pool import messages
from sillar.pool.waiting import Waiter

if TYPE_CHECKING:
    from sillar.pool.pool import ConnectionPool


def detect_deadlock(pool: ConnectionPool, waiter: Waiter) -> None:
    """Look whether every connection is held by a task that itself waits here.

    Raises:
        NestedAcquireError: it is so, and the caller has left the queue.
    """
    leased = pool._leased
    if waiter.task not in leased.values() or len(leased) < pool.max_connections - pool._dedicated:
        return
    waiting = {other.task for other in pool._waiting}
    if all(task in waiting for task in leased.values()):
        waiter.future.cancel()
        pool._waiting.leave(waiter)
        held = [connection.place or "a statement" for connection, task in leased.items() if task is waiter.task]
        raise messages.nested_error(pool, held)
