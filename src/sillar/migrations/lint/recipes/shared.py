"""Safe sequences that are the same in several dialects."""

from __future__ import annotations

from sillar.migrations.lint.recipes.recipe import NO_WAY_BACK, Kitchen, Recipe, acknowledged, execute, revision


def backfill(kitchen: Kitchen) -> Recipe | None:
    """The rows of an UPDATE in batches along the key."""
    assignments = kitchen.details.get("assignments")
    if not assignments or any(not value for _, value in assignments):
        return None
    key = repr(kitchen.keys[0]) if len(kitchen.keys) == 1 else repr(list(kitchen.keys))
    where = kitchen.details.get("where")
    line = f"batched_update(op, {kitchen.finding.table!r}, key={key}, values={dict(assignments)!r}"
    line += f", where={where!r})" if where else ")"
    imports = ["from sillar.migrations.data import batched_update"]
    return Recipe("backfill", (revision(f"fill {kitchen.plain_table}", [line], imports=imports),))


def drop_table(kitchen: Kitchen) -> Recipe | None:
    """Renamed away, so that there is a way back; dropped in a later release."""
    table = kitchen.finding.table or ""
    away = f"{kitchen.plain_table}_dropped"
    rename = [
        acknowledged("rename-table", table, f"deployed code does not use {table} any more"),
        f"op.rename_table({kitchen.plain_table!r}, {away!r})",
    ]
    drop = [
        acknowledged("drop-table", away, f"since the release before, nobody has missed {table}"),
        execute(f"DROP TABLE {kitchen.quoted(away)}"),
    ]
    return Recipe(
        "drop-table",
        (
            revision(f"rename {table} away", rename, [f"op.rename_table({away!r}, {kitchen.plain_table!r})"]),
            revision(f"drop {away}", drop, NO_WAY_BACK),
        ),
        (f"deploy code that does not use {table} before the first revision",),
    )
