"""How the credentials of a database are replaced while it is in use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, NoReturn

import structlog
from pydantic import SecretStr

from sillar.config import DatabaseConnectionConfig, DatabaseCredentials, NodeAddress
from sillar.engines import DatabaseAdapter, DriverConnection, NodeRole, open_adapter
from sillar.engines.accounts import new_password
from sillar.errors import ConnectError, DatabaseError, NoPrimaryError, UsageError

Publish = Callable[[DatabaseCredentials], Awaitable[None]]
"""Writes new credentials to the source, and has this process use them."""

_log = structlog.get_logger("sillar.credentials")


class CredentialRotation(ABC):
    """One way to replace the credentials of a database.

    Rotate from one place at a time: two processes that rotate the same user undo each other.

    Args:
        database: where the user lives.
        administrator: who may change passwords there; None: the user itself. A function is asked at each rotation.
        password: makes a new password: printable ASCII without quotes and backslashes.
    """

    def __init__(
        self,
        database: DatabaseConnectionConfig,
        *,
        administrator: DatabaseCredentials | Callable[[], Awaitable[DatabaseCredentials]] | None = None,
        password: Callable[[], str] = new_password,
    ) -> None:
        self._database = database
        self._administrator = administrator
        self._password = password

    @abstractmethod
    async def rotate(self, current: DatabaseCredentials, publish: Publish) -> None:
        """Make new credentials work in the server, see that they do, publish them.

        Args:
            current: those in use; they have to work until ``publish`` has returned, or as long as can be.
            publish: to be called once.

        Raises:
            DatabaseError: it did not come about; ``current`` works again, or the error says that it does not.
        """

    async def _change(
        self, current: DatabaseCredentials, user: str, password: str, *, keep_old: bool = False
    ) -> _Changed:
        """Change a password on the node that takes writes."""
        who = self._administrator
        credentials = current if who is None else who if isinstance(who, DatabaseCredentials) else await who()
        unsuitable: list[str] = []
        for address in self._database.addresses:
            try:
                async with _connection(self._database, credentials, address) as (adapter, connection):
                    if (await connection.probe()).role is NodeRole.REPLICA:
                        unsuitable.append(f"{address} is a replica")
                        continue
                    kept = await adapter.accounts.change_password(connection, user, password, keep_old=keep_old)
                    return _Changed(address, both_work=kept)
            except ConnectError as error:
                if error.permanent or len(self._database.addresses) == 1:
                    raise
                unsuitable.append(str(error))
        raise NoPrimaryError(f"no node takes the new password of {user!r}: {'; '.join(unsuitable)}")

    async def _try(self, credentials: DatabaseCredentials, address: NodeAddress) -> None:
        """Log in where the password was changed: replicas may learn of it later."""
        async with _connection(self._database, credentials, address):
            pass

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self._database.display_name}>"

    def __reduce__(self) -> NoReturn:
        raise UsageError(f"a {type(self).__name__} cannot be pickled; make one where it is needed")


class SameUserRotation(CredentialRotation):
    """The user stays, its password changes.

    Between the change and its publication only the new password works: other processes that connect just then are
    refused, and try again with what the source says. On MySQL (not MariaDB) the old password works until the next
    rotation, and so nobody is refused.

    Args:
        database, administrator, password: as for :class:`CredentialRotation`.
        keep_old: let the server honour the old password, too, where it can.
    """

    def __init__(
        self,
        database: DatabaseConnectionConfig,
        *,
        administrator: DatabaseCredentials | Callable[[], Awaitable[DatabaseCredentials]] | None = None,
        password: Callable[[], str] = new_password,
        keep_old: bool = True,
    ) -> None:
        super().__init__(database, administrator=administrator, password=password)
        self._keep_old = keep_old

    async def rotate(self, current: DatabaseCredentials, publish: Publish) -> None:
        user = _user(current)
        changed = DatabaseCredentials(user=user, password=SecretStr(self._password()))
        done = await self._change(current, user, _text(changed), keep_old=self._keep_old)
        try:
            await self._try(changed, done.address)
            await publish(changed)
        except BaseException as error:
            if not done.both_work:
                await self._undo(current, changed, error)
            raise

    async def _undo(self, current: DatabaseCredentials, changed: DatabaseCredentials, error: BaseException) -> None:
        by = changed if self._administrator is None else current
        try:
            await self._change(by, _user(current), _text(current))
        except DatabaseError as failure:
            error.add_note(
                f"and the old password of {current.user!r} could not be restored ({failure}): nobody can log in as it"
                " until an administrator sets a password and it is put into the source"
            )
            _log.error("password lost", user=current.user)


class AlternatingUsersRotation(CredentialRotation):
    """Two users with the same rights take turns: the idle one gets a new password and becomes the current one.

    The user before keeps working until the next rotation, so nobody is refused, whoever learns of the change and when.
    (The pattern is AWS Secrets Manager's "alternating users".)

    Args:
        database: where they live.
        users: the names of both; objects that one creates have to be usable by the other (a common owner role).
        administrator: who may change passwords there.
        password: as for :class:`CredentialRotation`.
    """

    def __init__(
        self,
        database: DatabaseConnectionConfig,
        users: Sequence[str],
        *,
        administrator: DatabaseCredentials | Callable[[], Awaitable[DatabaseCredentials]],
        password: Callable[[], str] = new_password,
    ) -> None:
        super().__init__(database, administrator=administrator, password=password)
        if len(set(users)) != 2 or isinstance(users, str):
            raise UsageError("alternating users are two names")
        self._users = tuple(users)

    async def rotate(self, current: DatabaseCredentials, publish: Publish) -> None:
        user = _user(current)
        if user not in self._users:
            raise UsageError(f"{user!r} is current and none of the alternating users {' and '.join(self._users)}")
        [idle] = [each for each in self._users if each != user]
        changed = DatabaseCredentials(user=idle, password=SecretStr(self._password()))
        done = await self._change(current, idle, _text(changed))
        await self._try(changed, done.address)
        await publish(changed)


class _Changed(NamedTuple):
    """Where a password was changed, and whether the one before still works there."""

    address: NodeAddress
    both_work: bool


@asynccontextmanager
async def _connection(
    database: DatabaseConnectionConfig, credentials: DatabaseCredentials, address: NodeAddress
) -> AsyncIterator[tuple[DatabaseAdapter, DriverConnection[Any]]]:
    adapter = open_adapter(database)
    try:
        connection = await adapter.open_connection(credentials, address)
        try:
            yield adapter, connection
        finally:
            await connection.close()
    finally:
        await adapter.close()


def _user(credentials: DatabaseCredentials) -> str:
    if credentials.user is None or credentials.password is None:
        raise UsageError("the current credentials have no user or no password: there is nothing to rotate")
    return credentials.user


def _text(credentials: DatabaseCredentials) -> str:
    assert credentials.password is not None
    return credentials.password.get_secret_value()
