"""SQLAlchemy over the connections of a manager: ``pip install 'sillar[sqlalchemy]'``."""

from sillar.integrations.sqlalchemy.integration import SQLAlchemyIntegration
from sillar.integrations.sqlalchemy.loading import loading_advice

__all__ = ["SQLAlchemyIntegration", "loading_advice"]
