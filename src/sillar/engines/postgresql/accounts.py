"""Passwords of PostgreSQL's roles."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from typing import Any

import asyncpg

from sillar.engines.accounts import check_password, check_user
from sillar.engines.connection import DriverConnection
from sillar.engines.postgresql.errors import statement_error

_ITERATIONS = 4096  # PostgreSQL's own default
_SALT_BYTES = 16


class PostgreSQLAccounts:
    """``ALTER ROLE … PASSWORD`` with a verifier, so that the server and its log never see the password."""

    async def change_password(
        self, connection: DriverConnection[Any], user: str, password: str, *, keep_old: bool
    ) -> bool:
        verifier = scram_verifier(check_password(password), os.urandom(_SALT_BYTES), _ITERATIONS)
        try:
            await connection.raw.execute(f"ALTER ROLE \"{check_user(user)}\" PASSWORD '{verifier}'")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            translated = statement_error(error, address=connection.address, safe_to_retry=False, timeout_seconds=None)
            raise (translated or error) from None
        return False


def scram_verifier(password: str, salt: bytes, iterations: int) -> str:
    """What PostgreSQL keeps of an ASCII password (its manual, 53.8 ``pg_authid``; RFC 5802, section 3)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${iterations}:{encoded[0]}${encoded[1]}:{encoded[2]}"
