"""What can be told of a statement by its words, as far as the journal has to know."""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(
    r"""
    (?P<space>\s+|--[^\n]*|\#[^\n]*|/\*(?!!).*?\*/|/\*!\d*|\*/)
    |(?P<string>'(?:[^'\\]|''|\\.)*'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
    |(?P<name>"(?:[^"]|"")*"|`(?:[^`]|``)*`|[^\W\d][\w$]*)
    |(?P<other>[\d.]+|.)
    """,
    re.VERBOSE | re.DOTALL,
)
# Run again by a rerun: they read, or set up the session.
_NO_STEPS: Final = frozenset(
    (
        *("SELECT", "SHOW", "EXPLAIN", "DESC", "DESCRIBE", "PRAGMA", "VALUES", "TABLE", "FETCH"),
        *("SET", "RESET", "USE", "ATTACH", "DETACH", "SAVEPOINT", "RELEASE", "ROLLBACK", "LOCK", "UNLOCK"),
        *("BEGIN", "START", "COMMIT", "END"),
    )
)
_ENDING: Final = frozenset(("BEGIN", "START", "COMMIT", "END", "LOCK", "UNLOCK"))
_WRITING: Final = re.compile(r"\b(?:INSERT|UPDATE|DELETE|MERGE|REPLACE)\b", re.IGNORECASE)


def head(statement: str, count: int = 8) -> tuple[str, ...]:
    """The first words of a statement in capitals, without comments."""
    words: list[str] = []
    for match in _TOKEN.finditer(statement):
        if match["name"] is not None:
            words.append(match["name"].upper())
        elif match["space"] is None and (words or match[0] not in "(;"):
            words.append(match[0])
        if len(words) == count:
            break
    return tuple(words)


def names(statement: str) -> set[str]:
    """Every word and quoted name in a statement, without its quotes."""
    found = set()
    for match in _TOKEN.finditer(statement):
        name = match["name"]
        if name is not None:
            quote = name[0] if name[0] in '"`' else ""
            found.add(name[1:-1].replace(quote * 2, quote) if quote else name)
    return found


def is_several(statement: str) -> bool:
    """Whether it is more than one statement. A routine, whose body may have semicolons in it, is one."""
    words = head(statement)
    if words[:1] == ("CREATE",) and {"PROCEDURE", "FUNCTION", "TRIGGER", "EVENT", "PACKAGE"} & set(words):
        return False
    ended = False
    for match in _TOKEN.finditer(statement):
        if match["space"] is None:
            if ended and match[0] != ";":
                return True
            ended = ended or match[0] == ";"
    return False


def is_step(statement: str) -> bool:
    """Whether it is a step of a migration; what only reads or sets up the session is run again by a rerun."""
    words = head(statement, 1)
    if not words or words[0] in _NO_STEPS:
        return False
    return words[0] != "WITH" or _WRITING.search(statement) is not None


def ends_transaction(statement: str) -> bool:
    """Whether something that is no step ends the open transaction, or may."""
    words = head(statement, 2)
    return bool(words) and (words[0] in _ENDING or words == ("SET", "AUTOCOMMIT"))


def is_temporary(statement: str) -> bool:
    """Whether it makes something that is gone with the connection."""
    words = head(statement, 5)
    return words[:1] == ("CREATE",) and bool({"TEMP", "TEMPORARY"} & set(words[1:5]))


__all__ = ["ends_transaction", "head", "is_several", "is_step", "is_temporary", "names"]
