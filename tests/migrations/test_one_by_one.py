"""A migration by itself: up and down, in a line, at its beginning, and where lines meet."""

from __future__ import annotations

from pathlib import Path

import pytest

from sillar.config import load_config
from sillar.errors import MigrationStateError, UsageError
from sillar.migrations import Migration, MigrationManager
from sillar.migrations.scripts import Scripts


@pytest.fixture
def migrations(tmp_path: Path) -> MigrationManager:
    """Two lines of one migration each on a first one, and what merges them."""
    folder = tmp_path / "migrations"
    Scripts.create(folder, "sql")
    scripts = Scripts(folder)
    for version, head in (("a", None), ("b1", "a"), ("b2", "a"), ("m", ("b1", "b2"))):
        scripts.write(
            f"table {version}",
            version=version,
            head=head,
            splice=True,
            upgrade_text=f"op.create_table('t_{version}', sa.Column('id', sa.Integer, primary_key=True))",
            downgrade_text=f"op.drop_table('t_{version}')",
        )
    config = load_config(
        url=f"sqlite:///{tmp_path}/app.db",
        environment={},
        overrides={"migration_config": {"directory": str(folder)}},
    )
    return MigrationManager.of(config)


async def test_each_goes_up_and_down_alone(migrations: MigrationManager) -> None:
    a, *lines, merge = await migrations.plan()
    assert [each.operations[0].sql.split()[2] for each in (a, merge)] == ["t_a", "t_m"]
    with pytest.raises(MigrationStateError, match="b1 follows a, which is not applied"):
        await next(each for each in lines if each.version == "b1").up()
    for each in (a, *lines, merge):
        await each.up()
    assert await migrations.current() == ("m",)
    with pytest.raises(MigrationStateError, match="a is not what the database is at"):
        await a.down()
    await merge.down()
    assert sorted(await migrations.current()) == ["b1", "b2"]
    for each in lines:
        await each.down()
    assert await migrations.current() == ("a",)
    await a.down()
    assert await migrations.current() == ()


async def test_one_without_a_database_says_so() -> None:
    with pytest.raises(UsageError, match="get it from a MigrationManager"):
        await Migration("add people", "1f3a").up()
