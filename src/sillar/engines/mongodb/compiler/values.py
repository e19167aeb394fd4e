"""Values: each construct of SQL that gives one, as an expression of the pipeline's language."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import types as sqltypes
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.sql.selectable import Exists, ScalarSelect, Select, SelectBase

from sillar.engines.mongodb.compiler import arithmetic, casts, functions, paths, windows
from sillar.engines.mongodb.compiler.alignment import NULL, literal, settled
from sillar.engines.mongodb.compiler.kinds import Kind, kind_of
from sillar.engines.mongodb.compiler.refusal import construct_of, unsupported
from sillar.engines.mongodb.compiler.resolution import has_floor
from sillar.engines.mongodb.compiler.scope import UNTYPED, Expression, Scope

if TYPE_CHECKING:
    from sillar.engines.mongodb.compiler.expressions import Expressions

_INTEGER: Final = re.compile(r"-?[0-9]{1,18}")
BOOLEAN: Final = sqltypes.Boolean()
_COMPARISONS: Final = frozenset(
    {
        *(operators.eq, operators.ne, operators.lt, operators.le, operators.gt, operators.ge),
        *(operators.is_, operators.is_not, operators.is_distinct_from, operators.is_not_distinct_from),
        *(operators.in_op, operators.not_in_op, operators.between_op, operators.not_between_op),
        *(operators.like_op, operators.not_like_op, operators.ilike_op, operators.not_ilike_op),
        *(operators.contains_op, operators.not_contains_op, operators.icontains_op, operators.not_icontains_op),
        *(operators.startswith_op, operators.not_startswith_op),
        *(operators.istartswith_op, operators.not_istartswith_op),
        *(operators.endswith_op, operators.not_endswith_op, operators.iendswith_op, operators.not_iendswith_op),
    }
)


def is_predicate(element: Any) -> bool:
    """Whether an element is a condition with three outcomes, not a value that is stored somewhere."""
    operator = getattr(element, "operator", None)
    if operator in (operators.and_, operators.or_, operators.inv, operators.is_true, operators.is_false):
        return True
    if isinstance(element, Exists) or operator in _COMPARISONS:
        return True
    return getattr(operator, "opstring", None) in ("@>", "<@", "&&", "~", "~*")


class ValueVisitor:
    """``visit_*`` for SQLAlchemy's dispatch; a construct without a method is refused."""

    def __init__(self, expressions: Expressions) -> None:
        self.expressions = expressions

    @property
    def scope(self) -> Scope:
        return self.expressions.scope

    def of(self, element: Any) -> Expression:
        found = self.expressions.scope.find(element)
        if found is not None:
            return found
        if is_predicate(element):
            return self._condition(element)
        if isinstance(element, (ScalarSelect, SelectBase)):
            return self.expressions.subqueries.scalar(element)
        made: Expression = element._compiler_dispatch(self)
        return made

    def visit_unsupported_compilation(self, element: Any, error: Any, **kw: Any) -> Any:
        raise unsupported(construct_of(element)) from None

    def _condition(self, element: Any) -> Expression:
        """A condition as a value: true, false or NULL."""
        true, false = self.expressions.true(element), self.expressions.false(element)
        code = {"$cond": [true, literal(True), {"$cond": [false, literal(False), NULL]}]}
        return Expression(code, Kind.BOOL, BOOLEAN)

    # --- leaves -------------------------------------------------------------------------------------------------------

    def visit_column(self, element: Any, **kw: Any) -> Expression:
        if element.is_literal:
            if _INTEGER.fullmatch(element.name):
                return Expression(literal(int(element.name)), Kind.INT, sqltypes.BigInteger(), known=True)
            raise unsupported("literal_column()", "use a column of a table, or literal() for a value")
        return self.scope.column(element)

    def visit_bindparam(self, element: BindParameter[Any], **kw: Any) -> Expression:
        if element.expanding:
            raise unsupported("a list as a value", "use it with in_()")
        slot = self.scope.compilation.slot(element)
        return Expression({"$literal": slot}, kind_of(element.type), element.type, None, slot)

    def visit_null(self, element: Any, **kw: Any) -> Expression:
        return Expression(NULL, Kind.UNKNOWN, UNTYPED)

    def visit_true(self, element: Any, **kw: Any) -> Expression:
        return Expression(literal(True), Kind.BOOL, BOOLEAN, known=True)

    def visit_false(self, element: Any, **kw: Any) -> Expression:
        return Expression(literal(False), Kind.BOOL, BOOLEAN, known=True)

    # --- wrappers -----------------------------------------------------------------------------------------------------

    def visit_grouping(self, element: Any, **kw: Any) -> Expression:
        return self.of(element.element)

    visit_label = visit_grouping
    visit_label_reference = visit_grouping

    def visit_type_coerce(self, element: Any, **kw: Any) -> Expression:
        inner = self.of(element.clause)
        if inner.slot is not None:
            inner = settled(inner._replace(kind=Kind.UNKNOWN), Expression(NULL, kind_of(element.type), element.type))
        return inner._replace(type=element.type, kind=kind_of(element.type))

    def visit_collation(self, element: Any, **kw: Any) -> Expression:
        raise unsupported("COLLATE", "text compares by code points; leave the collation out")

    # --- operators ----------------------------------------------------------------------------------------------------

    def visit_binary(self, element: Any, **kw: Any) -> Expression:
        operator = element.operator
        if operator in (operators.json_getitem_op, operators.json_path_getitem_op, operators.getitem):
            return paths.item(self, element)
        if operator is operators.collate:
            return self.visit_collation(element)
        sides = (element.left, element.right)
        floored = operator is operators.floordiv and has_floor(*(side.type for side in sides))
        return arithmetic.binary(operator, *map(self.of, sides), floored=floored)

    def visit_expression_clauselist(self, element: Any, **kw: Any) -> Expression:
        first, *others = element.clauses
        made = self.of(first)
        for other in others:
            made = arithmetic.binary(element.operator, made, self.of(other))
        return made

    def visit_unary(self, element: Any, **kw: Any) -> Expression:
        if element.operator is operators.neg:
            return arithmetic.negative(self.of(element.element))
        if element.operator is operators.distinct_op:
            raise unsupported("DISTINCT outside of an aggregate", "use select().distinct()")
        operator = element.operator or element.modifier
        raise unsupported(f"the operator {getattr(operator, 'opstring', getattr(operator, '__name__', operator))}")

    def visit_case(self, element: Any, **kw: Any) -> Expression:
        branches = []
        results: list[Expression | None] = [self.of(result) for _, result in element.whens]
        default = None if element.else_ is None else self.of(element.else_)
        *results, default = casts.unified([*results, default])
        typed = [each for each in [*results, default] if each is not None and each.kind is not Kind.UNKNOWN]
        of = typed[0] if typed else Expression(NULL, Kind.UNKNOWN, UNTYPED)
        for (condition, _), result in zip(element.whens, results, strict=True):
            assert result is not None
            tested = condition if element.value is None else element.value == condition
            branches.append({"case": self.expressions.true(tested), "then": settled(result, of).code})
        last = NULL if default is None else settled(default, of).code
        return Expression({"$switch": {"branches": branches, "default": last}}, of.kind, of.type)

    def visit_cast(self, element: Any, **kw: Any) -> Expression:
        return casts.cast(self, element)

    def visit_try_cast(self, element: Any, **kw: Any) -> Expression:
        raise unsupported("TRY_CAST", "use cast()")

    def visit_extract(self, element: Any, **kw: Any) -> Expression:
        return functions.extract(element.field, self.of(element.expr))

    def visit_function(self, element: Any, **kw: Any) -> Expression:
        return functions.call(self, element)

    def visit_funcfilter(self, element: Any, **kw: Any) -> Expression:
        return self.expressions.aggregate(element.func, element.criterion)

    def visit_over(self, element: Any, **kw: Any) -> Expression:
        return windows.over(self.expressions, element)

    def visit_array(self, element: Any, **kw: Any) -> Expression:
        raise unsupported("an array constructor", "give the list as a parameter of an ARRAY type")

    def visit_tuple(self, element: Any, **kw: Any) -> Expression:
        raise unsupported("a row as a value", "compare it with =, <, >, IN, or select its columns one by one")

    def visit_select(self, element: Select[Any], **kw: Any) -> Expression:
        return self.expressions.subqueries.scalar(element)
