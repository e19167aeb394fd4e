"""LIKE as a regular expression."""

from __future__ import annotations

from typing import Any

from bson import Regex

from sillar.errors import ParameterError


def regex_of(pattern: str, escape: str | None, before: str = "", after: str = "") -> str:
    """The regular expression that matches exactly what the pattern does.

    Args:
        pattern: of LIKE, with ``%`` and ``_``.
        escape: the escape character; None is PostgreSQL's default, a backslash; empty: there is none.
        before, after: ``%`` or nothing, around the pattern (``contains`` and its like).

    Raises:
        ParameterError: it ends with the escape character, or contains NUL.
    """
    if "\0" in pattern:
        raise ParameterError("a pattern contains a NUL character, which no text of an SQL database has")
    mark = "\\" if escape is None else escape
    parts = [".*" if before else ""]
    characters = iter(pattern)
    for character in characters:
        if mark and character == mark:
            escaped = next(characters, None)
            if escaped is None:
                raise ParameterError("a LIKE pattern must not end with its escape character")
            parts.append(_quoted(escaped))
        elif character == "%":
            parts.append(".*")
        elif character == "_":
            parts.append(".")
        else:
            parts.append(_quoted(character))
    parts.append(".*" if after else "")
    body = "".join(parts)
    if body.endswith(".*"):
        return "\\A" + body[:-2]  # an open end needs no search for it
    return f"\\A{body}\\z"


def _quoted(character: str) -> str:
    return (
        "\\" + character if character.isascii() and not character.isalnum() and character.isprintable() else character
    )


def matcher(regex: str, *, ignore_case: bool) -> Any:
    """As a condition of ``$match``; a dot matches line ends, too."""
    return Regex(regex, "is" if ignore_case else "s")
