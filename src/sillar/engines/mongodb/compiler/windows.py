"""Window functions as ``$setWindowFields``.

MongoDB ranks by one key only, and its frames of rows end at the row itself, while SQL's default frame ends with the
last row that sorts equal. So rows are numbered first, and what concerns rows that sort equal is computed in a second
stage that is partitioned by the sort keys as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import types as sqltypes

from sillar.engines.mongodb.compiler.aggregates import accumulation
from sillar.engines.mongodb.compiler.alignment import NULL
from sillar.engines.mongodb.compiler.frames import Bound, Edge, bounds_of
from sillar.engines.mongodb.compiler.functions import AGGREGATES
from sillar.engines.mongodb.compiler.kinds import Kind
from sillar.engines.mongodb.compiler.ordering import direction_of, sorting
from sillar.engines.mongodb.compiler.refusal import unsupported
from sillar.engines.mongodb.compiler.scope import Expression
from sillar.engines.mongodb.compiler.template import Late, Slot
from sillar.errors import ParameterError

if TYPE_CHECKING:
    from sillar.engines.mongodb.compiler.expressions import Expressions

_WHOLE: Final = None  # what $setWindowFields does when nothing is said
_SO_FAR: Final = {"documents": ["unbounded", "current"]}
_LONG: Final = sqltypes.BigInteger()
_REMEDY: Final = "compute it in Python over the ordered rows"


class Windows:
    """The stages of the windows that one SELECT has."""

    def __init__(self) -> None:
        self.stages: list[Any] = []


class Window:
    """One OVER clause.

    Attributes:
        partition: the expression that tells partitions apart, or None.
        order: sort keys by field.
        peers: the expression that tells rows that sort equal apart as well.
    """

    def __init__(self, expressions: Expressions, over: Any) -> None:
        self.expressions = expressions
        self.stages = expressions.windows.stages
        keys = {}
        for index, element in enumerate(over.partition_by.clauses if over.partition_by is not None else ()):
            keys[f"p{index}"] = {"$ifNull": [expressions.value(element).code, None]}
        self.partition = keys or None
        directions = [direction_of(each) for each in (over.order_by.clauses if over.order_by is not None else ())]
        ordered = [(expressions.value(each.element), each) for each in directions]
        computed, self.order = sorting(expressions.scope.compilation, ordered)
        if computed:
            self.stages.append({"$set": computed})
        same = {f"k{index}": {"$ifNull": [given.code, None]} for index, (given, _) in enumerate(ordered)}
        self.peers = {**keys, **same} or None

    def field(self, accumulator: Any, *, frame: Any = None, peers: bool = False, order: Any = None) -> str:
        """Compute something for each row; the path of the field that it stands in."""
        name = self.expressions.scope.compilation.fresh("__w")
        output = {**accumulator, "window": frame} if frame is not None else accumulator
        stage: dict[str, Any] = {"output": {name: output}}
        partition = self.peers if peers else self.partition
        if partition is not None:
            stage["partitionBy"] = partition
        if order is None and not peers:
            order = self.order
        if order or frame is not None:
            stage["sortBy"] = order or {"_id": 1}  # any order will do, but rows are counted in some
        self.stages.append({"$setWindowFields": stage})
        return name

    def row_number(self) -> str:
        # $documentNumber takes one sort key in DocumentDB; a running sum takes any number everywhere.
        return self.field({"$sum": 1}, frame=_SO_FAR)


def over(expressions: Expressions, element: Any) -> Expression:
    """``function OVER (PARTITION BY … ORDER BY …)``.

    Raises:
        UnsupportedCapabilityError: the function, the frame or the order has no faithful translation.
    """
    function = element.element
    criterion = None
    if function.__visit_name__ == "funcfilter":
        function, criterion = function.func, function.criterion
    name = getattr(function, "name", "").lower()
    if getattr(element, "exclude", None) is not None or element.groups is not None:
        raise unsupported("a window frame with GROUPS or EXCLUDE", _REMEDY)
    window = Window(expressions, element)
    if name in AGGREGATES:
        return _aggregate(window, element, function, criterion)
    arguments = list(function.clauses)
    if criterion is None and name in _RANKS and not arguments:
        return _plain(_RANKS[name](window), Kind.INT, _LONG)
    if criterion is None and name in ("lag", "lead") and 1 <= len(arguments) <= 3:
        return _shifted(window, arguments, -1 if name == "lag" else 1)
    if criterion is None and name == "first_value" and len(arguments) == 1 and element.rows is element.range_ is None:
        given = expressions.value(arguments[0])
        first = window.field({"$first": {"$ifNull": [given.code, None]}}, frame=_WHOLE)
        return _plain(first, given.kind, given.type)
    raise unsupported(f"the window function {name}()", _REMEDY)


def _plain(path: str, kind: Kind, of: Any) -> Expression:
    return Expression("$" + path, kind, of, path)


def _rank(window: Window) -> str:
    number = window.row_number()
    return window.field({"$min": "$" + number}, frame=_WHOLE, peers=True)


def _dense_rank(window: Window) -> str:
    return window.field({"$denseRank": {}}, order={_rank(window): 1})


_RANKS: Final = {"row_number": Window.row_number, "rank": _rank, "dense_rank": _dense_rank}


def _aggregate(window: Window, element: Any, function: Any, criterion: Any) -> Expression:
    made = accumulation(window.expressions, function, criterion)
    is_given, frame = _frame(window, element)
    until_peers = bool(window.order) and not is_given
    if until_peers:
        frame = _SO_FAR
    fields = [window.field(part, frame=frame) for part, _ in made.parts]
    if until_peers:
        number = window.row_number()
        fields = [window.field({"$last": "$" + field}, frame=_WHOLE, peers=True, order={number: 1}) for field in fields]
    return Expression(made.finish(*("$" + field for field in fields)), made.kind, made.type)


def _frame(window: Window, element: Any) -> tuple[bool, Any]:
    """Whether there is a frame of rows or of the whole partition, and which; SQL's default is another matter."""
    if element.range_ is not None:
        low, high = bounds_of(element.range_)
        if low.edge is not Edge.UNBOUNDED or high.edge in (Edge.FOLLOWING, Edge.PRECEDING):
            raise unsupported("a window frame RANGE with bounds", "use rows=, or compute it in Python")
        return high.edge is Edge.UNBOUNDED, _WHOLE
    if element.rows is None:
        return False, _WHOLE
    if not window.order:
        raise unsupported("a window frame of rows without ORDER BY", "say in which order the rows come")
    return True, {"documents": [_bound(window, each) for each in bounds_of(element.rows)]}


def _bound(window: Window, bound: Bound) -> Any:
    if bound.edge in (Edge.UNBOUNDED, Edge.CURRENT):
        return bound.edge.value
    sign = -1 if bound.edge is Edge.PRECEDING else 1
    if isinstance(bound.distance, int):
        return sign * bound.distance
    return Late([_whole_number(window, bound.distance)], lambda number: sign * number)


def _whole_number(window: Window, bind: Any) -> Slot:
    if not hasattr(bind, "effective_value"):
        raise unsupported("a computed offset in a window", "give it as a number")

    def write(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ParameterError("an offset in a window is an integer")
        return value

    return window.expressions.scope.compilation.slot(bind, write)


def _shifted(window: Window, arguments: list[Any], sign: int) -> Expression:
    if not window.order:
        raise unsupported("lag() or lead() without ORDER BY", "say in which order the rows come")
    given = window.expressions.value(arguments[0])
    by: Any = sign
    if len(arguments) > 1:
        by = Late([_whole_number(window, arguments[1])], lambda number: sign * number)
    shift: dict[str, Any] = {"output": {"$ifNull": [given.code, None]}, "by": by}
    if len(arguments) == 3:
        default = window.expressions.value(arguments[2])
        if default.slot is None and default.code != NULL:
            raise unsupported("a computed default of lag() or lead()", "use coalesce(), or give it as a value")
        shift["default"] = None if default.slot is None else Late([default.slot], _plain_default)
    return _plain(window.field({"$shift": shift}), given.kind, given.type)


def _plain_default(value: Any) -> Any:
    # Servers differ in whether $literal may stand here, so only what needs none passes.
    if isinstance(value, (dict, list)) or (isinstance(value, str) and value.startswith("$")):
        raise ParameterError("the default of lag() or lead() is a document, a list or a text that begins with $")
    return value
