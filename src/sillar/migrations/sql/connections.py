"""What migrations need of a connection, whatever its driver."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from sqlalchemy.engine import Connection
from sqlalchemy.util import await_only

_CODES: Final = ("sqlstate", "pgcode", "sqlite_errorname")


def pause(connection: Connection, seconds: float) -> None:
    """Wait, without holding up the event loop where the driver is asynchronous."""
    if connection.dialect.is_async:
        await_only(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)


def lent_by_sillar(connection: Connection) -> Any:
    """Sillar's own connection as SQLAlchemy has it, with the ``physical`` one behind it; None where the driver is a
    stock one."""
    found = connection.connection.dbapi_connection
    return found if hasattr(found, "physical") else None


def code_of(error: BaseException) -> str | int | None:
    """The server's own code in an error of SQLAlchemy's or of any driver: SQLSTATE, or MySQL's number."""
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        seen.append(link)
        if link.args and isinstance(link.args[0], int):  # MySQL's drivers, of which some know a coarse SQLSTATE, too
            return link.args[0]
        found: Any = next((getattr(link, name) for name in _CODES if getattr(link, name, None)), None)
        if isinstance(found, str):
            return found
        code = getattr(link, "code", None)  # Sillar's own errors
        if isinstance(code, int) or (isinstance(code, str) and len(code) == 5 and code.upper() == code):
            return code
        link = getattr(link, "orig", None) or link.__cause__
    return None


def words_of(error: BaseException) -> str:
    """What the server said, without SQLAlchemy's statement, parameters and links."""
    origin = getattr(error, "orig", None) or error
    return " ".join(str(origin).split())


__all__ = ["code_of", "lent_by_sillar", "pause", "words_of"]
