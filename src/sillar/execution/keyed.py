"""Rows by their keys, in the order of the keys."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from sillar.engines.adapter import DatabaseAdapter
from sillar.engines.connection import DocumentShape, RowShape
from sillar.errors import ParameterError, ResultError
from sillar.execution import execution as operations
from sillar.execution.rows import row_maker
from sillar.query.bulk import KeyedRead

if TYPE_CHECKING:
    from sillar.execution.statements import Statements

_ABSENT: Final = object()


def keyed_read(
    adapter: DatabaseAdapter, table: str, key: str | Sequence[str], columns: Sequence[str] | None
) -> tuple[KeyedRead, tuple[str, ...] | None]:
    """The read of rows by a key, and the columns that its caller wants.

    Raises:
        ParameterError: a name cannot be one.
    """
    names = (key,) if isinstance(key, str) else tuple(key)
    if not names:
        raise ParameterError("a key has at least one column")
    wanted = None if columns is None else tuple(columns)
    if wanted is not None and (isinstance(columns, str) or not wanted):
        raise ParameterError("columns are a list of at least one name")
    for part in table.split("."):
        adapter.check_name(part)
    for name in (*names, *(wanted or ())):
        adapter.check_name(name)
    if wanted is None:
        return KeyedRead(table, names), None
    return KeyedRead(table, names, (*wanted, *(name for name in names if name not in wanted))), wanted


class KeyedReader:
    """Reads rows by key and puts them beside the keys that were asked for.

    Args:
        read: the read; of its columns those that nobody asked for come last.
        wanted: the columns asked for; None: all.
        into: what rows become.

    Attributes:
        fits: the columns of the last result can be made into it, whatever the values of a row are.
    """

    __slots__ = ("_into", "_key_of", "_key_shape", "_read", "_wanted", "fits")

    def __init__(self, read: KeyedRead, wanted: tuple[str, ...] | None, into: Any) -> None:
        self._read, self._wanted, self._into = read, wanted, into
        self.fits = True
        self._key_shape: RowShape | None = None
        self._key_of: Any = None

    async def many(self, statements: Statements, keys: Iterable[Any], timeout_seconds: float | None) -> list[Any]:
        """For each key its row, or None."""
        keys = keys if isinstance(keys, (list, tuple)) else list(keys)
        found = await self.found(statements, keys, timeout_seconds)
        return list(map(found.get, keys))

    async def found(
        self, statements: Statements, keys: Sequence[Any], timeout_seconds: float | None
    ) -> Mapping[Any, Any]:
        """The rows by key; keys without a row are missing, or None.

        Raises:
            ParameterError: a key that cannot be one: unhashable, or a tuple of the wrong length.
            ResultError: two rows have the same key.
        """
        try:
            unique: dict[Any, None] = dict.fromkeys(keys)
        except TypeError:
            raise ParameterError("a key is a list, a dict or the like, which cannot be compared") from None
        count = len(self._read.key)
        if count == 1:
            unique.pop(None, None)  # NULL finds no row
        else:
            unique = {key: None for key in unique if not self._is_null(key, count)}
        asked = list(unique)
        size = statements._executor.adapter.keys_max
        if len(asked) <= size:
            rows = await self._rows(statements, asked, timeout_seconds) if asked else {}
        else:
            rows = {}
            for begin in range(0, len(asked), size):
                rows.update(await self._rows(statements, asked[begin : begin + size], timeout_seconds))
        if rows.keys() <= unique.keys() and (
            len(rows) == len(asked) or not self._may_be_spelled_otherwise(rows, unique)
        ):
            return rows
        return await self._matched(statements, rows, asked, timeout_seconds)

    def _is_null(self, key: Any, count: int) -> bool:
        if key is None:
            return True
        if not isinstance(key, tuple) or len(key) != count:
            raise ParameterError(f"a key is a tuple of {count} values here: {', '.join(self._read.key)}")
        return None in key

    async def _rows(self, statements: Statements, keys: list[Any], timeout_seconds: float | None) -> dict[Any, Any]:
        bound, args = statements._executor.adapter.bind_keys(self._read, keys)
        shape, rows = await statements._run_bound(operations.keyed_rows, bound, args, timeout_seconds)
        if not rows:
            return {}
        if shape is not self._key_shape:
            self._key_of, self._key_shape = self._getter(shape), shape
        as_wanted = self._wanted is None or self._wanted == self._read.columns
        self.fits = False
        made = self._made(shape, rows) if as_wanted else self._narrowed(shape, rows)
        try:
            found = dict(zip(map(self._key_of, rows), made, strict=True))
        except TypeError:
            raise ResultError(
                f"a row of {self._read.table} has a list or a document as {', '.join(self._read.key)}: that is no key"
            ) from None
        if len(found) != len(rows):
            raise ResultError(
                f"two rows of {self._read.table} have the same {', '.join(self._read.key)}, so that is no key; use"
                " fetch_all"
            )
        return found

    def _getter(self, shape: RowShape) -> Any:
        names = self._read.key
        if isinstance(shape, DocumentShape):
            get = itemgetter(*names)
            return lambda row: get(row[0])
        return itemgetter(*[shape.columns.index(name) for name in names])

    def _made(self, shape: RowShape, rows: Sequence[Any]) -> list[Any]:
        maker = row_maker(shape, self._into)
        self.fits = True
        return maker.many(rows)

    def _narrowed(self, shape: RowShape, rows: Sequence[Any]) -> list[Any]:
        assert self._wanted is not None
        count = len(self._wanted)
        if isinstance(shape, DocumentShape):
            extra = set(self._read.key) - set(self._wanted)
            rows = [({name: value for name, value in row[0].items() if name not in extra},) for row in rows]
            return self._made(shape, rows)
        narrow = RowShape(shape.columns[:count], shape.native, shape.decimals)
        return self._made(narrow, [row[:count] for row in rows])

    # --- keys that the server takes for equal and Python does not ---

    def _may_be_spelled_otherwise(self, rows: Mapping[Any, Any], unique: Mapping[Any, Any]) -> bool:
        """Whether a key without a row is another spelling of one with a row, as a collation may see it."""
        texts = [key for key in unique if key not in rows and _has_text(key)]
        if not texts or not rows:
            return False
        folded = {_folded(key) for key in rows if _has_text(key)}
        return any(_folded(key) in folded for key in texts)

    async def _matched(
        self, statements: Statements, rows: Mapping[Any, Any], asked: Sequence[Any], timeout_seconds: float | None
    ) -> Mapping[Any, Any]:
        """The rows by the keys that were asked for, where the engine gives keys in another form.

        A UUID stored as text is told by its text; for what is left the server is asked key by key.
        """
        known = set(asked)
        strangers = {str(key): row for key, row in rows.items() if key not in known}  # until they are told apart
        folded = {_folded(key) for key in rows if _has_text(key)}
        found: dict[Any, Any] = {}
        left = []
        for key in asked:
            row = rows.get(key, _ABSENT)
            if row is _ABSENT:
                row = strangers.pop(str(key), _ABSENT)
            if row is _ABSENT:
                left.append(key)
            else:
                found[key] = row
        is_foreign = any(key not in known and not _has_text(key) for key in rows)
        for key in left:
            if _folded(key) in folded if _has_text(key) and not is_foreign else strangers:
                for row in (await self._rows(statements, [key], timeout_seconds)).values():
                    found[key] = row
        return found


def _has_text(key: Any) -> bool:
    return isinstance(key, str) or (isinstance(key, tuple) and any(isinstance(part, str) for part in key))


def _folded(key: Any) -> Any:
    """A text without what collations may overlook: case, accents, space at the end."""
    if isinstance(key, tuple):
        return tuple(map(_folded, key))
    if not isinstance(key, str):
        return key
    plain = "".join(each for each in unicodedata.normalize("NFKD", key) if not unicodedata.combining(each))
    return plain.casefold().rstrip()
