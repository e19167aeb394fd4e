"""The key that batches go along, in its order: ranges of it as conditions, and its values as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, bindparam, or_, tuple_

from sillar.errors import UsageError

KeyValue = tuple[Any, ...]
_TYPES: tuple[tuple[str, type[Any], Callable[[Any], Any], Callable[[Any], Any]], ...] = (
    # the first that fits: a bool is an int as well, a datetime a date
    ("bool", bool, bool, bool),
    ("int", int, int, int),
    ("str", str, str, str),
    ("uuid", UUID, str, UUID),
    ("decimal", Decimal, str, Decimal),
    ("datetime", datetime, datetime.isoformat, datetime.fromisoformat),
    ("date", date, date.isoformat, date.fromisoformat),
    ("time", time, time.isoformat, time.fromisoformat),
    ("bytes", bytes, bytes.hex, bytes.fromhex),
    ("float", float, float.hex, float.fromhex),
)


def encode_key(values: Sequence[Any] | None) -> str | None:
    """A key as JSON: a list of type and value, each; None stays None.

    Raises:
        UsageError: a value is of a type that has no exact form there.
    """
    if values is None:
        return None
    coded = []
    for value in values:
        for name, kind, encode, _ in _TYPES:
            if isinstance(value, kind):
                coded.append([name, encode(value)])
                break
        else:
            raise UsageError(f"a key cannot be of {type(value).__name__}; batch along another one")
    return json.dumps(coded, ensure_ascii=False)


def decode_key(coded: str | None) -> KeyValue | None:
    """The key of :func:`encode_key`."""
    if coded is None:
        return None
    decoders = {name: decode for name, _, _, decode in _TYPES}
    return tuple(decoders[name](value) for name, value in json.loads(coded))


@dataclass(frozen=True)
class Key:
    """The columns of a key.

    Attributes:
        columns: in the order of its index.
        compares_rows: ``(a, b) > (x, y)`` is found by an index; else it is written out.
    """

    columns: tuple[ColumnElement[Any], ...]
    compares_rows: bool = True

    def on(self, columns: Sequence[ColumnElement[Any]]) -> Key:
        """The same key in other columns."""
        return Key(tuple(columns), self.compares_rows)

    def between(self, low: KeyValue | None, high: KeyValue | None) -> ColumnElement[bool]:
        """Rows above one key, and up to another; None is without end."""
        parts = []
        if low is not None:
            parts.append(self._compare(low, ">", ">"))
        if high is not None:
            parts.append(self._compare(high, "<", "<="))
        return and_(True, *parts)

    def equals(self, values: KeyValue) -> ColumnElement[bool]:
        """Rows with this key."""
        return and_(
            *(column == bindparam(None, value, column.type) for column, value in zip(self.columns, values, strict=True))
        )

    def _compare(self, values: KeyValue, strict: str, last: str) -> ColumnElement[bool]:
        bound = [bindparam(None, value, column.type) for column, value in zip(self.columns, values, strict=True)]
        if len(bound) == 1:
            return self.columns[0].bool_op(last)(bound[0])
        if self.compares_rows:
            return tuple_(*self.columns).bool_op(last)(tuple_(*bound))
        # a >= x AND (a > x OR (b >= y AND (b > y OR c > z))): the first part is what an index serves.
        condition: ColumnElement[bool] = self.columns[-1].bool_op(last)(bound[-1])
        for column, value in zip(reversed(self.columns[:-1]), reversed(bound[:-1]), strict=True):
            condition = and_(column.bool_op(strict + "=")(value), or_(column.bool_op(strict)(value), condition))
        return condition
