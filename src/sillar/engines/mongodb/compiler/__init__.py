"""SQLAlchemy's statements compiled to MongoDB's commands, with SQL's meaning or not at all."""

from sillar.engines.mongodb.compiler.compiler import DocumentPlanCompiler
from sillar.engines.mongodb.compiler.plan import CommandPlan

__all__ = ["CommandPlan", "DocumentPlanCompiler"]
