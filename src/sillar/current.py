"""The session or transaction of this context: what a builder or an ORM joins when it is not handed one.

``async with session`` and ``async with session.transaction()`` make themselves current for their block. Context
variables are copied into tasks, so a task that was started inside a transaction still sees it; it is refused there,
because a transaction belongs to one task.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING

from sillar.errors import UsageError

if TYPE_CHECKING:
    from sillar.execution.statements import Statements
    from sillar.execution.transaction import Transaction

_current: ContextVar[tuple[Statements, ...]] = ContextVar("sillar_current", default=())
"""The open blocks of this context, the innermost last."""

Entered = Token[tuple["Statements", ...]]


def enter(statements: Statements) -> Entered:
    """Make it current; give the token to :func:`leave`."""
    return _current.set((*_current.get(), statements))


def leave(statements: Statements, token: Entered | None) -> None:
    """Let what was current before be so again; also from another context, where nothing was entered."""
    if token is None:
        return
    try:
        _current.reset(token)
    except ValueError:  # left in another context (a generator that somebody else closes): there it is not current
        rest = tuple(each for each in _current.get() if each is not statements)
        _current.set(rest)


def current_session(database: str | None = None) -> Statements:
    """The session or transaction that the innermost open block of this context gives.

    Args:
        database: configured name; None takes whatever is innermost.

    Raises:
        UsageError: there is none, or it is the transaction of another task.
    """
    for each in reversed(_current.get()):
        if database is None or each.database_name == database:
            transaction = each.owning_transaction
            if transaction is not None:
                transaction.check_task()
            return each
    where = "" if database is None else f" on the database {database!r}"
    raise UsageError(
        f"no session is open in this context{where}: use `async with manager.session()`, or pass the session"
    )


async def joined_transaction(database: str, shared: Container[Transaction] = ()) -> Transaction | None:
    """The transaction of this context on a database, for an ORM to join; None outside of one.

    A session that begins with its first statement (``autobegin``) begins here.

    Args:
        database: configured name.
        shared: outermost transactions that other tasks may use, too; the caller keeps their statements in order.

    Raises:
        UsageError: it belongs to another task, or has ended while its block is still open.
    """
    for each in reversed(_current.get()):
        if each.database_name == database:
            await each.begin_if_due()
            transaction = each.owning_transaction
            if transaction is not None:
                if not transaction.is_open or transaction.outermost not in shared:
                    transaction.check_task()
                return transaction
    return None


@contextmanager
def detached() -> Iterator[None]:
    """Run the block as if no session and no transaction were open around it."""
    token = _current.set(())
    try:
        yield
    finally:
        _current.reset(token)
