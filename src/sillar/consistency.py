"""How fresh a read has to be, and what a line of work has written: both travel with the context.

A *line of work* is a task and what it awaits; a child task begins with what its parent had written until then. What the
child writes is its own, unless both stand in one :func:`causal_context`, as a request of FastAPI does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final, NamedTuple, Protocol

from sillar.errors import UsageError


class Position(Protocol):
    """How far the data of a node goes: a log position, a set of transactions."""

    def covers(self, other: Any) -> bool:
        """Whether everything up to ``other`` is certainly here. False for another kind, history or timeline."""
        ...

    def merged(self, other: Any) -> Any:
        """What covers both."""
        ...

    def encode(self) -> str:
        """As text, for a token; the adapter's ``position_from`` reads it."""
        ...


class ConsistencyLevel(StrEnum):
    """The kinds of :class:`Consistency`."""

    EVENTUAL = "eventual"
    BOUNDED = "bounded"
    READ_YOUR_WRITES = "read_your_writes"
    STRONG = "strong"


@dataclass(frozen=True, slots=True)
class Consistency:
    """How fresh a read has to be where there are replicas.

    Attributes:
        level: ``eventual``: any replica, however old its data; ``bounded``: one that is at most ``lag_seconds`` behind;
            ``read_your_writes``: one that has what this line of work has written (the default); ``strong``: the
            primary.
        lag_seconds: of ``bounded``.
    """

    level: ConsistencyLevel
    lag_seconds: float | None = None

    EVENTUAL: ClassVar[Consistency]
    READ_YOUR_WRITES: ClassVar[Consistency]
    STRONG: ClassVar[Consistency]

    def __post_init__(self) -> None:
        if (self.level == ConsistencyLevel.BOUNDED) != (self.lag_seconds is not None):
            raise UsageError("lag_seconds belongs to Consistency.bounded(lag_seconds), and to it alone")

    @classmethod
    def bounded(cls, lag_seconds: float) -> Consistency:
        """Reads that are at most so many seconds behind.

        Raises:
            UsageError: not above 0.
        """
        if not lag_seconds > 0:
            raise UsageError(
                f"lag_seconds is {lag_seconds!r} and has to be above 0; Consistency.STRONG is never behind"
            )
        return cls(ConsistencyLevel.BOUNDED, lag_seconds)


Consistency.EVENTUAL = Consistency(ConsistencyLevel.EVENTUAL)
Consistency.READ_YOUR_WRITES = Consistency(ConsistencyLevel.READ_YOUR_WRITES)
Consistency.STRONG = Consistency(ConsistencyLevel.STRONG)


class Target(StrEnum):
    """Where a block has said that its work goes, whatever it does."""

    PRIMARY = "primary"
    REPLICA = "replica"


class CausalContext:
    """What a line of work has written, by database: opaque marks that routing puts there and reads.

    Attributes:
        marks: by configured name of the database.
        shared: child tasks write into the same object.
        line: of the sessions in it that ask for no consistency of their own; made when the first one needs it.
        task_id: of the task that it was begun in, which may write into it.
    """

    __slots__ = ("line", "marks", "shared", "task_id")

    def __init__(self, marks: dict[str, Any], *, shared: bool = False) -> None:
        self.marks = marks
        self.shared = shared
        self.line: LineOfWork | None = None
        self.task_id = _current_task_id()

    def note(self, database: str, mark: Any) -> None:
        """Put a mark there. What was found out for the one before holds no more."""
        self.marks[database] = mark
        if self.line is not None:
            self.line.read.settled = None

    def is_of_this_task(self) -> bool:
        """Whether the running task may write into it."""
        return self.shared or self.task_id == _current_task_id()


_causality: ContextVar[CausalContext | None] = ContextVar("sillar_causality", default=None)


class Asked(NamedTuple):
    """What the blocks around some work ask for.

    Attributes:
        target: where the innermost ``primary_context`` or ``replica_context`` sends all work.
        consistency: what the innermost ``consistency_context`` (or session) asks of reads.
    """

    target: Target | None
    consistency: Consistency | None


_NOTHING: Final = Asked(None, None)
_asked: ContextVar[Asked | None] = ContextVar("sillar_asked", default=None)

asked_for: Final = _asked.get
"""What the blocks around this ask for; None outside of any, as it mostly is."""


def current_target() -> Target | None:
    """Where the innermost ``primary_context`` or ``replica_context`` sends all work, or None."""
    return (_asked.get() or _NOTHING).target


def current_consistency() -> Consistency | None:
    """What the innermost ``consistency_context`` (or session) asks of reads, or None: then the database's default."""
    return (_asked.get() or _NOTHING).consistency


def current_causality() -> CausalContext:
    """What this line of work has written; begun here where nothing was yet."""
    found = _causality.get()
    if found is None:
        found = CausalContext({})
        _causality.set(found)
    elif not found.is_of_this_task():
        found = CausalContext(dict(found.marks))
        _causality.set(found)
    return found


def freshness(database: str) -> Hashable:
    """What decides which nodes may serve a read of this context: work in which it differs is not done together."""
    causality = _causality.get()
    return _asked.get(), None if causality is None else causality.marks.get(database)


@contextmanager
def causal_context() -> Iterator[CausalContext]:
    """Let everything in the block, its child tasks included, read what any of it has written."""
    outer = _causality.get()
    context = CausalContext({} if outer is None else dict(outer.marks), shared=True)
    token = _causality.set(context)
    try:
        yield context
    finally:
        _causality.reset(token)


@contextmanager
def consistency_context(consistency: Consistency) -> Iterator[None]:
    """Ask this of all reads in the block, of every database and ORM; a session's own ``consistency`` wins."""
    token = ask_for(consistency)
    try:
        yield
    finally:
        _asked.reset(token)


AskedFor = Token[Asked | None]


def ask_for(consistency: Consistency) -> AskedFor:
    """Ask this of all reads from here on; give the token to :func:`ask_no_more`."""
    return _asked.set(Asked(current_target(), consistency))


def ask_no_more(token: AskedFor) -> None:
    """Ask again what was asked before; also from another context, where nothing was."""
    with suppress(ValueError):  # left in another context (a generator that somebody else closes)
        _asked.reset(token)


@contextmanager
def primary_context() -> Iterator[None]:
    """Send everything in the block to the primary, reads included."""
    token = _asked.set(Asked(Target.PRIMARY, current_consistency()))
    try:
        yield
    finally:
        _asked.reset(token)


@contextmanager
def replica_context() -> Iterator[None]:
    """Send everything in the block to a replica that is fresh enough (the primary, where none is).

    It says that nothing in the block writes, also of statements that do not look like reads (a function, unknown text):
    a replica refuses those that do with :class:`ReadOnlyError`. Transactions in the block are read-only.
    """
    token = _asked.set(Asked(Target.REPLICA, current_consistency()))
    try:
        yield
    finally:
        _asked.reset(token)


def _current_task_id() -> int:
    try:
        return id(asyncio.current_task())
    except RuntimeError:  # no event loop runs here
        return 0


class Need:
    """What a caller wants of a connection, where there are several nodes.

    Attributes:
        is_read: it certainly does not write (or its block has said so).
        consistency: how fresh a read has to be; None is the database's default.
        causality: what the line of work has written; a write is added to it.
        settled: the source's own: what it has found out for such a read, and need not look up again.
    """

    __slots__ = ("causality", "consistency", "is_read", "settled")

    def __init__(self, causality: CausalContext, consistency: Consistency | None, *, is_read: bool) -> None:
        self.causality = causality
        self.consistency = consistency
        self.is_read = is_read
        self.settled: object = None

    def __repr__(self) -> str:
        what = "read" if self.is_read else "write"
        return f"Need({what}, {self.consistency.level if self.consistency else 'default'})"


class LineOfWork:
    """What one session needs of its connections: made once, so that a statement costs no more than a look.

    Args:
        causality: what was written so far.
        consistency: the session's own; None is what the context asks for, and then the database's default.
    """

    __slots__ = ("causality", "consistency", "read", "strong", "write")

    def __init__(self, causality: CausalContext, consistency: Consistency | None) -> None:
        self.causality = causality
        self.consistency = consistency
        self.read = Need(causality, consistency, is_read=True)
        self.strong = Need(causality, Consistency.STRONG, is_read=True)
        self.write = Need(causality, consistency, is_read=False)

    def need(self, is_read: bool) -> Need:
        """What a statement or transaction needs now, in the block that it stands in."""
        asked = _asked.get()
        if asked is None:
            return self.read if is_read else self.write
        if asked.target is Target.PRIMARY:
            return self.strong if is_read else self.write
        if not is_read and asked.target is None:
            return self.write
        if self.consistency is None and asked.consistency is not None:
            return Need(self.causality, asked.consistency, is_read=True)
        return self.read


def current_line(consistency: Consistency | None = None) -> LineOfWork:
    """The line of work of this context, for sessions that ask for this consistency."""
    causality = _causality.get()
    try:  # as is_of_this_task() says, without a call more
        is_ours = causality is not None and (causality.shared or causality.task_id == id(asyncio.current_task()))
    except RuntimeError:  # no event loop runs here
        is_ours = False
    if causality is None or not is_ours:
        causality = current_causality()
    if consistency is not None:
        return LineOfWork(causality, consistency)
    line = causality.line
    if line is None:
        line = causality.line = LineOfWork(causality, None)
    return line
