"""What a live server says of itself: MySQL or MariaDB, version, role, abilities."""

from __future__ import annotations

import re
from typing import Any, Final

from asyncmy.errors import MySQLError

from sillar.capabilities import Capabilities, Capability
from sillar.engines.connection import NodeRole, NodeStatus
from sillar.engines.mysql import driver
from sillar.engines.mysql.errors import server_code

_NOT_ALLOWED: Final = frozenset({1227, 1044, 1142, 1045})
_SYNTAX: Final = 1064
_VERSION: Final = re.compile(r"(?:5\.5\.5-)?(\d+(?:\.\d+)+)")


def is_mariadb(raw: Any) -> bool:
    """Whether the greeting was MariaDB's."""
    return "MariaDB" in raw.server_version


async def probe(raw: Any, capabilities: Capabilities, address: str) -> NodeStatus:
    """Ask for version, role and abilities.

    A server that follows another one is a replica. One that refuses writes without following anybody is of unknown
    role; where this user may not ask whether it follows, it counts as a replica.
    """
    maria = is_mariadb(raw)
    rows = (await driver.query(raw, "SELECT VERSION(), @@global.read_only, @@global.innodb_read_only"))[0].rows
    match = _VERSION.match(str(rows[0][0]))
    version = match[1] if match else str(rows[0][0])
    read_only = any(bool(value) and str(value).upper() not in ("0", "OFF") for value in rows[0][1:])
    follows = await _follows(raw)
    if follows or (follows is None and read_only):
        role = NodeRole.REPLICA
    else:
        role = NodeRole.UNKNOWN if read_only else NodeRole.PRIMARY
    return NodeStatus(
        version=version,
        role=role,
        read_only=read_only,
        capabilities=_narrowed(capabilities, version, maria=maria),
        address=address,
    )


async def _follows(raw: Any) -> bool | None:
    """Whether the server follows another one; None where this user may not ask."""
    for statement in ("SHOW REPLICA STATUS", "SHOW SLAVE STATUS"):
        try:
            return bool((await driver.query(raw, statement))[0].rows)
        except MySQLError as error:
            if server_code(error) in _NOT_ALLOWED:
                return None
            if server_code(error) != _SYNTAX:  # the older spelling
                raise
    return None


def _narrowed(capabilities: Capabilities, version: str, *, maria: bool) -> Capabilities:
    name = f"{'MariaDB' if maria else 'MySQL'} {version}"
    number = tuple(int(part) for part in version.split("."))
    narrowed = capabilities.named(name)
    if not maria or number < (10, 5):
        narrowed = narrowed.without(Capability.RETURNING, f"{name} has no INSERT … RETURNING; read last_insert_id")
    if not maria or number < (10, 7):
        narrowed = narrowed.without(Capability.NATIVE_UUID, f"{name} has no uuid type; store CHAR(36)")
    if maria:
        narrowed = narrowed.without(Capability.NATIVE_JSON, "MariaDB's JSON is text with a check")
    elif number < (8, 0, 16):
        narrowed = narrowed.without(Capability.CHECK_CONSTRAINTS, "MySQL has them from 8.0.16")
    return narrowed
