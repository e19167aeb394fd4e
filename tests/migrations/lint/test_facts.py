"""What the lint reads from live servers."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from tests.migrations.lint.conftest import Project, database_on

from sillar import DatabaseManager, load_config
from sillar.errors import UsageError
from sillar.migrations import MigrationManager
from sillar.migrations.lint import (
    Severity,
    TableFact,
    TableFacts,
    dialect_of,
    lint,
    lint_plan,
    planned_statements,
    read_facts,
)
from sillar.testing.servers import MariaDBServer, MongoDBServer, MySQLServer, PostgreSQLServer


async def facts_on(url: str, script: str) -> TableFacts:
    engine = create_async_engine(url)
    dialect = "postgresql" if "postgresql" in url else "mysql"
    try:
        async with engine.connect() as connection:
            for each in planned_statements(script, dialect):
                await connection.exec_driver_sql(each.sql)
            await connection.commit()
            return await connection.run_sync(read_facts)
    finally:
        await engine.dispose()


async def test_postgresql(postgresql18: PostgreSQLServer) -> None:
    script = """
        CREATE SCHEMA archive;
        CREATE TYPE mood AS ENUM ('sad', 'ok');
        CREATE TABLE teams (id bigint PRIMARY KEY);
        CREATE TABLE users (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "Email" varchar(40) COLLATE "C" NOT NULL DEFAULT 'x',
            mood mood, tags text[], price numeric(8, 2), seen timestamptz(3), older int GENERATED ALWAYS AS (2) STORED,
            team_id bigint REFERENCES teams ON DELETE CASCADE, CONSTRAINT priced CHECK (price IS NOT NULL)
        );
        ALTER TABLE users ADD CONSTRAINT later CHECK (price > 0) NOT VALID;
        CREATE UNIQUE INDEX users_low ON users (lower("Email")) WHERE price > 1;
        CREATE VIEW cheap AS SELECT id FROM users WHERE price < 1;
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;
        CREATE TRIGGER touched BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION f();
        CREATE POLICY own ON users USING (true);
        CREATE TABLE logs (at date NOT NULL) PARTITION BY RANGE (at);
        CREATE TABLE logs_2020 PARTITION OF logs FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
        CREATE TABLE archive.old (id int);
        CREATE TABLE fresh (id int);
        INSERT INTO logs_2020 SELECT '2020-02-02' FROM generate_series(1, 2000);
        ANALYZE logs_2020;
        INSERT INTO teams SELECT generate_series(1, 1000);
        ANALYZE teams;
        INSERT INTO teams SELECT generate_series(1001, 3000);
    """
    async with database_on(postgresql18) as url:
        facts = await facts_on(url.replace("postgresql://", "postgresql+asyncpg://"), script)
    assert facts.version[0] == 18
    assert facts.enums == {"mood": ("sad", "ok")}
    assert set(facts.tables) == {"teams", "users", "logs", "logs_2020", "archive.old", "fresh"}
    users = facts.table("public.users")
    assert users is not None
    types = {name: str(column.type) for name, column in users.columns.items()}
    assert types["email"] == "varchar(40)"
    assert types["tags"] == "text[]"
    assert types["price"] == "numeric(8, 2)"
    assert types["seen"] == "timestamptz(3)"
    email, older = users.columns["email"], users.columns["older"]
    assert email.type is not None
    assert (email.name, email.not_null, email.type.collation) == ("Email", True, "C")
    assert older.generated == "stored"
    assert users.columns["id"].identity
    keys = {each.name: each for each in users.constraints}
    assert keys["later"].not_valid
    assert not keys["priced"].not_valid
    assert keys["users_team_id_fkey"].on_delete == "CASCADE"
    assert users.proves_not_null("price")
    assert not users.proves_not_null("mood")
    assert users.indexes["users_low"].unique
    assert (users.triggers, users.policies) == ({"touched"}, {"own"})
    assert "cheap" in facts.views
    assert facts.tables["logs"].partitioned
    assert facts.tables["logs"].rows == 2000
    teams = facts.tables["teams"]
    assert teams.rows is not None
    assert 2500 <= teams.rows <= 3600  # the density at the last ANALYZE, for the size of today
    assert facts.tables["fresh"].rows == 0
    assert facts.tables["archive.old"].rows == 0


MYSQL = """
    CREATE TABLE teams (id bigint PRIMARY KEY) CHARSET=latin1;
    CREATE TABLE users (
        id bigint AUTO_INCREMENT PRIMARY KEY, email varchar(40) NOT NULL, mood enum('a', 'b'), older int AS (2) STORED,
        team_id bigint, KEY users_mail (email(10)), CONSTRAINT of_team FOREIGN KEY (team_id) REFERENCES teams (id)
    ) CHARSET=utf8mb4;
    CREATE VIEW mails AS SELECT email FROM users;
    CREATE TRIGGER touched BEFORE UPDATE ON users FOR EACH ROW SET NEW.email = 'x';
    CREATE TABLE parts (id bigint PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 2;
    INSERT INTO teams VALUES (1), (2), (3);
    ANALYZE TABLE teams;
"""


def check_mysql(facts: TableFacts) -> None:
    users = facts.table("users")
    assert users is not None
    assert set(facts.tables) == {"teams", "users", "parts"}
    assert (users.charset, facts.tables["teams"].charset) == ("utf8mb4", "latin1")
    assert str(users.columns["email"].type) == "varchar(40)"
    assert users.columns["email"].not_null
    assert str(users.columns["mood"].type) == "enum('a', 'b')"
    assert users.columns["older"].generated == "stored"
    assert users.columns["id"].identity
    assert users.key_columns() == ("id",)
    assert users.indexes["users_mail"].columns == ("email",)
    assert any(each.referred_table == "teams" for each in users.constraints)
    assert users.triggers == {"touched"}
    assert "mails" in facts.views
    assert facts.tables["teams"].rows == 3
    assert facts.tables["parts"].partitioned
    assert facts.table(f"{facts.schemas[0]}.users") is users


async def test_mysql(mysql: MySQLServer) -> None:
    async with database_on(mysql) as url:
        facts = await facts_on(re.sub(r"^\w+:", "mysql+aiomysql:", url), MYSQL)
    check_mysql(facts)
    assert facts.version >= (8,)


async def test_mariadb(mariadb: MariaDBServer) -> None:
    async with database_on(mariadb) as url:
        facts = await facts_on(re.sub(r"^\w+:", "mariadb+aiomysql:", url), MYSQL)
    check_mysql(facts)
    assert facts.version[:2] == (10, 11)


def test_mysql_reads_definitions_of_the_wanted_tables_alone(mysql_engine: sa.Engine) -> None:
    with mysql_engine.connect() as connection:
        facts = read_facts(connection, ["users"])
    assert facts.tables["users"].complete
    assert not facts.tables["teams"].complete
    assert facts.tables["teams"].rows == 3


@pytest.fixture
async def mysql_engine(mysql: MySQLServer):  # type: ignore[no-untyped-def]
    async with database_on(mysql) as url:
        await facts_on(re.sub(r"^\w+:", "mysql+aiomysql:", url), MYSQL)
        engine = sa.create_engine(re.sub(r"^\w+:", "mysql+pymysql:", url))
        yield engine
        engine.dispose()


def test_sqlite() -> None:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys = ON")
        connection.exec_driver_sql("CREATE TABLE [some teams] (id INTEGER PRIMARY KEY, name TEXT UNIQUE)")
        connection.exec_driver_sql("CREATE INDEX by_name ON [some teams] (name)")
        connection.exec_driver_sql("CREATE TRIGGER t AFTER INSERT ON [some teams] BEGIN SELECT 1; END")
        connection.exec_driver_sql("INSERT INTO [some teams] (name) VALUES ('a'), ('b')")
        facts = read_facts(connection)
        assert dialect_of(connection) == "sqlite"
    teams = facts.tables["some teams"]
    assert facts.foreign_keys
    assert (teams.rows, teams.triggers, set(teams.indexes)) == (2, {"t"}, {"by_name"})
    assert not teams.created


async def test_mongodb(mongodb: MongoDBServer, project: Project) -> None:
    url = re.sub(r"/[^/?]*(?=[?]|$)", "/lint_facts", mongodb.url)
    config = load_config(url=url, environment={})
    async with DatabaseManager(config) as databases:
        database = databases.executor().source.client.database  # type: ignore[attr-defined]
        await database.client.drop_database("lint_facts")
        await database["users"].insert_many([{"_id": i} for i in range(5)])
        manager: MigrationManager = project.manager(url, template="mongodb")
        up = "await op.create_index('users', 'a', unique=True)\n    await op.drop_collection('gone', if_exists=True)"
        await project.write(manager, "index", up)
        report = await lint_plan(manager)
        await database.client.drop_database("lint_facts")
    assert report.dialect == "mongodb"
    assert report.facts is not None
    assert report.facts.tables["users"].rows == 5
    found = [(each.rule, each.table) for each in report.findings]
    assert found == [
        ("unique-index-on-existing-data", "users"), ("index-on-large-collection", "users"), ("drop-collection", "gone"),
    ]  # fmt: skip
    assert "about 5 rows" in report.findings[0].message


def test_a_dialect_that_nobody_knows() -> None:
    with pytest.raises(UsageError, match="has no rules for 'oracle'"):
        lint([], dialect="oracle")
    mock = sa.create_mock_engine("mssql+pyodbc://", lambda *_: None)
    with pytest.raises(UsageError, match="cannot read the tables of 'mssql'"):
        read_facts(mock)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "severity", "words"),
    [
        (None, Severity.ERROR, "size not known"),
        (5_000_000, Severity.ERROR, "about 5,000,000 rows, 477 MB"),
        (20_000, Severity.WARNING, "about 20,000 rows"),
        (999, None, ""),
    ],
)
def test_the_size_of_the_table_counts(rows: int | None, severity: Severity | None, words: str) -> None:
    facts = TableFacts(tables={"t": TableFact("t", rows, 500_000_000)})
    found = lint(planned_statements("CREATE INDEX i ON t (a)", "postgresql"), dialect="postgresql", facts=facts)
    assert [each.severity for each in found] == ([severity] if severity else [])
    assert all(words in each.message for each in found)
