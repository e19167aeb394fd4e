"""What Alembic's ``context.configure`` is given."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sillar.migrations.autogenerate import plugin
from sillar.migrations.autogenerate.catalog.catalog import catalog_class
from sillar.migrations.autogenerate.renames import RenameAnswers, RenameDecision

OWN_TABLES: Final = ("_migrations", "_migrations_steps")
"""Tables that migrations keep for themselves, under the names that they have by default."""


def autogenerate_options(
    dialect_name: str,
    *,
    renames: Mapping[str, str] | None = None,
    drops: Sequence[str] = (),
    decide: RenameDecision | None = None,
    refuse_renames: bool = True,
    own_tables: Collection[str] = OWN_TABLES,
) -> dict[str, Any]:
    """The options of a comparison. Options of an ``env.py`` that is adopted go over them.

    Args:
        dialect_name: SQLAlchemy's.
        renames: ``table.old`` → new name of a column, ``old`` → of a table, ``type.old`` → of a value of an enum.
        drops: what was not renamed but dropped, named in the same way.
        decide: is asked about other possible renames.
        refuse_renames: a possible rename that nobody knows about is refused. False: it counts as a drop and an add,
            for who only looks.
        own_tables: that are not compared.
    """
    plugin.register()

    def include_name(name: str | None, kind: str, parents: Mapping[str, Any]) -> bool:
        return kind != "table" or name not in own_tables

    return {
        "compare_type": True,
        "compare_server_default": True,
        "include_name": include_name,
        "autogenerate_plugins": list(plugin.PLUGINS),
        "render_as_batch": catalog_class(dialect_name).copies_tables,
        plugin.ANSWERS: RenameAnswers(dict(renames or {}), tuple(drops), decide, refuse_renames),
    }
