"""A stand-in for HashiCorp Vault: its documented HTTP interface, as far as our sources use it, with real users.

There is no Vault to be had where these tests run. What is here follows Vault's API documentation: logging in by AppRole
and Kubernetes, ``auth/token/{lookup,renew,revoke}-self``, the key-value engine version 2 with check-and-set,
``database/creds/:role``, ``sys/leases/{renew,revoke}``. A lease ends with the token it was had under.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from sillar.testing.servers import PostgreSQLServer


class RefusedError(Exception):
    """A reply with that status."""

    def __init__(self, status: int, *errors: str) -> None:
        self.status, self.errors = status, errors


@dataclass
class Token:
    until: float
    latest: float
    renewable: bool
    leases: dict[str, Lease] = field(default_factory=dict)


@dataclass
class Lease:
    user: str
    until: float
    latest: float


class StandInVault:
    """Use it in ``async with``; ``url`` is where it listens.

    Args:
        postgresql: where it makes users; they get the rights of the server's own user.

    Attributes:
        lease_seconds, lease_max_seconds: of users it makes.
        token_seconds, token_max_seconds: of tokens by login.
        is_sealed: it answers 503.
        is_away: it hangs up.
        calls: what was asked for, ``"GET database/creds/shop"``.
    """

    ROLE_ID, SECRET_ID, JWT = "role-1", "secret-id-CANARY", "jwt-CANARY"

    def __init__(self, postgresql: PostgreSQLServer | None = None) -> None:
        self._postgresql = postgresql
        self.lease_seconds, self.lease_max_seconds = 60.0, 600.0
        self.token_seconds, self.token_max_seconds = 600.0, 3600.0
        self.is_sealed = self.is_away = False
        self.calls: list[str] = []
        self.root_token = f"hvs.{secrets.token_hex(8)}"
        self.stored: dict[str, list[dict[str, Any]]] = {}
        self._tokens = {self.root_token: Token(float("inf"), float("inf"), False)}
        self._numbers = itertools.count(1)
        self._server: asyncio.Server | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for token in list(self._tokens):
            await self._forget(token)

    @property
    def users(self) -> list[str]:
        """Those that it has made and not removed."""
        return [lease.user for token in self._tokens.values() for lease in token.leases.values()]

    async def revoke_tokens(self) -> None:
        """Every token by login ends now, and what was had under it."""
        for token in [each for each in self._tokens if each != self.root_token]:
            await self._forget(token)

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not self.is_away and (line := await reader.readline()):
                method, path, _ = line.decode().split()
                headers = {}
                while header := (await reader.readline()).decode().strip():
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                status, reply = await self._answer(method, path, headers, json.loads(body) if body else {})
                content = json.dumps(reply).encode() if reply is not None else b""
                writer.write(
                    f"HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
                    .encode() + content
                )  # fmt: skip
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, method: str, path: str, headers: dict[str, str], body: dict[str, Any]
    ) -> tuple[int, dict[str, Any] | None]:
        path = path.removeprefix("/v1/")
        self.calls.append(f"{method} {path}")
        if self.is_sealed:
            return 503, {"errors": ["Vault is sealed"]}
        await self._sweep()
        try:
            if path.startswith("auth/") and path.endswith("/login"):
                return 200, self._log_in(path, body)
            token = headers.get("x-vault-token", "")
            if token not in self._tokens:
                raise RefusedError(403, "permission denied")
            return await self._dispatch(method, path, token, body)
        except RefusedError as refused:
            return refused.status, {"errors": list(refused.errors)}

    async def _dispatch(
        self, method: str, path: str, token: str, body: dict[str, Any]
    ) -> tuple[int, dict[str, Any] | None]:
        handlers: dict[str, Callable[[str, dict[str, Any]], Awaitable[dict[str, Any] | None]]] = {
            "GET auth/token/lookup-self": self._look_up,
            "POST auth/token/renew-self": self._renew_token,
            "POST auth/token/revoke-self": self._revoke_token,
            "PUT sys/leases/renew": self._renew_lease,
            "PUT sys/leases/revoke": self._revoke_lease,
        }
        if path.startswith("database/creds/") and method == "GET":
            return 200, await self._make_user(path.removeprefix("database/creds/"), token)
        if path.startswith("secret/data/"):
            name = path.removeprefix("secret/data/")
            return 200, self._read(name) if method == "GET" else self._write(name, body)
        handler = handlers.get(f"{method} {path}")
        if handler is None:
            raise RefusedError(404)
        reply = await handler(token, body)
        return (204 if reply is None else 200), reply

    # --- tokens -------------------------------------------------------------------------------------------------------

    def _log_in(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        given = (body.get("role_id"), body.get("secret_id"), body.get("jwt"))
        if given not in ((self.ROLE_ID, self.SECRET_ID, None), (None, None, self.JWT)):
            raise RefusedError(400, "invalid role or secret ID")
        token, now = f"hvs.{secrets.token_hex(8)}", time.monotonic()
        self._tokens[token] = Token(now + self.token_seconds, now + self.token_max_seconds, True)
        return {"auth": {"client_token": token, "lease_duration": self.token_seconds, "renewable": True}}

    async def _look_up(self, token: str, _: dict[str, Any]) -> dict[str, Any]:
        left = self._tokens[token].until - time.monotonic()
        return {"data": {"ttl": 0 if left == float("inf") else int(left), "renewable": self._tokens[token].renewable}}

    async def _renew_token(self, token: str, _: dict[str, Any]) -> dict[str, Any]:
        found, now = self._tokens[token], time.monotonic()
        if not found.renewable:
            raise RefusedError(400, "lease is not renewable")
        found.until = min(now + self.token_seconds, found.latest)
        return {"auth": {"client_token": token, "lease_duration": found.until - now, "renewable": True}}

    async def _revoke_token(self, token: str, _: dict[str, Any]) -> None:
        await self._forget(token)

    async def _sweep(self) -> None:
        now = time.monotonic()
        for name, token in list(self._tokens.items()):
            if token.until <= now:
                await self._forget(name)
            for lease_id, lease in list(token.leases.items()):
                if lease.until <= now:
                    await self._drop(token, lease_id)

    async def _forget(self, name: str) -> None:
        token = self._tokens.pop(name, None)
        for lease_id in list(token.leases) if token is not None else ():
            assert token is not None
            await self._drop(token, lease_id)

    # --- users --------------------------------------------------------------------------------------------------------

    async def _make_user(self, role: str, token: str) -> dict[str, Any]:
        if role != "shop":
            raise RefusedError(400, f"unknown role: {role}")
        assert self._postgresql is not None
        user, password = f"v-approle-shop-{secrets.token_hex(6)}", secrets.token_hex(12)
        now = time.monotonic()
        owner = self._tokens[token]
        lease = Lease(user, now + self.lease_seconds, now + self.lease_max_seconds)
        until = datetime.now(UTC) + timedelta(seconds=self.lease_seconds)
        await self._postgresql.execute_as_superuser(
            f"CREATE ROLE \"{user}\" LOGIN PASSWORD '{password}' VALID UNTIL '{until.isoformat()}'"
            f" IN ROLE {self._postgresql.user}"
        )
        lease_id = f"database/creds/{role}/{next(self._numbers)}"
        owner.leases[lease_id] = lease
        return {
            "lease_id": lease_id,
            "lease_duration": self.lease_seconds,
            "renewable": True,
            "data": {"username": user, "password": password},
        }

    async def _renew_lease(self, _: str, body: dict[str, Any]) -> dict[str, Any]:
        _, lease = self._lease(body["lease_id"])
        now = time.monotonic()
        lease.until = min(now + float(body.get("increment") or self.lease_seconds), lease.latest)
        assert self._postgresql is not None
        until = datetime.now(UTC) + timedelta(seconds=lease.until - now)
        await self._postgresql.execute_as_superuser(f"ALTER ROLE \"{lease.user}\" VALID UNTIL '{until.isoformat()}'")
        return {"lease_id": body["lease_id"], "lease_duration": lease.until - now, "renewable": True}

    async def _revoke_lease(self, _: str, body: dict[str, Any]) -> None:
        token, _lease = self._lease(body["lease_id"])
        await self._drop(token, body["lease_id"])

    def _lease(self, lease_id: str) -> tuple[Token, Lease]:
        for token in self._tokens.values():
            if lease_id in token.leases:
                return token, token.leases[lease_id]
        raise RefusedError(400, "lease not found")

    async def _drop(self, token: Token, lease_id: str) -> None:
        lease = token.leases.pop(lease_id)
        assert self._postgresql is not None
        await self._postgresql.execute_as_superuser(f'DROP ROLE IF EXISTS "{lease.user}"')

    # --- what is stored -----------------------------------------------------------------------------------------------

    def _read(self, name: str) -> dict[str, Any]:
        versions = self.stored.get(name)
        if not versions:
            raise RefusedError(404)
        return {"data": {"data": versions[-1], "metadata": {"version": len(versions)}}}

    def _write(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        versions = self.stored.setdefault(name, [])
        if body.get("options", {}).get("cas", len(versions)) != len(versions):
            raise RefusedError(400, "check-and-set parameter did not match the current version")
        versions.append(body["data"])
        return {"data": {"version": len(versions)}}
