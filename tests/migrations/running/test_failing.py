"""Migrations that fail: what is left, what the error says, and how it goes on."""

from __future__ import annotations

import pytest
from tests.migrations.running.project import ENGINES, Place, Project

from sillar.errors import MigrationFailedError, MigrationStateError

HOSTILE = "it's \\' 100% %(name)s \"x\" :y ? $1 {z}; DROP TABLE t; -- \N{SNOWMAN}"

everywhere = pytest.mark.parametrize("place", ENGINES, indirect=True)


@everywhere
async def test_up_and_down(place: Place, project: Project) -> None:
    project.steps(
        "a1", "CREATE TABLE t (id INT PRIMARY KEY, n INT)", "INSERT INTO t VALUES (1, 1)", down='op.drop_table("t")'
    )
    path = project.steps(
        "b2", "UPDATE t SET n = n + 1", "ALTER TABLE t ADD COLUMN m INT", down='op.drop_column("t", "m")'
    )
    path.write_text(path.read_text().replace('"""what b2 does"""', f"__doc__ = {HOSTILE!r}"))
    async with project.manager(place) as migrations:
        assert [each.version for each in await migrations.apply_migrations()] == ["a1", "b2"]
        assert await migrations.apply_migrations() == []
        assert await place.execute("SELECT n, m FROM t") == [(2, None)]
        assert await migrations.runner.interrupted() == ()
        undone = await migrations.rollback_migration("base")
        assert [each.version for each in undone] == ["b2", "a1"]
        assert (await place.state())[0] == {}
        log = await migrations.history()
    assert [(each.version, each.direction) for each in log] == [
        *(("a1", "up"), ("b2", "up"), ("b2", "down"), ("a1", "down"))
    ]
    assert [each.name for each in log] == ["what a1 does", HOSTILE, HOSTILE, "what a1 does"]


@pytest.mark.parametrize("place", ["postgresql", "mariadb", "sqlite"], indirect=True)
async def test_somebody_else_has_moved_it(place: Place, project: Project) -> None:
    project.steps("a1", "CREATE TABLE t (n INT)")
    path = project.steps("b2", "INSERT INTO t VALUES (1)", "UPDATE alembic_version SET version_num = 'zz'")
    with pytest.raises(MigrationStateError, match="alembic_version has 0 rows of a1 and not one"):
        await project.manager(place).apply_migrations()
    assert await project.manager(place).current() == ("a1",)
    assert [each.version for each in await project.manager(place).history()] == ["a1"]
    assert await place.execute("SELECT n FROM t") == []
    path.write_text(path.read_text().replace("SET version_num = 'zz'", "SET version_num = version_num"))
    await project.manager(place).apply_migrations()
    assert await place.execute("SELECT n FROM t") == [(1,)]


@everywhere
async def test_what_failed_is_undone_or_goes_on(place: Place, project: Project) -> None:
    project.steps("a1", "CREATE TABLE t (id INT PRIMARY KEY, n INT)", "INSERT INTO t VALUES (1, 1)")
    wrong = project.steps(
        "b2",
        "UPDATE t SET n = n + 1",
        "ALTER TABLE t ADD COLUMN m INT",
        "UPDATE t SET n = n + 1",
        "ALTER TABLE missing ADD COLUMN x INT",
    )
    async with project.manager(place) as migrations:
        with pytest.raises(MigrationFailedError) as caught:
            await migrations.apply_migrations()
        error = caught.value
        assert (error.revision, error.statement_number) == ("b2", 4)
        assert "statement 4 (ALTER TABLE missing ADD COLUMN x INT)" in str(error)
        assert await migrations.current() == ("a1",)
        if place.is_transactional:
            assert error.rolled_back
            assert "nothing of this migration is left" in str(error)
            assert await place.execute("SELECT * FROM t") == [(1, 1)]
            assert await migrations.runner.interrupted() == ()
        else:
            assert not error.rolled_back
            assert "what it did up to statement 3 is applied and stays" in str(error)
            assert await place.execute("SELECT n FROM t") == [(3,)]
            assert await migrations.runner.interrupted() == ("b2",)
        wrong.write_text(wrong.read_text().replace("TABLE missing ADD", "TABLE t ADD"))
    async with project.manager(place) as migrations:
        assert [each.version for each in await migrations.apply_migrations()] == ["b2"]
        assert await place.execute("SELECT n, m, x FROM t") == [(3, None, None)]
        assert await migrations.runner.interrupted() == ()
