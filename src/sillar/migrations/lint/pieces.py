"""What stands in one text that is sent: several statements, or a block with statements in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from sillar.migrations.lint.tokens import Lexicon, Token, TokenKind, split_statements, tokenize
from sillar.migrations.migration import MigrationOperation

_STATEMENTS = {
    "ALTER", "CLUSTER", "CREATE", "DELETE", "DROP", "INSERT", "LOCK", "MERGE", "REFRESH", "REINDEX", "TRUNCATE",
    "UPDATE", "VACUUM", "WITH",
}  # fmt: skip
_BEFORE_ONE = {"BEGIN", "THEN", "ELSE", "LOOP"}


def pieces(operation: MigrationOperation, lexicon: Lexicon) -> list[MigrationOperation]:
    """The statements that an operation sends: those of its text, and behind a ``DO`` block those in it."""
    texts = [text for text, _ in split_statements(operation.sql, lexicon)]
    if len(texts) > 1:
        operation = replace(operation, details=None)
    found = [replace(operation, sql=text) for text in texts] or [operation]
    if not lexicon.dollar_quotes:
        return found
    return [each for piece in found for each in (piece, *_inside(piece, lexicon))]


def _inside(operation: MigrationOperation, lexicon: Lexicon) -> Iterator[MigrationOperation]:
    for text in block_statements(operation.sql, lexicon):
        yield replace(operation, sql=text, in_transaction=True)


def block_statements(sql: str, lexicon: Lexicon) -> Iterator[str]:
    """The statements in a ``DO`` block that change something; also those that ``EXECUTE`` gets as a literal."""
    tokens = tokenize(sql, lexicon)
    if not tokens or tokens[0].value != "DO":
        return
    body = next((token.value for token in tokens if token.kind is TokenKind.STRING), "")
    for text, _ in split_statements(body, lexicon):
        yield from _of_fragment(text, tokenize(text, lexicon))


def _of_fragment(text: str, tokens: Sequence[Token]) -> Iterator[str]:
    """The statement at the end of a fragment such as ``IF … THEN ALTER TABLE …``."""
    begins = [0, *(at + 1 for at, token in enumerate(tokens) if _is_word(token, _BEFORE_ONE))]
    for at in begins:
        if at < len(tokens) and _is_word(tokens[at], _STATEMENTS):
            yield text[tokens[at].start :]
            return
        if at + 1 < len(tokens) and _is_word(tokens[at], {"EXECUTE"}) and tokens[at + 1].kind is TokenKind.STRING:
            alone = at + 2 == len(tokens) or _is_word(tokens[at + 2], {"USING", "INTO"})
            yield tokens[at + 1].value if alone else text[tokens[at].start :]
            return
        if _is_word(tokens[at] if at < len(tokens) else None, {"EXECUTE"}):
            yield text[tokens[at].start :]
            return


def _is_word(token: Token | None, words: set[str]) -> bool:
    return token is not None and token.kind is TokenKind.WORD and token.value in words
