"""Tokens that carry what one service has written to the reads of another, or to the next request of a browser."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from sillar.consistency import CausalContext, current_causality
from sillar.errors import UsageError

if TYPE_CHECKING:
    from sillar.manager import DatabaseManager

_KEY_BYTES_MIN: Final = 16
_TOKEN_LENGTH_MAX: Final = 8192
_WAIT_SECONDS: Final = 1.0


@runtime_checkable
class CausalSource(Protocol):
    """A source of connections to several nodes, which knows up to where a line of work has written."""

    async def token_position(self, causality: CausalContext) -> str | None:
        """The position that a reader elsewhere has to wait for; None where nothing was written."""
        ...

    def accept_position(self, causality: CausalContext, text: str) -> None:
        """Have a line of work read what somebody else has written."""
        ...


class CausalTokens:
    """Issues and accepts tokens that say up to which position a line of work has written.

    A token holds a position for each database with replicas, and a signature (HMAC-SHA-256): without it anybody could
    send all reads to the primary. It holds no data and is not encrypted. It does not expire: a position that everybody
    has reached long ago costs nothing.

    Args:
        manager: whose databases they are of.
        key: the secret that all services share, 16 bytes at least.
        names: what a database is called in tokens, by its configured name here; the same where it is not listed.

    Raises:
        UsageError: the key is too short.
    """

    def __init__(self, manager: DatabaseManager, key: str | bytes, *, names: Mapping[str, str] | None = None) -> None:
        secret = key.encode() if isinstance(key, str) else key
        if len(secret) < _KEY_BYTES_MIN:
            raise UsageError(
                f"the key of causal tokens has {len(secret)} bytes, and needs {_KEY_BYTES_MIN}: make one with"
                " `python -c 'import secrets; print(secrets.token_hex(32))'`"
            )
        self._manager = manager
        self._secret = secret
        self._names = dict(names or {})

    async def issue(self) -> str | None:
        """The token of this line of work; None where it has written nothing that anybody would have to wait for.

        Raises:
            NodeUnavailableError: the primary does not say its position now.
            TimeoutError: nor within a second.
        """
        causality = current_causality()
        positions: dict[str, str] = {}
        async with asyncio.timeout(_WAIT_SECONDS):
            for name, pool in self._manager.pools.items():
                if isinstance(pool, CausalSource):
                    position = await pool.token_position(causality)
                    if position is not None:
                        positions[self._names.get(name, name)] = position
        if not positions:
            return None
        body = base64.urlsafe_b64encode(json.dumps(positions, separators=(",", ":")).encode()).rstrip(b"=")
        return f"{body.decode()}.{self._signature(body)}"

    def accept(self, token: str) -> None:
        """Let the reads of this line of work see what the token's has written. Other databases in it are left out.

        Raises:
            UsageError: it was not issued with this key, or is damaged.
        """
        body, _, signature = token.partition(".")
        genuine = len(token) <= _TOKEN_LENGTH_MAX and token.isascii()
        if not genuine or not hmac.compare_digest(self._signature(body.encode()), signature):
            raise UsageError(
                "this causal token was not issued with our key, or is damaged; leave it out, or take a new one"
            )
        try:
            positions: dict[str, str] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        except (binascii.Error, ValueError) as error:
            raise UsageError("this causal token is signed, and cannot be read: is it of another version?") from error
        causality = current_causality()
        for name, pool in self._manager.pools.items():
            position = positions.get(self._names.get(name, name))
            if position is not None and isinstance(pool, CausalSource):
                pool.accept_position(causality, position)

    def _signature(self, body: bytes) -> str:
        digest = hmac.digest(self._secret, b"sillar causal token 1\0" + body, hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def __repr__(self) -> str:
        return "CausalTokens(…)"
