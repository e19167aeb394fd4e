"""Work on many rows and many keys, as values that each engine puts into its own words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar


class BulkVerb(StrEnum):
    """What is done with the rows."""

    INSERT = "insert"
    UPSERT = "upsert"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class BulkWrite:
    """What a bulk operation does, without its rows. Names are checked, and quoted by the engine.

    Attributes:
        verb: insert, upsert, update or delete.
        table: name of the table or collection, possibly qualified.
        columns: what the values of a row are, in order.
        key: columns that find a row; empty for an insert.
        update: columns that an upsert or update sets in a row that is there; an upsert without any leaves it alone.
    """

    verb: BulkVerb
    table: str
    columns: tuple[str, ...]
    key: tuple[str, ...] = ()
    update: tuple[str, ...] = ()

    is_read: ClassVar[bool] = False
    is_atomic: ClassVar[bool] = True

    @property
    def fingerprint(self) -> str:
        """How it is observed: one line for all batches of one kind."""
        key = f" BY {', '.join(self.key)}" if self.key else ""
        return f"BULK {self.verb.upper()} {self.table} ({', '.join(self.columns)}){key}"


@dataclass(frozen=True, slots=True)
class KeyedRead:
    """A read of rows by their key.

    Attributes:
        table: name of the table or collection, possibly qualified.
        key: columns of the key; one, as a rule.
        columns: what to read, the key included; None: all.
    """

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...] | None = None


def padded_keys(keys: Sequence[Any]) -> list[Any]:
    """The keys with the last one repeated up to a power of two: so few texts do for lists of all lengths."""
    return [*keys, *[keys[-1]] * ((1 << (len(keys) - 1).bit_length()) - len(keys))]
