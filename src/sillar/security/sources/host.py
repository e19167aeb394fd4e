"""A secrets manager of the host application, as a source."""

from __future__ import annotations

from pydantic import SecretStr

from sillar.config import SecretsManager
from sillar.errors import UsageError
from sillar.security.sources.secret import Secret, SecretSource


class HostSource(SecretSource):
    """Any object with ``async get_secret(name)``; with ``async set_secret(name, value)`` it can be written as well.

    What the object raises is passed on.

    Args:
        secrets: the object.
    """

    def __init__(self, secrets: SecretsManager) -> None:
        self.secrets = secrets
        self.description = f"the host's {type(secrets).__name__}"

    async def read(self, name: str) -> Secret:
        return Secret(SecretStr(await self.secrets.get_secret(name)))

    def check_writable(self, name: str) -> None:
        if getattr(self.secrets, "set_secret", None) is None:
            raise UsageError(f"{self.description} has no method set_secret(name, value): secret {name!r} is read only")

    async def write(self, name: str, text: SecretStr) -> None:
        self.check_writable(name)
        await self.secrets.set_secret(name, text.get_secret_value())  # type: ignore[attr-defined]  # just checked


def as_source(secrets: SecretsManager) -> SecretSource:
    """The source that ``secrets`` is, or one around it."""
    return secrets if isinstance(secrets, SecretSource) else HostSource(secrets)
