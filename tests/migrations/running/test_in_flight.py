"""What a run that was broken off leaves in flight, and what the next one makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection
from tests.migrations.running.killed import broken_off
from tests.migrations.running.project import Place, Project, autocommit

from sillar.errors import MigrationFailedError, MigrationStateError
from sillar.migrations.sql.dialects import dialect_of

on_mysql = pytest.mark.parametrize("place", ["mariadb", "mysql"], indirect=True)
on_mariadb = pytest.mark.parametrize("place", ["mariadb"], indirect=True)
on_postgresql = pytest.mark.parametrize("place", ["postgresql"], indirect=True)


_PROCEDURE = "CREATE PROCEDURE p() BEGIN UPDATE t SET n = n + 1; COMMIT; END"


class GoneError(BaseException):
    """The process is gone, as far as the journal can see."""


def invalid(connection: Connection) -> list[str]:
    return dialect_of("postgresql").invalid_indexes(connection)


def go() -> None:
    raise GoneError


@contextmanager
def gone(number: int, point: str) -> Iterator[None]:
    with pytest.raises(GoneError), broken_off(number, point, go):
        yield


@on_mariadb
async def test_an_error_is_never_taken_for_an_old_success(place: Place, project: Project) -> None:
    project.steps("a1", "CREATE TABLE t (n INT)", "CREATE TABLE t (n INT)")
    for _ in range(2):
        with pytest.raises(MigrationFailedError, match=r"statement 2 \(CREATE TABLE t.*already exists"):
            await project.manager(place).apply_migrations()
        assert await place.execute("SELECT done, in_flight FROM _migrations_steps") == [(1, None)]
    with gone(2, "announced"):
        await project.manager(place).apply_migrations()
    with pytest.raises(MigrationFailedError, match="already exists"):
        await project.manager(place).apply_migrations()
    with pytest.raises(MigrationFailedError, match="already exists"):
        await project.manager(place).apply_migrations()


@on_mysql
async def test_statements_that_no_error_tells_apart(place: Place, project: Project) -> None:
    statements = (
        "ALTER TABLE t ADD INDEX (n)",
        "RENAME TABLE t TO s, u TO t, s TO u",
        "CREATE PROCEDURE p() BEGIN UPDATE t SET n = n + 1; UPDATE t SET n = n + 1; END",
        "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DISABLE DO UPDATE t SET n = 1",
        "CREATE OR REPLACE VIEW v AS SELECT 2 AS two",
        "DROP TABLE x, y",
    )
    first = (
        "CREATE TABLE t (n INT)",
        "CREATE TABLE u (n INT, m INT)",
        "CREATE VIEW v AS SELECT 1 AS one",
        "CREATE TABLE x (n INT)",
        "CREATE TABLE y (n INT)",
    )
    project.steps("a1", *first)
    project.steps("b2", *statements)
    await project.manager(place).apply_migrations("a1")
    for number in range(1, len(statements) + 1):
        with gone(number, "sent"):
            await project.manager(place).apply_migrations()
    await project.manager(place).apply_migrations()
    found, _ = await place.state()
    assert sum(name.startswith("index") and name.endswith(" of u") for name in found) == 1
    assert "column m of t" in found
    assert "column m of u" not in found
    assert "routine p" in found
    assert await place.execute("SELECT count(*) FROM information_schema.events WHERE event_name = 'e'") == [(1,)]
    assert "table x" not in found
    assert "table y" not in found
    assert "two" in found["view v"]


@on_mariadb
async def test_what_nobody_can_tell_is_for_a_person(place: Place, project: Project) -> None:
    await place.execute("CREATE TABLE t (n INT)")
    await place.execute("INSERT INTO t VALUES (1)")
    await place.execute(_PROCEDURE)
    project.steps("a1", "CALL p()", "UPDATE t SET n = n * 10")
    with gone(1, "sent"):
        await project.manager(place).apply_migrations()
    with pytest.raises(MigrationStateError, match="nobody can tell whether that was applied") as caught:
        await project.manager(place).apply_migrations()
    assert "UPDATE _migrations_steps SET done = 1, in_flight = NULL WHERE version = 'a1'" in str(caught.value)
    await place.execute("UPDATE _migrations_steps SET done = 1, in_flight = NULL WHERE version = 'a1'")
    await project.manager(place).apply_migrations()
    assert await place.execute("SELECT n FROM t") == [(20,)]


@on_mariadb
async def test_the_other_answer(place: Place, project: Project) -> None:
    await place.execute("CREATE TABLE t (n INT)")
    await place.execute("INSERT INTO t VALUES (1)")
    await place.execute(_PROCEDURE)
    project.steps("a1", "ALTER TABLE t ADD COLUMN m INT", "CALL p()", "UPDATE t SET n = n * 10")
    with gone(2, "sent"):
        await project.manager(place).apply_migrations()
    await place.execute("UPDATE t SET n = 1")
    await place.execute("UPDATE _migrations_steps SET in_flight = NULL WHERE version = 'a1'")
    await project.manager(place).apply_migrations()
    assert await place.execute("SELECT n FROM t") == [(20,)]


@on_mariadb
async def test_several_statements_in_one_text_are_refused(place: Place, project: Project) -> None:
    project.steps("a1", "CREATE TABLE t (n INT); CREATE TABLE u (n INT)")
    with pytest.raises(Exception, match="several statements"):
        await project.manager(place).apply_migrations()
    assert (await place.state())[0] == {}


@on_mariadb
async def test_what_it_sends_depends_on_data(place: Place, project: Project) -> None:
    await place.execute("CREATE TABLE t (id INT, done INT)")
    await place.execute("INSERT INTO t VALUES (1, 0), (2, 0), (3, 0), (4, 0)")
    project.revision(
        "a1",
        """
        for (number,) in op.get_bind().exec_driver_sql("SELECT id FROM t WHERE done = 0 ORDER BY id").all():
            op.execute(sa.text("UPDATE t SET done = 1 WHERE id = :id").bindparams(id=number))
            op.execute(f"CREATE TABLE copy{number} (n INT)")
        """,
    )
    with gone(4, "marked"):
        await project.manager(place).apply_migrations()
    for _ in range(2):
        with pytest.raises(MigrationStateError, match="what it sends now is something else"):
            await project.manager(place).apply_migrations()
    assert await place.execute("SELECT id FROM t WHERE done = 1 ORDER BY id") == [(1,), (2,)]


@on_mariadb
async def test_times_and_identifiers_may_be_new_ones(place: Place, project: Project) -> None:
    project.revision(
        "a1",
        """
        table = op.create_table("t", sa.Column("id", sa.Uuid, primary_key=True), sa.Column("at", sa.DateTime))
        op.bulk_insert(table, [{"id": uuid.uuid4(), "at": datetime.datetime.now()}])
        op.execute("ALTER TABLE t ADD COLUMN m INT")
        op.execute("ALTER TABLE t ADD COLUMN o INT")
        """,
        head="import datetime\nimport uuid",
    )
    with gone(4, "before"):
        await project.manager(place).apply_migrations()
    await project.manager(place).apply_migrations()
    assert await place.execute("SELECT count(*), count(o) FROM t") == [(1, 0)]


@on_mariadb
async def test_temporary_tables_are_gone(place: Place, project: Project) -> None:
    project.steps("a1", "CREATE TEMPORARY TABLE t (n INT)", "INSERT INTO t VALUES (1)", "CREATE TABLE u (n INT)",
                  "INSERT INTO u SELECT * FROM t", "ALTER TABLE u ADD COLUMN m INT")  # fmt: skip
    with gone(5, "before"):
        await project.manager(place).apply_migrations()
    with pytest.raises(MigrationStateError, match="statement 1 made something temporary"):
        await project.manager(place).apply_migrations()


@on_mariadb
async def test_an_edited_file_and_the_way_back(place: Place, project: Project) -> None:
    project.steps("a1", "CREATE TABLE first (n INT)", down='op.execute("DROP TABLE first")')
    path = project.steps("b2", "CREATE TABLE t (n INT)", "ALTER TABLE t ADD COLUMN m INT")
    with gone(3, "before"):
        await project.manager(place).apply_migrations()
    with pytest.raises(MigrationStateError, match=r"b2 was interrupted on its way up, .*`sillar upgrade b2` first"):
        await project.manager(place).rollback_migration("base")
    path.write_text(path.read_text().replace("t (n INT)", "t (n BIGINT)"))
    with pytest.raises(MigrationStateError, match="it was edited"):
        await project.manager(place).apply_migrations()
    manager = project.manager(place)
    assert await manager.runner.interrupted() == ("b2",)
    await manager.runner.stamp("b2")
    assert await manager.runner.interrupted() == ()
    assert await manager.current() == ("b2",)
    assert [(each.version, each.direction) for each in await manager.history()] == [("a1", "up"), ("b2", "stamp")]


@on_mariadb
async def test_what_plain_alembic_has_finished_is_forgotten(place: Place, project: Project) -> None:
    project.steps("a1", "CREATE TABLE t (n INT)", "ALTER TABLE t ADD COLUMN m INT", down='op.drop_table("t")')
    with gone(2, "before"):
        await project.manager(place).apply_migrations()
    await place.execute("INSERT INTO alembic_version VALUES ('a1')")
    await project.manager(place).rollback_migration("base")
    assert await project.manager(place).runner.interrupted() == ()
    await project.manager(place).apply_migrations()
    assert await place.execute("SELECT m FROM t") == []


@on_postgresql
async def test_results_of_what_is_done(place: Place, project: Project) -> None:
    body = """
        bind = op.get_bind()
        table = op.create_table("t", sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Integer))
        bind.execute(table.insert().values(n=1))
        number = bind.execute(table.insert().values(n=2).returning(table.c.id)){taken}
        with op.get_context().autocommit_block():
            op.execute("UPDATE t SET n = n + 1")
        op.execute("UPDATE t SET n = n + 1")
        """
    path = project.revision("a1", body.replace("{taken}", ""))
    with gone(5, "before"):
        await project.manager(place).apply_migrations()
    await project.manager(place).apply_migrations()
    assert await place.execute("SELECT n FROM t ORDER BY n") == [(3,), (4,)]
    await project.manager(place).runner.stamp("base")
    await place.execute("DROP TABLE t")
    path.write_text(path.read_text().replace("(table.c.id))", "(table.c.id)).scalar_one()"))
    with gone(5, "before"):
        await project.manager(place).apply_migrations()
    with pytest.raises(MigrationStateError, match="uses the result of a statement that is done already"):
        await project.manager(place).apply_migrations()


@on_postgresql
async def test_a_commit_as_text(place: Place, project: Project) -> None:
    count = "UPDATE t SET n = n + 1"
    index = "CREATE INDEX CONCURRENTLY i ON t (n)"
    project.steps("a1", "CREATE TABLE t (n INT)", "INSERT INTO t VALUES (1)", "COMMIT", index, count, count)
    for number in (3, 4, 5):
        with gone(number, "sent"):
            await project.manager(place).apply_migrations()
    await project.manager(place).apply_migrations()
    assert await place.execute("SELECT n FROM t") == [(3,)]
    assert await project.manager(place).runner.interrupted() == ()


@on_postgresql
async def test_invalid_indexes(place: Place, project: Project) -> None:
    await place.execute("CREATE TABLE t (n INT)", "INSERT INTO t VALUES (1), (1)")
    path = project.revision(
        "a1",
        """
        with op.get_context().autocommit_block():
            op.execute("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t (n)")
        """,
    )
    with pytest.raises(MigrationFailedError, match=r"invalid index public\.i that it left was dropped"):
        await project.manager(place).apply_migrations()
    assert (await place.state())[0].keys() == {"table t", "column n of t"}
    async with autocommit(place) as connection:  # what somebody else has left
        with pytest.raises(Exception, match="could not create unique index"):
            await connection.exec_driver_sql("CREATE UNIQUE INDEX CONCURRENTLY i ON t (n)")
        assert await connection.run_sync(invalid) == ["public.i on t"]
        path.write_text(path.read_text().replace("    with op", "    op.execute('DELETE FROM t')\n    with op"))
        await project.manager(place).apply_migrations()
        assert await connection.run_sync(invalid) == []
    assert await place.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass") == [(True,)]
