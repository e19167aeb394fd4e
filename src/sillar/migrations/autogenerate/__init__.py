"""What the models have and the database has not, as operations of Alembic that stock ``alembic`` runs."""

from __future__ import annotations

from sillar.migrations.autogenerate.compare import compare_models
from sillar.migrations.autogenerate.declarations import (
    Function,
    Policy,
    View,
    declare_complete,
    enable_row_security,
)
from sillar.migrations.autogenerate.items import render_item
from sillar.migrations.autogenerate.models import load_models
from sillar.migrations.autogenerate.options import autogenerate_options
from sillar.migrations.autogenerate.renames import RenameAnswers, RenameCandidate, RenameDecision

__all__ = [
    "Function",
    "Policy",
    "RenameAnswers",
    "RenameCandidate",
    "RenameDecision",
    "View",
    "autogenerate_options",
    "compare_models",
    "declare_complete",
    "enable_row_security",
    "load_models",
    "render_item",
]
