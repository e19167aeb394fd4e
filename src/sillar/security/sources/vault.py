"""Secrets of HashiCorp Vault: stored ones, and users that it makes for us."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from sillar.security.sources.secret import Secret, SecretSource
from sillar.security.sources.vault_connection import VaultConnection, VaultLogin, invalid_request


class VaultSource(SecretSource):
    """Stored secrets: the key-value engine, version 2. Secret ``shop/main`` is the path ``shop/main`` of the mount.

    Its data holds ``username`` and ``password``. A write adds a version, and is refused if somebody else has written
    since (check-and-set).

    Args:
        url: of the server, such as ``https://vault:8200``.
        login: how to log in.
        mount: of the engine.
        namespace: of Vault Enterprise.
        verify: whether to verify the server's certificate, or the file of the authorities to trust.
        timeout_seconds: of each request.
    """

    def __init__(
        self,
        url: str,
        login: VaultLogin,
        *,
        mount: str = "secret",
        namespace: str | None = None,
        verify: bool | str = True,
        timeout_seconds: float = 5.0,
    ) -> None:
        self._vault = VaultConnection(url, login, namespace=namespace, verify=verify, timeout_seconds=timeout_seconds)
        self._mount = mount
        self.description = f"Vault at {url}, mount {mount}"

    async def read(self, name: str) -> Secret:
        return Secret(SecretStr(json.dumps((await self._read(name))["data"])))

    def check_writable(self, name: str) -> None:
        """Whether a policy allows it is seen when it is written."""

    async def write(self, name: str, text: SecretStr) -> None:
        version = (await self._read(name))["metadata"]["version"]
        data = json.loads(text.get_secret_value())
        await self._vault.call(
            name,
            lambda client: client.secrets.kv.v2.create_or_update_secret(
                name, data, cas=version, mount_point=self._mount
            ),
        )

    async def close(self) -> None:
        await self._vault.close()

    async def _read(self, name: str) -> Any:
        reply = await self._vault.call(
            name,
            lambda client: client.secrets.kv.v2.read_secret_version(
                name, mount_point=self._mount, raise_on_deleted_version=True
            ),
        )
        return reply["data"]


@dataclass(frozen=True, slots=True, repr=False)
class _VaultLease:
    id: str
    seconds: float
    login: int


class VaultDatabaseSource(SecretSource):
    """Users that the database engine of Vault makes: secret ``shop`` is its role ``shop``. Each reading makes a user.

    Its lease is renewed when two thirds of it are over; where Vault grants less than half of it, or the token of the
    lease is gone, another user is made. Leases are revoked when nobody uses the database any more.

    Args:
        url, login, namespace, verify, timeout_seconds: as for :class:`VaultSource`.
        mount: of the database engine.
    """

    def __init__(
        self,
        url: str,
        login: VaultLogin,
        *,
        mount: str = "database",
        namespace: str | None = None,
        verify: bool | str = True,
        timeout_seconds: float = 5.0,
    ) -> None:
        self._vault = VaultConnection(url, login, namespace=namespace, verify=verify, timeout_seconds=timeout_seconds)
        self._mount = mount
        self.description = f"Vault at {url}, database engine {mount}"

    @property
    def issues_credentials(self) -> bool:
        return True

    async def read(self, name: str) -> Secret:
        reply = await self._vault.call(
            name, lambda client: client.secrets.database.generate_credentials(name, mount_point=self._mount)
        )
        data, seconds = reply["data"], float(reply["lease_duration"])
        text = json.dumps({"username": data["username"], "password": data["password"]})
        lease = _VaultLease(reply["lease_id"], seconds, self._vault.logins)
        return self._secret(SecretStr(text), seconds, bool(reply["renewable"]), lease)

    async def renew(self, name: str, secret: Secret) -> Secret | None:
        lease: _VaultLease = secret.lease

        def renew(client: Any) -> Any:
            if lease.login != self._vault.logins:  # its token is gone, or goes soon, and it with it
                return None
            try:
                return client.sys.renew_lease(lease.id, increment=round(lease.seconds))
            except invalid_request():  # Vault has ended it
                return None

        reply = await self._vault.call(name, renew)
        if reply is None or reply["lease_duration"] < lease.seconds / 2:
            return None
        return self._secret(secret.text, float(reply["lease_duration"]), bool(reply["renewable"]), lease)

    async def revoke(self, name: str, secret: Secret) -> None:
        await self._vault.call(name, lambda client: client.sys.revoke_lease(secret.lease.id))

    async def close(self) -> None:
        await self._vault.close()

    def _secret(self, text: SecretStr, seconds: float, renewable: bool, lease: _VaultLease) -> Secret:
        return Secret(text, min(seconds, max(0.0, self._vault.token_seconds())), renewable, lease)
