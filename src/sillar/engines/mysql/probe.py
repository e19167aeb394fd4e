"""What a live server says of itself: MySQL or MariaDB, version, role, abilities, where it stands in the replication.

A server that follows another one is a replica, whether its threads run or not. To ask whether it does, a user needs
REPLICATION CLIENT (MySQL) or SLAVE MONITOR (MariaDB; without it, threads that run are seen nevertheless). Where this
user may not ask, a server that refuses writes counts as a replica, and one that takes them as a primary; with the
privilege, one that refuses writes without following anybody is of unknown role: a demoted primary.

Positions need GTIDs: ``gtid_mode = ON`` on MySQL, ``log_bin`` on MariaDB. A server without them has none, and what a
line of work has written is then read from the primary. Neither engine has a term: after a failover, the new primary has
everything of the old one and more, or nobody can tell.

Members of a Galera cluster, and of a replication group with several primaries, all take writes; one that is outside the
primary component is of unknown role. Of a group this takes SELECT on ``performance_schema.replication_group_members``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from asyncmy.errors import MySQLError

from sillar.capabilities import Capabilities, Capability
from sillar.engines.connection import NodeRole, NodeStatus
from sillar.engines.mysql import driver
from sillar.engines.mysql.errors import server_code
from sillar.engines.mysql.position import DomainPosition, GaleraPosition, GtidSet, MySQLPosition

_NOT_ALLOWED: Final = frozenset({1227, 1044, 1142, 1045})
_SYNTAX: Final = 1064
_VERSION: Final = re.compile(r"(?:5\.5\.5-)?(\d+(?:\.\d+)+)")
_VARIABLES: Final = (
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only', 'innodb_read_only', 'wsrep_on', 'wsrep_provider',"
    " 'wsrep_reject_queries', 'group_replication_group_name', 'group_replication_single_primary_mode',"
    " 'hostname', 'port', 'datadir', 'server_uuid')"
)
_STATUS: Final = (
    "SHOW GLOBAL STATUS WHERE Variable_name IN ('Slave_running', 'wsrep_cluster_status', 'wsrep_ready',"
    " 'wsrep_cluster_state_uuid', 'wsrep_last_committed')"
)
_GTID_MARIADB: Final = (
    "SELECT @@global.gtid_current_pos, @@global.gtid_binlog_pos, @@global.gtid_binlog_state, @@global.log_bin"
)
_GTID_MYSQL: Final = "SELECT @@global.gtid_executed, @@global.gtid_mode, @@global.log_bin"
_GROUP: Final = (
    "SELECT member_id = @@global.server_uuid, member_state, member_role"
    " FROM performance_schema.replication_group_members"
)
_GROUP_CHANNELS: Final = frozenset({"group_replication_applier", "group_replication_recovery"})
_IDENTITY: Final = ("hostname", "port", "datadir", "server_uuid")
_NO_CLUSTER: Final = frozenset({"", "00000000-0000-0000-0000-000000000000"})

Row = Mapping[str, Any]


def is_mariadb(raw: Any) -> bool:
    """Whether the greeting was MariaDB's."""
    return "MariaDB" in raw.server_version


async def probe(raw: Any, capabilities: Capabilities, address: str) -> NodeStatus:
    """Ask for everything in one round trip; members of a replication group, and MySQL before 8.0.22, take a second."""
    maria = is_mariadb(raw)
    gtids = _GTID_MARIADB if maria else _GTID_MYSQL
    follows = "SHOW ALL SLAVES STATUS" if maria else "SHOW REPLICA STATUS"
    results, refusal = await driver.query_until_refused(
        raw, "; ".join(("SELECT VERSION()", _VARIABLES, _STATUS, gtids, follows))
    )
    if len(results) < 4:
        assert refusal is not None
        raise refusal
    sources = _mappings(results[4]) if refusal is None else await _sources_after(raw, refusal)
    version = _version(str(results[0].rows[0][0]))
    facts = {str(name).lower(): str(value) for name, value in (*results[1].rows, *results[2].rows)}
    group = await _group_members(raw) if _value(facts, "group_replication_group_name") else None
    return _status(
        facts,
        None if sources is None else [row for row in sources if row.get("channel_name") not in _GROUP_CHANNELS],
        group,
        results[3].rows[0],
        version=version,
        capabilities=_narrowed(capabilities, version, maria=maria),
        address=address,
    )


async def position(raw: Any, status: NodeStatus) -> MySQLPosition | None:
    """Where the server stands now, in one round trip, given what it said of itself when it was probed last."""
    is_primary = status.role is NodeRole.PRIMARY
    if isinstance(status.position, GaleraPosition):
        question = "SHOW GLOBAL STATUS LIKE 'wsrep_last_committed'"
        [(_, number)] = (await driver.query(raw, question))[0].rows
        return GaleraPosition(status.position.cluster, int(number))
    question = _GTID_MARIADB if is_mariadb(raw) else _GTID_MYSQL
    return _position((await driver.query(raw, question))[0].rows[0], is_primary=is_primary)


async def catch_up(raw: Any, status: NodeStatus) -> MySQLPosition | None:
    """Wait until the server has applied what its cluster had committed by now; then as :func:`position`.

    The wait is that of a transaction's begin: the member learns how far the group is, and applies as much.
    """
    if status.several_primaries:
        is_galera = isinstance(status.position, GaleraPosition)
        name, value = ("wsrep_sync_wait", "1") if is_galera else ("group_replication_consistency", "'BEFORE'")
        wait = (
            f"SET SESSION {name} = {value}",
            "START TRANSACTION READ ONLY",
            "COMMIT",
            f"SET SESSION {name} = DEFAULT",
        )
        await driver.query(raw, "; ".join(wait))
    return await position(raw, status)


async def members(raw: Any, status: NodeStatus) -> list[tuple[str, int]]:
    """The replicas that told this server their ``report_host`` (and ``report_port``); in a cluster its members."""
    if isinstance(status.position, GaleraPosition):
        rows = (await driver.query(raw, "SHOW GLOBAL STATUS LIKE 'wsrep_incoming_addresses'"))[0].rows
        return _addresses(str(rows[0][1]) if rows else "")
    if status.history:
        question = "SELECT member_host, member_port FROM performance_schema.replication_group_members"
        rows = (await driver.query(raw, question))[0].rows
        return [(str(host), int(port)) for host, port in rows if host]
    try:
        result = (await driver.query(raw, "SHOW SLAVE HOSTS" if is_mariadb(raw) else "SHOW REPLICAS"))[0]
    except MySQLError as error:
        if server_code(error) != _SYNTAX:
            raise
        result = (await driver.query(raw, "SHOW SLAVE HOSTS"))[0]  # MySQL before 8.0.22
    return [(str(row["host"]), int(row["port"])) for row in _mappings(result) if row["host"]]


# --- what is asked ---


async def _sources_after(raw: Any, refusal: MySQLError) -> list[Row] | None:
    """Whom the server follows, where the question was refused: in the older spelling; None where this user may not
    ask."""
    if server_code(refusal) == _SYNTAX:
        try:
            return _mappings((await driver.query(raw, "SHOW SLAVE STATUS"))[0])
        except MySQLError as error:
            refusal = error
    if server_code(refusal) in _NOT_ALLOWED:
        return None
    raise refusal


async def _group_members(raw: Any) -> list[tuple[bool, str, str]] | None:
    """Of each member of the replication group: whether it is this one, its state, its role."""
    try:
        rows = (await driver.query(raw, _GROUP))[0].rows
    except MySQLError as error:
        if server_code(error) in _NOT_ALLOWED:
            return None
        raise
    return [(bool(own), str(state), str(role)) for own, state, role in rows]


def _mappings(result: Any) -> list[Row]:
    """The rows by the lower-case names of their columns; older and newer words are the same."""
    names = [
        str(column[0]).lower().replace("slave", "replica").replace("master", "source") for column in result.description
    ]
    return [dict(zip(names, row, strict=True)) for row in result.rows]


# --- what follows from the answers ---


def _status(
    facts: Mapping[str, str],
    sources: list[Row] | None,
    group: list[tuple[bool, str, str]] | None,
    gtids: tuple[Any, ...],
    *,
    version: str,
    capabilities: Capabilities,
    address: str,
) -> NodeStatus:
    read_only = _is_on(facts, "read_only") or _is_on(facts, "innodb_read_only")
    follows = bool(sources) if sources is not None else (_is_on(facts, "slave_running") or None)
    history, several = "", False
    if _is_galera(facts):
        cluster = facts.get("wsrep_cluster_state_uuid", "")
        history = "" if cluster in _NO_CLUSTER else cluster
        role = _role_in_galera(facts, follows=bool(follows), read_only=read_only)
        several = role is NodeRole.PRIMARY
    else:
        role = _role(follows, read_only=read_only)
        state = None if group is None else next((state for own, state, _ in group if own), "OFFLINE")
        if _value(facts, "group_replication_group_name") and state != "OFFLINE":
            history = facts["group_replication_group_name"]
            role = _role_in_group(group, read_only=read_only, otherwise=role)
            several = role is NodeRole.PRIMARY and not _is_on(facts, "group_replication_single_primary_mode")
    found: MySQLPosition | None = _position(gtids, is_primary=role is NodeRole.PRIMARY)
    if _is_galera(facts):
        found = GaleraPosition(history, int(facts["wsrep_last_committed"])) if history else None
    return NodeStatus(
        version=version,
        role=role,
        read_only=read_only,
        capabilities=capabilities,
        address=address,
        history=history,
        position=found,
        lag_seconds=_lag_seconds(role, sources),
        several_primaries=several,
        identity=" ".join(facts.get(name, "") for name in _IDENTITY).strip(),
    )


def _role(follows: bool | None, *, read_only: bool) -> NodeRole:
    if follows or (follows is None and read_only):
        return NodeRole.REPLICA
    return NodeRole.UNKNOWN if read_only else NodeRole.PRIMARY


def _role_in_galera(facts: Mapping[str, str], *, follows: bool, read_only: bool) -> NodeRole:
    is_member = facts.get("wsrep_cluster_status") == "Primary" and _is_on(facts, "wsrep_ready")
    if not is_member or facts.get("wsrep_reject_queries", "NONE") != "NONE":
        return NodeRole.UNKNOWN
    return NodeRole.REPLICA if follows or read_only else NodeRole.PRIMARY


def _role_in_group(group: list[tuple[bool, str, str]] | None, *, read_only: bool, otherwise: NodeRole) -> NodeRole:
    if group is None:
        return otherwise
    online = sum(state == "ONLINE" for _, state, _ in group)
    state, role = next((state, role) for own, state, role in group if own)
    if state != "ONLINE" or 2 * online <= len(group):  # without the majority nothing is committed
        return NodeRole.UNKNOWN
    if role == "PRIMARY":
        return NodeRole.UNKNOWN if read_only else NodeRole.PRIMARY
    return NodeRole.REPLICA


def _position(gtids: tuple[Any, ...], *, is_primary: bool) -> GtidSet | DomainPosition | None:
    *found, is_logging = gtids
    if is_primary and not is_logging:
        return None  # what it writes has no GTID
    if len(found) == 2:
        return GtidSet(str(found[0])) if str(found[1]) in ("ON", "ON_PERMISSIVE") else None
    return DomainPosition.of_server(*map(str, found), is_primary=is_primary)


def _lag_seconds(role: NodeRole, sources: list[Row] | None) -> float | None:
    if role is NodeRole.PRIMARY:
        return 0.0
    seconds = [row["seconds_behind_source"] for row in sources or ()]
    return None if not seconds or None in seconds else float(max(seconds))


def _is_galera(facts: Mapping[str, str]) -> bool:
    return facts.get("wsrep_provider", "none") not in ("", "none") and facts.get("wsrep_on") != "OFF"


def _is_on(facts: Mapping[str, str], name: str) -> bool:
    return facts.get(name, "OFF").upper() not in ("OFF", "0", "NO", "")


def _value(facts: Mapping[str, str], name: str) -> str:
    return facts.get(name, "")


def _addresses(text: str) -> list[tuple[str, int]]:
    """``host:port,[::1]:port,…``; a member that does not know its own says AUTO."""
    found: list[tuple[str, int]] = []
    for each in text.split(","):
        host, _, port = each.strip().rpartition(":")
        if host and port.isdigit():
            found.append((host.removeprefix("[").removesuffix("]"), int(port)))
    return found


def _version(text: str) -> str:
    match = _VERSION.match(text)
    return match[1] if match else text


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
