"""Faults to inject between a client and a real server."""

from sillar.testing.faults.proxy import Direction, FaultProxy

__all__ = ["Direction", "FaultProxy"]
