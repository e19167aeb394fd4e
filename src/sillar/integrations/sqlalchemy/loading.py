"""Relations that are loaded when they are first touched: refused, or noticed when it happens once per row."""

from __future__ import annotations

import sys
from collections import Counter
from types import FrameType
from typing import Any

import structlog
from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, RelationshipProperty, Session

from sillar.errors import UsageError
from sillar.integrations.sqlalchemy.private import in_greenlet

_log = structlog.get_logger("sillar.sqlalchemy")


def watch_loading(session_class: type[Session], *, raise_on_lazy: bool, advise_after: int | None) -> None:
    """Look at every load that sessions of a class do.

    Args:
        session_class: a class of its own: its subclasses are meant as well.
        raise_on_lazy: refuse loads that neither the query nor an ``await`` asked for.
        advise_after: from how many loads of one relation in one session on to say that they could be one; None: never.
    """

    def look(state: ORMExecuteState) -> None:
        if not state.is_relationship_load or state.lazy_loaded_from is None:
            return
        name = _relation(state)
        if raise_on_lazy and not _is_awaited():
            raise UsageError(
                f"{name} was not loaded, and raise_on_lazy refuses to load it by a touch: add"
                f" .options(selectinload({name})) to the query, or"
                f" `await session.refresh(instance, ['{name.rpartition('.')[2]}'])`"
            )
        if advise_after is not None:
            _count(state.session, name, advise_after)

    event.listen(session_class, "do_orm_execute", look)


def loading_advice(session: Any) -> list[str]:
    """What was noticed in a session: one sentence for each relation that was loaded row by row.

    Args:
        session: an ``AsyncSession`` (or ``Session``) of an integration that has ``advise_after`` set.
    """
    sync = getattr(session, "sync_session", session)
    return list(sync.info.get("sillar_advice", {}).values())


def _is_awaited() -> bool:
    """Whether the load is what somebody awaits (``awaitable_attrs``, ``refresh``): then its greenlet has no code but
    SQLAlchemy's. In ``run_sync`` it has."""
    if not in_greenlet():
        return False
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("sqlalchemy."):
        frame = frame.f_back
    return frame is None


def _count(session: Session, name: str, limit: int) -> None:
    counts: Counter[str] = session.info.setdefault("sillar_loads", Counter())
    counts[name] += 1
    if counts[name] <= limit:
        return
    advice: dict[str, str] = session.info.setdefault("sillar_advice", {})
    if name not in advice:
        _log.warning("a relation is loaded row by row", relation=name, loads=counts[name])
    advice[name] = (
        f"{name} was loaded {counts[name]} times in one session, once per row: add"
        f" .options(selectinload({name})) to the query that gave the rows, and it is one statement"
    )


def _relation(state: ORMExecuteState) -> str:
    """``Author.books``."""
    path: Any = state.loader_strategy_path
    prop = next(each for each in reversed(path) if isinstance(each, RelationshipProperty))
    return f"{prop.parent.class_.__name__}.{prop.key}"
