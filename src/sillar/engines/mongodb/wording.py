"""The server's messages without the values that they quote."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

_QUOTED: Final = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_OPERATOR: Final = re.compile(r"\$[A-Za-z]+\Z")
_TIMEOUTS: Final = re.compile(r",? ?\(configured timeouts:.*?\)|, full error: .*", re.DOTALL)


def plain_message(message: str, names: Collection[str]) -> str:
    """The message with documents and quoted values replaced by ``…``.

    What is in quotes stays if it is one of ``names`` (fields and operators that the command has) or an operator.
    """

    def replaced(found: re.Match[str]) -> str:
        inner = found[1] if found[1] is not None else found[2]
        return found[0] if inner in names or _OPERATOR.match(inner) else "…"

    message = _TIMEOUTS.sub("", message)
    return _QUOTED.sub(replaced, _without_documents(message)).strip()


def _without_documents(message: str) -> str:
    """Braces and brackets with what is between them become ``{…}`` and ``[…]``; an unclosed one swallows the rest."""
    kept: list[str] = []
    depth = 0
    for character in message:
        if character in "{[":
            if depth == 0:
                kept.append("{…}" if character == "{" else "[…]")
            depth += 1
        elif character in "}]" and depth:
            depth -= 1
        elif depth == 0:
            kept.append(character)
    return "".join(kept)


def names_in(given: Any) -> frozenset[str]:
    """The names of all fields and operators in the arguments of a command."""
    return frozenset(_names(given))


def _names(given: Any) -> Iterator[str]:
    if isinstance(given, Mapping):
        for key, inner in given.items():
            yield str(key)
            yield from _names(inner)
    elif isinstance(given, (list, tuple)):
        for inner in given:
            yield from _names(inner)
