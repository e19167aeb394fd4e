"""Users of a server and their passwords."""

from __future__ import annotations

import secrets
from typing import Any, Protocol

from sillar.engines.connection import DriverConnection
from sillar.errors import UsageError

PASSWORD_BYTES = 32


class Accounts(Protocol):
    """Changes passwords on a server, over an administrator's connection (or the user's own)."""

    async def change_password(
        self, connection: DriverConnection[Any], user: str, password: str, *, keep_old: bool
    ) -> bool:
        """Give ``user`` another password.

        Args:
            connection: of somebody who may do that.
            user: name of the user (role).
            password: printable ASCII without quotes and backslashes.
            keep_old: let the password of before work, too, until the next change, where the server can do that.

        Returns:
            whether the password of before still works.

        Raises:
            StatementError: no such user, or no right to change it; the statement is not shown.
            UsageError: a character of the password or the user's name is not among those.
        """
        ...


def new_password() -> str:
    """A random password of 43 letters, digits, ``-`` and ``_`` (256 bits)."""
    return secrets.token_urlsafe(PASSWORD_BYTES)


def check_password(password: str) -> str:
    """The password, if every server and every log-in method takes it as it is.

    Raises:
        UsageError: it does not; the message does not show it.
    """
    if not password or not password.isascii() or not password.isprintable() or set(password) & set("'\"\\"):
        raise UsageError("a new password is printable ASCII, not empty, and without quotes and backslashes")
    return password


def check_user(user: str) -> str:
    """The name, if it can be quoted safely. Raises ``UsageError``."""
    if not user or not user.isprintable() or set(user) & set("'\"`\\"):
        raise UsageError(f"the user {user!r} is empty or has a quote, a backslash or a control character in its name")
    return user
