"""Subqueries in expressions: each is a ``$lookup`` before the stage that needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.sql.elements import Tuple

from sillar.engines.mongodb.compiler.alignment import NULL, literal, same_kind
from sillar.engines.mongodb.compiler.failures import Failure, failing
from sillar.engines.mongodb.compiler.lists import among_values
from sillar.engines.mongodb.compiler.refusal import unsupported
from sillar.engines.mongodb.compiler.resolution import signature
from sillar.engines.mongodb.compiler.scope import Expression, Outer, Pipeline

if TYPE_CHECKING:
    from sillar.engines.mongodb.compiler.expressions import Expressions


def select_of(element: Any) -> Any:
    """The SELECT inside parentheses, EXISTS or a scalar subquery."""
    while not hasattr(element, "_raw_columns") and not hasattr(element, "selects") and hasattr(element, "element"):
        element = element.element
    return element


class Subqueries:
    """Those of one scope; the same subquery is looked up once."""

    def __init__(self, expressions: Expressions) -> None:
        self.expressions = expressions
        self._known: dict[Any, tuple[str, Pipeline, bool]] = {}

    def scalar(self, element: Any) -> Expression:
        """The value of the only column of the only row; NULL without a row.

        Raises:
            UnsupportedCapabilityError: it has several columns, or stands where no subquery can.
        """
        name, pipeline, is_single = self._looked_up(element)
        if len(pipeline.outputs) != 1:
            raise unsupported("a scalar subquery of several columns", "select one column")
        output = pipeline.outputs[0]
        code: Any = {"$arrayElemAt": [f"${name}.{output.field}", 0]}
        if not is_single:
            size = {"$size": f"${name}"}
            several = failing(Failure.ROWS)
            code = {"$switch": {"branches": [{"case": {"$gt": [size, 1]}, "then": several}], "default": code}}
        return Expression(code, output.expression.kind, output.expression.type)

    def exists(self, element: Any, want: bool) -> Any:
        """Whether there is a row."""
        name, _, _ = self._looked_up(element, limit=1)
        return {"$ne" if want else "$eq": [f"${name}", literal([])]}

    def among(self, left: Any, element: Any, want: bool) -> Any:
        """``left IN (SELECT …)``, with NULLs as SQL has them."""
        if isinstance(left, Tuple):
            raise unsupported("a row IN a subquery", "use exists() with one condition for each column")
        given = self.expressions.value(left)
        name, pipeline, _ = self._looked_up(element)
        if len(pipeline.outputs) != 1:
            raise unsupported("IN with a subquery of several columns", "select one column")
        output = pipeline.outputs[0]
        given, other = same_kind(given, Expression(NULL, output.expression.kind, output.expression.type), ordered=False)
        if other.kind is not output.expression.kind:
            raise unsupported("IN with a subquery of another type", "cast the column that it selects")
        return among_values(given, f"${name}.{output.field}", want)

    def _looked_up(self, element: Any, limit: int | None = None) -> tuple[str, Pipeline, bool]:
        scope = self.expressions.scope
        if scope.limited is not None:
            raise unsupported(f"a subquery in {scope.limited}", "select the keys first, and give them to in_()")
        select = select_of(element)
        key = (signature(select), limit)
        if key in self._known:
            return self._known[key]
        outer = Outer(scope)
        pipeline = scope.compilation.compile_query(select, outer, rows_only=limit is not None)
        stages = pipeline.stages if limit is None else [*pipeline.stages, {"$limit": limit}]
        name = scope.compilation.fresh("__s")
        lookup: dict[str, Any] = {"from": pipeline.collection}
        if outer.lets:
            lookup["let"] = outer.lets
        # A missing field would make the array of a column's values shorter than there are rows.
        whole: dict[str, Any] = {output.field: {"$ifNull": [f"${output.field}", None]} for output in pipeline.outputs}
        whole = whole or {"row": literal(1)}
        scope.pending.append(
            {"$lookup": {**lookup, "pipeline": [*stages, {"$project": {"_id": 0, **whole}}], "as": name}}
        )
        self._known[key] = name, pipeline, pipeline.is_single
        return self._known[key]
