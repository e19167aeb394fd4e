"""Everything that can be said about the documents at hand at one moment of a pipeline."""

from __future__ import annotations

from typing import Any

from sillar.engines.mongodb.compiler.predicates import Predicates
from sillar.engines.mongodb.compiler.refusal import unsupported
from sillar.engines.mongodb.compiler.scope import Expression, Scope
from sillar.engines.mongodb.compiler.subqueries import Subqueries
from sillar.engines.mongodb.compiler.values import ValueVisitor
from sillar.engines.mongodb.compiler.windows import Windows


class Expressions:
    """Values and conditions of one scope.

    Attributes:
        windows: those met so far.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.windows = Windows()
        self.subqueries = Subqueries(self)
        self._values = ValueVisitor(self)
        self._predicates = Predicates(self)

    def value(self, element: Any) -> Expression:
        """A value.

        Raises:
            UnsupportedCapabilityError: a construct has no faithful translation.
        """
        return self._values.of(element)

    def true(self, element: Any) -> Any:
        """An expression that is true exactly where the condition is TRUE."""
        return self._predicates.of(element, True)

    def false(self, element: Any) -> Any:
        """An expression that is true exactly where the condition is FALSE; it is neither where it is NULL."""
        return self._predicates.of(element, False)

    def aggregate(self, element: Any, criterion: Any) -> Expression:
        """An aggregate; there is none before GROUP BY.

        Raises:
            UnsupportedCapabilityError: always, here.
        """
        raise unsupported(
            f"the aggregate {element.name}() in this place", "use it in the column list, HAVING or ORDER BY"
        )
