"""How an engine would run a statement, read from its own plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

ScanKind: TypeAlias = Literal["full", "index", "key", "other"]
"""From end to end; through an index; at most one row through an index; anything that is no stored table."""


@dataclass(frozen=True, slots=True)
class Scan:
    """How one table is read.

    Attributes:
        table: its name; where the engine prints only the alias, that one.
        kind: the way in. An index that is walked from end to end, because of its order or because it holds all columns,
            is ``index`` with ``narrowed`` False.
        index: the index, where one is used; several are joined by ``+``.
        rows: how many rows the engine expects to read or give here, each time; None where it does not say.
        alias: as which the statement knows it.
        narrowed: an index leads to the rows, so that not all of the table is read.
        repeated: it is read anew for each row of another one (the inner side of a join).
        sorts: its rows are sorted afterwards, because they do not come in the order that is wanted.
        candidates: indexes that could serve here, as the engine says; None where it does not.
    """

    table: str
    kind: ScanKind
    index: str | None = None
    rows: float | None = None
    alias: str = ""
    narrowed: bool = False
    repeated: bool = False
    sorts: bool = False
    candidates: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The plan of one statement.

    Attributes:
        text: the plan as the engine prints it.
        plan: the same as data (JSON), where the engine gives it; else None.
        scans: how each table is read, in the order of the plan.
    """

    text: str
    plan: Any
    scans: tuple[Scan, ...]

    @property
    def full_scans(self) -> tuple[Scan, ...]:
        """The tables that are read from end to end, through an index or without one."""
        return tuple(scan for scan in self.scans if scan.kind in ("full", "index") and not scan.narrowed)

    @property
    def sorts(self) -> bool:
        """Whether anything is sorted."""
        return any(scan.sorts for scan in self.scans)

    def uses_index(self, table: str) -> bool:
        """Whether an index leads to the rows of a table, wherever it is read.

        Args:
            table: its name, or an alias of the statement.
        """
        found = [scan for scan in self.scans if table in (scan.table, scan.alias)]
        return bool(found) and all(scan.narrowed for scan in found)

    def __str__(self) -> str:
        return self.text
