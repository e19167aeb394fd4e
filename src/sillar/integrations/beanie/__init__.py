"""Beanie 2.x over the connections of a manager."""

from sillar.engines.mongodb.indexes import Index, IndexDifference, IndexDrift
from sillar.integrations.beanie.errors import TranslatedErrors
from sillar.integrations.beanie.integration import BeanieIntegration
from sillar.integrations.beanie.session import BeanieSession

__all__ = ["BeanieIntegration", "BeanieSession", "Index", "IndexDifference", "IndexDrift", "TranslatedErrors"]
