"""Tables as a live server has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LiveColumn:
    """One column.

    Attributes:
        name: of the column.
        type_name: as the engine calls its type.
        family: what kind of type that is (``integer``, ``text``, ``time``, …); empty where it cannot be told.
        nullable: whether it takes NULL; None where the engine does not say.
        generated: the server makes its values (identity, default, generated column).
    """

    name: str
    type_name: str
    family: str
    nullable: bool | None
    generated: bool = False


@dataclass(frozen=True, slots=True)
class LiveIndex:
    """One index.

    Attributes:
        name: of the index.
        columns: names in order; an expression stands as ``""``.
        unique: whether equal entries are refused.
        partial: whether only some rows are in it.
        serves_prefix: whether it finds texts by their beginning (``LIKE 'abc%'``).
    """

    name: str
    columns: tuple[str, ...]
    unique: bool = False
    partial: bool = False
    serves_prefix: bool = True

    @property
    def is_key(self) -> bool:
        """Whether it makes a combination of columns unique among all rows."""
        return self.unique and not self.partial and "" not in self.columns


@dataclass(frozen=True, slots=True)
class LiveTable:
    """One table, view or collection.

    Attributes:
        name: of the table.
        columns: by name.
        key: columns of the primary key; empty where there is none.
        indexes: all of them, that of the primary key included.
        families_of: for a type of SQLAlchemy, the families that a column of this engine may have for it; None: any.
        complete: the columns are all that there are (False where documents were sampled).
    """

    name: str
    columns: Mapping[str, LiveColumn]
    key: tuple[str, ...]
    indexes: tuple[LiveIndex, ...]
    families_of: Callable[[Any], frozenset[str] | None]
    complete: bool = True

    def is_unique(self, columns: frozenset[str]) -> bool:
        """Whether values of these columns are found at most once."""
        keys = [frozenset(self.key)] if self.key else []
        keys += [frozenset(index.columns) for index in self.indexes if index.is_key]
        return any(key <= columns for key in keys)
