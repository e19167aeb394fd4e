"""One record, written to and read from every engine: what comes back is the same."""

from __future__ import annotations

from pathlib import Path

from tests.conformance.mongodb_subject import MongoDBSubject
from tests.conformance.mysql_subject import MySQLSubject
from tests.conformance.postgresql_subject import PostgreSQLSubject
from tests.conformance.sqlite_subject import SQLiteSubject

from sillar import DatabaseManager
from sillar.testing.conformance import COLUMNS, DEFINITION, SPECIMENS, Specimen, SQLSubject
from sillar.testing.servers import MariaDBServer, MongoDBServer, MySQLServer, PostgreSQLServer

ROWS = [tuple(getattr(each, name) for name in COLUMNS) for each in SPECIMENS]


async def by_sql(subject: SQLSubject) -> list[Specimen]:
    async with DatabaseManager(subject.config()) as manager:
        session = manager.session()
        await session.execute("DROP TABLE IF EXISTS specimens")
        await session.execute(f"CREATE TABLE specimens ({DEFINITION.format_map(subject.types)})")
        await session.bulk_insert("specimens", COLUMNS, ROWS)
        try:
            return await session.fetch_all("SELECT * FROM specimens ORDER BY id", into=Specimen)
        finally:
            await session.execute("DROP TABLE specimens")


async def by_documents(subject: MongoDBSubject) -> list[Specimen]:
    async with DatabaseManager(subject.config()) as manager:
        documents = manager.session().documents("specimens")
        await documents.drop()
        await manager.session().bulk_insert("specimens", COLUMNS, ROWS)
        try:
            return await documents.find({}, sort=[("id", 1)], into=Specimen)
        finally:
            await documents.drop()


async def test_all_engines_give_equal_objects(
    postgresql: PostgreSQLServer,
    postgresql18: PostgreSQLServer,
    mariadb: MariaDBServer,
    mysql: MySQLServer,
    mongodb: MongoDBServer,
    tmp_path: Path,
) -> None:
    found = {
        "postgresql": await by_sql(PostgreSQLSubject(postgresql, "postgresql")),
        "postgresql18": await by_sql(PostgreSQLSubject(postgresql18, "postgresql18")),
        "mariadb": await by_sql(MySQLSubject(mariadb, "mariadb")),
        "mysql": await by_sql(MySQLSubject(mysql, "mysql")),
        "sqlite": await by_sql(SQLiteSubject(str(tmp_path / "specimens.db"), "sqlite")),
        "memory": await by_sql(SQLiteSubject(":memory:", "memory")),
        "mongodb": await by_documents(MongoDBSubject(mongodb, "mongodb")),
    }
    for name, specimens in found.items():
        assert specimens == found["sqlite"] == list(SPECIMENS), name
