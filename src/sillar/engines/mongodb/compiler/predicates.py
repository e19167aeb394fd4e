"""Conditions under SQL's three-valued logic.

Each condition is emitted as an expression that is true exactly where SQL says TRUE, or exactly where it says FALSE. So
NOT turns one into the other, and what is neither is NULL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BindParameter, CollectionAggregate, False_, Null, True_, Tuple
from sqlalchemy.sql.selectable import Exists

from sillar.engines.mongodb.compiler import likes, lists
from sillar.engines.mongodb.compiler.alignment import NULL, literal, same_kind
from sillar.engines.mongodb.compiler.kinds import Kind
from sillar.engines.mongodb.compiler.refusal import unsupported
from sillar.engines.mongodb.compiler.scope import Expression
from sillar.engines.mongodb.compiler.template import Late

if TYPE_CHECKING:
    from sillar.engines.mongodb.compiler.expressions import Expressions

COMPARISONS: Final[dict[Any, str]] = {
    operators.eq: "$eq",
    operators.ne: "$ne",
    operators.lt: "$lt",
    operators.le: "$lte",
    operators.gt: "$gt",
    operators.ge: "$gte",
}
NEGATED: Final = {"$eq": "$ne", "$ne": "$eq", "$lt": "$gte", "$gte": "$lt", "$gt": "$lte", "$lte": "$gt"}
TRUE: Final[Any] = literal(True)
FALSE: Final[Any] = literal(False)


def bare(element: Any) -> Any:
    """An element without parentheses and label."""
    while type(element).__visit_name__ in ("grouping", "label", "label_reference") and not isinstance(element, Exists):
        if not hasattr(element, "element") or hasattr(element, "selected_columns"):
            break
        element = element.element
    return element


def known(given: Expression) -> Any:
    """Whether a value is neither null nor missing."""
    return {"$gt": [given.code, None]}


def guarded(given: Iterable[Expression], then: list[Any]) -> Any:
    """``then``, all of it, where no operand is NULL; parameters are looked at once, when they are filled in."""
    operands = list(given)
    if any(each.code == NULL for each in operands if not isinstance(each.code, Late)):
        return FALSE
    guards = [known(each) for each in operands if each.slot is None and not _is_constant(each)]
    whole = conjunction([*guards, *then])
    slots = [each.slot for each in operands if each.slot is not None]
    if not slots:
        return whole
    return Late(slots, lambda *values: FALSE if any(value is None for value in values) else whole)


def conjunction(parts: list[Any]) -> Any:
    """AND."""
    return parts[0] if len(parts) == 1 else {"$and": parts}


def disjunction(parts: list[Any]) -> Any:
    """OR."""
    return parts[0] if len(parts) == 1 else {"$or": parts}


def comparison(operator: str, left: Expression, right: Expression, want: bool) -> Any:
    """Two values compared."""
    left, right = same_kind(left, right, ordered=operator not in ("$eq", "$ne"))
    return guarded((left, right), [{operator if want else NEGATED[operator]: [left.code, right.code]}])


def _is_constant(given: Expression) -> bool:
    return isinstance(given.code, dict) and "$literal" in given.code


class Predicates:
    """Conditions of one scope."""

    def __init__(self, expressions: Expressions) -> None:
        self.expressions = expressions

    def of(self, element: Any, want: bool) -> Any:
        """An expression that is true exactly where SQL says that the element is TRUE (``want``) or FALSE.

        Raises:
            UnsupportedCapabilityError: it has no faithful translation.
        """
        element = bare(element)
        if self.expressions.scope.find(element) is not None:
            return self._value(element, want)
        if isinstance(element, (True_, False_)):
            return TRUE if isinstance(element, True_) is want else FALSE
        if isinstance(element, Null):
            return FALSE
        if isinstance(element, Exists):
            return self.expressions.subqueries.exists(element.element, want)
        operator = getattr(element, "operator", None)
        if operator in (operators.and_, operators.or_) and hasattr(element, "clauses"):
            parts = [self.of(clause, want) for clause in element.clauses]
            return conjunction(parts) if (operator is operators.and_) is want else disjunction(parts)
        if operator is operators.inv:
            return self.of(element.element, not want)
        if operator in (operators.is_true, operators.is_false):
            return self.of(element.element, want is (operator is operators.is_true))
        if hasattr(element, "left") and hasattr(element, "right") and operator is not None:
            return self._binary(element, operator, want)
        return self._value(element, want)

    def _value(self, element: Any, want: bool) -> Any:
        given = self.expressions.value(element)
        if given.kind not in (Kind.BOOL, Kind.UNKNOWN):
            raise unsupported(f"a value of kind {given.kind.value} as a condition", "compare it with something")
        return {"$eq": [given.code, want]}

    def _binary(self, element: Any, operator: Any, want: bool) -> Any:
        if operator in COMPARISONS:
            return self._compared(element, COMPARISONS[operator], want)
        method = _METHODS.get(operator)
        if method is not None:
            return method(self, element, want)
        if operator in likes.FORMS:
            return likes.condition(self.expressions, element, want)
        symbol = getattr(operator, "opstring", None)
        if symbol in lists.ARRAY_OPERATORS:
            return lists.array_condition(self.expressions, symbol, element, want)
        if operator in (operators.regexp_match_op, operators.not_regexp_match_op):
            raise unsupported("a regular expression", "use like() or ilike(); the dialects of expressions differ")
        return self._value(element, want)

    def _compared(self, element: Any, operator: str, want: bool) -> Any:
        left, right = bare(element.left), bare(element.right)
        if isinstance(left, Tuple) or isinstance(right, Tuple):
            return self._rows(left, operator, right, want)
        for side, other, name in ((right, left, operator), (left, right, _flipped(operator))):
            if isinstance(side, CollectionAggregate):
                return lists.collection(self.expressions, other, name, side, want)
        return comparison(operator, self.expressions.value(left), self.expressions.value(right), want)

    def _rows(self, left: Any, operator: str, right: Any, want: bool) -> Any:
        """Rows compare from left to right: the first that differ decide."""
        if not (isinstance(left, Tuple) and isinstance(right, Tuple)) or len(left.clauses) != len(right.clauses):
            raise unsupported("a comparison of rows of different lengths", "compare column by column")
        pairs = [
            (self.expressions.value(a), self.expressions.value(b))
            for a, b in zip(left.clauses, right.clauses, strict=True)
        ]
        if operator in ("$eq", "$ne"):
            equal = want is (operator == "$eq")
            parts = [comparison("$eq", a, b, equal) for a, b in pairs]
            return conjunction(parts) if equal else disjunction(parts)
        strict = operator.removesuffix("e")
        *leading, (last_a, last_b) = pairs
        made = comparison(operator, last_a, last_b, want)
        for a, b in reversed(leading):  # a > b OR (a = b AND the rest)
            if want:
                made = disjunction([comparison(strict, a, b, True), conjunction([comparison("$eq", a, b, True), made])])
            else:
                made = conjunction(
                    [comparison(strict, a, b, False), disjunction([comparison("$eq", a, b, False), made])]
                )
        return made

    def _is(self, element: Any, want: bool) -> Any:
        right = bare(element.right)
        positive = want is (element.operator is operators.is_)
        if isinstance(right, Null):
            given = self.expressions.value(element.left)
            return {"$lte": [given.code, None]} if positive else known(given)
        if isinstance(right, (True_, False_)):
            truth = self.of(element.left, isinstance(right, True_))
            return truth if positive else {"$not": [truth]}
        raise unsupported("IS with something else than NULL, TRUE or FALSE", "use = or IS NOT DISTINCT FROM")

    def _distinct(self, element: Any, want: bool) -> Any:
        left, right = same_kind(
            self.expressions.value(element.left), self.expressions.value(element.right), ordered=False
        )
        differs = want is (element.operator is operators.is_distinct_from)
        codes = [{"$ifNull": [left.code, None]}, {"$ifNull": [right.code, None]}]
        return {"$ne" if differs else "$eq": codes}

    def _between(self, element: Any, want: bool) -> Any:
        if element.modifiers.get("symmetric"):
            raise unsupported("BETWEEN SYMMETRIC", "order the bounds yourself")
        inside = want is (element.operator is operators.between_op)
        given = self.expressions.value(element.left)
        low, high = (self.expressions.value(bound) for bound in bare(element.right).clauses)
        parts = [comparison("$gte", given, low, inside), comparison("$lte", given, high, inside)]
        return conjunction(parts) if inside else disjunction(parts)

    def _in(self, element: Any, want: bool) -> Any:
        among = want is (element.operator is operators.in_op)
        left, right = bare(element.left), bare(element.right)
        if isinstance(right, BindParameter):
            return lists.in_list(self.expressions, left, right, among)
        if hasattr(right, "selected_columns") or hasattr(right, "is_select"):
            return self.expressions.subqueries.among(left, right, among)
        parts = [self._compared_values(left, clause, among) for clause in right.clauses]
        if not parts:
            return FALSE if among else TRUE
        return disjunction(parts) if among else conjunction(parts)

    def _compared_values(self, left: Any, right: Any, want: bool) -> Any:
        if isinstance(left, Tuple):
            return self._rows(left, "$eq", bare(right), want)
        return comparison("$eq", self.expressions.value(left), self.expressions.value(right), want)


def _flipped(operator: str) -> str:
    return {"$lt": "$gt", "$gt": "$lt", "$lte": "$gte", "$gte": "$lte"}.get(operator, operator)


_METHODS: Final[dict[Any, Callable[[Predicates, Any, bool], Any]]] = {
    operators.is_: Predicates._is,
    operators.is_not: Predicates._is,
    operators.is_distinct_from: Predicates._distinct,
    operators.is_not_distinct_from: Predicates._distinct,
    operators.between_op: Predicates._between,
    operators.not_between_op: Predicates._between,
    operators.in_op: Predicates._in,
    operators.not_in_op: Predicates._in,
}
