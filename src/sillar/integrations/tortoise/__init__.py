"""Tortoise ORM 1.x over Sillar's connections."""

from sillar.integrations.tortoise.integration import TortoiseIntegration, TortoiseSession

__all__ = ["TortoiseIntegration", "TortoiseSession"]
