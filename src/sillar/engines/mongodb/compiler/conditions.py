"""Conditions on plain fields in the form that indexes serve, where it means the same as SQL's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BindParameter, CollectionAggregate, False_, Null, True_, Tuple

from sillar.engines.mongodb.compiler import likes
from sillar.engines.mongodb.compiler.alignment import settled
from sillar.engines.mongodb.compiler.expressions import Expressions
from sillar.engines.mongodb.compiler.kinds import NUMBERS, ORDERED, SCALARS, Kind, kind_of
from sillar.engines.mongodb.compiler.lists import list_slot
from sillar.engines.mongodb.compiler.patterns import matcher
from sillar.engines.mongodb.compiler.predicates import COMPARISONS, NEGATED, bare
from sillar.engines.mongodb.compiler.scope import Expression
from sillar.engines.mongodb.compiler.template import Late

NOTHING: Final[Any] = {"$expr": False}
_FLIPPED: Final = {"$lt": "$gt", "$gt": "$lt", "$lte": "$gte", "$gte": "$lte", "$eq": "$eq", "$ne": "$ne"}


def conjuncts(criteria: Sequence[Any]) -> list[Any]:
    """The parts of conditions that are joined by AND."""
    parts: list[Any] = []
    for criterion in criteria:
        element = bare(criterion)
        if getattr(element, "operator", None) is operators.and_ and hasattr(element, "clauses"):
            parts += conjuncts(element.clauses)
        else:
            parts.append(element)
    return parts


def filter_of(expressions: Expressions, parts: Sequence[Any]) -> Any:
    """One filter that keeps the documents for which all parts are TRUE.

    Raises:
        UnsupportedCapabilityError: a part has no faithful translation.
    """
    plain: list[Any] = []
    others: list[Any] = []
    for part in parts:
        condition = Conditions(expressions).of(part, True)
        if condition is None:
            others.append(expressions.true(part))
        else:
            plain.append(condition)
    if others:
        plain.append({"$expr": others[0] if len(others) == 1 else {"$and": others}})
    return _merged(plain)


def matching(expressions: Expressions, parts: Sequence[Any]) -> list[Any]:
    """The ``$match`` for conditions, after what subqueries in them need."""
    if not parts:
        return []
    made = filter_of(expressions, parts)
    return [*expressions.scope.taken(), {"$match": made}]


def _merged(conditions: list[Any]) -> Any:
    if len(conditions) == 1:
        return conditions[0]
    merged: dict[str, Any] = {}
    for condition in conditions:
        if isinstance(condition, Late) or any(key in merged for key in condition):
            return {"$and": conditions}
        merged.update(condition)
    return merged


class Conditions:
    """Conditions of ``$match``; None where there is no such form."""

    def __init__(self, expressions: Expressions) -> None:
        self.expressions = expressions

    def of(self, element: Any, want: bool) -> Any:
        """The condition that matches where the element is TRUE (``want``) or FALSE."""
        element = bare(element)
        operator = getattr(element, "operator", None)
        if operator in (operators.and_, operators.or_) and hasattr(element, "clauses"):
            parts = [self.of(clause, want) for clause in element.clauses]
            if any(part is None for part in parts):
                return None
            return {"$and" if (operator is operators.and_) is want else "$or": parts}
        if operator is operators.inv:
            return self.of(element.element, not want)
        if operator in (operators.is_true, operators.is_false):
            return self.of(element.element, want is (operator is operators.is_true))
        if getattr(element, "__visit_name__", "") == "column":
            return self._flag(element, want)
        if not hasattr(element, "left") or not hasattr(element, "right"):
            return None
        if operator in COMPARISONS:
            return self._compared(element, COMPARISONS[operator], want)
        if operator in (operators.is_, operators.is_not):
            return self._is(element, want is (operator is operators.is_))
        if operator in (operators.in_op, operators.not_in_op):
            return self._in(element, want is (operator is operators.in_op))
        if operator in (operators.between_op, operators.not_between_op):
            return self._between(element, want is (operator is operators.between_op))
        return self._like(element, want) if operator in likes.FORMS else None

    def _field(self, element: Any) -> Expression | None:
        """A plain field that never holds an array."""
        element = bare(element)
        if getattr(element, "__visit_name__", "") != "column" or element.is_literal:
            return None
        given = self.expressions.value(element)
        return given if given.path is not None and given.kind in SCALARS else None

    def _flag(self, element: Any, want: bool) -> Any:
        field = self._field(element)
        return {field.path: want} if field is not None and field.path and field.kind is Kind.BOOL else None

    def _parameter(self, element: Any, field: Expression) -> Expression | None:
        """A parameter that compares with the field as it stands."""
        element = bare(element)
        if not isinstance(element, BindParameter) or element.expanding:
            return None
        given = settled(self.expressions.value(element), field)
        kinds = {given.kind, field.kind}
        same = len(kinds) == 1 or (kinds <= NUMBERS and kinds != {Kind.FLOAT, Kind.DECIMAL})
        return given if same else None

    def _compared(self, element: Any, operator: str, want: bool) -> Any:
        left, right = bare(element.left), bare(element.right)
        if isinstance(left, Tuple) or isinstance(right, Tuple):
            return None
        if isinstance(right, CollectionAggregate):
            return self._any(left, operator, right) if want else None
        field = self._field(left)
        if field is None:
            field, right, operator = self._field(right), left, _FLIPPED[operator]
        if field is None or (operator not in ("$eq", "$ne") and field.kind not in ORDERED):
            return None
        if isinstance(right, (True_, False_)) and field.kind is Kind.BOOL and operator in ("$eq", "$ne"):
            return {field.path: isinstance(right, True_) is (want is (operator == "$eq"))}
        given = self._parameter(right, field)
        if given is None or given.slot is None:
            return None
        path, slot = field.path, given.slot
        name = operator if want else NEGATED[operator]
        test = {"$nin": [slot, None]} if name == "$ne" else {name: slot}
        return Late([slot], lambda value: NOTHING if value is None else {path: test})

    def _any(self, left: Any, operator: str, right: CollectionAggregate[Any]) -> Any:
        """``value = ANY(array)``: an index on an array has its elements."""
        array = bare(right.element)
        if operator != "$eq" or right.operator is not operators.any_op or getattr(array, "table", None) is None:
            return None
        field = self.expressions.value(array)
        if field.path is None or field.kind is not Kind.ARRAY or not isinstance(left, BindParameter):
            return None
        item_type = getattr(field.type, "item_type", field.type)
        given = settled(self.expressions.value(left), Expression(None, kind_of(item_type), item_type))
        if given.slot is None or given.kind is not kind_of(item_type):
            return None
        path, slot = field.path, given.slot
        return Late([slot], lambda value: NOTHING if value is None else {path: {"$elemMatch": {"$eq": slot}}})

    def _is(self, element: Any, positive: bool) -> Any:
        right = bare(element.right)
        if isinstance(right, Null):
            field = self._field(element.left)
            if field is None:
                return None
            return {field.path: {"$eq": None} if positive else {"$ne": None}}
        if isinstance(right, (True_, False_)) and positive:
            return self.of(element.left, isinstance(right, True_))
        return None

    def _in(self, element: Any, among: bool) -> Any:
        field, bind = self._field(element.left), bare(element.right)
        if field is None or not isinstance(bind, BindParameter) or not bind.expanding:
            return None
        kinds = {field.kind, kind_of(bind.type)} - {Kind.UNKNOWN}
        if len(kinds) > 1 and (not kinds <= NUMBERS or kinds == {Kind.FLOAT, Kind.DECIMAL}):
            return None
        path = field.path

        def make(values: list[Any]) -> Any:
            present = [value for value in values if value is not None]
            if among:
                return {path: {"$in": present}} if present else NOTHING
            if not values:
                return {}
            return NOTHING if len(present) < len(values) else {path: {"$nin": [*values, None]}}

        return Late([list_slot(self.expressions, field, bind)], make)

    def _between(self, element: Any, inside: bool) -> Any:
        field = self._field(element.left)
        if field is None or field.kind not in ORDERED or element.modifiers.get("symmetric"):
            return None
        low, high = (self._parameter(bound, field) for bound in bare(element.right).clauses)
        if low is None or high is None or low.slot is None or high.slot is None:
            return None
        path, first, last = field.path, low.slot, high.slot

        def make(least: Any, most: Any) -> Any:
            if inside:
                if least is None or most is None:
                    return NOTHING
                return {path: {"$gte": first, "$lte": last}}
            outside = [{path: {"$lt": first}}] if least is not None else []
            outside += [{path: {"$gt": last}}] if most is not None else []
            return {"$or": outside} if outside else NOTHING

        return Late([first, last], make)

    def _like(self, element: Any, want: bool) -> Any:
        field = self._field(element.left)
        if field is None or field.kind is not Kind.TEXT:
            return None
        like = likes.parsed(self.expressions, element)
        path, matches = field.path, want is like.form.positive

        def make(pattern: str | None) -> Any:
            if pattern is None:
                return NOTHING
            regex = matcher(like.regex(pattern), ignore_case=like.form.ignore_case)
            return {path: regex} if matches else {path: {"$not": regex, "$ne": None}}

        return Late([like.slot], make)
