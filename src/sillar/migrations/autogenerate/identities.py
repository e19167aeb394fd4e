"""Identity columns: how one is changed, and how a SERIAL column becomes one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Dialect, Identity

from sillar.migrations.autogenerate import stock
from sillar.migrations.autogenerate.catalog.catalog import SERIAL
from sillar.migrations.autogenerate.operations import ExecuteOp, Statement, quoted

_SEQUENCE: Final = re.compile(r"nextval\('(.+)'::regclass\)$")


class IdentityOp(ops.AlterColumnOp):
    """A change of an identity column: what it was has to be written, or it would be made a second time."""

    @classmethod
    def of(cls, change: ops.AlterColumnOp) -> IdentityOp:
        """The same change."""
        made = cls(change.table_name, change.column_name, schema=change.schema)
        vars(made).update(vars(change))
        return made

    def reverse(self) -> IdentityOp:
        """The same backwards."""
        return IdentityOp.of(super().reverse())


def identified(change: Any, live: Mapping[str, Mapping[str, Any]], dialect: Dialect) -> ops.MigrateOperation:
    """A change of a column as it can be made, if an identity has part in it; any other as it is.

    Args:
        change: of a table.
        live: the columns of the table as they were read, by name.
        dialect: of the database.
    """
    changed: ops.MigrateOperation = change
    if not isinstance(change, ops.AlterColumnOp) or change.modify_server_default is False:
        return changed
    if isinstance(change.existing_server_default, Identity):
        return IdentityOp.of(change)
    sequence = _SEQUENCE.match(str(live.get(change.column_name, {}).get(SERIAL)))
    if isinstance(change.modify_server_default, Identity) and sequence is not None:
        return _from_serial(change, sequence.group(1), dialect)
    return changed


def _from_serial(change: ops.AlterColumnOp, sequence: str, dialect: Dialect) -> ExecuteOp:
    """The sequence goes, and the identity begins behind the highest value; the same back."""
    compiler: Any = dialect.ddl_compiler(dialect, None)  # type: ignore[arg-type]
    table, column = quoted(dialect, change.schema, change.table_name), quoted(dialect, None, change.column_name)
    place, existing = f"ALTER TABLE {table} ALTER COLUMN {column}", change.existing_type
    assert existing is not None  # the comparison of types has set it
    kind = dialect.type_compiler_instance.process(existing)
    sequence_of = f"pg_get_serial_sequence({_literal(table)}, {_literal(change.column_name)})"
    behind = f"SELECT setval({sequence_of}, COALESCE(max({column}), 0) + 1, false) FROM {table}"  # noqa: S608 - quoted
    up = [
        f"{place} DROP DEFAULT",
        f"DROP SEQUENCE {sequence}",
        f"{place} ADD {compiler.process(change.modify_server_default)}",
        behind,
    ]
    down = [
        f"{place} DROP IDENTITY",
        f"CREATE SEQUENCE {sequence} AS {kind} OWNED BY {table}.{column}",
        f"{place} SET DEFAULT nextval({_literal(sequence)})",
        behind,
    ]
    what = ("modify_default", change.schema, change.table_name, change.column_name, "serial", "identity")
    return ExecuteOp(what, [Statement(each) for each in up], [Statement(each) for each in down])


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@stock.renders(IdentityOp)
def _render_identity(context: AutogenContext, operation: IdentityOp) -> str:
    rendered: str = stock.renderers.dispatch(ops.AlterColumnOp(operation.table_name, operation.column_name))(
        context, operation
    )
    before = stock.render_server_default(operation.existing_server_default, context)
    return f"{rendered.removesuffix(')')},\n{' ' * 11}existing_server_default={before})"
