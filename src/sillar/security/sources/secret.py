"""What a source of secrets gives, and the protocol that all sources share with those of the host application."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn, Self

from pydantic import SecretStr

from sillar.config import DatabaseCredentials
from sillar.errors import ConfigurationError, ConfigurationFault, UsageError

_USER_FIELDS = ("username", "user")
_PASSWORD_FIELDS = ("password",)


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """One value of a secret. Its text is in no repr, and it cannot be pickled.

    Attributes:
        text: a password alone, or a JSON object with ``username`` and ``password`` (and whatever else is kept there).
        valid_seconds: how long the server that issued it will honour it; None: until somebody changes it.
        renewable: the end can be put off with :meth:`SecretSource.renew`.
        lease: what the source needs to renew or revoke it; an opaque value, never shown.
        version: changes when the value does, where the source knows that; compared with :meth:`SecretSource.version`.
    """

    text: SecretStr
    valid_seconds: float | None = None
    renewable: bool = False
    lease: Any = None
    version: str | None = None

    def credentials(self, name: str, user: str | None = None) -> DatabaseCredentials:
        """The credentials it holds; ``user`` where it names none.

        Raises:
            ConfigurationError: it is a JSON object without a password.
        """
        fields = _fields(self.text.get_secret_value())
        if fields is None:
            return DatabaseCredentials(user=user, password=self.text)
        password = next((fields[key] for key in _PASSWORD_FIELDS if isinstance(fields.get(key), str)), None)
        if password is None:
            raise wrong_secret(name, "is a JSON object without the text field `password`",
                               "store {\"username\": …, \"password\": …}, or the password alone")  # fmt: skip
        named = next((fields[key] for key in _USER_FIELDS if isinstance(fields.get(key), str)), None)
        return DatabaseCredentials(user=named or user, password=SecretStr(password))

    def replaced(self, credentials: DatabaseCredentials) -> SecretStr:
        """The text to store in its place for other credentials: the same form, and all other fields as they were."""
        return secret_text(credentials, self.text.get_secret_value())

    def __repr__(self) -> str:
        until = "" if self.valid_seconds is None else f", valid for {self.valid_seconds:.0f} s"
        return f"<Secret{until}>"

    def __reduce__(self) -> NoReturn:
        raise UsageError("a secret cannot be pickled; ask its source where it is needed")


def secret_text(credentials: DatabaseCredentials, before: str | None = None) -> SecretStr:
    """What is stored for ``credentials``, in the form of what was stored ``before``: JSON unless it was a password."""
    assert credentials.password is not None
    fields = {} if before is None else _fields(before)
    if fields is None:
        return SecretStr(credentials.password.get_secret_value())
    user_field = next((key for key in _USER_FIELDS if key in fields), _USER_FIELDS[0])
    named = {} if credentials.user is None else {user_field: credentials.user}
    return SecretStr(json.dumps({**fields, **named, _PASSWORD_FIELDS[0]: credentials.password.get_secret_value()}))


def _fields(text: str) -> dict[str, Any] | None:
    """The fields of a JSON object; None for everything else, which is a password."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        fields = json.loads(text)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def wrong_secret(name: str, problem: str, remedy: str) -> ConfigurationError:
    """The error for a secret that is not there or is not what it should be. No part may hold its value."""
    return ConfigurationError([ConfigurationFault(f"secret {name!r}", "secrets", problem, remedy)])


class SecretSource(ABC):
    """Where secrets are kept. It is a ``SecretsManager``, too: ``get_secret(name)`` gives the text alone.

    A source of your own overrides :meth:`read`, and of the others what it can do better than this class. Errors it
    raises must not contain a secret. It may be used again after :meth:`close`.
    """

    description: str = "secrets"
    """For messages: what it is and where, without anything secret."""

    @abstractmethod
    async def read(self, name: str) -> Secret:
        """The current value of the secret ``name``.

        Raises:
            ConfigurationError: there is none, or it cannot be used.
            ConnectError: the source cannot be reached now.
        """

    async def get_secret(self, name: str) -> str:
        """The text of :meth:`read`, for the host's protocol."""
        return (await self.read(name)).text.get_secret_value()

    def version(self, name: str) -> str | None:
        """What :attr:`Secret.version` would be now, had without delay; None: only reading can tell."""
        return None

    def check_writable(self, name: str) -> None:
        """Return if :meth:`write` can be expected to work.

        Raises:
            UsageError: this source cannot be written.
        """
        raise UsageError(f"{self.description} cannot be written: change secret {name!r} where it is kept")

    async def write(self, name: str, text: SecretStr) -> None:
        """Replace the value, all of it or not at all.

        Raises:
            UsageError: this source cannot be written.
            ConnectError: the source cannot be reached now.
        """
        self.check_writable(name)

    @property
    def issues_credentials(self) -> bool:
        """Whether each :meth:`read` makes a new user in the database, so that reading again is rotating."""
        return False

    async def renew(self, name: str, secret: Secret) -> Secret | None:
        """Put off the end of a renewable secret; None: it has to be read anew.

        Raises:
            ConnectError: the source cannot be reached now.
        """
        return None

    async def revoke(self, name: str, secret: Secret) -> None:  # noqa: B027 - most have nothing to do
        """Have the server forget a secret that it issued."""

    async def close(self) -> None:  # noqa: B027 - most have nothing to do
        """Close what is open."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.description}>"

    def __reduce__(self) -> NoReturn:
        raise UsageError(f"a {type(self).__name__} cannot be pickled; make one where it is needed")
