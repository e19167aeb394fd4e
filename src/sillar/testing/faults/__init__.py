"""Faults to inject between a client and a real server."""

from sillar.testing.faults.handshake import Direction, Handshake
from sillar.testing.faults.proxy import FaultProxy

__all__ = ["Direction", "FaultProxy", "Handshake"]
