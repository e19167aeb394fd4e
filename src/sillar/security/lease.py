"""Credentials, and how long they hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NoReturn

from sillar.config import DatabaseCredentials
from sillar.errors import UsageError
from sillar.security.sources import Secret


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class CredentialLease:
    """What to log in with, and until when.

    Attributes:
        credentials: user and password.
        valid_until: the end by the manager's clock, ``clock.monotonic()``; infinite for what holds until it is changed.
        ask_again_at: by the same clock: when its source is asked again.
        renewable: the source may put off the end.
        secret: what the source gave.
    """

    credentials: DatabaseCredentials
    valid_until: float
    ask_again_at: float
    renewable: bool
    secret: Secret

    @property
    def ends(self) -> bool:
        """Whether the server will refuse them some day by itself."""
        return not math.isinf(self.valid_until)

    def __repr__(self) -> str:
        return f"<CredentialLease of {self.credentials.user!r}{', ends by itself' if self.ends else ''}>"

    def __reduce__(self) -> NoReturn:
        raise UsageError("a lease of credentials cannot be pickled; ask for one where it is needed")
