"""What a catalogue says of the things beside tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LiveView:
    """A view.

    Attributes:
        name: its name.
        definition: its query, as the engine prints it.
        materialized: its rows are kept.
        indexes: statements that make the indexes of a materialised one.
    """

    name: str
    definition: str
    materialized: bool = False
    indexes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LiveFunction:
    """A function.

    Attributes:
        name: its name.
        identity: the types of its arguments.
        signature: arguments with names and defaults, and what it returns: these cannot be replaced.
        rest: everything else that it is.
        created: the statement that makes it.
    """

    name: str
    identity: str
    signature: tuple[Any, ...]
    rest: tuple[Any, ...]
    created: str


@dataclass(frozen=True, slots=True)
class LivePolicy:
    """A policy of row security.

    Attributes:
        name: its name.
        permissive: one of several is enough.
        command: statements that it holds for.
        roles: whom it holds for.
        using, check: its conditions.
    """

    name: str
    permissive: bool
    command: str
    roles: tuple[str, ...]
    using: str | None
    check: str | None


@dataclass(frozen=True, slots=True)
class LiveColumn:
    """A column that has an enum type.

    Attributes:
        table: its table, quoted, with the schema where it is not the default one.
        place: schema and name of its table.
        name: its name.
        is_array: it has several values.
        default: its default.
    """

    table: str
    place: tuple[str, str]
    name: str
    is_array: bool
    default: str | None


@dataclass(frozen=True, slots=True)
class LiveEnum:
    """An enum type.

    Attributes:
        labels: its values, in order.
        columns: what has it.
        dependents: statements that drop and make checks and indexes whose expressions compare with its values.
    """

    labels: tuple[str, ...]
    columns: tuple[LiveColumn, ...] = ()
    dependents: tuple[tuple[str, str], ...] = ()
