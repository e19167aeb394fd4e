"""FROM: the collection that a pipeline runs on, and a ``$lookup`` for each join."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy.sql import operators
from sqlalchemy.sql.selectable import CTE, Alias, FromGrouping, Join, Lateral, Subquery, TableClause, TableSample

from sillar.engines.mongodb.compiler.conditions import conjuncts, matching
from sillar.engines.mongodb.compiler.expressions import Expressions
from sillar.engines.mongodb.compiler.kinds import NUMBERS, SCALARS, Kind
from sillar.engines.mongodb.compiler.names import collection_of
from sillar.engines.mongodb.compiler.predicates import bare
from sillar.engines.mongodb.compiler.refusal import construct_of, unsupported
from sillar.engines.mongodb.compiler.resolution import table_of
from sillar.engines.mongodb.compiler.scope import DerivedSource, Expression, Outer, Pipeline, Scope, TableSource

NO_COLLECTION = "sillar_nothing"
"""What a SELECT without FROM runs on; it need not exist."""
ONE_ROW: list[Any] = [{"$limit": 1}, {"$facet": {"nothing": [{"$limit": 1}]}}]
"""One document, whatever the collection holds."""

CompileSelect = Callable[[Any, Outer | None], Pipeline]


def tables_in(element: Any) -> set[Any]:
    """The FROMs whose columns an element names, those of subqueries included."""
    found = set()
    pending = [element]
    while pending:
        each = pending.pop()
        if getattr(each, "__visit_name__", "") == "column" and table_of(each) is not None:
            found.add(table_of(each))
        pending.extend(each.get_children())
    return found


class Sources:
    """The FROM of one SELECT.

    Args:
        scope: gets a source for each table.
        compile_select: for SELECTs in FROM.
        criteria: the parts of WHERE; those used for a join or before it are taken out.
    """

    def __init__(self, scope: Scope, compile_select: CompileSelect, criteria: list[Any]) -> None:
        self.scope, self._compile, self.criteria = scope, compile_select, criteria
        self._expressions = Expressions(scope)

    def build(self, froms: Sequence[Any]) -> tuple[str, list[Any]]:
        """The collection, and the stages that bring all FROMs together.

        Raises:
            UnsupportedCapabilityError: a FROM has no translation.
        """
        if not froms:
            return NO_COLLECTION, list(ONE_ROW)
        first, *others = froms
        collection, stages = self._base(first, self.scope)
        stages += self._early()
        for other in others:
            stages += self._joined(other, [], outer=False, comma=True)
            stages += self._early()
        return collection, stages

    def _early(self) -> list[Any]:
        """WHERE as far as it concerns what is there already: the fewer documents, the fewer lookups."""
        here = set(self.scope.sources)
        early = [
            part for part in self.criteria if (named := tables_in(part)) and named <= here and not _has_select(part)
        ]
        self.criteria[:] = [part for part in self.criteria if all(part is not each for each in early)]
        return matching(self._expressions, early)

    def _base(self, source: Any, scope: Scope) -> tuple[str, list[Any]]:
        """The leftmost FROM: its documents are the root."""
        while isinstance(source, FromGrouping):
            source = source.element
        if isinstance(source, Join):
            collection, stages = self._base(source.left, scope)
            if source.full:
                raise unsupported("FULL JOIN", "use two queries, or a UNION of a left join and what it lacks")
            if scope is self.scope:
                stages += self._early()
                stages += self._joined(source.right, conjuncts([source.onclause]), outer=source.isouter)
            else:
                inner = Sources(scope, self._compile, [])
                stages += inner._joined(source.right, conjuncts([source.onclause]), outer=source.isouter)
            return collection, stages
        if isinstance(source, (Lateral, TableSample)) or not isinstance(source, (Alias, Subquery, CTE, TableClause)):
            raise unsupported(f"{construct_of(source)} in FROM", "use a table, an alias or a subquery")
        if isinstance(source, TableClause):
            scope.sources[source] = TableSource(source)
            return collection_of(source), []
        return self._aliased(source, scope)

    def _aliased(self, source: Any, scope: Scope) -> tuple[str, list[Any]]:
        element = source.element
        while hasattr(element, "element") and not hasattr(element, "_raw_columns"):
            element = element.element
        if isinstance(element, TableClause):
            scope.sources[source] = TableSource(element)
            return collection_of(element), []
        if isinstance(source, CTE) and source.recursive:
            raise unsupported(
                "WITH RECURSIVE", "follow the references step by step in Python, or write a $graphLookup yourself"
            )
        if getattr(element, "is_dml", False):
            raise unsupported("a CTE that writes", "run it as a statement of its own in the transaction")
        pipeline = self._compile(element, scope.outer)
        scope.sources[source] = DerivedSource({output.name: output for output in pipeline.outputs})
        return pipeline.collection, [*pipeline.stages]

    def _joined(self, right: Any, parts: list[Any], *, outer: bool, comma: bool = False) -> list[Any]:
        """A ``$lookup`` of the right side into a field, and one document for each match."""
        inner = Scope(self.scope.compilation, Outer(self.scope))
        enclosing = self.scope.outer
        inner_from = Scope(self.scope.compilation, enclosing)
        collection, stages = self._base(right, inner_from)
        inner.sources = inner_from.sources
        if comma:
            here = {*self.scope.sources, *inner.sources}
            used = [
                part
                for part in self.criteria
                if (named := tables_in(part)) & set(inner.sources) and named <= here and not _has_select(part)
            ]
            self.criteria[:] = [part for part in self.criteria if all(part is not each for each in used)]
            parts = used
        name = self.scope.compilation.fresh("__j")
        lookup: dict[str, Any] = {"from": collection}
        if not stages:
            lookup |= self._equality(parts, inner, stages)
        stages += matching(Expressions(inner), parts)
        assert inner.outer is not None
        if inner.outer.lets:
            lookup["let"] = inner.outer.lets
        if stages or "localField" not in lookup:
            lookup["pipeline"] = stages
        for source, of in inner.sources.items():
            self.scope.sources[source] = of.moved(f"{name}.", optional=outer)
        unwind: Any = {"path": f"${name}", "preserveNullAndEmptyArrays": True} if outer else f"${name}"
        return [{"$lookup": {**lookup, "as": name}}, {"$unwind": unwind}]

    def _equality(self, parts: list[Any], inner: Scope, stages: list[Any]) -> dict[str, str]:
        """The first ``left.x = right.y`` of plain fields, which a lookup serves with an index; taken out of parts."""
        for part in parts:
            if getattr(part, "operator", None) is not operators.eq:
                continue
            sides = [bare(part.left), bare(part.right)]
            if any(getattr(side, "__visit_name__", "") != "column" for side in sides):
                continue
            for here, there in (sides, reversed(sides)):
                if table_of(here) not in self.scope.sources or table_of(there) not in inner.sources:
                    continue
                local, foreign = self.scope.column(here), inner.column(there)
                if not _same_equality(local, foreign) or local.path is None or foreign.path is None:
                    continue
                parts[:] = [each for each in parts if each is not part]
                if not foreign.known:  # in MongoDB null equals null here
                    stages.append({"$match": {foreign.path: {"$ne": None}}})
                return {"localField": local.path, "foreignField": foreign.path}
        return {}


def _same_equality(left: Expression, right: Expression) -> bool:
    kinds = {left.kind, right.kind}
    return kinds <= SCALARS and (len(kinds) == 1 or (kinds <= NUMBERS and kinds != {Kind.FLOAT, Kind.DECIMAL}))


def _has_select(element: Any) -> bool:
    pending = [element]
    while pending:
        each = pending.pop()
        if hasattr(each, "_raw_columns") or hasattr(each, "selects"):
            return True
        pending.extend(each.get_children())
    return False
