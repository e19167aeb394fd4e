"""Reading statements: what they do, and what is left alone."""

# ruff: noqa: E501 (a statement reads best in one line)

from __future__ import annotations

import pytest

from sillar.migrations.lint import model, planned_statements, read_statement_action


def part(sql: str, dialect: str = "postgresql") -> model.Part:
    action = read_statement_action(f"ALTER TABLE t {sql}", dialect)
    assert isinstance(action, model.AlterTable)
    return action.parts[0]


@pytest.mark.parametrize(
    "sql",
    [
        "ADD PARTITION (PARTITION p1 VALUES LESS THAN (1))", "ALTER INDEX i INVISIBLE", "ALTER CONSTRAINT c DEFERRABLE",
        "ALTER COLUMN a SET STATISTICS 100", "OWNER TO somebody", "SET (fillfactor = 70)", "REPLICA IDENTITY FULL",
        "COMMENT = 'x'", "RENAME KEY a TO b", "FORCE ROW LEVEL SECURITY", "INHERIT u",
    ],
)  # fmt: skip
def test_harmless_parts(sql: str) -> None:
    assert (
        part(sql, "mysql" if "PARTITION" in sql or "INDEX" in sql or "KEY" in sql else "postgresql") == model.Harmless()
    )


@pytest.mark.parametrize(
    "sql",
    [
        "ADD CONSTRAINT c NONSENSE (a)", "ALTER COLUMN a NONSENSE", "ADD COLUMN a int nonsense more", "DROP", "RENAME a b",
        "ADD CHECK (a > 0", "ADD COLUMN", "ALTER COLUMN a TYPE 7",
    ],
)  # fmt: skip
def test_parts_that_are_not_known(sql: str) -> None:
    assert part(sql) == model.Unknown()


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE",
        "CREATE NONSENSE x",
        "DROP NONSENSE x",
        "DROP",
        "RENAME x",
        "CALL f()",
        "$$",
    ],
)
def test_statements_that_are_not_known(sql: str) -> None:
    assert read_statement_action(sql, "postgresql") == model.Unknown()


def test_columns() -> None:
    added = part(
        "ADD COLUMN a varchar(9) CHARACTER SET latin1 COLLATE latin1_bin NOT NULL DEFAULT 'it''s' COMMENT 'x' AFTER b",
        "mysql",
    )
    assert isinstance(added, model.AddColumn)
    assert added.column == model.Column(
        "a", model.ColumnType("varchar", ("9",), charset="latin1", collation="latin1_bin"), True, "'it''s'"
    )
    assert added.position == "after b"
    action = read_statement_action("ALTER TABLE t ADD (a int, b int unsigned zerofill)", "mysql")
    assert isinstance(action, model.AlterTable)
    assert [each.column.name for each in action.parts if isinstance(each, model.AddColumn)] == ["a", "b"]
    identity = part("ADD a bigint GENERATED ALWAYS AS IDENTITY (START WITH 5) PRIMARY KEY")
    assert isinstance(identity, model.AddColumn)
    assert (identity.column.identity, identity.column.has("primary key")) == (True, True)
    types = [
        "int ARRAY",
        "int[3]",
        "time(3) with time zone",
        "pg_catalog.int4",
        '"My Type"',
        "float",
        "float(24)",
        "dec(3)",
    ]
    read = [part(f"ADD a {each}") for each in types]
    assert [str(each.column.type) for each in read if isinstance(each, model.AddColumn)] == [
        "integer[]", "integer[]", "timetz(3)", "integer", "My Type", "double precision", "float(24)", "numeric(3)",
    ]  # fmt: skip


def test_constraints() -> None:
    found = part(
        "ADD CONSTRAINT c FOREIGN KEY (a, b) REFERENCES s.u (x, y) MATCH FULL ON UPDATE CASCADE ON DELETE SET NULL"
        " DEFERRABLE INITIALLY DEFERRED NOT VALID"
    )
    assert isinstance(found, model.AddConstraint)
    constraint = found.constraint
    assert (constraint.columns, constraint.referred_table, constraint.on_delete) == (("a", "b"), "s.u", "SET NULL")
    assert constraint.not_valid
    unique = part("ADD CONSTRAINT c UNIQUE NULLS NOT DISTINCT (a, lower(b)) INCLUDE (d) WITH (fillfactor = 70)")
    assert isinstance(unique, model.AddConstraint)
    assert unique.constraint.columns == ("a", "lower(b)")
    key = part("ADD UNIQUE KEY named USING BTREE (a(10) DESC)", "mysql")
    assert isinstance(key, model.AddConstraint)
    assert key.constraint.columns == ("a",)
    not_null = part("ADD CONSTRAINT c NOT NULL a NOT VALID")
    assert isinstance(not_null, model.AddConstraint)
    assert (not_null.constraint.kind, not_null.constraint.not_valid) == ("not null", True)


def test_tables() -> None:
    table = read_statement_action(
        "CREATE TABLE IF NOT EXISTS t (LIKE u INCLUDING ALL, a int, UNIQUE (a), INDEX i (a) COMMENT 'x') PARTITION BY LIST (a)",
        "mysql",
    )
    assert isinstance(table, model.CreateTable)
    assert (table.if_not_exists, table.partitioned, len(table.columns), len(table.indexes)) == (True, True, 1, 1)
    partition = read_statement_action("CREATE TABLE p PARTITION OF t FOR VALUES IN (1)", "postgresql")
    assert isinstance(partition, model.CreateTable)
    assert partition.partition_of == "t"
    assert read_statement_action("CREATE TEMP TABLE t (a int)", "postgresql") == model.CreateObject(
        "temporary table", ""
    )
    assert read_statement_action("LOCK INSTANCE FOR BACKUP", "mysql") == model.Harmless()
    view = read_statement_action(
        "CREATE ALGORITHM=MERGE DEFINER=x@y SQL SECURITY INVOKER VIEW v (a) AS SELECT 1", "mysql"
    )
    assert isinstance(view, model.CreateObject)
    assert (view.what, view.name) == ("view", "v")
    nested = read_statement_action(
        "WITH RECURSIVE a (n) AS (SELECT 1), b AS MATERIALIZED (SELECT 2) DELETE FROM t", "postgresql"
    )
    assert nested == model.Change("delete", "t")
    assert read_statement_action("SET SESSION x", "mysql") == model.Setting("x", "")
    assert read_statement_action("VACUUM (FULL, ANALYZE) a, b", "postgresql") == model.Maintain(
        "vacuum full", ("a", "b")
    )
    assert read_statement_action("CLUSTER i ON t", "postgresql") == model.Maintain("cluster", ("t",))


def test_scripts() -> None:
    script = """
        DELIMITER //
        CREATE PROCEDURE p() BEGIN IF 1 THEN SELECT 1; END IF; WHILE 0 DO SELECT 2; END WHILE; END//
        DELIMITER ;
        SELECT 'a;b' -- ; here
        ; SELECT "it\\"s;"; SELECT 3
    """
    texts = [each.sql for each in planned_statements(script, "mysql")]
    assert [text.split()[0] for text in texts] == ["CREATE", "SELECT", "SELECT", "SELECT"]
    assert texts[2] == 'SELECT "it\\"s;"'
    body = "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END; SELECT 1"
    assert len(planned_statements(body, "postgresql")) == 2
    assert [each.sql for each in planned_statements("SELECT 'open; /* never", "sqlite")] == ["SELECT 'open; /* never"]
    assert planned_statements("/* SELECT 1; -- ", "postgresql") == []
