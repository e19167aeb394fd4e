"""A place in the tokens of one statement, and the words that readers of all statements share."""

from __future__ import annotations

from sillar.migrations.lint.tokens import Lexicon, Token, TokenKind, tokenize

END = Token(TokenKind.SYMBOL, "", "", 0, 0)


class UnreadableError(Exception):
    """The text is not what the reader expects here."""


class Cursor:
    """Reads the tokens of one statement from left to right."""

    def __init__(self, sql: str, lexicon: Lexicon) -> None:
        self.sql = sql
        self.lexicon = lexicon
        self.tokens = [token for token in tokenize(sql, lexicon) if token.text not in ("*/", ";")]
        self.at = 0

    @property
    def done(self) -> bool:
        """Whether nothing is left."""
        return self.at >= len(self.tokens)

    def peek(self, ahead: int = 0) -> Token:
        """The next token, or one after it; an empty one behind the end."""
        place = self.at + ahead
        return self.tokens[place] if place < len(self.tokens) else END

    def take(self) -> Token:
        """The next token, which is gone then."""
        token = self.peek()
        self.at += 1
        return token

    def sees(self, *words: str) -> bool:
        """Whether these words or symbols come next."""
        return all(
            self.peek(ahead).kind is not TokenKind.STRING
            and self.peek(ahead).kind is not TokenKind.NAME
            and self.peek(ahead).value == word
            for ahead, word in enumerate(words)
        )

    def accept(self, *words: str) -> bool:
        """Take these words if they come next."""
        if self.sees(*words):
            self.at += len(words)
            return True
        return False

    def accept_any(self, *choices: str) -> str:
        """Take the first of these phrases that comes next; empty if none does."""
        for choice in choices:
            if self.accept(*choice.split()):
                return choice
        return ""

    def expect(self, *words: str) -> None:
        """Take these words, or give up."""
        if not self.accept(*words):
            raise UnreadableError(" ".join(words))

    def name(self) -> str:
        """One name, without quotes and folded as the dialect does it."""
        token = self.take()
        if not token.is_name and not (token.kind is TokenKind.STRING and self.lexicon.brackets):
            raise UnreadableError("a name")
        if token.kind is TokenKind.WORD:
            return token.text.lower() if self.lexicon.folds_lower else token.text
        return token.value

    def dotted(self) -> str:
        """A name with or without a schema; a schema that is searched anyway is left out."""
        parts = [self.name()]
        while self.accept("."):
            parts.append(self.name())
        if len(parts) > 1 and parts[0].lower() in ("public", "main"):
            parts = parts[1:]
        return ".".join(parts)

    def names(self) -> tuple[str, ...]:
        """Names with commas between them."""
        found = [self.dotted()]
        while self.accept(","):
            found.append(self.dotted())
        return tuple(found)

    def group(self) -> str:
        """The text between the parenthesis that comes next and its partner; both are gone then."""
        self.expect("(")
        first, depth = self.at, 1
        while depth:
            if self.done:
                raise UnreadableError(")")
            token = self.take()
            if token.kind is TokenKind.SYMBOL:
                depth += {"(": 1, ")": -1}.get(token.text, 0)
        return self.text(first, self.at - 1)

    def group_items(self) -> tuple[str, ...]:
        """The texts between the commas of a group: names are without quotes, expressions as they stand."""
        text = self.group()
        inner = Cursor(text, self.lexicon)
        items: list[str] = []
        while not inner.done:
            items.append(inner.until(","))
            inner.accept(",")
        return tuple(items)

    def column_names(self) -> tuple[str, ...]:
        """The columns of a key: without quotes, order, operator class and length of a prefix."""
        return tuple(self._column_name(item) for item in self.group_items())

    def _column_name(self, item: str) -> str:
        inner = Cursor(item, self.lexicon)
        if inner.peek().is_name and inner.peek(1).text != "(":
            return inner.name()
        if inner.peek().is_name and inner.peek(2).kind is TokenKind.NUMBER and inner.peek(3).text == ")":
            return inner.name()  # a prefix: name(10)
        return item

    def until(self, *stops: str) -> str:
        """The text up to one of these words or symbols outside of parentheses, or up to the end."""
        first, depth = self.at, 0
        while not self.done:
            token = self.peek()
            if depth == 0 and token.kind in (TokenKind.WORD, TokenKind.SYMBOL) and token.value in stops:
                break
            if token.kind is TokenKind.SYMBOL:
                depth += {"(": 1, ")": -1, "[": 1, "]": -1}.get(token.text, 0)
            self.at += 1
        return self.text(first, self.at)

    def rest(self) -> str:
        """Everything that is left."""
        return self.until()

    def text(self, first: int, last: int) -> str:
        """The text from one token up to before another."""
        if last <= first:
            return ""
        return self.sql[self.tokens[first].start : self.tokens[last - 1].end]
