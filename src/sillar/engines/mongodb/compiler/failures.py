"""Failures that a compiled statement brings about on the server, where SQL fails or MongoDB would answer otherwise.

An expression fails by converting a text to a number; the text says why, and the error is told by it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class Failure(StrEnum):
    """Why."""

    LETTERS = "lower() and upper() change ASCII letters only in MongoDB, and a text has others"
    ROWS = "a subquery used as a value gave more than one row"
    NULL = "a column that is NOT NULL would become NULL"
    BOOLEAN = "a JSON item is no boolean"


def failing(why: Failure) -> Any:
    """An expression that fails. It depends on the document, lest a server evaluates it before its branch is taken."""
    return {"$toInt": {"$concat": [{"$literal": f"{why} "}, {"$type": "$$ROOT"}]}}


def failure_in(message: str) -> Failure | None:
    """The failure that a server's message tells of."""
    return next((why for why in Failure if why in message), None)
