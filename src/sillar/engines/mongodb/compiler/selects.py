"""SELECT as a pipeline: FROM, WHERE, GROUP BY, HAVING, windows, DISTINCT, ORDER BY, LIMIT, columns, in this order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy.sql.elements import BindParameter, Label

from sillar.engines.mongodb.compiler.conditions import conjuncts, matching
from sillar.engines.mongodb.compiler.expressions import Expressions
from sillar.engines.mongodb.compiler.groups import Grouped, has_aggregate
from sillar.engines.mongodb.compiler.names import safe_fields
from sillar.engines.mongodb.compiler.ordering import Direction, direction_of, sorting
from sillar.engines.mongodb.compiler.refusal import construct_of, unsupported
from sillar.engines.mongodb.compiler.resolution import Resolved, parts_without_name, signature
from sillar.engines.mongodb.compiler.scope import Compilation, Expression, Outer, Output, Pipeline, Scope, Uncorrelated
from sillar.engines.mongodb.compiler.sources import NO_COLLECTION, Sources
from sillar.engines.mongodb.compiler.template import Pieces, Slot
from sillar.errors import ParameterError

_REMEDIES: Final = {
    "DISTINCT ON": "use row_number() over (partition_by=…) in a subquery, and keep the rows where it is 1",
    "FETCH": "use limit()",
    "FOR UPDATE": "use a transaction: a write to a document that another transaction has changed fails there",
    "a syntax extension": "leave it out (for distinct_on(), use row_number() in a subquery)",
    "prefixes": "leave them out",
    "suffixes": "leave them out",
}


def compile_query(
    compilation: Compilation,
    statement: Any,
    outer: Outer | None = None,
    *,
    fields: Sequence[str] = (),
    in_from: bool = False,
    rows_only: bool = False,
) -> Pipeline:
    """A SELECT or a UNION.

    Args:
        outer: the enclosing SELECT, if it may refer to one.
        in_from: it stands in FROM, so that it sees no other table there.
        rows_only: nobody looks at the columns.
        fields: names of the fields that the columns shall stand in; empty: named after the columns.

    Raises:
        UnsupportedCapabilityError: a construct has no faithful translation.
    """
    while hasattr(statement, "element") and not hasattr(statement, "_raw_columns"):
        statement = statement.element
    if hasattr(statement, "selects"):
        from sillar.engines.mongodb.compiler.compounds import compile_compound

        return compile_compound(compilation, statement, outer, fields=fields, in_from=in_from)
    if not hasattr(statement, "_raw_columns") or not getattr(statement, "is_select", False):
        raise unsupported(construct_of(statement), "use select(), insert(), update() or delete()")
    with compilation.resolution.select(statement, asfrom=in_from) as resolved:
        return _Select(compilation, resolved, outer).compiled(fields, rows_only)


class _Select:
    def __init__(self, compilation: Compilation, resolved: Resolved, outer: Outer | None) -> None:
        self.compilation, self.resolved, self.statement = compilation, resolved, resolved.statement
        for construct, found in parts_without_name(self.statement).items():
            if found:
                raise unsupported(construct, _REMEDIES[construct])
        self.scope = Scope(compilation, outer)
        self.rows = Expressions(self.scope)
        self.orders = [self._direction(element) for element in self.statement._order_by_clauses]
        self.groups = [self._meant(element) for element in self.statement._group_by_clauses]

    def compiled(self, fields: Sequence[str], rows_only: bool = False) -> Pipeline:
        statement = self.statement
        criteria = conjuncts(statement._where_criteria)
        sources = Sources(self.scope, self._in_from, criteria)
        collection, stages = sources.build(self.resolved.froms)
        stages += matching(self.rows, criteria)
        elements = [_unlabelled(column) for _, column in self.resolved.outputs]
        having = conjuncts(statement._having_criteria)
        is_grouped = bool(self.groups or having) or any(
            has_aggregate(each) for each in [*elements, *(order.element for order in self.orders)]
        )
        at_hand = Grouped(self.rows, self.groups) if is_grouped else self.rows
        kept = [at_hand.true(part) for part in having]
        having_lookups = at_hand.scope.taken()
        outputs = [] if rows_only else self._outputs(at_hand, elements, fields)
        keys = (
            [] if statement._distinct or rows_only else [(at_hand.value(order.element), order) for order in self.orders]
        )
        if isinstance(at_hand, Grouped):
            stages += at_hand.stages()
        stages += having_lookups
        if kept:
            stages.append({"$match": {"$expr": {"$and": kept}}})
        stages += [*at_hand.scope.taken(), *at_hand.windows.stages]
        if statement._distinct and not rows_only:
            outputs, distinct = _distinct(outputs)
            stages += distinct
            keys = self._distinct_keys(elements, outputs)
        stages += sort_stages(self.compilation, keys)
        stages += limit_stages(self.compilation, statement)
        stages += [] if rows_only else [projection(outputs)]
        single = (is_grouped and not self.groups) or collection == NO_COLLECTION
        return Pipeline(collection, stages, outputs, single)

    def _in_from(self, statement: Any, outer: Outer | None) -> Pipeline:
        return compile_query(self.compilation, statement, outer, in_from=True)

    def _outputs(self, at_hand: Expressions, elements: list[Any], fields: Sequence[str]) -> list[Output]:
        names = [name for name, _ in self.resolved.outputs]
        given = [at_hand.value(element) for element in elements]
        made = []
        for name, field, expression, (_, column) in zip(
            names, fields or safe_fields(names), given, self.resolved.outputs, strict=True
        ):
            of = column.type if expression.slot is not None else expression.type
            made.append(Output(name, field, expression._replace(type=of)))
        return made

    def _meant(self, element: Any) -> Any:
        """What an element of GROUP BY or ORDER BY refers to: a name may be that of a column of the result."""
        while True:
            kind = getattr(element, "__visit_name__", "")
            if kind == "textual_label_reference":
                found = self.resolved.labels.get(element.element)
                if found is None:
                    raise unsupported(
                        "a text in GROUP BY or ORDER BY that names no column of the result", "name the column itself"
                    )
                element = found
            elif kind in ("label_reference", "label") or (
                kind == "grouping" and not hasattr(element.element, "selected_columns")
            ):
                element = element.element
            else:
                return element

    def _direction(self, element: Any) -> Direction:
        direction = direction_of(element)
        return direction._replace(element=self._meant(direction.element))

    def _distinct_keys(self, elements: list[Any], outputs: list[Output]) -> list[tuple[Expression, Direction]]:
        known = {signature(element): output for element, output in zip(elements, outputs, strict=True)}
        keys = []
        for order in self.orders:
            output = known.get(signature(order.element))
            if output is None:
                raise unsupported("ORDER BY something that SELECT DISTINCT does not select", "select it as well")
            keys.append((output.expression, order))
        return keys


def _unlabelled(element: Any) -> Any:
    return element.element if isinstance(element, Label) else element


def plain_output(output: Output) -> Output:
    """The output once it stands in its field."""
    expression = output.expression
    path = output.field
    return Output(
        output.name, path, Expression("$" + path, expression.kind, expression.type, path, None, expression.known)
    )


def _distinct(outputs: list[Output]) -> tuple[list[Output], list[Any]]:
    key = {output.field: {"$ifNull": [output.expression.code, None]} for output in outputs}
    return [plain_output(each) for each in outputs], [{"$group": {"_id": key}}, {"$replaceRoot": {"newRoot": "$_id"}}]


def projection(outputs: Sequence[Output]) -> dict[str, Any]:
    """The ``$project`` that leaves the columns."""
    columns = {
        output.field: 1 if output.expression.path == output.field else output.expression.code for output in outputs
    }
    return {"$project": {"_id": 0, **columns}}


def sort_stages(compilation: Compilation, keys: list[tuple[Expression, Direction]]) -> list[Any]:
    """ORDER BY."""
    computed, order = sorting(compilation, keys)
    return [*([{"$set": computed}] if computed else []), *([{"$sort": order}] if order else [])]


def limit_stages(compilation: Compilation, statement: Any) -> list[Any]:
    """OFFSET and LIMIT."""
    stages: list[Any] = []
    if statement._offset_clause is not None:
        slot = _count(compilation, statement._offset_clause, "OFFSET")
        stages.append(Pieces([slot], lambda number: [{"$skip": number}] if number else []))
    if statement._limit_clause is not None:
        slot = _count(compilation, statement._limit_clause, "LIMIT")
        stages.append(Pieces([slot], _limit))
    return stages


def _limit(number: int | None) -> list[Any]:
    if number is None:
        return []
    return [{"$limit": number}] if number else [{"$match": {"$expr": False}}]


def _count(compilation: Compilation, clause: Any, name: str) -> Slot:
    if not isinstance(clause, BindParameter):
        raise unsupported(f"a computed {name}", "give it as a number")

    def write(value: Any) -> int | None:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise ParameterError(f"{name} is an integer from 0, or None")
        return value

    return compilation.slot(clause, write)


def refuse_outer(outer: Outer | None) -> Outer | None:
    """For SELECTs that cannot see an enclosing one."""
    return None if outer is None else Uncorrelated(outer.scope)
