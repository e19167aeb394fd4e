"""What the compiler says when a construct has no faithful translation."""

from __future__ import annotations

from typing import Any

from sillar.errors import UnsupportedCapabilityError

SQL_REMEDY = "ask for the rows and compute it in Python, write the pipeline yourself, or use an SQL database"


def unsupported(construct: str, remedy: str = SQL_REMEDY) -> UnsupportedCapabilityError:
    """The error for a construct that is refused; nothing was sent."""
    return UnsupportedCapabilityError(construct, engine="MongoDB's statement compiler", remedy=remedy)


def construct_of(element: Any) -> str:
    """How a construct is called in an error: its class, never its values."""
    return type(element).__name__.removeprefix("Annotated")
