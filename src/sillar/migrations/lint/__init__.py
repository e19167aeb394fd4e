"""The safety lint of migrations: what would hurt a running service, and the safe way."""

from sillar.migrations.lint.catalogue import RULES
from sillar.migrations.lint.context import LARGE_TABLE_ROWS
from sillar.migrations.lint.facts import TableFact, TableFacts, facts_from
from sillar.migrations.lint.finding import Finding, Hazard, Rule, Severity
from sillar.migrations.lint.linter import Linter, lint, planned_statements, read_statement_action
from sillar.migrations.lint.live import dialect_of, read_collection_facts, read_facts
from sillar.migrations.lint.mongodb.rules import DocumentOperation, lint_documents
from sillar.migrations.lint.recipes import Recipe, RecipeRevision, recipe_for
from sillar.migrations.lint.report import (
    LintReport,
    RevisionFindings,
    lint_files,
    lint_migrations,
    lint_plan,
    name_in_commands,
    read_plan_facts,
)

__all__ = [
    "LARGE_TABLE_ROWS",
    "RULES",
    "DocumentOperation",
    "Finding",
    "Hazard",
    "LintReport",
    "Linter",
    "Recipe",
    "RecipeRevision",
    "RevisionFindings",
    "Rule",
    "Severity",
    "TableFact",
    "TableFacts",
    "dialect_of",
    "facts_from",
    "lint",
    "lint_documents",
    "lint_files",
    "lint_migrations",
    "lint_plan",
    "name_in_commands",
    "planned_statements",
    "read_collection_facts",
    "read_facts",
    "read_plan_facts",
    "read_statement_action",
    "recipe_for",
]
