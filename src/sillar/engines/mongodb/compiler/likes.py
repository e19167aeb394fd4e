"""LIKE and its kin: ``like``, ``ilike``, ``contains``, ``startswith``, ``endswith``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BindParameter

from sillar.engines.mongodb.compiler.alignment import literal
from sillar.engines.mongodb.compiler.kinds import Kind
from sillar.engines.mongodb.compiler.patterns import regex_of
from sillar.engines.mongodb.compiler.refusal import unsupported
from sillar.engines.mongodb.compiler.scope import Expression
from sillar.engines.mongodb.compiler.template import Late, Slot

if TYPE_CHECKING:
    from sillar.engines.mongodb.compiler.expressions import Expressions


class Form(NamedTuple):
    """One of the operators: what stands around the pattern, and whether it is negated or blind to case."""

    before: str
    after: str
    ignore_case: bool
    positive: bool


FORMS: Final[dict[Any, Form]] = {
    operators.like_op: Form("", "", False, True),
    operators.not_like_op: Form("", "", False, False),
    operators.ilike_op: Form("", "", True, True),
    operators.not_ilike_op: Form("", "", True, False),
    operators.contains_op: Form("%", "%", False, True),
    operators.not_contains_op: Form("%", "%", False, False),
    operators.icontains_op: Form("%", "%", True, True),
    operators.not_icontains_op: Form("%", "%", True, False),
    operators.startswith_op: Form("", "%", False, True),
    operators.not_startswith_op: Form("", "%", False, False),
    operators.istartswith_op: Form("", "%", True, True),
    operators.not_istartswith_op: Form("", "%", True, False),
    operators.endswith_op: Form("%", "", False, True),
    operators.not_endswith_op: Form("%", "", False, False),
    operators.iendswith_op: Form("%", "", True, True),
    operators.not_iendswith_op: Form("%", "", True, False),
}


class Like(NamedTuple):
    """A LIKE whose pattern is a parameter."""

    left: Expression
    slot: Slot
    escape: str | None
    form: Form

    def regex(self, pattern: str) -> str:
        return regex_of(pattern, self.escape, self.form.before, self.form.after)


def parsed(expressions: Expressions, element: Any) -> Like:
    """The parts of a LIKE.

    Raises:
        UnsupportedCapabilityError: the pattern is no value, or the operand no text.
    """
    pattern = element.right
    while hasattr(pattern, "element") and not isinstance(pattern, BindParameter):
        pattern = pattern.element
    if not isinstance(pattern, BindParameter):
        raise unsupported("LIKE with a computed pattern", "give the pattern as a value")
    left = expressions.value(element.left)
    if left.kind not in (Kind.TEXT, Kind.ENUM, Kind.UNKNOWN):
        raise unsupported(f"LIKE on {left.kind.value}", "cast it to text")
    return Like(
        left, expressions.scope.compilation.slot(pattern), element.modifiers.get("escape"), FORMS[element.operator]
    )


def condition(expressions: Expressions, element: Any, want: bool) -> Any:
    """As an expression."""
    like = parsed(expressions, element)
    matches = want is like.form.positive

    def make(pattern: str | None) -> Any:
        if pattern is None:
            return literal(False)
        options = "is" if like.form.ignore_case else "s"
        test = {"$regexMatch": {"input": like.left.code, "regex": literal(like.regex(pattern)), "options": options}}
        known = {"$gt": [like.left.code, None]}
        return {"$and": [known, test if matches else {"$not": [test]}]}

    return Late([like.slot], make)
