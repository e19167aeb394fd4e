"""Plans: how statements of SQLAlchemy are run, found out once per shape and kept."""

from sillar.query.lane import Lane
from sillar.query.plans.cache import PlanCache, PlanFigures
from sillar.query.plans.compilation import PlanCompiler
from sillar.query.plans.plan import Plan
from sillar.query.plans.results import PlannedRows, ResultColumn
from sillar.query.plans.slow import SlowStatement

__all__ = ["Lane", "Plan", "PlanCache", "PlanCompiler", "PlanFigures", "PlannedRows", "ResultColumn", "SlowStatement"]
