"""Rows of many keys at once, in the order of the keys."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from sillar.errors import UsageError

if TYPE_CHECKING:
    from sillar.query.builder import QueryBuilder

_KEYS_MAX: Final = 10_000  # in one statement


async def get_many(query: QueryBuilder[Any], keys: Iterable[Any], session: Any) -> list[Any]:
    """The rows of a query with these values of the primary key, None for each that is not there.

    Raises:
        UsageError: the model has no primary key, or one of several columns.
    """
    binding = query._binding
    if len(binding.key) != 1:
        raise UsageError(f"get_many() needs a primary key of one column, and {binding.name} has {len(binding.key)}")
    column: Any = binding.column(binding.key[0])
    wanted = list(keys)
    unique = list(dict.fromkeys(key for key in wanted if key is not None))
    found: dict[Any, Any] = {}
    for begin in range(0, len(unique), _KEYS_MAX):
        chunk = query.where(column.in_(unique[begin : begin + _KEYS_MAX])).with_values([column])
        found.update({key: item for item, key in await chunk.all(session)})
    return [found.get(key) for key in wanted]
