"""A migration of many steps for each kind of database: DDL, DML that must not run twice, and what stands alone."""

from __future__ import annotations

from tests.migrations.running.project import Place, Project

_FIRST = """
op.create_table("base", sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Integer, nullable=False))
op.execute("INSERT INTO base (id, n) VALUES (1, 10), (2, 20)")
"""

_POSTGRESQL_UP = """
op.create_table("things", sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Integer, nullable=False))
things = sa.table("things", sa.column("id", sa.Integer), sa.column("n", sa.Integer))
op.bulk_insert(things, [{"id": each, "n": each} for each in range(5)])
op.execute("UPDATE base SET n = n + 1")
op.execute("CREATE TYPE mood AS ENUM ('sad', 'ok')")
with op.get_context().autocommit_block():
    op.create_index("things_n", "things", ["n"], postgresql_concurrently=True)
    op.execute("ALTER TYPE mood ADD VALUE 'happy'")
    op.execute("UPDATE base SET n = n + 1")
    op.execute("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS things_both ON things (id, n)")
    op.execute("CREATE INDEX CONCURRENTLY ON things (id)")
op.add_column("things", sa.Column("mood", sa.Enum(name="mood", create_type=False), server_default="happy"))
op.execute("UPDATE things SET n = n * 3 + 1")
"""
_POSTGRESQL_DOWN = """
op.execute("UPDATE things SET n = (n - 1) / 3")
op.drop_column("things", "mood")
with op.get_context().autocommit_block():
    op.execute("DROP INDEX CONCURRENTLY things_both")
    op.execute("UPDATE base SET n = n - 1")
    op.drop_index("things_n", postgresql_concurrently=True)
    op.execute("DROP TYPE mood")
op.execute("UPDATE base SET n = n - 1")
op.drop_table("things")
"""

_MYSQL_UP = """
op.create_table("things", sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Integer, nullable=False))
things = sa.table("things", sa.column("id", sa.Integer), sa.column("n", sa.Integer))
op.bulk_insert(things, [{"id": each, "n": each} for each in range(1, 6)])
op.execute("UPDATE base SET n = n + 1")
op.execute("ALTER TABLE base ADD INDEX (n)")
op.execute("UPDATE base SET n = n + 1")
op.add_column("things", sa.Column("other", sa.Integer))
op.execute("ALTER TABLE things ADD FOREIGN KEY (other) REFERENCES base (id)")
op.execute("RENAME TABLE base TO spare, things TO base, spare TO things")
op.alter_column("base", "n", new_column_name="number", existing_type=sa.Integer, existing_nullable=False)
op.execute("UPDATE base SET number = number * 3 + 1")
op.execute("CREATE VIEW seen AS SELECT id, number FROM base")
"""
_MYSQL_DOWN = """
op.execute("DROP VIEW seen")
op.execute("UPDATE base SET number = (number - 1) / 3")
op.alter_column("base", "number", new_column_name="n", existing_type=sa.Integer, existing_nullable=False)
op.execute("RENAME TABLE base TO spare, things TO base, spare TO things")
op.execute("UPDATE base SET n = n - 2")
op.execute("ALTER TABLE base DROP INDEX n")
op.drop_table("things")
"""

_SQLITE_UP = """
op.create_table("things", sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Integer, nullable=False),
    sa.Column("base_id", sa.Integer, sa.ForeignKey("base.id", ondelete="CASCADE")))
op.bulk_insert(sa.table("things", sa.column("id"), sa.column("n"), sa.column("base_id")),
    [{"id": each, "n": each, "base_id": 1 + each % 2} for each in range(5)])
op.execute("UPDATE base SET n = n + 1")
with op.batch_alter_table("base") as batch:
    batch.alter_column("n", type_=sa.BigInteger)
    batch.add_column(sa.Column("m", sa.Integer, server_default="7"))
op.execute("UPDATE base SET n = n + 1")
op.create_index("things_n", "things", ["n"])
op.execute("UPDATE things SET n = n * 3 + 1")
"""
_SQLITE_DOWN = """
op.execute("UPDATE base SET n = n - 2")
op.drop_index("things_n")
with op.batch_alter_table("base") as batch:
    batch.drop_column("m")
    batch.alter_column("n", type_=sa.Integer)
op.drop_table("things")
"""


def write(project: Project, place: Place) -> None:
    """Write a first migration, and the one of many steps behind it."""
    project.revision("a1", _FIRST, 'op.drop_table("base")')
    if place.is_postgresql:
        project.revision("b2", _POSTGRESQL_UP, _POSTGRESQL_DOWN)
    elif place.name == "sqlite":
        project.revision("b2", _SQLITE_UP, _SQLITE_DOWN)
    else:
        project.revision("b2", _MYSQL_UP, _MYSQL_DOWN)


def queries(place: Place, *, up: bool) -> list[str]:
    """Reads all rows that there are after it, or before."""
    return ["SELECT * FROM base ORDER BY 1", *(["SELECT * FROM things ORDER BY 1"] if up else [])]
