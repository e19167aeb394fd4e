"""SQLAlchemy, Tortoise and Beanie over the connections of a manager. Each is imported by itself: none needs another."""

from sillar.integrations.orm import IntegrationHost, ORMIntegration, ORMSession

__all__ = ["IntegrationHost", "ORMIntegration", "ORMSession"]
