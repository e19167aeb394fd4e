"""SQLAlchemy over the connections of a manager."""
