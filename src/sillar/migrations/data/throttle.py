"""How fast batches go: their size, pauses, and waits for replicas that are behind and for load that is too high."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import monotonic
from typing import Literal

import structlog
from sqlalchemy import URL, create_engine
from sqlalchemy.engine import Connection, Engine

from sillar.errors import OverloadedError, UsageError
from sillar.migrations.data.dialects import batch_dialect
from sillar.migrations.data.place import Place

_log = structlog.get_logger("sillar.migrations")

Replica = str | URL | Engine | Connection
LagSource = Literal["auto"] | Callable[[], float] | Sequence[Replica]
LoadSource = Literal["auto"] | Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """How fast batches go. Nothing is on unless it is said.

    Attributes:
        pause_seconds: after each batch.
        target_batch_seconds: batches grow and shrink so that the transaction of each takes about this long.
        batch_rows_min: the smallest that ``target_batch_seconds`` makes them.
        batch_rows_max: the largest.
        replica_lag_max_seconds: no batch begins while a replica is behind by more.
        replica_lag: where the lag comes from. ``auto``: PostgreSQL's primary is asked (the role needs ``pg_monitor``).
            A list of replicas (synchronous URLs or engines of SQLAlchemy's, or connections): each is asked, and has to
            answer. A function: returns seconds.
        load_max: no batch begins while more sessions of others are at work.
        load: where the load comes from. ``auto``: ``pg_stat_activity`` (``pg_monitor``), or ``Threads_running``. A
            function: returns any number that ``load_max`` is for.
        check_seconds: how often is looked again while waiting.
        wait_max_seconds: the longest wait; then `OverloadedError`, and the next call goes on from there.
    """

    pause_seconds: float = 0.0
    target_batch_seconds: float | None = None
    batch_rows_min: int = 10
    batch_rows_max: int = 50_000
    replica_lag_max_seconds: float | None = None
    replica_lag: LagSource = "auto"
    load_max: float | None = None
    load: LoadSource = "auto"
    check_seconds: float = 0.5
    wait_max_seconds: float = 600.0

    def __post_init__(self) -> None:
        faults = [
            f"{name} is {value:g}"
            for name, value in (
                ("pause_seconds", self.pause_seconds),
                ("replica_lag_max_seconds", self.replica_lag_max_seconds or 0),
                ("load_max", self.load_max or 0),
                ("wait_max_seconds", self.wait_max_seconds),
            )
            if value < 0
        ]
        if self.target_batch_seconds is not None and self.target_batch_seconds <= 0:
            faults.append(f"target_batch_seconds is {self.target_batch_seconds:g}")
        if self.check_seconds <= 0:
            faults.append(f"check_seconds is {self.check_seconds:g}")
        if not 1 <= self.batch_rows_min <= self.batch_rows_max:
            faults.append(f"batch_rows_min is {self.batch_rows_min} and batch_rows_max {self.batch_rows_max}")
        if faults:
            raise UsageError(f"this throttle makes no sense: {'; '.join(faults)}")


@dataclass
class Brake:
    """A throttle at work on one run.

    Args:
        throttle: the settings.
        place: where the batches run.
        rows: of the next batch.

    Attributes:
        waited_seconds: so far.
    """

    throttle: Throttle
    place: Place
    rows: int
    waited_seconds: float = 0.0
    _positions: deque[tuple[int, float]] = field(default_factory=deque)
    _has_caught_up: bool = False
    _replicas: list[Connection] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Brake:
        wanted = self.throttle.replica_lag
        if self.throttle.replica_lag_max_seconds is not None and not isinstance(wanted, str) and not callable(wanted):
            if not wanted:
                raise UsageError(
                    "replica_lag is an empty list: name the replicas, or leave replica_lag_max_seconds out"
                )
            with ExitStack() as opened:
                for replica in wanted:
                    self._replicas.append(_connection(replica, opened))
                self._stack = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def batch_took(self, seconds: float) -> None:
        """Adapt the size of the batches, at most by half or to the double at once."""
        target = self.throttle.target_batch_seconds
        if target is not None:
            factor = min(2.0, max(0.5, target / max(seconds, 1e-6)))
            wanted = int(self.rows * factor)
            self.rows = min(self.throttle.batch_rows_max, max(self.throttle.batch_rows_min, wanted))

    def pause(self) -> None:
        """The pause between two batches."""
        if self.throttle.pause_seconds:
            self.place.pause(self.throttle.pause_seconds)
            self.waited_seconds += self.throttle.pause_seconds

    def wait(self, name: str) -> None:
        """Wait until a batch may begin.

        Raises:
            OverloadedError: not within ``wait_max_seconds``.
            UsageError: nobody knows the lag, or the load.
        """
        reason = self._reason()
        if reason is None:
            return
        _log.warning("batches wait", run=name, reason=reason)
        began = monotonic()
        while reason is not None:
            waited = monotonic() - began
            if waited >= self.throttle.wait_max_seconds:
                self.waited_seconds += waited
                raise OverloadedError(
                    f"batches of {name!r} waited {waited:.1f} s: {reason}; what is done is kept, the next call goes on"
                    " from there: call again when it is quieter, or raise the limit or wait_max_seconds"
                )
            self.place.pause(min(self.throttle.check_seconds, self.throttle.wait_max_seconds - waited))
            reason = self._reason()
        self.waited_seconds += monotonic() - began

    def _reason(self) -> str | None:
        """Why no batch may begin now."""
        lag_max, load_max = self.throttle.replica_lag_max_seconds, self.throttle.load_max
        if lag_max is not None and (lag := self._lag()) > lag_max:
            return f"a replica is {lag:.1f} s behind, {lag_max:g} s are allowed"
        if load_max is not None and (load := self._load()) > load_max:
            return f"the load is {load:g}, {load_max:g} are allowed"
        return None

    def _lag(self) -> float:
        source = self.throttle.replica_lag
        if callable(source):
            return source()
        if self._replicas:
            return max(_own_lag(replica) for replica in self._replicas)
        return self._reported_lag()

    def _reported_lag(self) -> float:
        """The age of the oldest position that some replica has not replayed yet, of those that were noted here.

        What the server reports as lag (``replay_lag``) stays as it was last measured for up to
        ``wal_receiver_status_interval`` after the replica has caught up; so it counts only at the start.
        """
        with self.place.transaction() as connection:
            reported, replayed, own = self.place.dialect.reported_lag(connection)
        if replayed is None or own is None:
            self._positions.clear()
            return 0.0
        now = monotonic()
        while self._positions and self._positions[0][0] <= replayed:
            self._positions.popleft()
            self._has_caught_up = True
        if not self._positions or self._positions[-1][0] < own:
            self._positions.append((own, now))
        noted = now - self._positions[0][1]
        return noted if self._has_caught_up or replayed >= own else max(noted, reported)

    def _load(self) -> float:
        if callable(self.throttle.load):
            return self.throttle.load()
        with self.place.transaction() as connection:
            return self.place.dialect.load(connection)


def _connection(replica: Replica, stack: ExitStack) -> Connection:
    if isinstance(replica, Connection):
        return replica
    if isinstance(replica, Engine):
        return stack.enter_context(replica.connect())
    engine = create_engine(replica)
    stack.callback(engine.dispose)
    return stack.enter_context(engine.connect())


def _own_lag(connection: Connection) -> float:
    dialect = batch_dialect(connection.dialect.name)
    if connection.in_transaction():
        return dialect.own_lag(connection)
    with connection.begin():
        return dialect.own_lag(connection)
