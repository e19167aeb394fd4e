"""Sessions that belong to the line of work in which they were made, in whatever task SQLAlchemy ends them.

``async with session_factory.begin()`` flushes and commits in a task that SQLAlchemy makes for it, so that it may be the
first to ask for a connection: what it writes there is to be read by the task that waits for it.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session, SessionTransaction

from sillar.consistency import current_causality

_LINE: Final = "sillar_line"


class SessionOfLine(Session):
    """A stock session that knows where it was made."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.info[_LINE] = current_causality()


def _connected(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    lent: Any = connection.connection.dbapi_connection
    lent.line_of_session = session.info[_LINE]


event.listen(SessionOfLine, "after_begin", _connected, propagate=True)
