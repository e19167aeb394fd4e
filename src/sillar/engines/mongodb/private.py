"""The private names of PyMongo that Sillar needs, in one place; tests hold them.

Besides these, ``routed.py`` overrides ``AsyncCursor._refresh``, ``AsyncCommandCursor._refresh`` (one batch) and
``AsyncCollection._aggregate`` (which is given the class of the cursor) and ``_read_preference_for`` (asked for each
read).
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from bson import Timestamp
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession


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


async def use_credentials(client: AsyncMongoClient[Any], other: AsyncMongoClient[Any]) -> None:
    """Let every new socket of ``client`` log in as ``other`` would; idle ones are closed, busy ones when they are back.

    The client stays what it is, with its sessions, cursors and databases.

    Raises:
        RuntimeError: this PyMongo keeps its credentials elsewhere.
    """
    options: Any = client.options.pool_options
    wanted: Any = other.options.pool_options
    options._PoolOptions__credentials = wanted._credentials
    if options._credentials is not wanted._credentials:
        raise RuntimeError("this version of PyMongo does not take other credentials")
    topology: Any = client._topology
    if topology is not None:  # None until the first command
        for server in list(topology._servers.values()):
            await server.pool.reset_without_pause()


def attach_session(cursor: Any, session: Any) -> None:
    """Let a cursor that is not open use a session from now on; None takes the one of before away."""
    cursor._session = session
    if hasattr(cursor, "_explicit_session"):  # before PyMongo 4.16
        cursor._explicit_session = session is not None


def read_after(
    session: AsyncClientSession, operation_time: Timestamp | None, cluster_time: Mapping[str, Any] | None = None
) -> None:
    """Let the reads of a session wait until their member has this time, exactly; None: they wait for nothing.

    PyMongo decides whether a session is causally consistent when it is made, and then never goes back in time; a lease
    keeps its session for the next one, whose reads need not wait for what this one has seen.

    Raises:
        RuntimeError: this PyMongo keeps it elsewhere.
    """
    hidden: Any = session
    causal = operation_time is not None
    hidden._options._causal_consistency = causal
    hidden._operation_time = operation_time
    if cluster_time is not None:
        session.advance_cluster_time(cluster_time)
    if session.options.causal_consistency is not causal or session.operation_time != operation_time:
        raise RuntimeError("this version of PyMongo does not let a session read after a time of ours")
