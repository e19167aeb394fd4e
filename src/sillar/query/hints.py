"""Hints: what a query does that will hurt once its tables are large.

They are asked for, in tests and while developing; nothing here runs with a query.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from sillar.query.explanation import Explanation, Scan
from sillar.query.live import LiveIndex, LiveTable
from sillar.query.predicates import Block, Predicate, TableUse, blocks_of

if TYPE_CHECKING:
    from sillar.execution.statements import Statements
    from sillar.query.terminals import Terminals

HintKind: TypeAlias = Literal["no usable index", "unbounded rows", "repeats per row"]


@dataclass(frozen=True, slots=True)
class Hint:
    """One thing that will hurt.

    Attributes:
        kind: ``no usable index``, ``unbounded rows`` or ``repeats per row`` (the latter from ``watch_queries``).
        message: what was seen, with table and columns; no values.
        remedy: what to do about it.
        table: the table that it is about; empty where it is about none.
        columns: those that an index would need, in this order; empty where no index helps.
    """

    kind: HintKind
    message: str
    remedy: str
    table: str = ""
    columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}; {self.remedy}"


async def hints_of(query: Terminals[Any], session: Statements, params: Mapping[str, Any] | None) -> list[Hint]:
    """The hints for one query.

    Args:
        query: a builder, a write, a prepared query.
        session: where it would run.
        params: values of its named parameters.
    """
    composed = query.composed()
    blocks = blocks_of(composed.build())
    explanation = await session.explain(composed, params, prefer_indexes=True)
    unbounded = bool(blocks) and _may_be_unbounded(blocks[0])
    if not unbounded and not any(_is_suspect(scan) for scan in explanation.scans):
        return []
    tables = await _live(session, blocks)
    found = index_hints(explanation, blocks, tables)
    if unbounded and not _has_key(blocks[0], tables):
        found.append(_unbounded(blocks[0]))
    return found


async def _live(session: Statements, blocks: Sequence[Block]) -> dict[str, LiveTable]:
    names = list(dict.fromkeys((use.table, use.schema) for block in blocks for use in block.uses))
    live = await session.live_tables(names)
    return {name: table for (name, _), table in zip(names, live, strict=True) if table is not None}


def _is_suspect(scan: Scan) -> bool:
    """Whether the indexes have to be looked at to judge it."""
    return scan.kind != "other" and not (scan.kind == "key" and scan.candidates is None)


# --- indexes ---------------------------------------------------------------------------------------------------------


def index_hints(explanation: Explanation, blocks: Sequence[Block], tables: Mapping[str, LiveTable]) -> list[Hint]:
    """Tables that are read from end to end because no index serves what the statement asks of them.

    Args:
        explanation: the plan, made with ``prefer_indexes``.
        blocks: what the statement asks of its tables.
        tables: the live ones by name.
    """
    found: dict[str, Hint] = {}
    for scan in explanation.scans:
        for block, use in _uses(scan, blocks):
            live = tables.get(use.table)
            indexes = live.indexes if live is not None else ()
            hint = _index_hint(scan, block, use, indexes)
            if hint is not None:
                found.setdefault(use.alias, hint)
    return list(found.values())


def _uses(scan: Scan, blocks: Sequence[Block]) -> Iterable[tuple[Block, TableUse]]:
    for block in blocks:
        for use in block.uses:
            if scan.alias == use.alias or (scan.table == use.table and scan.alias in ("", use.table, use.alias)):
                yield block, use
                return


def _index_hint(scan: Scan, block: Block, use: TableUse, indexes: Sequence[LiveIndex]) -> Hint | None:
    if scan.kind == "other":
        return None
    selective = [each for each in use.predicates if each.selective and (scan.repeated or not each.joins)]
    if scan.narrowed and _entered(scan, use, indexes):
        return None
    if selective and not _served(use, selective, indexes, scan):
        return _no_index(use, selective, block)
    if not selective and block.limited and use.sorts and scan.sorts and not _in_order(use, indexes):
        return _no_order(use)
    return None


def _entered(scan: Scan, use: TableUse, indexes: Sequence[LiveIndex]) -> bool:
    """Whether the index is entered by its first column: engines walk a whole index, too, to find something in it."""
    names = (scan.index or "").split("+")
    leading = {index.name: index.columns[0] for index in indexes if index.columns}
    asked = {column for each in use.predicates for column in each.columns}
    return not asked or all(leading.get(name, "") in {"", *asked} for name in names)


def _served(use: TableUse, predicates: Sequence[Predicate], indexes: Sequence[LiveIndex], scan: Scan) -> bool:
    """Whether an index would serve that the engine has left aside, because the table is small or most rows match.

    Where it says which ones it has considered, another one does not serve.
    """
    candidates = scan.candidates
    considered = [each for each in indexes if not each.partial and (candidates is None or each.name in candidates)]
    return any(_serves(each, considered) for each in predicates)


def _serves(predicate: Predicate, indexes: Sequence[LiveIndex]) -> bool:
    if predicate.branches:
        return all(any(_serves(each, indexes) for each in branch) for branch in predicate.branches)
    if predicate.reach == "none" or not predicate.columns:
        return False
    return any(
        index.columns and index.columns[0] in predicate.columns and (predicate.reach != "prefix" or index.serves_prefix)
        for index in indexes
    )


def _in_order(use: TableUse, indexes: Sequence[LiveIndex]) -> bool:
    """Whether an index has the order of the sort, which engines leave aside where the table is small."""
    return any(index.columns[: len(use.sorts)] == use.sorts and not index.partial for index in indexes)


def _no_index(use: TableUse, predicates: Sequence[Predicate], block: Block) -> Hint:
    wanted = _wanted(use, predicates, block)
    asked = ", ".join(dict.fromkeys(each.text for each in predicates))
    message = f"{use.named} is read from end to end for {asked}"
    if wanted:
        columns = ", ".join(wanted)
        return Hint("no usable index", message, f"create an index on {use.table} ({columns})", use.table, wanted)
    expressions = [each.expression for each in predicates if each.expression]
    if expressions:
        remedy = f"create an index on the expression {expressions[0]}, or compare the bare column"
    elif any(each.branches for each in predicates):
        remedy = "give each side of the OR an index, or unite two queries"
    else:
        remedy = "an ordinary index does not serve this; compare for equality, a range or a beginning, or use full text"
    return Hint("no usable index", message, remedy, use.table)


def _wanted(use: TableUse, predicates: Sequence[Predicate], block: Block) -> tuple[str, ...]:
    """Columns compared for equality first, then those of the sort if the rows are limited, else one of a range."""
    found: dict[str, None] = {}
    for each in predicates:
        if each.reach == "equal" and not each.branches:
            found.update(dict.fromkeys(each.columns))
    ranged = [each.columns[0] for each in predicates if each.reach in ("range", "prefix") and each.columns]
    if ranged:
        found.setdefault(ranged[0])
    elif found and block.limited:
        found.update(dict.fromkeys(use.sorts))
    return tuple(found)


def _no_order(use: TableUse) -> Hint:
    columns = ", ".join(use.sorts)
    return Hint(
        "no usable index",
        f"all of {use.named} is sorted by {columns} to give the first rows",
        f"create an index on {use.table} ({columns})",
        use.table,
        use.sorts,
    )


# --- bounds ----------------------------------------------------------------------------------------------------------


def _may_be_unbounded(block: Block) -> bool:
    return bool(block.uses) and not (block.limited or block.aggregated or block.is_write)


def _has_key(block: Block, tables: Mapping[str, LiveTable]) -> bool:
    """Whether a unique key is looked up in one of the tables."""
    for use in block.uses:
        asked = frozenset(
            column
            for each in use.predicates
            if each.reach == "equal" and not each.joins and not each.branches
            for column in each.columns
        )
        live = tables.get(use.table)
        if live is not None and live.is_unique(asked):
            return True
    return False


def _unbounded(block: Block) -> Hint:
    names = ", ".join(use.named for use in block.uses)
    return Hint(
        "unbounded rows",
        f"all matching rows of {names} are fetched, however many there are",
        "add limit(), page() through them, stream() them, or look up a unique key",
        block.uses[0].table,
    )
