"""Views, functions, row security and sequences, which are declared beside the tables."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from tests.migrations.autogenerate.conftest import ENGINES
from tests.migrations.autogenerate.place import Place

from sillar.errors import UsageError
from sillar.migrations.autogenerate import Function, Policy, View, declare_complete, enable_row_security


def tables(total: Any = sa.Integer) -> sa.MetaData:
    metadata = sa.MetaData()
    sa.Table(
        "sale",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String(20)),
        sa.Column("total", total),
    )
    return metadata


def kinds(differences: list[Any]) -> list[tuple[Any, ...]]:
    return [each if isinstance(each, tuple) else each[0][:1] for each in differences]


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
async def test_an_env_is_asked_about_them(place: Place) -> None:
    """What it leaves out is neither made nor dropped. An enum that no column has is nobody's."""
    metadata = tables()
    declare_complete(metadata, "views", "functions", "sequences", "policies")
    await place.create(metadata)
    await place.execute(
        "CREATE VIEW foreign_view AS SELECT id FROM sale",
        "CREATE FUNCTION foreign_function() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "CREATE SEQUENCE foreign_sequence",
        "CREATE POLICY foreign_policy ON sale",
        "CREATE TYPE foreign_enum AS ENUM ('a')",
    )
    assert len(await place.differences(metadata)) == 4
    asked: set[tuple[str, str]] = set()

    def include(item: Any, name: str, kind: str, reflected: bool, compare_to: Any) -> bool:
        asked.add((kind, name))
        return item.info.get("skip") is None and not name.startswith("foreign")

    View("foreign_own", "SELECT 1 AS one", metadata)
    Function("foreign_other", "", "integer", "SELECT 2", metadata)
    metadata.info["of"] = sa.Sequence("foreign_third", metadata=metadata)
    assert await place.differences(metadata, include_object=include) == []
    foreign = {(kind, f"foreign_{kind}") for kind in ("view", "function", "sequence", "policy")}
    assert foreign | {("view", "foreign_own"), ("function", "foreign_other"), ("sequence", "foreign_third")} <= asked
    found = await place.differences(metadata, include_name=lambda name, kind, _: kind in ("schema", "table", "column"))
    assert {each[0] for each in found} == {"add_view", "add_function", "add_sequence"}
    nothing = await place.differences(metadata, include_schemas=True, include_name=lambda *_: False)
    assert [each[0] for each in nothing] == ["add_table"]


@pytest.mark.parametrize("place", [*ENGINES, "postgresql18"], indirect=True)
async def test_views_are_made_changed_and_dropped(place: Place) -> None:
    empty = tables()
    await place.create(empty)
    first = tables()
    sale = first.tables["sale"]
    View("dear", sa.select(sale.c.id, sale.c.kind).where(sale.c.total > 10, sale.c.kind != "it's:so 5%"), first)
    View("a_dear_kind", "SELECT kind, count(*) AS many FROM dear GROUP BY kind;", first)  # after dear, which it reads
    assert kinds(await place.differences(first)) == [("add_view", None, "dear"), ("add_view", None, "a_dear_kind")]
    _, back_to_none = await place.migrate(first)
    assert await place.differences(first) == []
    await place.execute("INSERT INTO sale (kind, total) VALUES ('a', 20), ('a', 5)")
    assert await place.rows("SELECT kind, many FROM a_dear_kind") == [("a", 1)]

    second = tables()
    View("dear", "SELECT id, kind FROM sale WHERE total > 1", second)
    found = kinds(await place.differences(second))
    assert ("remove_view", None, "a_dear_kind") in found
    assert ("change_view", None, "dear") in found or ("remove_view", None, "dear") in found
    _, back_to_first = await place.migrate(second)
    assert await place.differences(second) == []

    await place.undo(back_to_first)
    assert await place.differences(first) == []
    await place.undo(back_to_none)
    declare_complete(empty, "views")
    assert await place.differences(empty) == []


@pytest.mark.parametrize("place", ENGINES, indirect=True)
async def test_a_view_is_out_of_the_way_of_its_table(place: Place) -> None:
    before, after = tables(), tables(sa.BigInteger)
    for each in (before, after):
        View("dear", "SELECT id, total FROM sale WHERE total > 10", each)
        View("dearer", "SELECT id FROM dear WHERE total > 20", each)
    await place.migrate(before)
    _, down = await place.migrate(after)
    assert await place.differences(after) == []
    await place.undo(down)
    assert await place.differences(before) == []


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_views_that_nobody_declares_are_left_and_survive_a_copy(place: Place) -> None:
    await place.create(tables())
    await place.execute("CREATE VIEW own AS SELECT total FROM sale")
    assert await place.differences(tables()) == []
    await place.migrate(tables(sa.BigInteger))
    assert await place.rows("SELECT count(*) FROM own") == [(0,)]
    complete = tables(sa.BigInteger)
    declare_complete(complete, "views")
    assert kinds(await place.differences(complete)) == [("remove_view", None, "own")]


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
async def test_a_materialised_view_keeps_its_indexes(place: Place) -> None:
    first, second = tables(), tables()
    View("summary", "SELECT kind, sum(total) AS total FROM sale GROUP BY kind", first, materialized=True)
    _, down = await place.migrate(first)
    assert await place.differences(first) == []
    await place.execute("CREATE UNIQUE INDEX ix_summary ON summary (kind)")
    View("summary", "SELECT kind, max(total) AS total FROM sale GROUP BY kind", second, materialized=True)
    assert kinds(await place.differences(second)) == [("remove_view", None, "summary"), ("add_view", None, "summary")]
    _, back = await place.migrate(second)
    index = "SELECT indexname FROM pg_indexes WHERE tablename = 'summary'"
    assert await place.rows(index) == [("ix_summary",)]
    await place.undo(back)
    assert await place.rows(index) == [("ix_summary",)]
    assert await place.differences(first) == []
    plain = tables()
    View("summary", "SELECT kind, sum(total) AS total FROM sale GROUP BY kind", plain)
    assert len(await place.differences(plain)) == 2
    await place.undo(down)


def shop(margin: int, returns: str = "integer", **options: Any) -> sa.MetaData:
    """With functions that a table needs, and that need a table."""
    metadata = sa.MetaData()
    sa.Table(
        "priced",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("price", sa.Integer, sa.CheckConstraint("price < price_limit(3)", name="ck_price")),
    )
    Function(
        "price_limit", "factor integer, extra integer DEFAULT 1", "integer", "SELECT factor * 100 + extra", metadata,
        volatility="IMMUTABLE",
    )  # fmt: skip
    Function(
        "margin", "wanted integer", returns,
        f"BEGIN RETURN (SELECT max(price) + {margin} FROM priced WHERE id = wanted); END",
        metadata, language="plpgsql", **options,
    )  # fmt: skip
    return metadata


@pytest.mark.parametrize("place", ["postgresql", "postgresql18"], indirect=True)
async def test_functions_are_made_changed_and_dropped(place: Place) -> None:
    first = shop(1)
    assert [each[:3] for each in await place.differences(first)][-1] == ("add_function", None, "margin")
    _, to_nothing = await place.migrate(first)
    assert await place.differences(shop(1)) == []

    changed = shop(2, strict=True, volatility="STABLE", security_definer=True, settings={"search_path": "public"})
    assert await place.differences(changed) == [("change_function", None, "margin")]
    _, to_first = await place.migrate(changed)
    assert await place.differences(changed) == []
    retyped = shop(2, "bigint")
    _, to_changed = await place.migrate(retyped)  # another result: dropped and made
    assert await place.differences(retyped) == []
    without = shop(2)
    without.info["sillar_declared"].functions.pop()
    assert await place.differences(without) == [("remove_function", None, "margin")]

    await place.undo(to_changed)
    assert await place.differences(changed) == []
    await place.undo(to_first)
    assert await place.differences(shop(1)) == []
    await place.undo(to_nothing)
    empty = sa.MetaData()
    declare_complete(empty, "functions")
    assert await place.differences(empty) == []


def test_a_body_with_the_quotes_of_functions_is_refused() -> None:
    function = Function("f", "", "text", "SELECT '$function$'", sa.MetaData())
    with pytest.raises(UsageError, match=r"has \$function\$ in it"):
        function.sql(sa.create_engine("sqlite://").dialect)


def guarded(using: str, *, force: bool = False) -> sa.MetaData:
    metadata = tables()
    sale = metadata.tables["sale"]
    Policy("own", sale, using=using, check="total > 0 AND kind <> 'a:b'")
    Policy("never", sale, using="false", command="DELETE", roles=["pg_monitor", "current_user"], permissive=False)
    enable_row_security(sale, force=force)
    return metadata


@pytest.mark.parametrize("place", ["postgresql", "postgresql18"], indirect=True)
async def test_policies_are_made_changed_and_dropped(place: Place) -> None:
    first = guarded("kind = current_setting('app.kind', true)")
    _, to_nothing = await place.migrate(first)
    assert await place.differences(first) == []

    second = guarded("kind = current_setting('app.sort', true)", force=True)
    assert kinds(await place.differences(second)) == [
        ("remove_policy", None, "sale", "own"),
        ("force_row_security", None, "sale", True),
        ("add_policy", None, "sale", "own"),
    ]
    _, to_first = await place.migrate(second)
    assert await place.differences(second) == []
    await place.undo(to_first)
    assert await place.differences(first) == []

    none = tables()
    declare_complete(none, "policies")
    assert [each[0] for each in await place.differences(none)] == [
        "remove_policy",
        "remove_policy",
        "change_row_security",
    ]
    _, to_policies = await place.migrate(none)
    assert await place.differences(none) == []
    await place.undo(to_policies)
    assert await place.differences(first) == []
    await place.undo(to_nothing)


def test_a_policy_is_of_a_table() -> None:
    with pytest.raises(UsageError, match="neither a table nor a class"):
        Policy("own", object())


def counted(**options: Any) -> sa.MetaData:
    metadata = sa.MetaData()
    numbers: sa.Sequence = sa.Sequence("numbers", metadata=metadata, **options)
    sa.Table("counted", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Integer))
    if options.get("start"):
        metadata.tables["counted"].append_column(sa.Column("m", sa.Integer, server_default=numbers.next_value()))
    return metadata


@pytest.mark.parametrize("place", ["postgresql", "mariadb"], indirect=True)
async def test_sequences_are_made_changed_and_dropped(place: Place) -> None:
    first = counted(start=5, increment=2)
    _, to_nothing = await place.migrate(first)
    assert await place.differences(first) == []
    second = counted(start=5, increment=3, cycle=True)
    assert ("change_sequence", None, "numbers") in await place.differences(second)
    _, to_first = await place.migrate(second)
    assert await place.differences(second) == []
    await place.undo(to_first)
    assert await place.differences(first) == []

    none = sa.MetaData()
    declare_complete(none, "sequences")
    found = await place.differences(none)
    assert [each[0] for each in found] == ["remove_table", "remove_sequence"]
    _, to_sequence = await place.migrate(none)
    assert await place.differences(none) == []
    await place.undo(to_sequence)
    assert await place.differences(first) == []
    await place.undo(to_nothing)
    assert await place.differences(none) == []
