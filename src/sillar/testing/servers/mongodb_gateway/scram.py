"""The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677) as MongoDB carries it in saslStart and saslContinue."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass

from pymongo.saslprep import saslprep

_ITERATIONS = 4096


class AuthenticationRefusedError(Exception):
    """Unknown user, wrong password or a malformed exchange. The message never tells which."""

    def __init__(self) -> None:
        super().__init__("Authentication failed.")


@dataclass(frozen=True, slots=True, repr=False)
class ScramCredentials:
    """What a server keeps of a password: salt, stored key and server key, never the password."""

    user: str
    salt: bytes
    stored_key: bytes
    server_key: bytes

    @classmethod
    def of(cls, user: str, password: str) -> ScramCredentials:
        salt = os.urandom(28)
        salted = hashlib.pbkdf2_hmac("sha256", saslprep(password).encode(), salt, _ITERATIONS)
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        return cls(user, salt, hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256"))


class ScramConversation:
    """One exchange: ``first`` answers the client's first message, ``final`` its proof.

    Args:
        users: those that may log in, by name.
    """

    def __init__(self, users: Mapping[str, ScramCredentials]) -> None:
        self._users = users
        self._credentials: ScramCredentials | None = None
        self._exchange = b""
        self._nonce = b""

    @property
    def user(self) -> str:
        """Who wants to log in."""
        return "" if self._credentials is None else self._credentials.user

    def first(self, payload: bytes) -> bytes:
        """The server's first message: nonce, salt, iterations. Raises ``AuthenticationRefusedError``."""
        bare = payload[3:]
        fields = _fields(bare)
        user = fields.get(b"n", b"").replace(b"=2C", b",").replace(b"=3D", b"=")
        credentials = self._credentials = self._users.get(user.decode(errors="replace"))
        if credentials is None or not payload.startswith(b"n,,"):
            raise AuthenticationRefusedError
        self._nonce = fields.get(b"r", b"") + base64.b64encode(os.urandom(24))
        reply = b"r=%s,s=%s,i=%d" % (self._nonce, base64.b64encode(credentials.salt), _ITERATIONS)
        self._exchange = bare + b"," + reply
        return reply

    def final(self, payload: bytes) -> bytes:
        """The server's signature, if the client's proof is right. Raises ``AuthenticationRefusedError``."""
        fields = _fields(payload)
        credentials = self._credentials
        if credentials is None or not self._nonce or fields.get(b"r") != self._nonce:
            raise AuthenticationRefusedError
        exchange = self._exchange + b"," + payload.rpartition(b",p=")[0]
        signature = hmac.digest(credentials.stored_key, exchange, "sha256")
        try:
            proof = base64.b64decode(fields.get(b"p", b""), validate=True)
        except ValueError:
            raise AuthenticationRefusedError from None
        client_key = bytes(left ^ right for left, right in zip(proof, signature, strict=False))
        if len(proof) != len(signature) or not hmac.compare_digest(
            hashlib.sha256(client_key).digest(), credentials.stored_key
        ):
            raise AuthenticationRefusedError
        return b"v=" + base64.b64encode(hmac.digest(credentials.server_key, exchange, "sha256"))


def _fields(message: bytes) -> dict[bytes, bytes]:
    return {part[:1]: part[2:] for part in message.split(b",") if part[1:2] == b"="}
