"""The connection pool: who gets a connection, when, in which state, and from which node."""

from sillar.engines.health import PoolHealth
from sillar.pool.analysis import PoolUsageAnalysis
from sillar.pool.balancer import LoadBalancer
from sillar.pool.forecast import LoadPrediction
from sillar.pool.lease import DatabaseConnection
from sillar.pool.node import Node, NodeState
from sillar.pool.optimizer import PoolOptimizer
from sillar.pool.pool import ConnectionPool
from sillar.pool.routed import RoutedPool
from sillar.pool.scaling import AutoScale, ScalingStep
from sillar.pool.sizing import PoolOptimization, WaitPrediction
from sillar.pool.topology import Topology, TopologyEvent

__all__ = [
    "AutoScale",
    "ConnectionPool",
    "DatabaseConnection",
    "LoadBalancer",
    "LoadPrediction",
    "Node",
    "NodeState",
    "PoolHealth",
    "PoolOptimization",
    "PoolOptimizer",
    "PoolUsageAnalysis",
    "RoutedPool",
    "ScalingStep",
    "Topology",
    "TopologyEvent",
    "WaitPrediction",
]
