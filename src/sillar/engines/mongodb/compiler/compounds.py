"""UNION and UNION ALL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.sql.selectable import _CompoundSelectKeyword

from sillar.engines.mongodb.compiler.casts import unified
from sillar.engines.mongodb.compiler.names import safe_fields
from sillar.engines.mongodb.compiler.ordering import direction_of
from sillar.engines.mongodb.compiler.refusal import unsupported
from sillar.engines.mongodb.compiler.scope import Compilation, Expression, Outer, Output, Pipeline
from sillar.engines.mongodb.compiler.selects import (
    compile_query,
    limit_stages,
    plain_output,
    projection,
    refuse_outer,
    sort_stages,
)

_UNIONS = (_CompoundSelectKeyword.UNION, _CompoundSelectKeyword.UNION_ALL)


def compile_compound(
    compilation: Compilation, statement: Any, outer: Outer | None, *, fields: Sequence[str] = (), in_from: bool = False
) -> Pipeline:
    """Several SELECTs, one after the other.

    Raises:
        UnsupportedCapabilityError: INTERSECT and EXCEPT, or a construct inside.
    """
    if statement.keyword not in _UNIONS:
        raise unsupported(statement.keyword.value, "use exists() or ~exists() with a condition on each column")
    if statement._for_update_arg is not None or statement._fetch_clause is not None:
        raise unsupported("FOR UPDATE or FETCH on a UNION", "use limit(), and a transaction")
    first, *others = statement.selects
    names = [compilation.resolution.name(column.name) for column in statement.selected_columns]
    fields = fields or safe_fields(names)
    outer = refuse_outer(outer)
    made = compile_query(compilation, first, outer, fields=fields, in_from=in_from)
    stages = [*made.stages]
    pipelines = [made]
    for other in others:
        pipeline = compile_query(compilation, other, outer, fields=fields, in_from=in_from)
        if len(pipeline.outputs) != len(made.outputs):
            raise unsupported("a UNION of SELECTs with different numbers of columns", "select the same columns in each")
        pipelines.append(pipeline)
        stages.append({"$unionWith": {"coll": pipeline.collection, "pipeline": pipeline.stages}})
    outputs = [_united(index, pipelines) for index in range(len(made.outputs))]
    if statement.keyword is _CompoundSelectKeyword.UNION:
        key = {output.field: {"$ifNull": [f"${output.field}", None]} for output in outputs}
        stages += [{"$group": {"_id": key}}, {"$replaceRoot": {"newRoot": "$_id"}}]
    by_name = {output.name: output.expression for output in outputs}
    keys = []
    for element in statement._order_by_clauses:
        direction = direction_of(element)
        meant = direction.element
        name = getattr(meant, "name", None) or getattr(meant, "element", None)
        found = by_name.get(compilation.resolution.name(name)) if name is not None else None
        if found is None:
            raise unsupported("ORDER BY an expression on a UNION", "select it, or order a SELECT from the UNION")
        keys.append((found, direction))
    tail = [*sort_stages(compilation, keys), *limit_stages(compilation, statement)]
    if tail:
        stages += [*tail, projection(outputs)]
    return Pipeline(made.collection, stages, outputs)


def _united(index: int, pipelines: list[Pipeline]) -> Output:
    """The column of a UNION: of a kind that all its parts have."""
    parts = [pipeline.outputs[index] for pipeline in pipelines]
    united = [each for each in unified([part.expression for part in parts]) if each is not None]
    of = next((each for each in united if each.kind.value != "unknown"), united[0])
    known = all(part.expression.known for part in parts)
    output = parts[0]
    plain = Expression("$" + output.field, of.kind, of.type, output.field, None, known)
    return plain_output(Output(output.name, output.field, plain))
