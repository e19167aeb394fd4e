"""A logged-in client of HashiCorp Vault: logs in, renews its token, logs in again."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import SecretStr

from sillar.errors import ConnectError, UsageError
from sillar.security.sources.secret import wrong_secret

T = TypeVar("T")

_RENEW_AFTER = 2 / 3


class VaultLogin(ABC):
    """How one logs in to Vault. Runs in a thread."""

    makes_tokens: bool = True
    """Whether each login makes a token of its own, which is revoked in the end."""

    @abstractmethod
    def log_in(self, client: Any) -> tuple[float, bool]:
        """Log an ``hvac.Client`` in; how many seconds its token is valid, and whether that can be prolonged."""

    def __reduce__(self) -> NoReturn:
        raise UsageError(f"a {type(self).__name__} cannot be pickled")


class VaultToken(VaultLogin):
    """A token that is given, or that an agent writes into a file, which is read at each login."""

    makes_tokens = False

    def __init__(self, token: SecretStr | Path) -> None:
        self._token = token

    def log_in(self, client: Any) -> tuple[float, bool]:
        token = self._token
        client.token = token.read_text().strip() if isinstance(token, Path) else token.get_secret_value()
        found = client.auth.token.lookup_self()["data"]
        return float(found.get("ttl") or math.inf), bool(found.get("renewable"))


class VaultAppRole(VaultLogin):
    """An AppRole: a role and its secret id."""

    def __init__(self, role_id: str, secret_id: SecretStr, *, mount: str = "approle") -> None:
        self._role_id, self._secret_id, self._mount = role_id, secret_id, mount

    def log_in(self, client: Any) -> tuple[float, bool]:
        secret_id = self._secret_id.get_secret_value()
        return _granted(client.auth.approle.login(self._role_id, secret_id, mount_point=self._mount))


class VaultKubernetes(VaultLogin):
    """The service account of a pod in Kubernetes."""

    def __init__(
        self,
        role: str,
        *,
        token_file: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount/token"),
        mount: str = "kubernetes",
    ) -> None:
        self._role, self._token_file, self._mount = role, token_file, mount

    def log_in(self, client: Any) -> tuple[float, bool]:
        token = self._token_file.read_text().strip()
        return _granted(client.auth.kubernetes.login(self._role, token, mount_point=self._mount))


def _granted(reply: Any) -> tuple[float, bool]:
    auth = reply["auth"]
    return float(auth.get("lease_duration") or math.inf), bool(auth.get("renewable"))


class VaultConnection:
    """Runs calls of ``hvac`` in a thread, one after the other, under a token that is kept alive.

    Vault ends the leases of a token together with the token: it is renewed as long as that is possible, and ``logins``
    tells whether a lease was had under the present one.

    Args:
        url: of the server.
        login: how to log in.
        namespace: of Vault Enterprise.
        verify: whether to verify the server's certificate, or the file of the authorities to trust.
        timeout_seconds: of each request.

    Attributes:
        logins: how often it has logged in.
    """

    def __init__(
        self, url: str, login: VaultLogin, *, namespace: str | None, verify: bool | str, timeout_seconds: float
    ) -> None:
        self.url = url
        self.logins = 0
        self._login = login
        self._settings = {"namespace": namespace, "verify": verify, "timeout": timeout_seconds}
        self._client: Any = None
        self._lock = threading.Lock()
        self._seconds = self._until = self._renew_at = 0.0
        self._renewable = False
        _hvac()  # says at once when the package is missing

    async def call(self, name: str, work: Callable[[Any], T]) -> T:
        """Run ``work`` with the client; once more after a new login if the token is refused.

        Raises:
            ConfigurationError: there is no such path; ``name`` says which secret was wanted.
            ConnectError: Vault cannot be reached, is sealed, or refuses.
        """
        return await asyncio.to_thread(self._run, name, work)

    def token_seconds(self) -> float:
        """How long the token is valid."""
        return self._until - time.monotonic()

    async def close(self) -> None:
        """Give back the token, if it was made for us, and close the sockets."""
        await asyncio.to_thread(self._close)

    # --- in a thread --------------------------------------------------------------------------------------------------

    def _run(self, name: str, work: Callable[[Any], T]) -> T:
        exceptions = _hvac().exceptions
        with self._lock:
            try:
                is_new = self._keep_alive()
                try:
                    return work(self._client)
                except (exceptions.Forbidden, exceptions.Unauthorized):
                    if is_new:
                        raise
                    self._log_in()
                    return work(self._client)
            except exceptions.InvalidPath:
                raise wrong_secret(name, f"Vault at {self.url} has nothing there",
                                   "write it, or correct name and mount") from None  # fmt: skip
            except (exceptions.VaultError, OSError) as error:  # those of requests are OSErrors
                # Without the error itself: it holds the whole reply.
                raise ConnectError(f"Vault at {self.url} failed for {name!r}: {type(error).__name__}") from None

    def _keep_alive(self) -> bool:
        """Have a token that is valid for a while; whether it is a new one."""
        now = time.monotonic()
        if self._client is not None and now < self._renew_at:
            return False
        if self._client is not None and self._renewable and now < self._until:
            try:
                seconds, renewable = _granted(self._client.auth.token.renew_self())
            except _hvac().exceptions.VaultError:
                seconds, renewable = 0.0, False
            if seconds > self._seconds / 2:  # else it nears the end of what Vault grants
                self._granted(seconds, renewable)
                return False
        self._log_in()
        return True

    def _log_in(self) -> None:
        if self._client is None:
            self._client = _hvac().Client(self.url, **self._settings)
        seconds, renewable = self._login.log_in(self._client)
        self.logins += 1
        self._seconds = seconds
        self._granted(seconds, renewable)

    def _granted(self, seconds: float, renewable: bool) -> None:
        now = time.monotonic()
        self._until, self._renew_at, self._renewable = now + seconds, now + seconds * _RENEW_AFTER, renewable

    def _close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
            if client is None:
                return
            try:
                if self._login.makes_tokens:
                    client.auth.token.revoke_self()
            except (_hvac().exceptions.VaultError, OSError):
                pass  # it ends by itself
            finally:
                client.adapter.close()

    def __reduce__(self) -> NoReturn:
        raise UsageError("a connection to Vault cannot be pickled")


def invalid_request() -> type[Exception]:
    """What ``hvac`` raises for a request that Vault does not take, such as for a lease that is over."""
    refused: type[Exception] = _hvac().exceptions.InvalidRequest
    return refused


def _hvac() -> Any:
    try:
        import hvac  # type: ignore[import-untyped]
    except ImportError:
        raise UsageError("Vault needs the package hvac: install sillar[vault]") from None
    return hvac
