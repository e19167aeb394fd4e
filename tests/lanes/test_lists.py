"""Lists of any length in few shapes."""

from __future__ import annotations

import pytest
from sqlalchemy import Integer, String, and_, bindparam, column, or_, select, table
from tests.lanes.conftest import Ground

from sillar.errors import ParameterError
from sillar.query.plans.lists import padded_length

NUMBERS = table("lane_part", column("id", Integer), column("label", String))


def test_lengths_are_padded_to_powers_of_two() -> None:
    assert [padded_length(length, 1000) for length in (0, 1, 2, 3, 4, 5, 8, 9, 500)] == [0, 1, 2, 4, 4, 8, 8, 16, 512]
    assert [padded_length(5, room) for room in (0, 2, 3)] == [5, 5, 8]


async def test_few_statements_serve_all_lengths(ground: Ground) -> None:
    texts, session = set(), ground.manager.session()
    for length in range(40):
        statement = select(NUMBERS.c.id).where(NUMBERS.c.id.in_(range(1, length + 1))).order_by(NUMBERS.c.id)
        texts.add(ground.adapter.bind(statement, None)[0].sql)
        assert await session.fetch_all(statement, into=int) == list(range(1, min(length, 5) + 1))
    assert len(texts) == (1 if ground.engine == "postgresql" else 8)  # 0, 1, 2, 4, … 64


async def test_a_list_is_one_parameter_where_the_engine_has_arrays(ground: Ground) -> None:
    statement = select(NUMBERS.c.id).where(NUMBERS.c.id.in_([1, 2, 3]), NUMBERS.c.label.not_in(["x"]))
    bound, args = ground.adapter.bind(statement, None)
    if ground.engine == "postgresql":
        assert list(args) == [[1, 2, 3], ["x"]]
        assert "= ANY ($1::INTEGER[])" in bound.sql
        assert "<> ALL ($2::VARCHAR[])" in bound.sql
    else:
        assert list(args) == [1, 2, 3, 3, "x"]


async def test_one_statement_is_kept_on_the_server(ground: Ground) -> None:
    if ground.engine != "postgresql":
        return
    async with ground.manager.session().transaction() as tx:
        for length in (0, 1, 7, 300):
            await tx.fetch_all(select(NUMBERS.c.id.label("kept_once")).where(NUMBERS.c.id.in_(range(length))))
        kept = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%kept_' || 'once%'"
        assert await tx.fetch_value(kept) == 1


async def test_null_and_the_empty_list_mean_what_they_mean_in_sql(ground: Ground) -> None:
    session, label = ground.manager.session(), NUMBERS.c.label
    cases = {
        (): ([], [1, 2, 3, 4, 5]),
        ("leaf",): ([2, 3], [1, 4]),
        ("leaf", None): ([2, 3], []),
        (None,): ([], []),
        (None, None, None): ([], []),
    }
    for given, (inside, outside) in cases.items():
        query = select(NUMBERS.c.id).order_by(NUMBERS.c.id)
        assert await session.fetch_all(query.where(label.in_(given)), into=int) == inside
        assert await session.fetch_all(query.where(label.not_in(given)), into=int) == outside
    given_later = select(NUMBERS.c.id).where(label.in_(bindparam("x", expanding=True))).order_by(NUMBERS.c.id)
    for value, found in ((["leaf"], [2, 3]), ((), []), (None, []), ({"twig", "root"}, [1, 4])):
        assert await session.fetch_all(given_later, {"x": value}, into=int) == found


async def test_lists_that_stand_twice(ground: Ground) -> None:
    ids = bindparam("ids", expanding=True)
    twice = select(NUMBERS.c.id).where(or_(NUMBERS.c.id.in_(ids), and_(NUMBERS.c.id.in_(ids), NUMBERS.c.id > 0)))
    for given in ([1], [1, 2, 3], []):
        found = await ground.manager.session().fetch_all(twice, {"ids": given}, into=int)
        assert sorted(found) == given


async def test_too_long_a_list(ground: Ground) -> None:
    limits = {"sqlite": 32_766, "mariadb": 65_535, "mysql": 65_535}
    session = ground.manager.session()
    statement = select(NUMBERS.c.id).where(NUMBERS.c.id.in_(bindparam("x", expanding=True))).order_by(NUMBERS.c.id)
    limit = limits.get(ground.engine)
    many = list(range(1, 40_001 if limit is None else limit + 1))
    assert await session.fetch_all(statement, {"x": many}, into=int) == [1, 2, 3, 4, 5]
    if limit is not None:
        with pytest.raises(ParameterError, match=rf"{limit + 1} values, and the engine takes {limit}.*parts"):
            await session.fetch_all(statement, {"x": [*many, 0]})


async def test_too_many_values_in_one_statement(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a limit of five, because SQLAlchemy takes long to write thousands of expressions."""
    compiler = ground.adapter.plans.compiler
    limits = {"sqlite": 32_766, "postgresql": 32_767, "mariadb": 65_535, "mysql": 65_535}
    assert compiler.parameters_max == limits[ground.engine]
    monkeypatch.setattr(type(compiler), "parameters_max", 5)
    statement = select(NUMBERS.c.id).where(or_(*[NUMBERS.c.id == number for number in range(6)]))
    with pytest.raises(ParameterError, match=r"6 values, and .* takes 5 in one statement: send it in parts"):
        ground.adapter.plan(statement)
