"""MongoDB, through PyMongo's asyncio client."""

from sillar.engines.mongodb.adapter import MongoDBAdapter

__all__ = ["MongoDBAdapter"]
