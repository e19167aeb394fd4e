"""One comparison by itself, without a folder of migrations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alembic.autogenerate import produce_migrations
from alembic.migration import MigrationContext
from alembic.operations import ops
from sqlalchemy import Connection, MetaData

from sillar.migrations.autogenerate.options import autogenerate_options


def compare_models(connection: Connection, metadata: Sequence[MetaData], **options: Any) -> ops.MigrationScript:
    """What the models have and the database has not, as operations: ``.upgrade_ops`` and ``.downgrade_ops``.

    Args:
        connection: to the database. Nothing of it is changed.
        metadata: of the models, as :func:`load_models` gives it.
        options: of :func:`autogenerate_options`.

    Raises:
        MigrationRefusedError: there are possible renames that nobody knows about.
    """
    settings = autogenerate_options(connection.dialect.name, **options) | {"target_metadata": list(metadata)}
    context = MigrationContext.configure(connection, opts=settings)
    return produce_migrations(context, list(metadata))  # type: ignore[arg-type]
