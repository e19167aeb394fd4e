"""Whole rows on their way from one form to another, and which value is to blame."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from sillar.errors import DataError
from sillar.migrations.copying.model import ColumnType, Kind
from sillar.migrations.copying.side import Refuse, Row, Shelf
from sillar.migrations.copying.values import Convert, UnfitError

KEY_SHOWN_MAX = 60


def converted(
    shelf: Shelf, steps: Sequence[Convert | None], rows: Sequence[Row], refuse: Refuse | None = None
) -> list[Row]:
    """All rows with their values converted, column by column; None stays.

    Args:
        steps: of each column; None: its values are right as they are.
        refuse: told of values that do not fit, which become None; without it they raise.

    Raises:
        DataError: names table, key, column, reason and remedy of a value that does not fit.
    """
    if not rows or not any(steps):
        return list(rows)
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
    try:
        for place, step in enumerate(steps):
            if step is not None:
                columns[place] = [None if value is None else step(value) for value in columns[place]]
    except UnfitError:
        return [_slowly(shelf, steps, row, refuse) for row in rows]
    return list(zip(*columns, strict=True))


def _slowly(shelf: Shelf, steps: Sequence[Convert | None], row: Row, refuse: Refuse | None) -> Row:
    values = list(row)
    for place, (step, value) in enumerate(zip(steps, row, strict=True)):
        if step is None or value is None:
            continue
        try:
            values[place] = step(value)
        except UnfitError as error:
            if refuse is None:
                raise unfit(shelf, row, place, error) from None
            values[place] = None
            refuse(row, place, error)
    return values


def unfit(shelf: Shelf, row: Row, place: int, error: UnfitError) -> DataError:
    """The error for a value that cannot be carried."""
    column = shelf.fields[place].name
    return DataError(
        f"{shelf.table}, {key_of(shelf, row)}: the value of {column} {error.reason}; {error.remedy}",
        table=shelf.table, column=column,
    )  # fmt: skip


def key_of(shelf: Shelf, row: Row) -> str:
    """A row's key for people."""
    if not shelf.key:
        return "a row without a key"
    shown = [f"{shelf.fields[place].name}={_short(row[place])}" for place in shelf.key_places]
    return f"row {', '.join(shown)}"


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, (bytes, float)) else str(value)
    return text if len(text) <= KEY_SHOWN_MAX else f"{text[:KEY_SHOWN_MAX]}…"


def key_to_text(types: Sequence[ColumnType], values: Row) -> str:
    """A key as JSON text, for the progress table."""
    return json.dumps([_KEY_OUT.get(kind.kind, _same)(value) for kind, value in zip(types, values, strict=True)])


def key_from_text(types: Sequence[ColumnType], text: str) -> Row:
    """From :func:`key_to_text`."""
    return [_KEY_IN.get(kind.kind, _same)(value) for kind, value in zip(types, json.loads(text), strict=True)]


def _same(value: Any) -> Any:
    return value


_KEY_OUT: dict[Kind, Convert] = {
    Kind.DECIMAL: str,
    Kind.BYTES: bytes.hex,
    Kind.FLOAT: float.hex,
    Kind.FLOAT32: float.hex,
}
_KEY_IN: dict[Kind, Convert] = {
    Kind.DECIMAL: Decimal,
    Kind.BYTES: bytes.fromhex,
    Kind.FLOAT: float.fromhex,
    Kind.FLOAT32: float.fromhex,
}
