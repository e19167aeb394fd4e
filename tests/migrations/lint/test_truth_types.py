"""What the lint says of every change from one type to another, against what PostgreSQL does."""

from __future__ import annotations

import asyncpg
import pytest

from sillar.migrations.lint.postgresql.alterations import POSTGRESQL
from sillar.migrations.lint.postgresql.casts import type_change
from sillar.migrations.lint.types import type_from_text
from sillar.testing.servers import PostgreSQLServer

TYPES = [
    "smallint", "integer", "bigint", "oid", "regclass", "real", "numeric", "numeric(8,2)", "numeric(12,2)",
    "numeric(12,4)", "numeric(6,2)", "boolean", "text", "varchar", "varchar(20)", "varchar(50)", "char(5)", "char(8)",
    "date", "timestamp", "timestamp(3)", "timestamptz", "timestamptz(3)", "time", "time(3)", "interval",
    "interval(3)", "json", "jsonb", "uuid", "xml", "inet", "cidr", "bit(8)", "varbit", "varbit(8)", "varbit(16)",
    "text[]", "varchar(20)[]", "integer[]", "lint_mood",
]  # fmt: skip
COST = """
CREATE FUNCTION pg_temp.costs(old text, kinds text[]) RETURNS TABLE (new text, how text, cost text)
LANGUAGE plpgsql AS $$
DECLARE before oid; before_index oid; after oid; after_index oid;
BEGIN
    EXECUTE format('CREATE TEMP TABLE lint_t (c %s)', old);
    IF old NOT IN ('json', 'xml') THEN CREATE INDEX lint_i ON lint_t (c); END IF;
    SELECT relfilenode INTO before FROM pg_class WHERE relname = 'lint_t';
    SELECT relfilenode INTO before_index FROM pg_class WHERE relname = 'lint_i';
    FOREACH new IN ARRAY kinds LOOP
        cost := NULL;
        FOREACH how IN ARRAY ARRAY['', format('c::%s', new)] LOOP
            CONTINUE WHEN cost IS NOT NULL;
            BEGIN
                EXECUTE format('ALTER TABLE lint_t ALTER c TYPE %s', new)
                    || CASE WHEN how = '' THEN '' ELSE ' USING ' || how END;
                SELECT relfilenode INTO after FROM pg_class WHERE relname = 'lint_t';
                SELECT relfilenode INTO after_index FROM pg_class WHERE relname = 'lint_i';
                cost := CASE WHEN before <> after THEN 'REWRITE'
                        WHEN before_index IS DISTINCT FROM after_index THEN 'INDEXES' ELSE 'FREE' END;
                RETURN NEXT;
                RAISE EXCEPTION 'undo it';
            EXCEPTION WHEN OTHERS THEN NULL; -- undone, or there is no such cast
            END;
        END LOOP;
    END LOOP;
    DROP TABLE lint_t;
END $$
"""


@pytest.mark.parametrize("zone", ["UTC", "Europe/Madrid"])
async def test_every_change_of_type(postgresql: PostgreSQLServer, zone: str) -> None:
    connection = await asyncpg.connect(postgresql.superuser_url)
    try:
        await connection.execute("DROP TYPE IF EXISTS lint_mood; CREATE TYPE lint_mood AS ENUM ('a')")
        await connection.execute(f"SET timezone = '{zone}'")
        await connection.execute(COST)
        wrong: list[str] = []
        compared = 0
        for old in TYPES if zone == "UTC" else ["timestamp", "timestamptz", "timestamp(3)"]:
            for row in await connection.fetch("SELECT * FROM pg_temp.costs($1, $2)", old, TYPES):
                using, truth = row["how"], row["cost"]
                before, after = type_from_text(old, POSTGRESQL), type_from_text(row["new"], POSTGRESQL)
                assert after is not None
                said = type_change(before, after, column="c", using=using, time_zone=zone).name
                compared += 1
                if said != truth:
                    wrong.append(f"{old} to {row['new']}: {truth}, and the lint says {said}")
        await connection.execute("DROP TYPE lint_mood")
    finally:
        await connection.close()
    assert not wrong, "\n".join(wrong)
    assert compared > (500 if zone == "UTC" else 15)
    print(f"{compared} changes of type in {zone}")
