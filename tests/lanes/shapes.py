"""Statement shapes for the differential proof: some by a grammar over all column kinds, others written by hand."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import (
    Integer,
    String,
    and_,
    bindparam,
    case,
    cast,
    column,
    delete,
    distinct,
    except_,
    exists,
    extract,
    func,
    insert,
    intersect,
    literal,
    literal_column,
    not_,
    null,
    nulls_last,
    or_,
    select,
    text,
    true,
    tuple_,
    type_coerce,
    union,
    union_all,
    update,
    values,
)
from sqlalchemy.orm import aliased, selectinload
from tests.lanes.tables import Color, Tables


class Shape(NamedTuple):
    """One statement, built anew each time it is asked for."""

    name: str
    build: Callable[[], Any]
    params: dict[str, Any] | None = None
    writes: bool = False
    slow: bool = False
    """Whether it has to be detected as one for the slow lane."""


_NOT_COMPARED = frozenset({"doc", "docb", "docs", "pickled", "folded", "colors", "grid", "between", "bits"})
_NOT_ORDERED = _NOT_COMPARED | {"blob"}
_TIMES = frozenset({"at", "span", "lasted"})  # which MySQL gives back as text where they are no column
_NO_LITERALS = {"sqlite": frozenset(), "postgresql": frozenset(), "mysql": _TIMES, "mariadb": _TIMES}
_NOT_COALESCED = {
    engine: _NO_LITERALS[engine] | {"color", "address", "choice"}  # SQLAlchemy does not know the type of the value
    for engine in ("sqlite", "postgresql", "mysql", "mariadb")
}
_LISTED = frozenset(
    {"small", "big", "name", "price", "born", "made", "ident", "color", "word", "cents", "moment", "flag", "exact"}
)


def of_columns(tables: Tables) -> Iterator[Shape]:
    """The grammar: each kind of column in each place that it may stand in."""
    item = tables.item
    for name, (_, given) in tables.kinds.items():
        one: Any = item.c[name]
        value, other = given[0], given[1]

        def shape(what: str, build: Callable[[], Any], *, name: str = name, **more: Any) -> Shape:
            return Shape(f"{name}: {what}", build, **more)

        yield shape("selected", lambda one=one: select(item.c.id, one).order_by(item.c.id))
        yield shape("labelled", lambda one=one: select(one.label("x")).where(item.c.id < 4))
        yield shape("is null", lambda one=one: select(item.c.id).where(one.is_(None)))
        yield shape("in a subquery", lambda one=one: select(select(one).subquery()))
        yield shape("in a union", lambda one=one: union_all(select(one), select(one).where(item.c.id == 1)))
        yield shape("from a CTE", lambda one=one: select(select(item.c.id, one).cte("c")))
        yield shape(
            "written",
            lambda name=name, value=other: update(item).values({name: value}).where(item.c.id == 1),
            writes=True,
        )
        yield shape("written as null", lambda name=name: update(item).values({name: None}), writes=True)
        yield shape(
            "inserted", lambda name=name, value=value: insert(item).values({"id": 50, name: value}), writes=True
        )
        yield shape("counted", lambda one=one: select(func.count(one)))
        yield shape("as a case", lambda one=one: select(case((item.c.id > 2, one), else_=None)))
        if tables.engine != "mysql" or name not in ("doc", "pickled"):
            yield shape("largest", lambda one=one: select(func.max(item.c.id), func.count(one)).group_by(item.c.id))
        if name in _NOT_COMPARED:
            continue
        yield shape("equal", lambda one=one, value=value: select(item.c.id).where(one == value))
        yield shape("unequal", lambda one=one, value=value: select(item.c.id, one).where(one != value))
        yield shape("by name", lambda one=one: select(item.c.id).where(one == bindparam("x")), params={"x": value})
        if name not in _NOT_COALESCED[tables.engine]:
            yield shape("coalesced", lambda one=one, value=value: select(func.coalesce(one, value)))
        yield shape("distinct", lambda one=one: select(distinct(one)))
        yield shape("grouped", lambda one=one: select(one, func.count()).group_by(one))
        if name not in _NO_LITERALS[tables.engine]:
            yield shape("as a literal", lambda one=one, value=value: select(literal(value, one.type), item.c.id))
        if name not in _NOT_ORDERED:
            yield shape("ordered", lambda one=one: select(item.c.id, one).order_by(one.desc(), item.c.id))
            if name == "flag":
                continue
            yield shape("above", lambda one=one, value=value: select(item.c.id).where(one > value))
            yield shape(
                "between", lambda one=one, a=value, b=other: select(item.c.id).where(one.between(min(a, b, key=str), b))
            )
            if name not in ("flag", "ident", "word", "color", "address", "tags", "choice"):
                yield shape("least", lambda one=one: select(func.min(one), func.max(one)))
        if name in _LISTED:
            for length in (0, 1, 3, 5):
                listed = (given * 2)[:length]
                yield shape(f"in {length}", lambda one=one, v=listed: select(item.c.id).where(one.in_(v)))
            yield shape("not in 0", lambda one=one: select(item.c.id).where(one.not_in([])))
            yield shape("not in 3", lambda one=one, v=given[:3]: select(item.c.id).where(one.not_in(v)))
            yield shape(
                "in by name",
                lambda one=one: select(item.c.id).where(one.in_(bindparam("x", expanding=True))),
                params={"x": given},
            )


def queries(tables: Tables) -> Iterator[Shape]:
    """Reads written by hand."""
    item, part = tables.item, tables.part
    other = part.alias("other")
    yield Shape("joined", lambda: select(item.c.id, part.c.label).join_from(item, part))
    yield Shape("left joined", lambda: select(item.c.id, part.c.label).join_from(item, part, isouter=True))
    yield Shape("two of one name", lambda: select(item.c.id, part.c.id).join_from(item, part))
    yield Shape("joined to itself", lambda: select(part.c.id, other.c.id).join(other, other.c.parent_id == part.c.id))
    yield Shape("cross joined", lambda: select(part.c.id, other.c.label).join(other, true()))
    yield Shape(
        "three tables",
        lambda: (
            select(item.c.name, part.c.label, other.c.qty)
            .join_from(item, part, part.c.item_id == item.c.id)
            .join(other, other.c.id == part.c.parent_id, isouter=True)
        ),
    )
    yield Shape(
        "subquery joined",
        lambda: (lambda s: select(item.c.id, s.c.total).join(s, s.c.item_id == item.c.id))(
            select(part.c.item_id, func.sum(part.c.qty).label("total")).group_by(part.c.item_id).subquery()
        ),
    )
    yield Shape(
        "scalar subquery",
        lambda: select(
            item.c.id, select(func.count(part.c.id)).where(part.c.item_id == item.c.id).scalar_subquery().label("n")
        ),
    )
    yield Shape("exists", lambda: select(item.c.id).where(exists().where(part.c.item_id == item.c.id)))
    yield Shape("not exists", lambda: select(item.c.id).where(~exists().where(part.c.item_id == item.c.id)))
    yield Shape("in a query", lambda: select(item.c.id).where(item.c.id.in_(select(part.c.item_id))))
    yield Shape("CTE", lambda: (lambda c: select(func.sum(c.c.qty)))(select(part.c.qty).where(part.c.qty > 0).cte()))
    yield Shape(
        "two CTEs",
        lambda: (lambda a, b: select(a.c.id, b.c.label).join(b, b.c.item_id == a.c.id))(
            select(item.c.id).where(item.c.id < 3).cte("a"), select(part.c.item_id, part.c.label).cte("b")
        ),
    )
    yield Shape("recursive CTE", lambda: _tree(part))
    yield Shape("recursive numbers", lambda: _numbers(6))


def windows(tables: Tables) -> Iterator[Shape]:
    """Windows, sets, aggregates."""
    item, part = tables.item, tables.part
    over = {"partition_by": part.c.item_id, "order_by": part.c.id}
    for function in ("row_number", "rank", "dense_rank", "percent_rank", "cume_dist"):
        yield Shape(function, lambda f=function: select(part.c.id, getattr(func, f)().over(**over)))
    yield Shape("lag", lambda: select(part.c.id, func.lag(part.c.qty).over(order_by=part.c.id)))
    yield Shape("lead by 2", lambda: select(part.c.id, func.lead(part.c.qty, 2).over(order_by=part.c.id)))
    yield Shape("running sum", lambda: select(func.sum(part.c.qty).over(order_by=part.c.id, rows=(None, 0))))
    yield Shape("window in rows", lambda: select(func.avg(part.c.qty).over(order_by=part.c.id, rows=(-1, 1))))
    yield Shape("ntile", lambda: select(part.c.id, func.ntile(2).over(order_by=part.c.id)))
    yield Shape("first value", lambda: select(func.first_value(part.c.label).over(order_by=part.c.id)))
    yield Shape("union", lambda: union(select(item.c.id), select(part.c.id)))
    yield Shape("union all ordered", lambda: union_all(select(item.c.id), select(literal(7))).order_by("id").limit(3))
    yield Shape("intersect", lambda: intersect(select(item.c.id), select(part.c.item_id)))
    yield Shape("except", lambda: except_(select(item.c.id), select(part.c.item_id)))
    yield Shape("distinct rows", lambda: select(part.c.label).distinct())
    yield Shape("having", lambda: select(part.c.label, func.count()).group_by(part.c.label).having(func.count() > 1))
    for name in ("count", "sum", "avg", "min", "max"):
        yield Shape(f"{name} of ints", lambda n=name: select(getattr(func, n)(part.c.qty)))
        yield Shape(f"{name} of decimals", lambda n=name: select(getattr(func, n)(item.c.price)))
        yield Shape(f"{name} of nothing", lambda n=name: select(getattr(func, n)(part.c.qty)).where(part.c.id > 99))
    yield Shape("sum of doubles", lambda: select(func.sum(item.c.exact)))
    yield Shape("sum of floats", lambda: select(func.sum(item.c.ratio)))


def expressions(tables: Tables) -> Iterator[Shape]:
    """Expressions over columns and values."""
    item, part = tables.item, tables.part
    yield Shape("case", lambda: select(case((item.c.id > 2, "big"), (item.c.id == 1, "one"), else_="small")))
    yield Shape("case by value", lambda: select(case({1: "one", 2: "two"}, value=item.c.id)))
    yield Shape("cast to text", lambda: select(cast(item.c.id, String(10))))
    yield Shape("cast to int", lambda: select(cast(literal("12"), Integer)))
    yield Shape("coerced", lambda: select(type_coerce(item.c.id, String)))
    for op in ("+", "-", "*", "/", "%"):
        yield Shape(f"int {op} value", lambda op=op: select(part.c.qty.op(op)(3), part.c.id))
        yield Shape(f"int {op} column", lambda op=op: select(part.c.qty.op(op)(part.c.id)))
    yield Shape("plus", lambda: select(part.c.qty + 1, 10 - part.c.qty, -part.c.qty))
    yield Shape("true division", lambda: select(part.c.qty / 2, part.c.qty / 2.0))
    yield Shape("floor division", lambda: select(part.c.qty // 2))
    yield Shape("modulo", lambda: select(part.c.qty % 3))
    yield Shape(
        "decimal arithmetic", lambda: select(item.c.price * 2, item.c.price + Decimal("0.55"), item.c.price / 3)
    )
    yield Shape("double arithmetic", lambda: select(item.c.exact * 2, item.c.exact + 0.1))
    yield Shape("float arithmetic", lambda: select(item.c.ratio * 2, item.c.ratio + 1))
    yield Shape("concatenation", lambda: select(item.c.name + "!", item.c.name.concat(item.c.note)))
    for what, build in {
        "like": lambda c: c.like("a%"),
        "like with escape": lambda c: c.like(r"%/%%", escape="/"),
        "not like": lambda c: c.not_like("%n%"),
        "ilike": lambda c: c.ilike("AN%"),
        "contains": lambda c: c.contains("b%_o", autoescape=True),
        "starts with": lambda c: c.startswith("b%", autoescape=True),
        "ends with": lambda c: c.endswith("y"),
        "starts with a backslash": lambda c: c.startswith("b%_o'x\\", autoescape=True),
        "icontains": lambda c: c.icontains("ANN"),
        "empty string": lambda c: c == "",
        "quotes": lambda c: c == "b%_o'x\\y",
        "percent": lambda c: c != "100%s %(x)s %% :x $1 ?",
        "is distinct": lambda c: c.is_distinct_from("anna"),
        "is not distinct": lambda c: c.is_not_distinct_from(None),
    }.items():
        yield Shape(what, lambda build=build: select(item.c.id).where(build(item.c.name)))
    yield Shape(
        "and, or, not", lambda: select(item.c.id).where(or_(and_(item.c.id > 1, item.c.id < 4), not_(item.c.flag)))
    )
    yield Shape("boolean column", lambda: select(item.c.id).where(item.c.flag))
    yield Shape("boolean is true", lambda: select(item.c.id).where(item.c.flag.is_(True)))
    yield Shape("comparison selected", lambda: select(item.c.id > 2, item.c.flag == item.c.flag))
    yield Shape("null selected", lambda: select(null(), literal(None), item.c.id))
    yield Shape(
        "literals", lambda: select(literal(1), literal("x"), literal(True), literal(1.5), literal(Decimal("2.50")))
    )
    yield Shape(
        "literal times",
        lambda: select(literal(dt.date(2020, 1, 2)), literal(dt.datetime(2020, 1, 2, 3, 4)), literal(b"x")),
    )
    yield Shape("literal column", lambda: select(literal_column("1 + 1"), literal_column("'x'").label("y")))


def functions(tables: Tables) -> Iterator[Shape]:
    """Limits, functions, JSON paths."""
    item, part = tables.item, tables.part
    yield Shape("limit", lambda: select(item.c.id).order_by(item.c.id).limit(2))
    yield Shape("limit and offset", lambda: select(item.c.id).order_by(item.c.id).limit(2).offset(1))
    yield Shape("offset", lambda: select(item.c.id).order_by(item.c.id).offset(3))
    yield Shape("limit by name", lambda: select(item.c.id).order_by(item.c.id).limit(bindparam("n")), params={"n": 2})
    yield Shape("limit 0", lambda: select(item.c.id).limit(0))
    yield Shape("ordered by position", lambda: select(item.c.id.label("a")).order_by("a"))
    yield Shape("for update", lambda: select(item.c.id).where(item.c.id == 1).with_for_update())
    yield Shape("functions", lambda: select(func.lower(item.c.name), func.upper(item.c.name), func.length(item.c.name)))
    yield Shape("abs and round", lambda: select(func.abs(part.c.qty), func.round(item.c.price)))
    yield Shape("substring", lambda: select(func.substr(item.c.name, 1, 2), func.replace(item.c.name, "a", "b")))
    yield Shape("nullif", lambda: select(func.nullif(part.c.qty, 3), func.coalesce(part.c.qty, 0)))
    yield Shape("extract", lambda: select(extract("year", item.c.made), extract("month", item.c.born)))
    yield Shape("json text", lambda: select(item.c.doc["a"]["s"].as_string()).where(item.c.id < 3))
    yield Shape("json number", lambda: select(item.c.doc["a"]["b"].as_integer()).where(item.c.id < 3))
    yield Shape("json path", lambda: select(item.c.doc[("a", "b")].as_integer()).where(item.c.id < 3))
    yield Shape("json float", lambda: select(item.c.doc["n"].as_float()).where(item.c.id < 3))
    yield Shape("json element", lambda: select(item.c.doc["l"]).where(item.c.id < 3))
    yield Shape("json index", lambda: select(item.c.doc["l"][0].as_integer()).where(item.c.id == 1))
    yield Shape("json compared", lambda: select(item.c.id).where(item.c.id < 3, item.c.doc["a"]["b"].as_integer() == 2))


def parameters(tables: Tables) -> Iterator[Shape]:
    """Parameters and lists of all sorts."""
    item, part = tables.item, tables.part
    yield Shape("count of all", lambda: select(func.count()).select_from(item))
    yield Shape("columns of everything", lambda: select(item).order_by(item.c.id))
    yield Shape(
        "same parameter twice",
        lambda: select(item.c.id).where(or_(item.c.id == bindparam("x"), item.c.id > bindparam("x"))),
        {"x": 3},
    )
    yield Shape("value and name", lambda: select(item.c.id).where(item.c.id > 1, item.c.id < bindparam("x")), {"x": 4})
    yield Shape("callable parameter", lambda: select(item.c.id).where(item.c.id == bindparam("x", callable_=lambda: 2)))
    yield Shape("value of a named parameter", lambda: select(item.c.id).where(item.c.id == bindparam("x", 2)))
    yield Shape("params()", lambda: select(item.c.id).where(item.c.id == bindparam("x")).params(x=3))
    yield Shape("two lists", lambda: select(part.c.id).where(part.c.id.in_([1, 2, 3]), part.c.qty.in_([3, 4, None])))
    yield Shape("list with null", lambda: select(part.c.id).where(part.c.qty.in_([3, None])))
    yield Shape("not in list with null", lambda: select(part.c.id).where(part.c.qty.not_in([3, None])))
    yield Shape("list in an or", lambda: select(part.c.id).where(or_(part.c.id.in_([1]), part.c.qty.in_([]))))
    yield Shape("list negated", lambda: select(part.c.id).where(~part.c.id.in_([1, 2])))
    yield Shape("list selected", lambda: select(part.c.id.in_([1, 2]).label("x"), part.c.id))
    yield Shape("list of an expression", lambda: select(part.c.id).where((part.c.id + 1).in_([2, 3])))
    yield Shape("list of a literal", lambda: select(part.c.id).where(literal(1).in_([1, 2])))
    yield Shape("list of expressions", lambda: select(part.c.id).where(part.c.id.in_([literal(1), part.c.qty])))
    yield Shape("long list", lambda: select(part.c.id).where(part.c.id.in_(list(range(1, 301)))))
    yield (
        Shape("nulls last", lambda: select(part.c.qty).order_by(nulls_last(part.c.qty)))
        if tables.engine
        in (
            "postgresql",
            "sqlite",
        )
        else Shape("ordered with nulls", lambda: select(part.c.qty).order_by(part.c.qty))
    )
    yield Shape(
        "tuple in", lambda: select(part.c.id).where(tuple_(part.c.id, part.c.label).in_([(1, "root")])), slow=True
    )


def _tree(part: Any) -> Any:
    tree = (
        select(part.c.id, part.c.parent_id, literal(0).label("depth")).where(part.c.id == 1).cte("tree", recursive=True)
    )
    child = part.alias()
    tree = tree.union_all(
        select(child.c.id, child.c.parent_id, tree.c.depth + 1).join(tree, child.c.parent_id == tree.c.id)
    )
    return select(tree).order_by(tree.c.id)


def _numbers(limit: int) -> Any:
    numbers = select(literal(1).label("n")).cte("numbers", recursive=True)
    numbers = numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < limit))
    return select(func.sum(numbers.c.n), func.count())


def entities(tables: Tables) -> Iterator[Shape]:
    """Selects of declarative classes: their columns."""
    entity, piece = tables.Item, tables.Part
    yield Shape("entity", lambda: select(entity).where(entity.id == 1))
    yield Shape("attributes", lambda: select(entity.id, entity.name, entity.color).order_by(entity.id))
    yield Shape("entity and column", lambda: select(piece, entity.name).join(entity, entity.id == piece.item_id))
    yield Shape("alias of a class", lambda: (lambda a: select(a.id, a.label).where(a.qty > 1))(aliased(piece)))
    yield Shape("along a relation", lambda: select(entity.id, piece.id).join(entity.parts))
    yield Shape("renamed attribute", lambda: select(tables.Named.number, tables.Named.title))
    yield Shape("entity with renamed attributes", lambda: select(tables.Named))
    yield Shape("filtered by keyword", lambda: select(piece.id).filter_by(label="leaf"))
    yield Shape("loader options", lambda: select(entity).options(selectinload(entity.parts)), slow=True)
    yield Shape("entity in a list", lambda: select(entity.id).where(entity.color.in_([Color.red])))
    yield Shape("entity updated", lambda: update(piece).where(piece.id == 1).values(qty=8), writes=True)
    yield Shape("entity deleted", lambda: delete(piece).where(piece.id == 4), writes=True)
    yield Shape("entity inserted", lambda: insert(tables.Simple).values(id=9, name="n"), writes=True)
    yield Shape("entity inserted by keys", lambda: insert(tables.Simple), {"id": 9, "name": "n"}, writes=True)


def texts(tables: Tables) -> Iterator[Shape]:
    """Text, whole and in fragments."""
    item, part = tables.item, tables.part
    yield Shape("text", lambda: text("SELECT id, label FROM lane_part WHERE id = :x"), {"x": 1})
    yield Shape("text with a value", lambda: text("SELECT id FROM lane_part WHERE id > :x").bindparams(x=2))
    yield Shape(
        "text with a typed value",
        lambda: text("SELECT id FROM lane_part WHERE qty = :x").bindparams(bindparam("x", 3, Integer)),
    )
    yield Shape("text of everything", lambda: text("SELECT * FROM lane_part ORDER BY id"))
    yield Shape("text with colons", lambda: text(r"SELECT 'a\:b', id FROM lane_part WHERE id = :x"), {"x": 1})
    yield Shape("text with a percent sign", lambda: text("SELECT id FROM lane_part WHERE label LIKE 'l%'"))
    yield Shape(
        "text with a percent sign and a value",
        lambda: text("SELECT id FROM lane_part WHERE label LIKE 'l%' AND id > :x"),
        {"x": 2},
    )
    yield Shape("text with columns", lambda: text("SELECT id, label FROM lane_part").columns(part.c.id, part.c.label))
    yield Shape(
        "text with columns by name",
        lambda: text("SELECT label, id FROM lane_part").columns(id=Integer, label=String),
        slow=True,
    )
    yield Shape(
        "text with typed columns", lambda: text("SELECT id, color FROM lane_item").columns(item.c.id, item.c.color)
    )
    yield Shape(
        "text as a subquery",
        lambda: select(text("SELECT id, qty FROM lane_part").columns(part.c.id, part.c.qty).subquery()),
    )
    yield Shape("text in where", lambda: select(part.c.id).where(text("qty > :x")), {"x": 3})
    yield Shape("text in columns", lambda: select(text("id, label")).select_from(part))
    yield Shape("text as one column", lambda: select(part.c.id, text("label")).select_from(part))
    yield Shape("text in order", lambda: select(part.c.id).order_by(text("id DESC")))
    yield Shape("text in from", lambda: select(column("id")).select_from(text("lane_part")))
    yield Shape("prefix", lambda: select(part.c.id).prefix_with("ALL"))
    yield Shape("text that writes", lambda: text("UPDATE lane_part SET qty = :x WHERE id = 1"), {"x": 77}, writes=True)
    yield Shape(
        "text that inserts", lambda: text("INSERT INTO lane_simple (id, name) VALUES (:x, 'n')"), {"x": 77}, writes=True
    )


def writes(tables: Tables) -> Iterator[Shape]:
    """Inserts, updates and deletes."""
    part, made, simple = tables.part, tables.made, tables.simple

    def shape(name: str, build: Callable[[], Any], params: Any = None, slow: bool = False) -> Shape:
        return Shape(name, build, params, writes=True, slow=slow)

    yield shape("insert", lambda: insert(simple).values(id=1, name="a"))
    yield shape("insert by keys", lambda: insert(simple), {"id": 1, "name": "a"})
    yield shape("insert some keys", lambda: insert(simple), {"id": 2})
    yield shape(
        "insert by names", lambda: insert(simple).values(id=bindparam("i"), name=bindparam("n")), {"i": 1, "n": "x"}
    )
    yield shape("insert an expression", lambda: insert(simple).values(id=literal(1) + 1, name=func.lower("ABC")))
    yield shape("insert null", lambda: insert(simple).values(id=1, name=None))
    yield shape("insert several", lambda: insert(simple).values([{"id": 1}, {"id": 2}]), slow=True)
    yield shape(
        "insert from a query", lambda: insert(simple).from_select(["id", "name"], select(part.c.id, part.c.label))
    )
    yield shape("insert with defaults in context", lambda: insert(made).values(id=1, plain="x"), slow=True)
    ours = {"in_context": 0, "computed": 1}
    yield shape("insert with constant defaults", lambda: insert(made).values(id=1, **ours))
    yield shape("insert over a default", lambda: insert(made).values(id=1, called=1, constant=None, **ours))
    yield shape("insert without a key", lambda: insert(part).values(label="x", qty=1))
    yield shape(
        "insert with return_defaults",
        lambda: insert(made).values(id=1, **ours).return_defaults(),
        slow=tables.engine != "mysql",
    )
    yield shape("insert inline", lambda: insert(simple).inline().values(id=1))
    yield shape("update", lambda: update(part).values(qty=5).where(part.c.id == 1))
    yield shape("update all", lambda: update(part).values(qty=part.c.qty + 1))
    yield shape(
        "update by names",
        lambda: update(part).values(qty=bindparam("q")).where(part.c.id == bindparam("i")),
        {"q": 6, "i": 2},
    )
    yield shape("update by keys", lambda: update(part).where(part.c.id == bindparam("i")), {"qty": 6, "i": 2})
    yield shape("update to a query", lambda: update(simple).values(qty=select(func.count(part.c.id)).scalar_subquery()))
    yield shape("update in a list", lambda: update(part).values(qty=0).where(part.c.id.in_([1, 2, 3])))
    yield shape("update nothing", lambda: update(part).values(qty=1).where(part.c.id == 999))
    yield shape("update with onupdate", lambda: update(made).values(plain="y").where(made.c.id == 1))
    yield shape("update ordered", lambda: update(part).ordered_values((part.c.qty, 1), (part.c.label, "z")))
    yield shape("delete", lambda: delete(part).where(part.c.id == 5))
    yield shape("delete in a list", lambda: delete(part).where(part.c.id.in_([4, 5])))
    yield shape("delete by a query", lambda: delete(part).where(part.c.id.in_(select(simple.c.id))))
    yield shape("delete nothing", lambda: delete(part).where(part.c.id > 100))
    if tables.engine != "sqlite":
        yield shape(
            "update with two tables",
            lambda: update(part).values(qty=1).where(part.c.item_id == tables.item.c.id, tables.item.c.id == 1),
            slow=True,
        )


def returning(tables: Tables) -> Iterator[Shape]:
    """Writes that give rows, where the engine has them for all verbs."""
    part, made, simple = tables.part, tables.made, tables.simple

    def shape(name: str, build: Callable[[], Any], params: Any = None, slow: bool = False) -> Shape:
        return Shape(name, build, params, writes=True, slow=slow)

    if tables.engine == "mysql":
        return
    yield shape("insert returning", lambda: insert(simple).values(id=1, name="a").returning(simple.c.id, simple.c.qty))
    yield shape("insert returning all", lambda: insert(simple).values(id=1).returning(simple))
    yield shape(
        "insert returning a label",
        lambda: insert(simple).values(id=1, name="a").returning((simple.c.id + 1).label("x")),
    )
    yield shape(
        "insert defaults returning",
        lambda: (
            insert(made)
            .values(id=1, in_context=0, computed=2)
            .returning(made.c.constant, made.c.called, made.c.on_server, made.c.color)
        ),
    )
    yield shape("insert by keys returning", lambda: insert(simple).returning(simple.c.name), {"id": 3, "name": "q"})
    yield shape("delete returning", lambda: delete(part).where(part.c.id > 3).returning(part.c.id, part.c.label))
    if tables.engine != "mariadb":
        yield shape(
            "update returning", lambda: update(part).values(qty=8).where(part.c.id < 3).returning(part.c.id, part.c.qty)
        )
        yield shape(
            "entity updated returning",
            lambda: (
                update(tables.Item)
                .values(name="z")
                .where(tables.Item.id == 1)
                .returning(tables.Item.name, tables.Item.color)
            ),
        )


def of_postgresql(tables: Tables) -> Iterator[Shape]:
    """What PostgreSQL alone has."""
    from sqlalchemy.dialects.postgresql import aggregate_order_by, array, array_agg

    item, part, simple = tables.item, tables.part, tables.simple
    if tables.engine != "postgresql":
        return
    yield Shape("array contains", lambda: select(item.c.id).where(item.c.tags.contains(["x"])))
    yield Shape("array any", lambda: select(item.c.id).where(item.c.tags.any_() == "x"))
    yield Shape("array overlap", lambda: select(item.c.id).where(item.c.tags.overlap(["x", "z"])))
    yield Shape("array element", lambda: select(item.c.tags[1], item.c.grid[1][1]))
    yield Shape("array slice", lambda: select(item.c.tags[1:1]))
    yield Shape("array literal", lambda: select(array([1, 2]) + array([3])))
    yield Shape("array_agg", lambda: select(array_agg(part.c.id), func.array_agg(part.c.label)))
    yield Shape("array_agg ordered", lambda: select(func.array_agg(aggregate_order_by(part.c.id, part.c.id.desc()))))
    yield Shape("array equal", lambda: select(item.c.id).where(item.c.tags == ["x", "y"]))
    yield Shape("array in", lambda: select(item.c.id).where(item.c.tags.in_([["x"], ["x", "y"]])), slow=True)
    yield Shape("jsonb contains", lambda: select(item.c.id).where(item.c.docb.contains({"a": {"b": 1}})))
    yield Shape("jsonb has key", lambda: select(item.c.id).where(item.c.docb.has_key("a")))
    yield Shape("jsonb path", lambda: select(item.c.docb["a"]["b"].astext, item.c.docb[("a", "s")]))
    yield Shape("jsonb_agg", lambda: select(func.jsonb_agg(part.c.id)))
    yield Shape("json_build_object", lambda: select(func.json_build_object("a", part.c.id)))
    yield Shape("row_to_json", lambda: select(func.row_to_json(text("lane_simple"))).select_from(simple))
    yield Shape("text of json", lambda: text("SELECT doc, docb, docs FROM lane_item ORDER BY id"))


def of_postgresql_as_well(tables: Tables) -> Iterator[Shape]:
    """More of that."""
    from sqlalchemy.dialects.postgresql import insert as upsert

    item, part, simple = tables.item, tables.part, tables.simple
    if tables.engine != "postgresql":
        return
    yield Shape("interval arithmetic", lambda: select(item.c.made + item.c.span, item.c.made - dt.timedelta(days=1)))
    yield Shape("difference of times", lambda: select(item.c.made - dt.datetime(2020, 1, 1)))
    yield Shape("at time zone", lambda: select(func.timezone("Europe/Berlin", item.c.moment)))
    yield Shape("date_trunc", lambda: select(func.date_trunc("month", item.c.made)))
    yield Shape(
        "distinct on", lambda: select(part.c.label, part.c.id).distinct(part.c.label).order_by(part.c.label, part.c.id)
    )
    yield Shape("filter", lambda: select(func.count(part.c.id).filter(part.c.qty > 3)))
    yield Shape("within group", lambda: select(func.percentile_cont(0.5).within_group(part.c.qty)))
    yield Shape(
        "lateral",
        lambda: (lambda s: select(item.c.id, s.c.id).join(s, true()))(
            select(part.c.id).where(part.c.item_id == item.c.id).limit(1).lateral("s")
        ),
    )
    yield Shape("generate_series", lambda: select(func.generate_series(1, 3).column_valued("n")))
    yield Shape("unnest", lambda: select(func.unnest(item.c.tags)))
    yield Shape(
        "values",
        lambda: select(values(column("a", Integer), column("b", String), name="v").data([(1, "x"), (2, "y")])),
        slow=True,
    )
    yield Shape("skip locked", lambda: select(part.c.id).with_for_update(skip_locked=True, of=part))
    yield Shape("rollup", lambda: select(part.c.label, func.sum(part.c.qty)).group_by(func.rollup(part.c.label)))
    yield Shape("string_agg", lambda: select(func.string_agg(part.c.label, ",")))
    yield Shape("regular expression", lambda: select(item.c.id).where(item.c.name.regexp_match("^a")))
    yield Shape("range contains", lambda: select(item.c.id).where(item.c.between.contains(3)))
    yield Shape("full join", lambda: select(item.c.id, part.c.id).select_from(item.join(part, full=True)))
    yield Shape(
        "nested CTE write",
        lambda: (lambda c: select(c.c.id))(insert(simple).values(id=5).returning(simple.c.id).cte("c")),
        writes=True,
    )
    yield Shape(
        "upsert",
        lambda: (
            lambda s: s.on_conflict_do_update(index_elements=["id"], set_={"name": s.excluded.name}).returning(
                simple.c.name
            )
        )(upsert(simple).values(id=1, name="up")),
        writes=True,
    )
    yield Shape("insert or ignore", lambda: upsert(simple).values(id=1).on_conflict_do_nothing(), writes=True)
    yield Shape(
        "update from",
        lambda: update(part).values(qty=item.c.small).where(part.c.item_id == item.c.id),
        writes=True,
        slow=True,
    )


def of_mysql(tables: Tables) -> Iterator[Shape]:
    """What MySQL and MariaDB alone have."""
    from sqlalchemy.dialects.mysql import insert as upsert
    from sqlalchemy.dialects.mysql import match

    part, simple, item = tables.part, tables.simple, tables.item
    if tables.engine not in ("mysql", "mariadb"):
        return
    yield Shape(
        "upsert",
        lambda: (lambda s: s.on_duplicate_key_update(name=s.inserted.name))(upsert(simple).values(id=1, name="up")),
        writes=True,
    )
    yield Shape(
        "upsert with a value", lambda: upsert(simple).values(id=1).on_duplicate_key_update(name="x"), writes=True
    )
    yield Shape("replace", lambda: insert(simple).prefix_with("IGNORE").values(id=1), writes=True)
    yield Shape("group_concat", lambda: select(func.group_concat(part.c.label)))
    yield Shape("ifnull of a float", lambda: select(func.ifnull(item.c.ratio, 0)))
    yield Shape("greatest of floats", lambda: select(func.greatest(item.c.ratio, item.c.exact)))
    yield Shape("limited update", lambda: update(part).values(qty=1).with_dialect_options(mysql_limit=1), writes=True)
    yield Shape("share lock", lambda: select(part.c.id).with_for_update(read=True))
    yield Shape("date_add", lambda: select(func.date_format(item.c.made, "%Y-%m-%d %H")))
    yield Shape("regular expression", lambda: select(item.c.id).where(item.c.name.regexp_match("^a")))
    yield Shape("unix_timestamp", lambda: select(func.unix_timestamp(item.c.made)))
    yield Shape("division", lambda: select(literal(7) / literal(2), literal(Decimal("7.0")) / 3))
    del match


def of_sqlite(tables: Tables) -> Iterator[Shape]:
    """What SQLite alone has."""
    from sqlalchemy.dialects.sqlite import insert as upsert

    part, simple, item = tables.part, tables.simple, tables.item
    if tables.engine != "sqlite":
        return
    yield Shape(
        "upsert",
        lambda: (lambda s: s.on_conflict_do_update(index_elements=["id"], set_={"name": s.excluded.name}))(
            upsert(simple).values(id=1, name="up")
        ),
        writes=True,
    )
    yield Shape("insert or ignore", lambda: upsert(simple).values(id=1).on_conflict_do_nothing(), writes=True)
    yield Shape("group_concat", lambda: select(func.group_concat(part.c.label)))
    yield Shape("regular expression", lambda: select(item.c.id).where(item.c.name.regexp_match("^a")), slow=True)
    yield Shape("floor", lambda: select(func.floor(item.c.ratio)).where(item.c.id == 1), slow=True)
    yield Shape("strftime", lambda: select(func.strftime("%Y", item.c.made)))
    yield Shape("typeof", lambda: select(func.typeof(item.c.price), func.typeof(item.c.born)))
    yield Shape("json_each", lambda: select(func.json_extract(item.c.doc, "$.n")).where(item.c.id < 3))


def all_shapes(tables: Tables) -> list[Shape]:
    """Every shape for one engine."""
    makers = (
        *(of_columns, queries, windows, expressions, functions, parameters, entities, texts, writes, returning),
        *(of_postgresql, of_postgresql_as_well, of_mysql, of_sqlite),
    )
    return [shape for make in makers for shape in make(tables)]


__all__ = ["Shape", "all_shapes"]
