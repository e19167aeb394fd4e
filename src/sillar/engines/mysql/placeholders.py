"""From the ``%s`` of a statement to the ``?`` of a prepared one, and back from what was sent to the source."""

from __future__ import annotations

import re
from typing import Final

from sillar.errors import ParameterError
from sillar.query.text import StatementText

_PERCENT: Final = re.compile(r"%(.?)", re.DOTALL)
_NEAR: Final = re.compile(r"near '(.*)' at line (\d+)\s*$", re.DOTALL)
_NEAR_CHARACTERS_MAX: Final = 80
_NAME_AT_FAULT: Final = re.compile(
    r"^(?:Unknown column|Unknown table|Table|FUNCTION|PROCEDURE|Unknown database)\s+'?([^'\s]+)'?", re.IGNORECASE
)


class PreparedText:
    """A statement as it is sent to be prepared.

    Attributes:
        sql: the text with ``?`` for each parameter.
        count: how many there are.
    """

    __slots__ = ("_replaced", "count", "sql")

    def __init__(self, source: str) -> None:
        parts: list[str] = []
        replaced: list[tuple[int, bool]] = []  # places in sql where two characters became one; True: a parameter
        position = length = 0
        for match in _PERCENT.finditer(source):
            if match[1] not in ("s", "%"):
                raise ParameterError(
                    f"%{match[1]} at character {match.start() + 1} of the statement is no placeholder;"
                    " write %s for a parameter and %% for a per cent sign"
                )
            parts.append(source[position : match.start()])
            length += match.start() - position
            parts.append("?" if match[1] == "s" else "%")
            replaced.append((length, match[1] == "s"))
            length += 1
            position = match.end()
        parts.append(source[position:])
        self.sql = "".join(parts)
        self.count = sum(is_parameter for _, is_parameter in replaced)
        self._replaced = replaced

    def source_index(self, index: int, statement: StatementText) -> int:
        """The 0-based character of the statement's source for one of ``sql``."""
        shift = 0
        names = iter(statement.names)
        for place, is_parameter in self._replaced:
            if place >= index:
                break
            if statement.names:  # the source has :name, and per cent signs stand single
                shift += len(next(names)) if is_parameter else 0
            else:
                shift += 1
        return index + shift


class PreparedTexts:
    """The prepared form of the texts of one engine; bounded, the oldest leaves first."""

    __slots__ = ("_size_max", "_texts")

    def __contains__(self, sql: object) -> bool:
        return sql in self._texts

    def __init__(self, size_max: int = 2000) -> None:
        self._texts: dict[str, PreparedText] = {}
        self._size_max = size_max

    def get(self, sql: str) -> PreparedText:
        """The prepared form, from the cache or made now.

        Raises:
            ParameterError: a ``%`` is neither ``%s`` nor ``%%``.
        """
        text = self._texts.get(sql)
        if text is None:
            text = PreparedText(sql)
            if len(self._texts) >= self._size_max:
                del self._texts[next(iter(self._texts))]
            self._texts[sql] = text
        return text


def fault_position(message: str, statement: StatementText, sent: PreparedText | None) -> int | None:
    """The 1-based character of the source that the server complains of, where its message tells it without doubt.

    Args:
        message: the server's.
        statement: what was to run.
        sent: the form that was sent; None: the source itself, with nothing replaced.
    """
    text = statement.source if sent is None else sent.sql
    index = _index_of_near(message, text)
    if index is None:
        name = _NAME_AT_FAULT.match(message)
        index = None if name is None else _index_of_name(name[1], text)
    if index is None:
        return None
    return (index if sent is None else sent.source_index(index, statement)) + 1


def _index_of_near(message: str, text: str) -> int | None:
    match = _NEAR.search(message)
    if match is None:
        return None
    near, line = match[1], int(match[2])
    body = text.rstrip().removesuffix(";").rstrip()
    if not near:
        return len(body)
    if len(near.encode()) < _NEAR_CHARACTERS_MAX:  # it goes on to the end of the statement
        for whole in (text, text.rstrip(), body):
            if whole.endswith(near):
                return len(whole) - len(near)
        return None
    return _only([m.start() for m in re.finditer(re.escape(near), text) if text.count("\n", 0, m.start()) + 1 == line])


def _index_of_name(name: str, text: str) -> int | None:
    """The one place where a name stands as a word; a qualified name may stand without its database."""
    parts = name.split(".")
    for wanted in (name, *([".".join(parts[1:]), parts[-1]] if len(parts) > 1 else [])):
        found = [m.start() for m in re.finditer(rf"(?<![\w$]){re.escape(wanted)}(?![\w$])", text, re.IGNORECASE)]
        if found:
            return _only(found)
    return None


def _only(found: list[int]) -> int | None:
    return found[0] if len(found) == 1 else None
