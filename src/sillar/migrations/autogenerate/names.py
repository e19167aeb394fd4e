"""Names for constraints that have none: without one they cannot be dropped again."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

from alembic.operations import ops

_LENGTH_MAX: Final = 63
_SHORT: Final = {"foreignkey": "fk", "unique": "uq", "check": "ck"}


def name_constraints(table: str, changes: Sequence[ops.MigrateOperation]) -> bool:
    """Give constraints of a table that have no name one.

    Returns:
        Whether there were such.
    """
    found = False
    for change in changes:
        if not isinstance(change, (ops.DropConstraintOp, ops.AddConstraintOp)) or _named(change):
            continue
        kind = _kind(change)
        if kind not in _SHORT:
            continue
        constraint: Any = change.to_constraint()
        said = "_".join(column.name for column in constraint.columns)
        if kind == "check":
            said = sha256(str(constraint.sqltext).encode()).hexdigest()[:8]
        change.constraint_name = constraint.name = given_name(kind, table, said)  # type: ignore[union-attr]
        found = True
    return found


def given_name(kind: str, table: str, said: str) -> str:
    """The name of a constraint that has none.

    Args:
        kind: ``foreignkey``, ``unique`` or ``check``.
        table: of its table.
        said: its columns, or what else tells it from others.
    """
    name = f"{_SHORT[kind]}_{table}_{said}"
    return name if len(name) <= _LENGTH_MAX else f"{name[: _LENGTH_MAX - 9]}_{sha256(name.encode()).hexdigest()[:8]}"


def _named(change: Any) -> bool:
    return isinstance(change.constraint_name, str) and bool(change.constraint_name)


def _kind(change: Any) -> str:
    if isinstance(change, ops.DropConstraintOp):
        return change.constraint_type or ""
    kinds = {
        ops.CreateForeignKeyOp: "foreignkey",
        ops.CreateUniqueConstraintOp: "unique",
        ops.CreateCheckConstraintOp: "check",
    }
    return next((name for kind, name in kinds.items() if isinstance(change, kind)), "")
