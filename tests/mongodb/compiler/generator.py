"""Random statements on the shelf: each is made from its own seed, so that a failing one can be made again."""

from __future__ import annotations

import random
from typing import Any

from sqlalchemy import (
    Float,
    Integer,
    Numeric,
    Select,
    String,
    and_,
    any_,
    case,
    cast,
    exists,
    extract,
    func,
    literal,
    not_,
    or_,
    select,
    union,
    union_all,
)
from tests.mongodb.compiler.shelf import DAYS, DECIMALS, FLOATS, ITEMS, NUMBERS, TEXTS, TIMES, WIDE, items, parts

PATTERNS = ["a%", "%b", "%a%", "_", "a_b", "a\\%b", "a\\_b", "%", "", "$%", "A", "x\\\\y", "%.%", "(a|b)*", "%\n%", "é"]


class Generator:
    """Makes one statement.

    Args:
        seed: of the shape.
        values: of the values in it: statements of one seed differ only in them.

    Attributes:
        ordered: whether the order of its rows is settled; else they are compared as a bag.
    """

    def __init__(self, seed: int, values: int = 0) -> None:
        self.rnd = random.Random(seed)
        self.values = random.Random(1_000_003 * seed + values)
        self.ordered = True
        self.t: Any = items
        self.p: Any = parts

    # --- values -------------------------------------------------------------------------------------------------------

    def pick(self, *options: Any) -> Any:
        return self.rnd.choice(options)

    def chance(self, share: float) -> bool:
        return self.rnd.random() < share

    def integer(self, depth: int, t: Any = None) -> Any:
        t = self.t if t is None else t
        columns = [t.c.a, t.c.b, t.c.n, t.c.id] if "a" in t.c else [t.c.k, t.c.id, t.c.item_id]
        if depth <= 0 or self.chance(0.4):
            return self.pick(*columns, literal(self.values.choice(NUMBERS), Integer))
        x = self.integer(depth - 1, t)
        y = self.integer(depth - 1, t)
        return self.pick(
            lambda: x + y,
            lambda: x - y,
            lambda: x * literal(self.values.choice([-2, 2, 3]), Integer),
            lambda: self.pick(x // func.nullif(y, 0), x // literal(self.values.choice([-3, 2]), Integer)),
            lambda: x % literal(self.values.choice([-3, 2, 5]), Integer),
            lambda: -x,
            lambda: func.abs(x),
            lambda: func.coalesce(x, y),
            lambda: func.nullif(x, y),
            lambda: case((self.predicate(depth - 1, t), x), else_=y),
            lambda: case((self.predicate(depth - 1, t), x)),
            lambda: func.length(self.text(depth - 1, t)),
            lambda: func.greatest(x, y),
            lambda: func.least(x, y),
            lambda: cast(self.floating(depth - 1, t), Integer),
            lambda: extract(self.pick("year", "month", "day", "hour", "dow", "doy", "week", "quarter"), t.c.at),
            lambda: func.strpos(self.text(depth - 1, t), self.text(0, t)),
        )()

    def floating(self, depth: int, t: Any = None) -> Any:
        t = self.t if t is None else t
        column = t.c.f if "f" in t.c else t.c.v
        if depth <= 0 or self.chance(0.4):
            return self.pick(column, column, literal(self.values.choice(FLOATS), Float))
        x, y = self.floating(depth - 1, t), self.floating(depth - 1, t)
        return self.pick(
            lambda: x + y,
            lambda: x * y,
            lambda: x - self.integer(depth - 1, t),
            lambda: x / func.nullif(self.integer(depth - 1, t), 0),
            lambda: x // literal(2.0, Float),
            lambda: x / literal(self.values.choice([2.0, -4.0, 0.5]), Float),
            lambda: func.abs(x),
            lambda: func.floor(x),
            lambda: func.ceil(x),
            lambda: func.round(x),
            lambda: func.coalesce(x, y),
            lambda: cast(self.integer(depth - 1, t), Float),
        )()

    def decimal(self, depth: int) -> Any:
        if depth <= 0 or self.chance(0.4):
            return self.pick(items.c.d, items.c.d, literal(self.values.choice(DECIMALS), Numeric(12, 2)))
        x, y = self.decimal(depth - 1), self.decimal(depth - 1)
        return self.pick(
            lambda: x + y,
            lambda: x * y,
            lambda: x - y,
            lambda: -x,
            lambda: func.round(x),
            lambda: func.round(x, 1),
            lambda: func.abs(x),
            lambda: func.coalesce(x, y),
            lambda: x + self.integer(0),
            lambda: cast(x, Numeric(12, 1)),
        )()

    def text(self, depth: int, t: Any = None) -> Any:
        t = self.t if t is None else t
        if depth <= 0 or self.chance(0.4):
            columns = [t.c.s, t.c.s, t.c.w] if "w" in t.c else [t.c.s]
            return self.pick(*columns, literal(self.values.choice(TEXTS + WIDE), String))
        x, y = self.text(depth - 1, t), self.text(depth - 1, t)
        return self.pick(
            lambda: x.concat(y),
            lambda: func.lower(t.c.s),
            lambda: func.upper(t.c.s),
            lambda: func.coalesce(x, y),
            lambda: func.substr(x, self.values.choice([-1, 0, 1, 2]), self.values.choice([0, 1, 3])),
            lambda: func.trim(x),
            lambda: func.replace(x, "a", "$b"),
            lambda: func.concat(x, y),
            lambda: case((self.predicate(depth - 1, t), x), else_=y),
            lambda: cast(self.integer(depth - 1, t), String),
        )()

    # --- conditions -------------------------------------------------------------------------------------------------

    def predicate(self, depth: int, t: Any = None) -> Any:
        t = self.t if t is None else t
        if depth > 0 and self.chance(0.5):
            made = [self.predicate(depth - 1, t) for _ in range(self.rnd.choice([2, 2, 3]))]
            return self.pick(lambda: and_(*made), lambda: or_(*made), lambda: not_(made[0]), lambda: ~or_(*made))()
        return self.pick(
            lambda: self.compared(self.integer(depth - 1, t), self.integer(depth - 1, t)),
            lambda: self.compared(self.integer(0, t), self.values.choice(NUMBERS)),
            lambda: self.compared(self.floating(depth - 1, t), self.floating(0, t)),
            lambda: self.compared(self.integer(0, t), self.floating(0, t)),
            lambda: self.compared(self.text(depth - 1, t), self.values.choice(TEXTS + WIDE)),
            lambda: self.compared(self.text(0, t), self.text(0, t)),
            lambda: self.compared(t.c.at, self.values.choice(TIMES)),
            lambda: self.membership(t),
            lambda: self.integer(depth - 1, t).between(self.values.choice(NUMBERS), self.values.choice(NUMBERS)),
            lambda: ~self.integer(0, t).between(self.values.choice(NUMBERS), self.integer(0, t)),
            lambda: self.pick(self.integer(depth - 1, t), self.text(0, t), t.c.at).is_(None),
            lambda: self.pick(self.integer(0, t), self.floating(depth - 1, t), t.c.s).is_not(None),
            lambda: self.integer(0, t).is_distinct_from(self.integer(0, t)),
            lambda: self.text(0, t).is_not_distinct_from(self.text(0, t)),
            lambda: self.like(t),
            lambda: self.of_items(depth) if t is items else self.compared(t.c.s, literal(None, String)),
        )()

    def of_items(self, depth: int) -> Any:
        t = items
        return self.pick(
            lambda: self.compared(self.decimal(depth - 1), self.decimal(0)),
            lambda: self.compared(t.c.day, self.values.choice(DAYS)),
            lambda: t.c.ok,
            lambda: ~t.c.ok,
            lambda: t.c.ok.is_(True),
            lambda: t.c.ok.is_not(False),
            lambda: t.c.ok == self.pick(True, False),
            lambda: self.values.choice(NUMBERS) == any_(t.c.tags),
            lambda: not_(t.c.n == any_(t.c.tags)),
            lambda: func.cardinality(t.c.tags) > self.values.choice([0, 1]),
            lambda: t.c.tags == self.values.choice([[1], [1, 2], []]),
            lambda: t.c.doc["k"].as_integer() == self.values.choice([1, 2]),
            lambda: t.c.doc["t"].as_string() == self.values.choice(["$a", "x"]),
            lambda: t.c.doc[("o", "p")].as_integer().is_not(None),
            lambda: t.c.doc["l"][0].as_integer() == 1,
        )()

    def compared(self, x: Any, y: Any) -> Any:
        return self.pick(lambda: x == y, lambda: x != y, lambda: x < y, lambda: x <= y, lambda: x > y, lambda: x >= y)()

    def membership(self, t: Any) -> Any:
        if self.chance(0.5):
            x, values = self.integer(0, t), self.values.sample(NUMBERS, self.values.choice([0, 1, 3]))
        else:
            x, values = self.text(0, t), self.values.sample(TEXTS + WIDE, self.values.choice([1, 3]))
        if self.values.random() < 0.15:
            values = [*values, None]
        return x.in_(values) if self.chance(0.5) else x.not_in(values)

    def like(self, t: Any) -> Any:
        x, pattern = self.text(0, t), self.values.choice(PATTERNS)
        return self.pick(
            lambda: x.like(pattern),
            lambda: x.not_like(pattern),
            lambda: x.ilike(pattern),
            lambda: x.not_ilike(pattern),
            lambda: x.contains("a"),
            lambda: x.startswith("$", autoescape=True),
            lambda: x.endswith("b"),
            lambda: x.contains("%", autoescape=True),
        )()

    # --- statements -------------------------------------------------------------------------------------------------

    def statement(self) -> Any:
        return self.rnd.choices(
            [self.plain, self.grouped, self.total, self.joined, self.distinct, self.united, self.nested, self.windowed,
             self.derived],
            [30, 14, 6, 18, 6, 6, 10, 6, 4],
        )[0]()  # fmt: skip

    def value(self, depth: int = 2, t: Any = None) -> Any:
        options = [self.integer, self.integer, self.floating, self.text]
        made = self.rnd.choice(options)(depth, t)
        if t is None and self.chance(0.15):
            made = self.pick(
                items.c.ok, items.c.at, items.c.day, items.c.tags, items.c.doc, self.decimal(depth), items.c.doc["o"],
                self.predicate(1),
            )  # fmt: skip
        return made

    def direction(self, x: Any) -> Any:
        x = self.pick(x.asc(), x.desc())
        return self.pick(x, x, x.nulls_first(), x.nulls_last())

    def plain(self) -> Select[Any]:
        columns = [self.value() for _ in range(self.rnd.choice([1, 2, 3]))]
        made = select(items.c.id, *columns)
        if self.chance(0.85):
            made = made.where(self.predicate(self.rnd.choice([0, 1, 2, 3])))
        order = [self.direction(self.sortable()) for _ in range(self.rnd.choice([0, 1, 2]))]
        made = made.order_by(*order, self.pick(items.c.id, items.c.id.desc()))
        if self.chance(0.3):
            made = made.limit(self.values.choice([0, 1, 3, 10]))
        if self.chance(0.2):
            made = made.offset(self.values.choice([0, 1, 5]))
        return made

    def sortable(self) -> Any:
        return self.pick(
            items.c.a, items.c.b, items.c.s, items.c.w, items.c.f, items.c.d, items.c.at, items.c.day, items.c.ok,
            items.c.n, self.integer(1), self.text(1),
        )  # fmt: skip

    def aggregate(self, t: Any = None) -> Any:
        x = self.integer(1, t)
        return self.pick(
            lambda: func.count(),
            lambda: func.count(x),
            lambda: func.count(self.text(0, t)),
            lambda: func.count(x.distinct()),
            lambda: func.sum(x),
            lambda: func.sum(self.floating(0, t)),
            lambda: func.sum(x.distinct()),
            lambda: func.avg(x),
            lambda: func.avg(self.floating(0, t)),
            lambda: func.min(x),
            lambda: func.max(self.text(0, t)),
            lambda: func.min(self.floating(1, t)),
            lambda: func.sum(x).filter(self.predicate(0, t)),
            lambda: func.count().filter(self.predicate(0, t)),
            lambda: func.coalesce(func.sum(x), 0),
            lambda: func.max(x) - func.min(x),
        )()

    def grouped(self) -> Select[Any]:
        keys = [self.pick(items.c.a, items.c.s, items.c.ok, items.c.n, items.c.day, items.c.b % 3, self.case_key())
                for _ in range(self.rnd.choice([1, 1, 2]))]  # fmt: skip
        made = select(*keys, *[self.aggregate() for _ in range(self.rnd.choice([1, 2]))]).group_by(*keys)
        if self.chance(0.5):
            made = made.where(self.predicate(1))
        if self.chance(0.3):
            made = made.having(self.pick(func.count() > 1, func.sum(items.c.n) > 0, func.max(items.c.a).is_(None)))
        return made.order_by(*[self.direction(key) for key in keys])

    def case_key(self) -> Any:
        return case((items.c.a > 0, "positive"), (items.c.a <= 0, "other"))

    def total(self) -> Select[Any]:
        made = select(*[self.aggregate() for _ in range(self.rnd.choice([1, 2, 3]))]).select_from(items)
        return made.where(self.predicate(1)) if self.chance(0.7) else made

    def on(self, p: Any) -> Any:
        equal = self.pick(p.c.item_id == items.c.id, items.c.id == p.c.item_id, p.c.k == items.c.a, p.c.s == items.c.s)
        return self.pick(
            lambda: equal,
            lambda: equal,
            lambda: and_(equal, self.predicate(0, p)),
            lambda: and_(equal, p.c.k > items.c.n),
            lambda: p.c.k < items.c.a - 6,
        )()

    def joined(self) -> Select[Any]:
        p, columns = parts, [items.c.id, parts.c.id, self.value(1), self.value(1, parts)]
        source = items.join(p, self.on(p), isouter=self.chance(0.5))
        order = [items.c.id, parts.c.id]
        if self.chance(0.25):
            other = parts.alias("other")
            source = source.join(other, self.pick(other.c.id == p.c.k, other.c.item_id == items.c.id), isouter=True)
            columns.append(other.c.id.label("other_id"))
            order.append(other.c.id)
        made = select(*columns).select_from(source)
        if self.chance(0.6):
            made = made.where(self.pick(self.predicate(1), self.predicate(1, parts)))
        if self.chance(0.2):
            made = select(items.c.id, self.aggregate(parts), func.count(parts.c.id)).select_from(source)
            return made.group_by(items.c.id).order_by(items.c.id)
        return made.order_by(*order).limit(self.values.choice([5, 200]))

    def distinct(self) -> Select[Any]:
        columns = [self.pick(items.c.a, items.c.s, items.c.ok, items.c.f, items.c.day, items.c.b) for _ in range(2)]
        columns = list(dict.fromkeys(columns))
        made = select(*columns).where(self.predicate(1)).distinct()
        return made.order_by(*[self.direction(column) for column in columns])

    def united(self) -> Any:
        first = select(items.c.a.label("x"), items.c.s.label("y")).where(self.predicate(1))
        second = select(parts.c.k.label("x"), parts.c.s.label("y")).where(self.predicate(1, parts))
        made = self.pick(union, union_all)(first, second)
        if self.chance(0.5):
            return made.order_by("x", "y")
        self.ordered = False
        return made

    def nested(self) -> Select[Any]:
        t, p = items, parts
        correlated = self.pick(p.c.item_id == t.c.id, and_(p.c.k == t.c.a, p.c.v > 0), p.c.k > t.c.n)
        inner = exists().where(correlated)
        condition = self.pick(
            lambda: inner,
            lambda: ~inner,
            lambda: or_(inner, self.predicate(0)),
            lambda: t.c.a.in_(select(p.c.k).where(self.predicate(0, p))),
            lambda: t.c.a.not_in(select(p.c.k).where(self.predicate(0, p))),
            lambda: t.c.s.in_(select(p.c.s).where(p.c.item_id == t.c.id)),
            lambda: t.c.n > select(func.min(p.c.k)).where(correlated).scalar_subquery(),
            lambda: select(func.count()).select_from(p).where(correlated).scalar_subquery() >= 1,
        )()
        columns: list[Any] = [t.c.id]
        if self.chance(0.4):
            columns.append(select(func.max(p.c.s)).where(p.c.item_id == t.c.id).scalar_subquery().label("top"))
        if self.chance(0.3):
            columns.append(select(func.count(p.c.k)).where(p.c.item_id == t.c.id).scalar_subquery().label("many"))
        return select(*columns).where(condition).order_by(t.c.id)

    def windowed(self) -> Select[Any]:
        t = items
        partition = self.pick(None, [t.c.ok], [t.c.a % 2], [t.c.s])
        order = self.pick([t.c.id], [t.c.n, t.c.id], [t.c.a.desc(), t.c.id], [t.c.n], [t.c.a])
        settled = any(each is t.c.id for each in order)
        over: dict[str, Any] = {"partition_by": partition, "order_by": order}
        made = [
            func.rank().over(**over),
            func.dense_rank().over(**over),
            func.sum(t.c.n).over(**over),
            func.count(t.c.a).over(**over),
            func.avg(t.c.f).over(partition_by=partition),
            func.max(t.c.s).over(partition_by=partition),
        ]
        if settled:
            made += [
                func.row_number().over(**over),
                func.lag(t.c.a).over(**over),
                func.lead(t.c.b, 2, -1).over(**over),
                func.sum(t.c.n).over(rows=(-1, 1), **over),
                func.first_value(t.c.n).over(**over),
            ]
        picked = self.rnd.sample(made, 2)
        found = select(t.c.id, *picked)
        if self.chance(0.5):
            found = found.where(self.predicate(1))
        return found.order_by(t.c.id)

    def derived(self) -> Select[Any]:
        inner = (
            select(parts.c.item_id.label("owner"), func.count().label("many"), func.max(parts.c.k).label("top"))
            .where(self.predicate(1, parts))
            .group_by(parts.c.item_id)
        )
        source: Any = inner.cte("grouped") if self.chance(0.5) else inner.subquery()
        if self.chance(0.4):
            return select(source.c.owner, source.c.many).where(source.c.many > 0).order_by(source.c.owner)
        made = select(items.c.id, source.c.many, source.c.top)
        joined = items.join(source, source.c.owner == items.c.id, isouter=self.chance(0.5))
        return made.select_from(joined).order_by(items.c.id).limit(ITEMS)
