"""What an ``env.py`` says goes over what Sillar says."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from alembic.runtime.plugins import Plugin
from sqlalchemy.dialects import postgresql
from tests.migrations.autogenerate.place import Place

from sillar.migrations.autogenerate import autogenerate_options, compare_models, plugin
from sillar.migrations.autogenerate.catalog import Catalog, catalog_for
from sillar.migrations.autogenerate.catalog.catalog import catalog_class


def models(default: str, length: int) -> sa.MetaData:
    metadata = sa.MetaData()
    sa.Table("t", metadata, sa.Column("a", sa.String(length), server_default=default), sa.Column("b", sa.Integer))
    return metadata


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_functions_of_an_env_file_are_asked_first(place: Place) -> None:
    await place.create(models("x", 20))
    other = models("y", 30)
    (found,) = await place.differences(other)
    assert [each[0] for each in found] == ["modify_type", "modify_default"]
    assert await place.differences(other, compare_type=False, compare_server_default=False) == []

    asked: list[Any] = []

    def no(*what: Any) -> bool:
        asked.append(what[3:])
        return False

    assert await place.differences(other, compare_type=no, compare_server_default=no) == []
    assert [type(each).__name__ for each in asked[0]] == ["VARCHAR", "String"]
    assert (asked[1][0], asked[1][2]) == ("'x'", "y")
    (found,) = await place.differences(other, compare_type=lambda *_: None, compare_server_default=lambda *_: None)
    assert len(found) == 2


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_what_an_env_file_leaves_out_is_left_out(place: Place) -> None:
    before = models("x", 20)
    sa.Table("_migrations", before, sa.Column("id", sa.Integer, primary_key=True))
    sa.Table("other", before, sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Integer, index=True))
    await place.create(before)
    after = models("x", 20)
    assert [each[0] for each in await place.differences(after)] == ["remove_table"]

    def include(item: Any, name: str, kind: str, reflected: bool, compare_to: Any) -> bool:
        return name != "other" and kind not in ("index", "check_constraint", "unique_constraint", "column")

    changed = models("y", 20)
    table = changed.tables["t"]
    sa.Index("ix_new", table.c.b)
    table.append_constraint(sa.CheckConstraint("b > 0", name="ck_b"))
    table.append_constraint(sa.UniqueConstraint("b", name="uq_b"))
    assert await place.differences(changed, include_object=include) == []


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
async def test_a_renderer_of_an_env_file_comes_before_ours(place: Place) -> None:
    metadata = sa.MetaData()
    items = [sa.Column("kind", sa.Enum("a", name="kind")), sa.Column("text", sa.Text)]
    sa.Table("t", metadata, sa.Column("id", sa.Integer, primary_key=True), *items)

    def own(kind: str, item: Any, context: Any) -> Any:
        return "sa.String(77)" if isinstance(item, sa.Text) else False

    up, _ = await place.migrate(metadata, render_item=own)
    assert "sa.Column('text', sa.String(77), nullable=True)" in up
    assert "postgresql.ENUM('a', name='kind', create_type=False)" in up


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_types_of_postgresql_are_written_for_others_so_that_they_run(place: Place) -> None:
    metadata = sa.MetaData()
    kinds = {
        "a": sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
        "b": sa.Text().with_variant(postgresql.ARRAY(sa.String(3), dimensions=2), "postgresql"),
    }
    sa.Table("t", metadata, *(sa.Column(name, kind) for name, kind in kinds.items()))
    up, _ = await place.migrate(metadata)
    assert "postgresql.JSONB()" in up
    assert "postgresql.ARRAY(sa.String(length=3), dimensions=2)" in up


def test_a_comparison_by_itself() -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    with engine.connect() as connection:
        script = compare_models(connection, [models("x", 20)])
        assert script.upgrade_ops is not None
        assert [each[0] for each in script.upgrade_ops.as_diffs()] == ["add_table"]
    engine.dispose()


def test_a_dialect_that_nobody_knows_is_compared_by_text() -> None:
    assert catalog_class("oracle") is Catalog
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    with engine.connect() as connection:
        plain = Catalog(connection)
        with plain.printing([]):
            assert plain.print_columns([]) == []
            assert plain.print_table(sa.Table("t", sa.MetaData())) is None
        assert plain.live_views(None) == plain.live_functions(None) == plain.live_enums(None) == {}
        assert plain.live_policies(None) == plain.live_row_security(None) == plain.live_sequences(None) == {}
        assert type(catalog_for(connection)).__name__ == "SQLiteCatalog"
    engine.dispose()
    assert autogenerate_options("oracle")["render_as_batch"] is False


def test_the_plugin_is_registered_once() -> None:
    plugin.register()
    plugin.register()
    with pytest.raises(ValueError, match="already registered"):
        Plugin(plugin.NAME)
