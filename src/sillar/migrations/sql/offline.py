"""What an offline run writes, statement by statement."""

from __future__ import annotations

import re
from typing import Any

from alembic.runtime.migration import MigrationContext

from sillar.migrations.migration import MigrationOperation, calling_line


def record(context: MigrationContext, operations: list[MigrationOperation]) -> None:
    """Keep what an offline run writes, statement by statement."""
    impl: Any = context.impl
    write, begin, commit = impl.static_output, impl.emit_begin, impl.emit_commit
    in_transaction = False
    control = {"BEGIN", "COMMIT"}
    of_version_table = re.compile(
        rf"(?:CREATE TABLE|INSERT INTO|UPDATE|DELETE FROM)\s+\S*\b{re.escape(context.version_table)}\b"
    )

    def static_output(text: str) -> None:
        write(text)
        sql = text.strip().rstrip(";").rstrip()
        if sql and sql not in control and not of_version_table.match(sql):
            operations.append(
                MigrationOperation(sql, in_transaction or not impl.transactional_ddl, line=calling_line())
            )

    def emit_begin() -> None:
        nonlocal in_transaction
        begin()
        in_transaction = True

    def emit_commit() -> None:
        nonlocal in_transaction
        commit()
        in_transaction = False

    impl.static_output, impl.emit_begin, impl.emit_commit = static_output, emit_begin, emit_commit


__all__ = ["record"]
