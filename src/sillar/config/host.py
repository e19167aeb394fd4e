"""Protocols for objects of the host application that can be plugged in. Nothing here is forced on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable


@runtime_checkable
class SecretsManager(Protocol):
    """Hands out secrets by name: a vault, a cloud service, a file."""

    async def get_secret(self, name: str) -> str:
        """The current value of the secret ``name``; raises what it likes when there is none."""
        ...


@runtime_checkable
class MetricsSink(Protocol):
    """Takes measurements. Called on the event loop for every execution: must return quickly and not raise."""

    def count(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Add ``value`` to the counter ``name``."""
        ...

    def observe(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Record ``value`` (seconds, connections) in the distribution or gauge ``name``."""
        ...


@runtime_checkable
class EventPublisher(Protocol):
    """Takes events worth telling others: a failover, a pool that came back."""

    async def publish(self, event: str, payload: Mapping[str, object]) -> None:
        """Publish ``event``; ``payload`` holds plain values and no secrets."""
        ...
