"""Keyset pages: the next page begins behind the last row of this one, found by the index instead of counted off.

After "Paging Through Results", Markus Winand, use-the-index-luke.com/no-offset. The order is made total by the
primary key. A cursor holds the sort values of a row; they are bound like any others, so a forged one can do no more
than begin a page elsewhere.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, Generic, TypeVar

import msgspec
from sqlalchemy import and_, false, or_
from sqlalchemy.sql.elements import BindParameter

from sillar.errors import ParameterError, UsageError
from sillar.query.binding import ModelBinding, plain
from sillar.query.ordering import SortKey
from sillar.query.parts import QueryPart, clause

T = TypeVar("T")
_CURSOR_CHARACTERS_MAX: Final = 4000
_PAGE_ROWS_MAX: Final = 10_000
_encoder: Final = msgspec.json.Encoder(decimal_format="string")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list.

    Attributes:
        items: its rows.
        next_cursor: give it as ``after=`` for the next page; None on the last one.
    """

    items: list[T]
    next_cursor: str | None


class Pager:
    """The order of a list, taken apart: where a page begins, and the cursor behind a row.

    Args:
        binding: the model.
        parts: the steps of the query.

    Raises:
        UsageError: the model has no primary key to make the order total, or the query has a limit, groups or a union.
    """

    def __init__(self, binding: ModelBinding[Any], parts: Sequence[QueryPart]) -> None:
        for each in parts:
            if each.kind in ("limit", "offset", "group by", "union", "union all", "distinct"):
                raise UsageError(f"page() orders and limits the list itself: leave {each.kind} out, or page a subquery")
        if not binding.key:
            raise UsageError(f"{binding.name} has no primary key, so its order is not total; page() needs one")
        keys = [SortKey.of(key) for each in parts if each.kind == "order by" for key in each.expressions]
        sorted_by = {plain(key.column) for key in keys}
        last_descending = keys[-1].descending if keys else False
        keys += [
            SortKey(clause(column), last_descending, None)  # type: ignore[arg-type]
            for column in map(binding.column, binding.key)
            if plain(column) not in sorted_by
        ]
        self.keys = [self._placed(key) for key in keys]
        shape = ";".join(f"{key.column}{key.descending}{key.nulls}" for key in self.keys)
        self._mark = blake2b(shape.encode(), digest_size=4).hexdigest()

    @staticmethod
    def _placed(key: SortKey) -> SortKey:
        """A nullable column needs a place for rows without a value that is the same on all engines: last."""
        if key.nulls is None and getattr(plain(key.column), "nullable", True):
            return SortKey(key.column, key.descending, "last")
        return key

    def begin(self, cursor: str) -> Any:
        """The condition for rows behind a cursor.

        Raises:
            ParameterError: no cursor of this list.
        """
        values = self._decoded(cursor)
        ways = []
        for number, key in enumerate(self.keys):
            same = [_same(each, value) for each, value in zip(self.keys[:number], values, strict=False)]
            ways.append(and_(*same, _behind(key, values[number])))
        behind = or_(*ways)
        first = self.keys[0]
        if values[0] is not None and first.nulls is None:  # said once more for the index, which serves no OR
            bind = _bind(first, values[0])
            return and_(first.column <= bind if first.descending else first.column >= bind, behind)
        return behind

    async def page(
        self, query: Any, size: int, session: Any, after: str | None, params: Mapping[str, Any] | None
    ) -> Page[Any]:
        """The page of a query behind a cursor: one row more is read, to know whether another page follows."""
        wanted = page_limit(size)
        listed = query.paged(self.keys, None if after is None else self.begin(after)).limit(wanted + 1)
        rows = await listed.all(session, params=params)
        items = [item for item, *_ in rows[:wanted]]
        last = self.cursor(rows[wanted - 1][1:]) if len(rows) > wanted else None
        return Page(items, last)

    def cursor(self, values: Sequence[Any]) -> str:
        """The cursor behind the row that has these sort values."""
        text = _encoder.encode([self._mark, *values])
        return base64.urlsafe_b64encode(text).decode().rstrip("=")

    def _decoded(self, cursor: str) -> list[Any]:
        if not isinstance(cursor, str) or len(cursor) > _CURSOR_CHARACTERS_MAX:
            raise ParameterError(f"a cursor is a text of at most {_CURSOR_CHARACTERS_MAX} characters that a page gave")
        try:
            text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            mark, *values = msgspec.json.decode(text, type=list[Any])
        except (binascii.Error, ValueError, msgspec.MsgspecError):
            raise ParameterError("the cursor is damaged; begin again with the first page") from None
        if mark != self._mark or len(values) != len(self.keys):
            raise ParameterError("the cursor belongs to a list with another order; begin again with the first page")
        return [_typed(key, value) for key, value in zip(self.keys, values, strict=True)]


def page_limit(size: int) -> int:
    """The number itself.

    Raises:
        ParameterError: it is no number from 1 to 10,000.
    """
    if type(size) is not int or not 1 <= size <= _PAGE_ROWS_MAX:
        raise ParameterError(f"a page has 1 to {_PAGE_ROWS_MAX} rows, not {str(size)[:20]}")
    return size


def _typed(key: SortKey, value: Any) -> Any:
    """The value as the column has it: JSON knows no times, decimals and uuids."""
    if value is None:
        return None
    try:
        kind = key.column.type.python_type
    except NotImplementedError:
        return value
    try:
        return msgspec.convert(value, kind, strict=kind in (int, str, bool))
    except (ValueError, TypeError, ArithmeticError):
        raise ParameterError("the cursor is damaged; begin again with the first page") from None


def _bind(key: SortKey, value: Any) -> BindParameter[Any]:
    return BindParameter(None, value, type_=key.column.type, unique=True)


def _same(key: SortKey, value: Any) -> Any:
    return key.column.is_(None) if value is None else key.column == _bind(key, value)


def _behind(key: SortKey, value: Any) -> Any:
    if value is None:
        return key.column.is_not(None) if key.nulls == "first" else false()
    bind = _bind(key, value)
    beyond = key.column < bind if key.descending else key.column > bind
    return or_(beyond, key.column.is_(None)) if key.nulls == "last" else beyond
