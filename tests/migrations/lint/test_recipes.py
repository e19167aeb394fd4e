"""What recipes write runs on real servers, gets where the unsafe statement wanted to, and is safe itself."""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import Any

import pytest
import sqlalchemy as sa
from pymongo import AsyncMongoClient
from pymongo.errors import WriteError
from tests.children import left
from tests.migrations.lint.conftest import Project, database_on

from sillar.errors import MigrationFailedError
from sillar.migrations import MigrationManager
from sillar.migrations.lint import (
    Finding,
    Recipe,
    TableFacts,
    dialect_of,
    facts_from,
    lint,
    lint_plan,
    planned_statements,
    read_facts,
    read_statement_action,
    recipe_for,
)
from sillar.testing.servers import MariaDBServer, MongoDBServer, MySQLServer, PostgreSQLServer

ROWS = 300
POSTGRESQL_SCHEMA = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE teams (id bigint PRIMARY KEY);
CREATE TABLE t1 (id bigint PRIMARY KEY, age integer NOT NULL DEFAULT 7, note text);
CREATE INDEX t1_age ON t1 (age);
CREATE INDEX t1_some ON t1 USING hash ((age + 1)) WHERE age > 5;
CREATE TABLE t2 (id bigint PRIMARY KEY, "Email" varchar(50) NOT NULL DEFAULT 'x', mood mood, gone text NOT NULL);
CREATE TABLE t3 (id bigint PRIMARY KEY, note text);
CREATE TABLE t4 (id bigint PRIMARY KEY, note text);
CREATE TABLE t5 (id bigint PRIMARY KEY, team_id bigint, amount integer, code text, at date);
CREATE INDEX t5_code ON t5 (lower(code), at) WHERE amount > 0;
CREATE TABLE t6 (id bigint NOT NULL, code bigint, note text);
"""
POSTGRESQL_ROWS = f"""
INSERT INTO teams SELECT generate_series(1, {ROWS});
INSERT INTO t1 (id, age, note) SELECT i, i, 'n' FROM generate_series(1, {ROWS}) i;
INSERT INTO t2 SELECT i, 'e' || i, (ARRAY['sad', 'ok', 'happy'])[1 + i % 3]::mood, 'g'
FROM generate_series(1, {ROWS}) i;
INSERT INTO t3 SELECT i, 'n' FROM generate_series(1, {ROWS}) i;
INSERT INTO t4 SELECT i, 'n' FROM generate_series(1, {ROWS}) i;
INSERT INTO t5 SELECT i, i, i, 'c' || i FROM generate_series(1, {ROWS}) i;
INSERT INTO t6 SELECT i, i, NULL FROM generate_series(1, {ROWS}) i;
ANALYZE;
"""
# rule, the unsafe statements; those that cannot be undone come first
NO_WAY_BACK = [
    ("type-change-rewrites", "ALTER TABLE t1 ALTER COLUMN age TYPE bigint"),
    ("rename-column", 'ALTER TABLE t2 RENAME COLUMN "Email" TO mail'),
    (
        "enum-value-removed",
        "ALTER TYPE mood RENAME TO mood_old; CREATE TYPE mood AS ENUM ('sad', 'happy');"
        "ALTER TABLE t2 ALTER COLUMN mood TYPE mood USING mood::text::mood; DROP TYPE mood_old",
    ),
    ("drop-table", "DROP TABLE t3"),
]
UNDONE = [
    ("drop-column", "ALTER TABLE t2 DROP COLUMN gone"),
    ("rename-table", "ALTER TABLE t4 RENAME TO t4_things"),
    ("index-blocks-writes", "CREATE INDEX t5_at ON t5 USING btree (at DESC NULLS LAST) INCLUDE (code) WHERE id > 1"),
    ("concurrently-in-transaction", "CREATE UNIQUE INDEX CONCURRENTLY t5_amount ON t5 (amount)"),
    ("drop-index-locks", "DROP INDEX t5_code"),
    (
        "foreign-key-without-not-valid",
        "ALTER TABLE t5 ADD CONSTRAINT t5_team FOREIGN KEY (team_id) REFERENCES teams (id) ON DELETE SET NULL",
    ),
    ("foreign-key-without-not-valid", "ALTER TABLE t5 ADD COLUMN boss bigint DEFAULT 1 REFERENCES teams (id)"),
    ("check-without-not-valid", "ALTER TABLE t5 ADD CHECK (amount >= 0 AND code <> ':x')"),
    ("set-not-null-scans", "ALTER TABLE t5 ALTER COLUMN amount SET NOT NULL"),
    ("unique-without-index", "ALTER TABLE t5 ADD CONSTRAINT t5_code_key UNIQUE (code)"),
    ("unique-without-index", "ALTER TABLE t6 ADD PRIMARY KEY (id, code)"),
    ("volatile-default", "ALTER TABLE t5 ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid()"),
    ("identity-column-rewrites", "ALTER TABLE t5 ADD COLUMN number bigserial"),
    ("column-required", "ALTER TABLE t5 ADD COLUMN state varchar(10) NOT NULL"),
    ("unbounded-change", "UPDATE t5 SET code = upper(code), at = CURRENT_DATE"),
]


async def facts_of(manager: MigrationManager) -> tuple[TableFacts, str]:
    async with manager.connection() as connection:
        return await connection.run_sync(read_facts), await connection.run_sync(dialect_of)


async def run(manager: MigrationManager, script: str, dialect: str) -> None:
    async with manager.connection() as connection:
        for each in planned_statements(script, dialect):
            await connection.execute(sa.text(each.sql.replace(":", "\\:")))
        await connection.commit()


async def ask(manager: MigrationManager, sql: str) -> Any:
    async with manager.connection() as connection:
        return (await connection.execute(sa.text(sql))).scalar()


def recipe(rule: str, script: str, facts: TableFacts, dialect: str) -> Recipe:
    statements = planned_statements(script, dialect, in_transaction=True)
    found: list[Finding] = [
        each for each in lint(statements, dialect=dialect, facts=facts, large_table_rows=1) if each.rule == rule
    ]
    assert found, (rule, script)
    written = recipe_for(found[0], facts)
    assert written is not None, (rule, script)
    assert written.name in found[0].remedy or rule in ("concurrently-in-transaction", "unique-without-index")
    return written


async def test_recipes_of_postgresql(postgresql: PostgreSQLServer, project: Project) -> None:
    async with database_on(postgresql) as url, project.manager(url) as manager:
        await run(manager, POSTGRESQL_SCHEMA + POSTGRESQL_ROWS, "postgresql")
        facts, dialect = await facts_of(manager)
        await project.write_recipes(manager, [recipe(*each, facts, dialect) for each in NO_WAY_BACK])
        undoable_from = manager.scripts.directory.get_current_head()
        await project.write_recipes(manager, [recipe(*each, facts, dialect) for each in UNDONE])

        report = await lint_plan(manager)
        assert len(report.revisions) >= 40
        assert not report.unacknowledged, "\n".join(map(str, report.unacknowledged))
        acknowledged = {each.rule for each in report.findings if each.acknowledged is not None}
        assert acknowledged - {"squawk:ban-drop-default"} == {
            "drop-column",
            "drop-function",
            "drop-type",
            "drop-view",
            "drop-table",
            "rename-table",
        }

        await manager.apply_migrations()
        after, _ = await facts_of(manager)
        check_columns(after)
        await check_rows(manager)
        await manager.rollback_migration(str(undoable_from))
        undone, _ = await facts_of(manager)
        assert set(undone.tables["t5"].columns) == {"id", "team_id", "amount", "code", "at"}
        assert [each.kind for each in undone.tables["t5"].constraints] == ["primary key"]
        assert set(undone.tables["t5"].indexes) == {"t5_pkey", "t5_code"}
        assert "t4" in undone.tables


def check_columns(facts: TableFacts) -> None:
    t1, t2, t5, t6 = (facts.tables[name] for name in ("t1", "t2", "t5", "t6"))
    assert str(t1.columns["age"].type) == "bigint"
    assert t1.columns["age"].not_null
    assert t1.columns["age"].default == "7"
    assert set(t1.columns) == {"id", "age", "note"}
    assert t1.indexes["t1_age_new"].columns == ("age",)
    assert (t1.indexes["t1_some_new"].definition, t1.indexes["t1_some_new"].where) == (
        "USING hash (((age + 1)))",
        "(age > 5)",
    )
    assert set(t2.columns) == {"id", "mail", "mood"}
    assert t2.columns["mail"].not_null
    assert str(t2.columns["mail"].type) == "varchar(50)"
    assert "'x'" in str(t2.columns["mail"].default)
    assert facts.enums == {"mood": ("sad", "happy")}
    assert "t3" not in facts.tables
    assert "t3_dropped" not in facts.tables
    assert "t4" not in facts.tables
    assert "t4_things" in facts.tables
    assert "t4" not in facts.views
    assert t5.indexes["t5_at"].where == "(id > 1)"
    assert t5.indexes["t5_amount"].unique
    assert "t5_code" not in t5.indexes
    keys = {each.name: each for each in t5.constraints}
    assert keys["t5_team"].on_delete == "SET NULL"
    assert not any(each.not_valid for each in t5.constraints)
    assert keys["t5_boss_fkey"].referred_table == "teams"
    assert keys["t5_check"].kind == "check"
    assert keys["t5_code_key"].kind == "unique"
    assert t6.key_columns() == ("id", "code")
    assert t6.columns["code"].not_null
    for name in ("token", "number", "state", "amount"):
        assert t5.columns[name].not_null, name
    assert t5.columns["token"].default == "gen_random_uuid()"
    assert "nextval" in str(t5.columns["number"].default)


async def check_rows(manager: MigrationManager) -> None:
    assert await ask(manager, "SELECT sum(age) FROM t1") == ROWS * (ROWS + 1) // 2
    assert await ask(manager, "SELECT count(DISTINCT mail) FROM t2") == ROWS
    assert await ask(manager, "SELECT count(*) FROM t2 WHERE mood = 'sad'") == ROWS * 2 // 3
    assert await ask(manager, "SELECT count(DISTINCT token) FROM t5") == ROWS
    assert await ask(manager, "SELECT count(DISTINCT number) FROM t5") == ROWS
    assert (
        await ask(manager, "SELECT count(*) FROM t5 WHERE code = 'C' || amount AND at IS NOT NULL AND state = ''")
        == ROWS
    )


MYSQL_SCHEMA = """
CREATE TABLE teams (id bigint PRIMARY KEY);
CREATE TABLE t1 (id bigint PRIMARY KEY, age int, note text, team_id bigint, n int);
CREATE TABLE t3 (id bigint PRIMARY KEY);
CREATE TABLE t2 (id bigint PRIMARY KEY, age int NOT NULL, mail varchar(20) CHARACTER SET latin1 NOT NULL,
    gone varchar(9) NOT NULL, KEY t2_age (age), KEY t2_mail (mail));
CREATE TABLE t4 (id bigint AUTO_INCREMENT PRIMARY KEY, note text);
"""
MYSQL_UNSAFE = [
    ("type-change-rewrites", "ALTER TABLE t2 MODIFY age bigint NOT NULL"),
    ("rename-column", "ALTER TABLE t2 RENAME COLUMN mail TO email"),
    ("drop-column", "ALTER TABLE t2 DROP COLUMN gone"),
    ("column-required", "ALTER TABLE t2 ADD COLUMN state varchar(10) NOT NULL"),
    ("rename-table", "RENAME TABLE t4 TO notes"),
    ("type-change-rewrites", "ALTER TABLE t1 MODIFY age bigint"),
    ("drop-table", "DROP TABLE t3"),
    (
        "foreign-key-copies-table",
        "ALTER TABLE t1 ADD CONSTRAINT t1_team FOREIGN KEY (team_id) REFERENCES teams (id) ON DELETE CASCADE",
    ),
    ("volatile-default", "ALTER TABLE t1 ADD COLUMN token varchar(36) DEFAULT (uuid())"),
    ("unbounded-change", "UPDATE t1 SET n = n + 1"),
]


async def on_mysql(url: str, project: Project) -> None:
    async with project.manager(url) as manager:
        rows = [
            f"INSERT INTO teams VALUES ({i}); INSERT INTO t1 VALUES ({i}, {i}, 'n', {i}, {i});"
            f"INSERT INTO t2 VALUES ({i}, {i}, 'm{i}', 'g')"
            for i in range(1, 31)
        ]
        await run(manager, MYSQL_SCHEMA + ";".join(rows) + "; INSERT INTO t3 VALUES (1); ANALYZE TABLE t1, t2", "mysql")
        facts, dialect = await facts_of(manager)
        await project.write_recipes(manager, [recipe(*each, facts, dialect) for each in MYSQL_UNSAFE])
        report = await lint_plan(manager)
        assert len(report.revisions) == 27
        assert report.dialect == dialect
        assert [str(each) for each in report.unacknowledged] == []
        written, done = 0, asyncio.Event()

        async def serve() -> None:  # what the service writes meanwhile: by the name that is there before and after
            nonlocal written
            async with manager.connection() as connection:
                while not done.is_set():
                    written += 1
                    row = {"id": 1 + written % 30}
                    await connection.execute(sa.text("UPDATE t2 SET age = age + 1 WHERE id = :id"), row)
                    await connection.commit()

        serving = asyncio.create_task(serve())
        async with left(serving):
            await manager.apply_migrations()
            done.set()
            await asyncio.wait_for(serving, 60)
        assert await ask(manager, "SELECT sum(age) FROM t2") == 465 + written
        after, _ = await facts_of(manager)
        check_second_table(after)
        assert await ask(manager, "SELECT count(DISTINCT email) FROM t2 WHERE state = ''") == 30
        t1 = after.tables["t1"]
        assert str(t1.columns["age"].type).startswith("bigint")
        assert "age_old" not in t1.columns
        assert "t3" not in after.tables
        assert "t3_dropped" not in after.tables
        assert [each.on_delete for each in t1.constraints if each.kind == "foreign key"] == ["CASCADE"]
        assert await ask(manager, "SELECT count(DISTINCT token) FROM t1") == 30
        assert await ask(manager, "SELECT sum(age) + sum(n) FROM t1") == 2 * 465 + 30


def check_second_table(facts: TableFacts) -> None:
    t2 = facts.tables["t2"]
    assert list(t2.columns) == ["id", "age", "email", "state"]
    assert all(each.not_null for each in t2.columns.values())
    assert str(t2.columns["age"].type).startswith("bigint")
    email = t2.columns["email"]
    assert (email.type.charset if email.type is not None else "", email.default) == ("latin1", None)
    assert {each.columns for each in t2.indexes.values()} == {("age",), ("email",)}
    assert "notes" in facts.tables
    assert not {"t4", "notes_view"} & (facts.views.keys() | facts.tables.keys())


async def test_recipes_of_mysql(mysql: MySQLServer, project: Project) -> None:
    async with database_on(mysql) as url:
        await on_mysql(url, project)


async def test_recipes_of_mariadb(mariadb: MariaDBServer, project: Project) -> None:
    async with database_on(mariadb) as url:
        await on_mysql(url, project)


SQLITE_UNSAFE = [
    ("unbounded-change", "UPDATE t SET n = n + 1"),
    ("rename-column", "ALTER TABLE t RENAME COLUMN name TO title"),
    ("column-cannot-be-added", "ALTER TABLE t ADD COLUMN code TEXT UNIQUE"),
    ("column-cannot-be-added", "ALTER TABLE t ADD COLUMN state INTEGER NOT NULL"),
    ("column-cannot-be-added", "ALTER TABLE t ADD COLUMN token TEXT DEFAULT (hex(randomblob(8)))"),
    ("column-cannot-be-added", "ALTER TABLE t ADD COLUMN twice INTEGER GENERATED ALWAYS AS (n * 2) STORED"),
]


async def test_recipes_of_sqlite(project: Project) -> None:
    async with project.manager(f"sqlite:///{project.folder}/x.db") as manager:
        schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, name TEXT NOT NULL DEFAULT 'x');"
        await run(manager, schema + "INSERT INTO t VALUES (1, 1, 'a'), (2, 2, 'b')", "sqlite")
        facts, dialect = await facts_of(manager)
        assert facts.tables["t"].rows == 2
        await project.write_recipes(manager, [recipe(*each, facts, dialect) for each in SQLITE_UNSAFE])
        report = await lint_plan(manager)
        assert [str(each) for each in report.unacknowledged] == []
        [renaming] = [each.version for each in report.revisions if each.name == "fill t.title"]
        await manager.apply_migrations(renaming)
        await run(manager, "INSERT INTO t (id, n, title) VALUES (3, 0, 'new')", dialect)
        await run(manager, "INSERT INTO t (id, n, name) VALUES (4, 0, 'old')", dialect)
        await run(
            manager, "UPDATE t SET name = 'by old' WHERE id = 1; UPDATE t SET title = 'by new' WHERE id = 2", dialect
        )
        rows = "SELECT group_concat(title || '=' || name, ', ') FROM (SELECT * FROM t ORDER BY id)"
        assert await ask(manager, rows) == "by old=by old, by new=by new, new=new, old=old"
        await manager.apply_migrations()
        await run(manager, "INSERT INTO t (id, n) VALUES (5, 7)", dialect)
        assert await ask(manager, "SELECT sum(n) FROM t") == 12
        assert await ask(manager, "SELECT count(DISTINCT token) FROM t WHERE state = 0 AND twice = n * 2") == 5
        after, _ = await facts_of(manager)
        assert set(after.tables["t"].columns) == {"id", "n", "title", "code", "state", "token", "twice"}
        assert after.tables["t"].indexes["t_code_key"].unique


def test_no_recipe_without_what_it_takes() -> None:
    def found(sql: str, dialect: str = "postgresql") -> Finding:
        return lint(planned_statements(sql, dialect), dialect=dialect)[0]

    assert recipe_for(found("ALTER TABLE t ALTER COLUMN a TYPE bigint")) is None  # not what the column is
    assert recipe_for(found("ALTER TABLE t RENAME COLUMN a TO b")) is None
    assert recipe_for(found("ALTER TABLE t ADD COLUMN p point NOT NULL")) is None  # nor what the rows get
    assert recipe_for(found("CREATE INDEX ON t (a)")) is None  # nor the index' name
    assert recipe_for(found("DELETE FROM t")) is None
    assert recipe_for(found("TRUNCATE t")) is None
    assert recipe_for(found("ALTER TABLE t MODIFY a bigint", "mysql")) is None
    assert recipe_for(found("UPDATE t SET (a, b) = (SELECT 1, 2)")) is None


KEY_SCHEMA = f"""
CREATE TABLE people (id serial PRIMARY KEY, boss integer REFERENCES people (id), age integer CHECK (age > 0));
CREATE TABLE pets (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, person_id integer NOT NULL,
    CONSTRAINT owner FOREIGN KEY (person_id) REFERENCES people (id) ON DELETE CASCADE DEFERRABLE);
CREATE TABLE toys (pet_id integer REFERENCES pets (id), code integer NOT NULL UNIQUE, UNIQUE (pet_id, code));
INSERT INTO people (boss, age) SELECT nullif(i, 1) - 1, i FROM generate_series(1, {ROWS}) i;
INSERT INTO pets (person_id) SELECT i FROM generate_series(1, {ROWS}) i;
INSERT INTO toys SELECT i, i FROM generate_series(1, {ROWS}) i;
ANALYZE
"""


async def test_integer_keys_become_bigint(postgresql18: PostgreSQLServer, project: Project) -> None:
    """A serial, an identity, a foreign key and a unique one; what refers to them is checked again."""
    async with database_on(postgresql18) as url:
        async with project.manager(url) as manager:
            await run(manager, KEY_SCHEMA, "postgresql")
        for table, column in (("people", "id"), ("pets", "id"), ("pets", "person_id"), ("toys", "pet_id")):
            async with project.manager(url) as manager:  # another one has no statements prepared
                facts, dialect = await facts_of(manager)
                change = f"ALTER TABLE {table} ALTER COLUMN {column} TYPE bigint"
                await project.write_recipes(manager, [recipe("type-change-rewrites", change, facts, dialect)])
                report = await lint_plan(manager)
                assert not report.unacknowledged, "\n".join(map(str, report.unacknowledged))
                await manager.apply_migrations()
        async with project.manager(url) as manager:
            await check_keys(manager)


async def check_keys(manager: MigrationManager) -> None:
    after, _ = await facts_of(manager)
    people, pets, toys = (after.tables[name] for name in ("people", "pets", "toys"))
    assert {str(each.columns[name].type) for each, name in
            ((people, "id"), (pets, "id"), (pets, "person_id"), (toys, "pet_id"))} == {"bigint"}  # fmt: skip
    assert set(pets.columns) == {"id", "person_id"}
    assert (people.key_columns(), pets.key_columns()) == (("id",), ("id",))
    assert not any(each.not_valid for table in (people, pets, toys) for each in table.constraints)
    keys = {each.name: each for each in [*people.constraints, *pets.constraints, *toys.constraints]}
    assert (keys["owner"].on_delete, keys["owner"].referred_table) == ("CASCADE", "people")
    assert "DEFERRABLE" in keys["owner"].text
    assert keys["toys_pet_id_code_key"].columns == ("pet_id", "code")
    assert keys["people_boss_fkey"].columns == ("boss",)
    await run(manager, "INSERT INTO people (age) VALUES (1); INSERT INTO pets (person_id) VALUES (1)", "postgresql")
    assert await ask(manager, "SELECT max(id) FROM people") == ROWS + 1
    assert await ask(manager, "SELECT max(id) FROM pets") == ROWS + 1
    await run(manager, "SELECT setval('people_id_seq', 3000000000); INSERT INTO people (age) VALUES (1)", "postgresql")
    assert await ask(manager, "SELECT max(id) FROM people") == 3_000_000_001


MONGODB_UNSAFE = """
    await op.transform("people", {}, {"$rename": {"name": "full_name"}})
    await op.transform("people", {"x": 1}, {"$unset": {"gone": ""}})
    await op.transform("people", {"x": 1}, [{"$set": {"age": {"$toLong": "$age"}}}])
    await op.set_validator("people", {"required": ["state"], "properties": {"state": {"bsonType": "string"}}})
    await op.create_index("people", "mail", unique=True)
"""


async def test_recipes_of_mongodb(mongodb: MongoDBServer, project: Project) -> None:
    url = re.sub(r"/[^/?]*(?=[?]|$)", f"/lint_{secrets.token_hex(4)}", mongodb.url)
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(url)
    people = client.get_default_database()["people"]
    try:
        documents = [{"name": f"n{i}", "gone": 1, "age": str(i), "mail": f"m{i}", "x": 1} for i in range(30)]
        await people.insert_many([*documents, {"mail": "m0", "age": None}])
        async with project.manager(url, template="mongodb") as manager:
            version = await project.write(manager, "unsafe", MONGODB_UNSAFE.strip())
            report = await lint_plan(manager)
            recipes = [recipe_for(each, report.facts) for each in report.blocking]
            assert [each.line is not None and each.command for each in report.blocking] == [
                f"sillar lint {version} --write-recipe {each.rule}" for each in report.blocking
            ]
            (project.folder / manager.scripts.get(version).place).unlink()
        async with project.manager(url, template="mongodb") as manager:
            await project.write_recipes(manager, [each for each in recipes if each is not None])
            report = await lint_plan(manager)
            assert not report.unacknowledged, "\n".join(map(str, report.unacknowledged))
            with pytest.raises(MigrationFailedError, match="1 are left that verify= finds"):
                await manager.apply_migrations()
            await people.delete_one({"mail": "m0", "age": None})
            await manager.apply_migrations()
        after = await people.find().to_list()
        assert {frozenset(each) for each in after} == {frozenset(("_id", "full_name", "age", "mail", "x", "state"))}
        assert sorted(each["age"] for each in after) == list(range(30))
        assert (await people.index_information())["mail_1"]["unique"]
        assert "people_mail_1_twice" not in await people.database.list_collection_names()
        with pytest.raises(WriteError):
            await people.insert_one({"mail": "new"})
    finally:
        await client.drop_database(people.database.name)
        await client.close()


def test_no_recipe_where_something_holds_on_to_the_column() -> None:
    def written(schema: str, sql: str) -> Recipe | None:
        actions = [read_statement_action(each.sql, "postgresql") for each in planned_statements(schema, "postgresql")]
        facts = facts_from(actions, version=(15, 0))
        return recipe_for(lint(planned_statements(sql, "postgresql"), dialect="postgresql", facts=facts)[0], facts)

    table = "CREATE TABLE t (id bigint PRIMARY KEY, a integer NOT NULL, b integer);"
    change, rename = "ALTER TABLE t ALTER COLUMN a TYPE bigint", "ALTER TABLE t RENAME COLUMN a TO c"
    assert written(table, change) is not None
    assert written(table, rename) is not None
    for holds in (
        "CREATE VIEW v AS SELECT a FROM t",
        "CREATE POLICY p ON t USING (a > 1)",
        "ALTER TABLE t ADD CONSTRAINT e EXCLUDE USING gist (a WITH =)",
        "ALTER TABLE t ADD CHECK (a > 0 OR b::text = 'a')",
    ):
        assert written(table + holds, change) is None, holds
    assert written(table + "CREATE VIEW v AS SELECT a FROM t", rename) is None
    keyless = "CREATE TABLE t (a integer)"
    assert written(keyless, change) is None  # batches go along a key
    parted = "CREATE TABLE t (a integer) PARTITION BY RANGE (a)"
    assert written(parted, "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u (id)") is None
