"""Credentials whose password is kept by the host's secrets manager."""

from __future__ import annotations

from pydantic import SecretStr

from sillar.config import DatabaseCredentials, SecretsManager
from sillar.errors import ConfigurationError, ConfigurationFault


async def resolve_credentials(credentials: DatabaseCredentials, secrets: SecretsManager | None) -> DatabaseCredentials:
    """The credentials to connect with now: ``password_secret`` is looked up in ``secrets``, all else stays.

    Call it for each connect, so that a rotated password is used from the next connection on. What ``secrets`` raises
    is passed on.

    Raises:
        ConfigurationError: a secret is named and there is no secrets manager.
    """
    name = credentials.password_secret
    if name is None:
        return credentials
    if secrets is None:
        raise ConfigurationError([ConfigurationFault(
            "credentials.password_secret", "DatabaseCredentials", f"{name!r} names a secret and nobody keeps secrets",
            "give the manager a SecretsManager, or set credentials.password")])  # fmt: skip
    password = SecretStr(await secrets.get_secret(name))
    return DatabaseCredentials(user=credentials.user, password=password)
