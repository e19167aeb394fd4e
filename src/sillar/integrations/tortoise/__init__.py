"""Tortoise ORM 1.x over Sillar's connections."""

from sillar.integrations.tortoise.integration import TortoiseIntegration, TortoiseSession
from sillar.integrations.tortoise.tables import Relation, Through, TortoiseBinding, binding_of

__all__ = ["Relation", "Through", "TortoiseBinding", "TortoiseIntegration", "TortoiseSession", "binding_of"]
