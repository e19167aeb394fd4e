"""SQL text in a form in which two spellings of the same are alike: what can be told without asking the server.

Two texts with one normal form mean the same. Two with different forms may still mean the same: the server then has to
say how it prints them.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

Tree: TypeAlias = "list[str | Tree]"

_TOKEN: Final = re.compile(
    r"""
      (?P<string>(?:\b_[a-z0-9]+\s*|\b[eEnN])?'(?:[^'\\]|''|\\.)*')
    | (?P<quoted>"(?:[^"]|"")*"|`(?:[^`]|``)*`)
    | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    | (?P<word>[^\W\d][\w$]*)
    | (?P<cast>::)
    | (?P<operator>[<>=!~|&@\#^*/%+?:-]+)
    | (?P<sign>[().,;\[\]])
    """,
    re.VERBOSE,
)
_TEXT_CAST: Final = re.compile(
    r"::\s*(?:pg_catalog\.)?(?:text|character\s+varying|varchar|bpchar|character|name)\b(?:\s*\(\d+\))?(?:\[\])?", re.I
)
_LITERAL_CAST: Final = re.compile(
    r"('(?:[^']|'')*'|\b\d+(?:\.\d+)?|\bNULL|\btrue|\bfalse|\))"
    r"::\s*(?:\"[^\"]+\"|[\w.]+)(?:\s+(?:varying|precision|with(?:out)?\s+time\s+zone))?(?:\s*\(\s*\d+(?:\s*,\s*\d+)?\s*\))?"
    r"(?:\[\])*",
    re.I,
)
_PARAMETER: Final = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")
_PLAIN: Final = re.compile(r"[a-z_][a-z0-9_$]*\Z")
_KEYWORDS: Final = frozenset({"and", "or", "not", "when", "then", "else", "where"})
_SAME: Final = (
    (("now", "(", ")"), ("current_timestamp",)),
    (("current_timestamp", "(", ")"), ("current_timestamp",)),
    (("localtimestamp", "(", ")"), ("localtimestamp",)),
    (("curdate", "(", ")"), ("current_date",)),
    (("<>",), ("!=",)),
)


def normal_form(text: str | None, *, fold_quoted: bool = False) -> tuple[str, ...] | None:
    """The tokens of an expression: without spaces, needless parentheses and quotes; words in lower case.

    Args:
        text: the expression; None gives None.
        fold_quoted: names in quotes count in lower case, too: where the engine ignores their case.
    """
    if text is None:
        return None
    tree, _ = _grouped(_tokens(text, fold_quoted), 0)
    return _same(_flat(_simple(tree)))


def without_text_casts(text: str | None) -> str | None:
    """The expression without casts to text types and casts of literals, which PostgreSQL adds when it prints."""
    return text if text is None else _TEXT_CAST.sub("", _LITERAL_CAST.sub(r"\1", text))


def unquoted_number(text: str | None) -> str | None:
    """``'0'`` → ``0``: a number that a default spells as text."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*\(*\s*'(-?\d+(?:\.\d+)?)'\s*\)*\s*", text)
    return found.group(1) if found else text


def with_name(text: str, old: str, new: str) -> str:
    """An expression in which a column has another name; strings stay."""

    def renamed(match: re.Match[str]) -> str:
        token = match.group()
        if match.lastgroup == "word" and token.lower() == old.lower():
            return new if _PLAIN.match(new) else f'"{new}"'
        if match.lastgroup == "quoted" and token[1:-1] == old:
            return f"{token[0]}{new}{token[-1]}"
        return token

    return _TOKEN.sub(renamed, text)


def mentions(text: str, name: str) -> bool:
    """Whether a statement names a table or column, outside of strings."""
    for match in _TOKEN.finditer(text):
        token = match.group()
        if (match.lastgroup == "word" and token.lower() == name.lower()) or (
            match.lastgroup == "quoted" and token[1:-1].lower() == name.lower()
        ):
            return True
    return False


def _tokens(text: str, fold_quoted: bool) -> list[str]:
    tokens = []
    for match in _TOKEN.finditer(text):
        token = match.group()
        kind = match.lastgroup
        if kind == "word":
            token = token.lower()
        elif kind == "quoted":
            inner = token[1:-1].lower() if fold_quoted else token[1:-1]
            token = inner if _PLAIN.match(inner) else f'"{inner}"'
        elif kind == "string" and token[0] == "_":  # MySQL prints the character set before a literal
            token = token[token.index("'") :]
        tokens.append(token)
    return tokens


def _grouped(tokens: list[str], start: int) -> tuple[Tree, int]:
    tree: Tree = []
    position = start
    while position < len(tokens):
        word = tokens[position]
        if word == "(":
            group, position = _grouped(tokens, position + 1)
            tree.append(group)
        elif word == ")":
            return tree, position
        else:
            tree.append(word)
        position += 1
    return tree, position


def _is_word(token: str | Tree) -> bool:
    return isinstance(token, str) and (token[0].isalpha() or token[0] in '_"') and token not in _KEYWORDS


def _simple(tree: Tree) -> Tree:
    """Without parentheses around everything, around parentheses, and around one token."""
    while len(tree) == 1 and isinstance(tree[0], list):
        tree = tree[0]
    simple: Tree = []
    for each in tree:
        if isinstance(each, str):
            simple.append(each)
            continue
        group = _simple(each)
        if len(group) == 1 and isinstance(group[0], str) and not (simple and _is_word(simple[-1])):
            simple.append(group[0])
        else:
            simple.append(group)
    return simple


def _flat(tree: Tree) -> list[str]:
    flat: list[str] = []
    for each in tree:
        if isinstance(each, str):
            flat.append(each)
        else:
            flat += ["(", *_flat(each), ")"]
    return flat


def _same(tokens: list[str]) -> tuple[str, ...]:
    for spelled, canonical in _SAME:
        size = len(spelled)
        position = 0
        while position <= len(tokens) - size:
            if tuple(tokens[position : position + size]) == spelled:
                tokens[position : position + size] = canonical
            position += 1
    return tuple(tokens)


def as_text(statement: str) -> str:
    """A statement as ``sqlalchemy.text()`` and ``op.execute()`` take it: what looks like a parameter is escaped."""
    return _PARAMETER.sub(r"\\:\1", statement)


def split_list(statement: str, start: int) -> tuple[list[str], int]:
    """The parts of a list in parentheses, and where it ends.

    Args:
        statement: that it stands in.
        start: position of its opening parenthesis.
    """
    parts, depth, begun, position = [], 0, start + 1, start
    while position < len(statement):
        match = _TOKEN.match(statement, position)
        word = match.group() if match else statement[position]
        if word == "(":
            depth += 1
        elif word == ")":
            depth -= 1
        if (word == "," and depth == 1) or depth == 0:
            parts.append(statement[begun:position].strip())
            begun = position + 1
        position += len(word)
        if depth == 0:
            break
    return parts, position
