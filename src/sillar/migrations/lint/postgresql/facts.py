"""What a PostgreSQL server says of its tables. Sizes are the planner's estimates; no table is read."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from sillar.migrations.lint.cursor import Cursor, UnreadableError
from sillar.migrations.lint.definitions import read_constraint
from sillar.migrations.lint.facts import TableFact, TableFacts, fold
from sillar.migrations.lint.model import Column, Constraint, CreateIndex
from sillar.migrations.lint.postgresql.alterations import POSTGRESQL
from sillar.migrations.lint.reader import read_statement
from sillar.migrations.lint.types import type_from_text

ROW_BYTES_MIN = 28  # of an empty row with its line pointer
_OURS = "n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'"
_TABLES = f"""
SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.reltuples, c.relpages, pg_relation_size(c.oid) AS bytes,
       current_setting('block_size')::int AS block, i.inhparent
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
WHERE c.relkind IN ('r', 'p', 'm') AND {_OURS}
"""  # noqa: S608 (names of ours)
_COLUMNS = f"""
SELECT a.attrelid, a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull, a.attidentity::text,
       a.attgenerated::text, pg_get_expr(d.adbin, d.adrelid) AS default, l.collname
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_collation l ON l.oid = a.attcollation AND l.collname <> 'default'
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'm') AND {_OURS}
ORDER BY a.attrelid, a.attnum
"""  # noqa: S608 (names of ours)
_CONSTRAINTS = f"""
SELECT o.conrelid, o.conname, pg_get_constraintdef(o.oid) AS definition
FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE o.contype IN ('c', 'f', 'p', 'u', 'n', 'x') AND {_OURS}
"""  # noqa: S608 (names of ours)
_INDEXES = f"""
SELECT x.indrelid, pg_get_indexdef(x.indexrelid) AS definition
FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_OURS}
"""  # noqa: S608 (names of ours)
_NAMES = f"""
SELECT 'trigger' AS what, t.tgrelid AS oid, t.tgname AS name, '' AS value
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND {_OURS}
UNION ALL SELECT 'policy', p.polrelid, p.polname, '' FROM pg_policy p
UNION ALL SELECT 'view', c.oid, c.relname, pg_get_viewdef(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'v' AND {_OURS}
"""  # noqa: S608 (names of ours)
_ENUMS = """
SELECT t.typname, e.enumlabel FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid ORDER BY t.typname, e.enumsortorder
"""
_DOMAINS = """
SELECT t.typname FROM pg_type t WHERE t.typtype = 'd'
AND (t.typnotnull OR EXISTS (SELECT FROM pg_constraint o WHERE o.contypid = t.oid))
"""
_DEFAULT_PARTITIONS = "SELECT partrelid, partdefid FROM pg_partitioned_table WHERE partdefid <> 0"
_SESSION = (
    "SELECT current_setting('server_version_num')::int, current_setting('TimeZone'), current_schemas(false)::text[]"
)


def read_postgresql(connection: sa.Connection) -> TableFacts:
    """Read what the server knows of all tables.

    Args:
        connection: any that may read the catalogue.
    """
    number, zone, schemas = connection.exec_driver_sql(_SESSION).one()
    facts = TableFacts(version=(number // 10000, number % 10000), time_zone=zone, schemas=tuple(map(fold, schemas)))
    tables = _tables(connection, facts)
    for oid, name, type_, not_null, identity, generated, default, collation in connection.exec_driver_sql(_COLUMNS):
        if oid not in tables:
            continue
        read = type_from_text(type_ if collation is None else f'{type_} COLLATE "{collation}"', POSTGRESQL)
        stored = {"s": "stored", "v": "virtual"}.get(generated)
        tables[oid].columns[fold(name)] = Column(name, read, not_null, default, (), stored, bool(identity))
    for oid, name, definition in connection.exec_driver_sql(_CONSTRAINTS):
        constraint = _constraint(definition)
        if oid in tables and constraint is not None:
            tables[oid].constraints.append(
                Constraint(
                    constraint.kind, name, constraint.columns, constraint.expression, constraint.referred_table,
                    constraint.referred_columns, constraint.on_delete, constraint.not_valid, text=constraint.text,
                )
            )  # fmt: skip
    for oid, definition in connection.exec_driver_sql(_INDEXES):
        action = read_statement(definition, POSTGRESQL).action
        if oid in tables and isinstance(action, CreateIndex):
            tables[oid].indexes[fold(action.index.name or "")] = action.index
    for what, oid, name, value in connection.exec_driver_sql(_NAMES):
        if what == "view":
            facts.views[fold(name)] = value
        elif oid in tables:
            (tables[oid].triggers if what == "trigger" else tables[oid].policies).add(name)
    for type_name, value in connection.exec_driver_sql(_ENUMS):
        facts.enums[fold(type_name)] = (*facts.enums.get(fold(type_name), ()), value)
    facts.domains = {fold(name) for (name,) in connection.exec_driver_sql(_DOMAINS)}
    for parent, default in connection.exec_driver_sql(_DEFAULT_PARTITIONS):
        if parent in tables and default in tables:
            tables[parent].default_partition = tables[default].name
    return facts


def _tables(connection: sa.Connection, facts: TableFacts) -> dict[int, TableFact]:
    """The tables by their OID; a partitioned one is as large as its partitions."""
    tables: dict[int, TableFact] = {}
    parents: dict[int, int] = {}
    for oid, schema, name, kind, tuples, pages, size, block, parent in connection.exec_driver_sql(_TABLES):
        full = name if fold(schema) in facts.schemas else f"{schema}.{name}"
        rows = 0 if kind == "p" else _rows(tuples, pages, size, block)
        tables[oid] = facts.tables[fold(full)] = TableFact(full, rows, size, partitioned=kind == "p")
        if parent is not None:
            parents[oid] = parent
    for oid in list(parents):
        fact, above = tables[oid], parents.get(oid)
        while above in tables:
            over = tables[above]
            if not fact.partitioned:
                over.rows, over.bytes = (over.rows or 0) + (fact.rows or 0), (over.bytes or 0) + (fact.bytes or 0)
            above = parents.get(above)
    return tables


def _rows(tuples: float, pages: int, size: int, block: int) -> int:
    """Rows as the planner estimates them: the density at the last ANALYZE, for the size of today.

    One that was never analysed has as many as fit into it at most: better called large than small.
    """
    if tuples < 0 or (pages == 0 and size > 0):
        return size // ROW_BYTES_MIN
    return round(tuples / pages * (size / block)) if pages else 0


def _constraint(definition: str) -> Any:
    try:
        return read_constraint(Cursor(definition, POSTGRESQL))
    except UnreadableError:
        return None
