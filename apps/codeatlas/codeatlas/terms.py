"""The words under which a file is found: the same rules when a file is stored and when somebody searches.

Every engine gets the same inverted index of plain rows (or documents), so that a search means the same everywhere:

- *text terms*: every word of the file in lower case, weighted by where it stands; found by prefix.
- *path grams*: every three neighbouring characters of the path, so that any part of a name is found without reading
  every
  path (D. Zobel, J. Dart, "Finding approximate matches in large lexicons", Software: Practice and Experience 25, 1995).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

TERM_LENGTH_MAX = 40
GRAM_LENGTH = 3
WEIGHT_TEXT, WEIGHT_PART, WEIGHT_NAME = 1, 3, 6
QUERY_WORDS_MAX = 6

# Not in paths, and greater than a space: some collations compare as if the shorter text were filled up with spaces.
_PAD = "\x7f" * (GRAM_LENGTH - 1)
_WORD = re.compile(r"[^\W\d]\w+")
_PART = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def text_terms(text: str, symbols: Iterable[str], path: str) -> dict[str, int]:
    """The words of a file with their weights.

    Args:
        text: the source.
        symbols: dotted names of what the file defines; they, and the parts of ``snake_case`` and ``CamelCase``, weigh
            more.
        path: its parts weigh as much as names.
    """
    terms = dict.fromkeys((word for word in _WORD.findall(text.lower()) if len(word) <= TERM_LENGTH_MAX), WEIGHT_TEXT)
    names = {name.rpartition(".")[2] for name in symbols}
    names.update(_PART.findall(path.removesuffix(".py")))
    for name in names:
        for part in name_parts(name):
            if terms.get(part, 0) < WEIGHT_PART:
                terms[part] = WEIGHT_PART
    for name in names:
        term = name.lower()
        if 2 <= len(term) <= TERM_LENGTH_MAX and not term[0].isdigit():
            terms[term] = WEIGHT_NAME
    return terms


def name_parts(name: str) -> list[str]:
    """``parse_HTTPHeader`` → ``parse``, ``http``, ``header``; parts of one letter and numbers say nothing and are
    left out."""
    parts = [part.lower() for piece in _PART.findall(name) for part in _CAMEL.split(piece)]
    return [part for part in parts if 2 <= len(part) <= TERM_LENGTH_MAX and not part[0].isdigit()]


def path_grams(path: str) -> set[str]:
    """All runs of three characters of a path in lower case, its end padded, so that each character begins one."""
    padded = path.lower() + _PAD
    return {padded[start : start + GRAM_LENGTH] for start in range(len(padded) - GRAM_LENGTH + 1)}


def query_words(query: str) -> list[str]:
    """What somebody typed as the words that a file must contain, each a prefix; at most :data:`QUERY_WORDS_MAX`.

    Single letters, with which most files have a word, are left out.
    """
    words = [word[:TERM_LENGTH_MAX] for word in _WORD.findall(query.lower())]
    return list(dict.fromkeys(words))[:QUERY_WORDS_MAX]


def query_grams(query: str) -> list[str]:
    """What somebody typed as the grams a path must contain; a query shorter than a gram is one prefix of a gram."""
    lowered = query.lower()
    if len(lowered) < GRAM_LENGTH:
        return [lowered] if lowered else []
    grams = (lowered[start : start + GRAM_LENGTH] for start in range(len(lowered) - GRAM_LENGTH + 1))
    return list(dict.fromkeys(grams))


def prefix_end(prefix: str) -> str:
    """The end of the range of strings that begin with ``prefix``, where strings are ordered by code point."""
    return prefix + "\U0010ffff"
