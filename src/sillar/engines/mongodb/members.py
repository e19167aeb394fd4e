"""The members of a deployment one by one, as the driver sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pymongo.server_description import ServerDescription
from pymongo.topology_description import TopologyDescription

from sillar.engines.health import NodeHealth, PoolHealth
from sillar.engines.mongodb.activity import PoolActivity, role_of

_HEARTBEAT_SECONDS: Final = 10.0


def figures_of_members(topology: TopologyDescription, activity: PoolActivity) -> Mapping[str, NodeHealth]:
    """Each member by its address; empty where there is only one.

    Args:
        topology: as the driver knows it now.
        activity: of its pools.
    """
    members = topology.server_descriptions()
    if len(members) < 2:
        return {}
    primary = next((each for each in members.values() if each.is_writable), None)
    readable = any(role_of(each) == "replica" for each in members.values())
    figures = {}
    for address, each in members.items():
        name, role = f"{address[0]}:{address[1]}", role_of(each)
        is_up = each.is_server_type_known
        counts = activity.of_member(address)
        reason = "" if is_up else f"it does not answer ({type(each.error).__name__})" if each.error else "not asked yet"
        figures[name] = NodeHealth(
            state="up" if is_up else "down" if each.error else "unknown",
            role=role,
            is_primary=role == "primary",
            serves_reads=role == "replica" or (role == "primary" and not readable),
            lag_seconds=0.0 if role == "primary" else _lag_seconds(each, primary),
            reason=reason,
            pool=PoolHealth(
                name,
                healthy=is_up,
                reason=reason,
                open=counts.open,
                idle=max(0, counts.open - counts.leased),
                leased=counts.leased,
                opened_total=counts.opened,
                closed_total=counts.closed,
                acquired_total=counts.acquired,
            ),
        )
    return figures


def _lag_seconds(member: ServerDescription, primary: ServerDescription | None) -> float | None:
    """By how much a secondary is behind, at most: the estimate of the driver specification "Max Staleness"."""
    if primary is None or member.last_write_date is None or primary.last_write_date is None:
        return None
    if member.last_update_time is None or primary.last_update_time is None:
        return None
    behind = (member.last_update_time - member.last_write_date) - (primary.last_update_time - primary.last_write_date)
    return max(0.0, float(behind) + _HEARTBEAT_SECONDS)
