"""Safe sequences, written out as revisions: expand, migrate, contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sillar.migrations.lint.facts import TableFacts
from sillar.migrations.lint.finding import Finding
from sillar.migrations.lint.mongodb.rules import DocumentLinter
from sillar.migrations.lint.mysql.rules import MariaDBRules, MySQLRules
from sillar.migrations.lint.postgresql.rules import PostgreSQLRules
from sillar.migrations.lint.recipes import keys, mongodb, mysql, sqlite
from sillar.migrations.lint.recipes.recipe import Kitchen, NoKeyError, Recipe, RecipeRevision
from sillar.migrations.lint.sqlite.rules import SQLiteRules

_Cook = tuple[type[Kitchen], Mapping[str, Callable[[Any], Recipe | None]]]
_COOKS: dict[str, _Cook] = {
    name: cook
    for names, cook in (
        (PostgreSQLRules.names, (keys.KeyKitchen, keys.RECIPES)),
        ((*MySQLRules.names, *MariaDBRules.names), (mysql.MySQLKitchen, mysql.RECIPES)),
        (SQLiteRules.names, (sqlite.SQLiteKitchen, sqlite.RECIPES)),
        ((DocumentLinter.dialect,), (mongodb.DocumentKitchen, mongodb.RECIPES)),
    )
    for name in names
}


def recipe_for(finding: Finding, facts: TableFacts | None = None) -> Recipe | None:
    """The safe way to what a finding warns of, as revisions to apply one after the other.

    Args:
        finding: as the lint returned it.
        facts: of the database: types, keys, indexes. Some recipes are not to be had without.

    Returns:
        None where there is no safe way that can be written without knowing the application.
    """
    cook = _COOKS.get(finding.dialect)
    if cook is None or finding.rule not in cook[1]:
        return None
    kitchen, recipes = cook
    try:
        return recipes[finding.rule](kitchen(finding, facts))
    except NoKeyError:
        return None


__all__ = ["Recipe", "RecipeRevision", "recipe_for"]
