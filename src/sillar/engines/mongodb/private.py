"""The private names of PyMongo that Sillar needs, in one place; tests hold them.

Besides these, ``routed.py`` overrides ``AsyncCursor._refresh``, ``AsyncCommandCursor._refresh`` (one batch) and
``AsyncCollection._aggregate`` (which is given the class of the cursor).
"""

from __future__ import annotations

import ssl
from typing import Any

from pymongo import AsyncMongoClient


def use_ssl_context(client: AsyncMongoClient[Any], context: ssl.SSLContext) -> None:
    """Let a client that has not connected yet use this context instead of the one that it has built from its options.

    PyMongo's options take files, but no minimum version, no other host name to verify, no key in a file of its own.

    Raises:
        RuntimeError: this PyMongo keeps its context elsewhere; nothing may connect then.
    """
    options: Any = client.options.pool_options
    options._PoolOptions__ssl_context = context
    if options._ssl_context is not context:
        raise RuntimeError("this version of PyMongo does not take a TLS context")


def attach_session(cursor: Any, session: Any) -> None:
    """Let a cursor that is not open use a session from now on; None takes the one of before away."""
    cursor._session = session
    if hasattr(cursor, "_explicit_session"):  # before PyMongo 4.16
        cursor._explicit_session = session is not None
