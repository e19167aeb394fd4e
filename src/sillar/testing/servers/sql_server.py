"""What the SQL servers have in common: a user with a password, a superuser, a database."""

from __future__ import annotations

import abc
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from sillar.testing.servers.server import Server

if TYPE_CHECKING:
    from sillar.testing.servers.certificates import ServerCertificate


class SQLServer(Server):
    """A throwaway SQL server.

    Attributes:
        user, password: a plain user, owner of ``database``. Its password is checked, so a wrong one is refused.
        superuser, superuser_password: who may do everything.
        database: an empty database. All names are the environment's where the server is external.
    """

    scheme: ClassVar[str]
    superuser_name: ClassVar[str]

    def __init__(
        self,
        *,
        settings: Mapping[str, str] | None = None,
        tls: bool | ServerCertificate = False,
        own: bool = False,
    ) -> None:
        super().__init__(settings=settings, tls=tls, own=own)
        self.user, self.password = "sillar", secrets.token_hex(12)
        self.superuser, self.superuser_password = self.superuser_name, secrets.token_hex(12)
        self.database = "sillar"

    @property
    def url(self) -> str:
        """``scheme://user:password@host:port/database`` of the plain user."""
        return self._external_url or self._url(self.user, self.password)

    @property
    def superuser_url(self) -> str:
        """The same for the superuser (for an external server: the user that its address names)."""
        return self._external_url or self._url(self.superuser, self.superuser_password)

    @abc.abstractmethod
    async def execute_as_superuser(self, statement: str, *, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run one statement on a fresh connection, committed; returns its rows."""

    def _url(self, user: str, password: str) -> str:
        login = f"{quote(user, safe='')}:{quote(password, safe='')}"
        return f"{self.scheme}://{login}@{self.host}:{self.port}/{quote(self.database, safe='')}"

    def _take_login(self, user: str, password: str, database: str) -> None:
        self.user, self.password = user, password
        self.superuser, self.superuser_password = user, password
        self.database = database
