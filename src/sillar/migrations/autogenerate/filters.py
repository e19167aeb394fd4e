"""What an ``env.py`` leaves out beside tables: ``include_name`` and ``include_object`` are asked about that, too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from alembic.autogenerate.api import AutogenContext

ObjectKind: TypeAlias = Literal["view", "function", "policy", "sequence", "enum"]


@dataclass(frozen=True, slots=True)
class ReflectedObject:
    """An object of the database that the models do not declare, as ``include_object`` is given it.

    Attributes:
        kind: what it is.
        name: its name.
        schema: None: the default one.
        table: of a policy.
        info: empty; tables have such.
    """

    kind: ObjectKind
    name: str
    schema: str | None
    table: str | None = None
    info: dict[str, Any] = field(default_factory=dict)


class Filters:
    """The functions of one ``env.py``.

    Args:
        context: Alembic's.
    """

    def __init__(self, context: AutogenContext) -> None:
        self._context = context

    def compares(self, kind: ObjectKind, name: str, declared: Any) -> bool:
        """Whether something that the models declare is compared."""
        return self._context.run_object_filters(declared, name, kind, False, None)  # type: ignore[arg-type]

    def drops(self, kind: ObjectKind, schema: str | None, name: str, table: str | None = None) -> bool:
        """Whether something that the models do not declare is looked at, and so dropped."""
        parents: dict[str, str | None] = {"schema_name": schema, "table_name": table}
        if not self._context.run_name_filters(name, kind, parents):  # type: ignore[arg-type]
            return False
        found = ReflectedObject(kind, name, schema, table)
        return self._context.run_object_filters(found, name, kind, True, None)  # type: ignore[arg-type]
