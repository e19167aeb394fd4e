"""Models in a package, for their discovery and for the tests."""

from tests.integrations.sqlalchemy.shelves.mapping import Base

__all__ = ["Base"]
