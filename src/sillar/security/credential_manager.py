"""Who logs in to each database, now: resolved per connect, kept for its lease, rotated while serving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self

from sillar.clock import Clock, SystemClock
from sillar.config import DatabaseCredentials, SecretsManager
from sillar.errors import UsageError
from sillar.security.current import CurrentCredentials
from sillar.security.lease import CredentialLease
from sillar.security.sources import SecretSource, as_source

if TYPE_CHECKING:
    from sillar.security.rotation import CredentialRotation


class DatabaseCredentialManager:
    """Gives the credentials of databases, and changes them. It belongs to one event loop until it is closed.

    A source with leases of its own (Vault) is asked again in time before each ends, and by then used connections have
    been replaced. Any other is asked every ``refresh_seconds``; files are looked at whenever a connection is opened.
    While a source does not answer, what it said last is used until its lease ends, or for ``grace_seconds``.

    Args:
        secrets_manager: one of the sources of ``sillar.security.sources``, or any object of the host's with
            ``async get_secret(name)``.
        secret_names: the name of the secret of each database; otherwise it is ``credentials.password_secret`` of the
            configuration, or the name of the database.
        rotations: how :meth:`rotate_credentials` changes the credentials of a database.
        refresh_seconds: after how long a secret without an end is read again; 0: for each connect, and at no other
            time.
        grace_seconds: how long such a secret is used while its source does not answer.
        poll_seconds: how often files are looked at in between.
        clock: where time comes from.

    Attributes:
        secrets_manager: as given.
    """

    def __init__(
        self,
        secrets_manager: SecretsManager,
        *,
        secret_names: Mapping[str, str] | None = None,
        rotations: Mapping[str, CredentialRotation] | None = None,
        refresh_seconds: float = 60.0,
        grace_seconds: float = 3600.0,
        poll_seconds: float = 2.0,
        clock: Clock | None = None,
    ) -> None:
        if refresh_seconds < 0 or grace_seconds < 0 or poll_seconds <= 0:
            raise UsageError("refresh_seconds and grace_seconds are 0 or more, poll_seconds more than 0")
        self.secrets_manager = secrets_manager
        self._source = as_source(secrets_manager)
        self._secret_names = dict(secret_names or {})
        self._rotations = dict(rotations or {})
        self._refresh_seconds, self._grace_seconds, self._poll_seconds = refresh_seconds, grace_seconds, poll_seconds
        self._clock = clock or SystemClock()
        self._current: dict[str, CurrentCredentials] = {}
        self._attached: dict[str, int] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def around(cls, secrets: SecretsManager | DatabaseCredentialManager) -> DatabaseCredentialManager:
        """``secrets`` itself, or a manager of it; an object of the host's is asked for each connect."""
        if isinstance(secrets, DatabaseCredentialManager):
            return secrets
        return cls(secrets) if isinstance(secrets, SecretSource) else cls(secrets, refresh_seconds=0.0)

    # --- under the names of the specification -------------------------------------------------------------------------

    async def get_credentials(self, database_name: str) -> DatabaseCredentials:
        """The credentials to connect with now.

        Raises:
            ConfigurationError: the secret is missing or unusable.
            ConnectError: the source cannot be asked, and what it said before does not hold any more.
        """
        return (await self.lease(database_name)).credentials

    async def rotate_credentials(self, database_name: str) -> None:
        """Replace the credentials of a database while it is in use: new ones in the server, then in the source, then
        here.

        Connections of before are replaced gently, so no request fails. What other processes use is replaced when they
        read the source next, at the latest when the server refuses them.

        Raises:
            UsageError: nobody said how (``rotations``), or the source cannot be written. Nothing has changed.
            DatabaseError: the server or the source failed; what held before is restored where that was possible.
        """
        current = self._of(database_name)
        rotation = self._rotations.get(database_name)
        if rotation is None and not self._source.issues_credentials:
            raise UsageError(
                f"nobody has said how the credentials of {database_name!r} are rotated; give rotations={{"
                f"{database_name!r}: …}}, or change them where they are kept"
            )

        async def change(lease: CredentialLease) -> None:
            if rotation is not None:
                self._source.check_writable(current.secret)
                await rotation.rotate(lease.credentials, current.publish)

        await current.rotate(change)

    # --- for who opens connections ------------------------------------------------------------------------------------

    async def lease(self, database_name: str) -> CredentialLease:
        """As :meth:`get_credentials`, with how long they hold."""
        return await self._of(database_name).lease()

    async def replacement(self, database_name: str, refused: DatabaseCredentials) -> CredentialLease | None:
        """Tell that a server has refused a login; other credentials to try at once, or None if there are none yet.

        Raises:
            As :meth:`get_credentials`.
        """
        return await self._of(database_name).replacement(refused)

    def worked(self, database_name: str, credentials: DatabaseCredentials) -> None:
        """Tell that a login has succeeded."""
        self._of(database_name).worked(credentials)

    def now(self) -> float:
        """The time by which leases are measured."""
        return self._clock.monotonic()

    def serves(self, database_name: str, configured: DatabaseCredentials) -> bool:
        """Whether the credentials of this database come from here."""
        return configured.password_secret is not None or database_name in self._secret_names

    def attach(
        self, database_name: str, configured: DatabaseCredentials, changed: Callable[[str], None]
    ) -> CredentialAttachment:
        """Begin to watch the credentials of a database, for somebody who has connections with them.

        Args:
            database_name: the database.
            configured: its configuration: who logs in, and under which name its secret is kept.
            changed: called with a reason after they have changed: connections of before should go soon.
        """
        name = self._secret_names.get(database_name) or configured.password_secret or database_name
        current = self._current.get(database_name)
        if current is None:
            current = self._of(database_name, name)
        elif current.secret != name or (current.user is not None and current.user != configured.user):
            raise UsageError(
                f"{database_name!r} is configured twice, with the secrets {current.secret!r} and {name!r} or different"
                " users; give each manager credentials of its own"
            )
        current.user = configured.user
        current.listeners.append(changed)
        self._attached[database_name] = self._attached.get(database_name, 0) + 1
        if database_name not in self._keepers and (self._refresh_seconds > 0 or self._source.issues_credentials):
            keeper = asyncio.get_running_loop().create_task(current.keep(self._poll_seconds))
            self._keepers[database_name] = keeper
        return CredentialAttachment(self, database_name, changed)

    # --- life ---------------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Stop watching, revoke what was issued, close the source. It may be used again afterwards."""
        for name in list(self._current):
            await self._drop(name)
        await self._source.close()
        self._loop = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- within -------------------------------------------------------------------------------------------------------

    def _of(self, database_name: str, secret: str | None = None) -> CurrentCredentials:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise UsageError(f"{self!r} belongs to {self._loop!r} and was used in {loop!r}; make one for each loop")
        current = self._current.get(database_name)
        if current is None:
            current = self._current[database_name] = CurrentCredentials(
                database_name,
                secret or self._secret_names.get(database_name, database_name),
                self._source,
                self._clock,
                refresh_seconds=self._refresh_seconds,
                grace_seconds=self._grace_seconds,
            )
        return current

    async def _detach(self, database_name: str, changed: Callable[[str], None]) -> None:
        current = self._current.get(database_name)
        if current is None or changed not in current.listeners:  # closed meanwhile
            return
        current.listeners.remove(changed)
        self._attached[database_name] -= 1
        if not self._attached[database_name]:
            await self._drop(database_name)

    async def _drop(self, database_name: str) -> None:
        self._attached.pop(database_name, None)
        keeper = self._keepers.pop(database_name, None)
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        current = self._current.pop(database_name, None)
        if current is not None:
            await current.drop()

    def __repr__(self) -> str:
        return f"<DatabaseCredentialManager on {self._source.description}>"

    def __reduce__(self) -> NoReturn:
        raise UsageError("a DatabaseCredentialManager cannot be pickled; make one where it is needed")


class CredentialAttachment:
    """Somebody's interest in the credentials of one database; :meth:`detach` ends it."""

    def __init__(self, manager: DatabaseCredentialManager, database_name: str, changed: Callable[[str], None]) -> None:
        self._manager, self._database_name, self._changed = manager, database_name, changed

    async def detach(self) -> None:
        """Hear nothing any more. The last one to leave ends the watching and revokes what was issued."""
        await self._manager._detach(self._database_name, self._changed)
