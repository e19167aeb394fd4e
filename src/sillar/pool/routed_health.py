"""The figures of several pools as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sillar.engines.health import NodeHealth, PoolHealth
from sillar.pool.node import Node, NodeState

if TYPE_CHECKING:
    from sillar.pool.routed import RoutedPool

_SUMMED: Final = (
    "connections_min", "connections_max", "open", "idle", "leased", "restoring", "connecting", "dedicated", "waiting",
    "opened_total", "closed_total", "lost_total", "connect_failures_total", "acquired_total", "waited_total",
    "timeouts_total", "refused_total", "wait_seconds_total", "resets_total", "shed_total",
    "breaker_openings_total",
)  # fmt: skip


def figures(pool: RoutedPool) -> PoolHealth:
    """Sums over the nodes; healthy while there is a primary (for a read-only database: a node)."""
    topology = pool.topology
    nodes = list(topology)
    each = [node.pool.stats() for node in nodes]
    sums = {name: sum(getattr(health, name) for health in each) for name in _SUMMED}
    sums["waiting"] += pool._waiting
    sums["refused_total"] += pool._refused
    healthy = pool.can_serve()
    return PoolHealth(
        name=pool.name,
        healthy=healthy,
        reason="" if healthy else topology.describe(),
        oldest_lease_seconds=max((health.oldest_lease_seconds for health in each), default=0.0),
        detail={
            "nodes": len(nodes),
            "nodes_up": sum(node.state is NodeState.UP for node in nodes),
            "readers": len(topology.readers),
            "has_primary": float(topology.primary is not None),
        },
        nodes={node.name: _of_node(pool, node, health) for node, health in zip(nodes, each, strict=True)},
        **sums,
    )


def _of_node(pool: RoutedPool, node: Node, health: PoolHealth) -> NodeHealth:
    topology = pool.topology
    is_primary = node is topology.primary
    position = topology.position
    behind = None if position is None else position.seconds_behind(node.position)
    return NodeHealth(
        state=node.state.value,
        role=node.role.value,
        is_primary=is_primary,
        serves_reads=node in topology.readers or (is_primary and not topology.readers),
        lag_seconds=0.0 if is_primary else behind,
        reason=node.reason,
        pool=health,
    )
