"""What PostgreSQL's catalogue says of views, functions, policies, sequences and enum types."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, text

from sillar.migrations.autogenerate.catalog.objects import (
    LiveColumn,
    LiveEnum,
    LiveFunction,
    LivePolicy,
    LiveView,
)

_SCHEMA: Final = "n.nspname = COALESCE(:schema, current_schema())"
_FOREIGN: Final = (
    "NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = '{0}'::regclass AND d.objid = {1}.oid AND d.deptype = 'e')"
)
_VIEWS: Final = text(
    "SELECT c.relname, pg_get_viewdef(c.oid), c.relkind = 'm',"  # noqa: S608
    " ARRAY(SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = c.oid ORDER BY indexrelid)"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    f" WHERE c.relkind IN ('v', 'm') AND {_SCHEMA} AND {_FOREIGN.format('pg_class', 'c')}"
)
_FUNCTION: Final = (
    "SELECT p.proname, pg_get_function_identity_arguments(p.oid) AS identity, pg_get_function_arguments(p.oid),"
    " pg_get_function_result(p.oid), l.lanname, p.prosrc, p.provolatile::text, p.proisstrict, p.prosecdef,"
    " p.proparallel::text, p.proconfig, pg_get_function_sqlbody(p.oid), pg_get_functiondef(p.oid)"
    " FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang"
)
_FUNCTIONS: Final = text(
    f"{_FUNCTION} WHERE p.prokind = 'f' AND l.lanname NOT IN ('c', 'internal') AND {_SCHEMA}"
    f" AND {_FOREIGN.format('pg_proc', 'p')}"
)
_OWN_FUNCTION: Final = text(f"{_FUNCTION} WHERE p.pronamespace = pg_my_temp_schema() AND p.proname = :name")
_POLICIES: Final = text(
    "SELECT tablename, policyname, permissive, cmd, roles::text[], qual, with_check FROM pg_policies"
    " WHERE schemaname = COALESCE(:schema, current_schema())"
)
_OWN_POLICIES: Final = text(
    "SELECT tablename, policyname, permissive, cmd, roles::text[], qual, with_check FROM pg_policies"
    " WHERE schemaname = (SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema())"
)
_SECURITY: Final = text(
    "SELECT c.relname, c.relforcerowsecurity FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"  # noqa: S608
    f" WHERE c.relrowsecurity AND {_SCHEMA}"
)
_SEQUENCES: Final = text(
    "SELECT c.relname, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcycle, s.seqcache,"  # noqa: S608
    " format_type(s.seqtypid, NULL)"
    " FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
    f" WHERE {_SCHEMA} AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass"
    " AND d.objid = c.oid AND d.deptype IN ('a', 'i', 'e'))"
)
_OWNED: Final = text(
    "SELECT t.relname, a.attname FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'"  # noqa: S608
    " JOIN pg_class t ON t.oid = d.refobjid JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid"
    " JOIN pg_namespace n ON n.oid = t.relnamespace WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'a'"
    f" AND d.refclassid = 'pg_class'::regclass AND {_SCHEMA}"
)
_ENUMS: Final = text(
    "SELECT t.typname, ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = t.oid ORDER BY enumsortorder)"  # noqa: S608
    " FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace"
    f" WHERE t.typtype = 'e' AND {_SCHEMA} AND {_FOREIGN.format('pg_type', 't')}"
)
_ENUM_FROM: Final = (
    " FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')"
    " JOIN pg_namespace s ON s.oid = c.relnamespace"
    " JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'"
    " JOIN pg_namespace n ON n.oid = t.typnamespace"
)
_ENUM_WHERE: Final = f" WHERE NOT a.attisdropped AND 'e' IN (t.typtype, e.typtype) AND {_SCHEMA}"
_ENUM_COLUMNS: Final = text(
    "SELECT COALESCE(e.typname, t.typname), a.attrelid::regclass::text, s.nspname, c.relname, a.attname,"
    f" e.oid IS NOT NULL, pg_get_expr(d.adbin, d.adrelid){_ENUM_FROM}"
    f" LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum{_ENUM_WHERE}"
)
_ENUM_CHECKS: Final = text(
    "SELECT DISTINCT COALESCE(e.typname, t.typname), a.attrelid::regclass::text, quote_ident(k.conname),"
    f" pg_get_constraintdef(k.oid){_ENUM_FROM}"
    f" JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'c' AND a.attnum = ANY (k.conkey){_ENUM_WHERE}"
)
_ENUM_INDEXES: Final = text(
    "SELECT DISTINCT COALESCE(e.typname, t.typname), x.indexrelid::regclass::text, pg_get_indexdef(x.indexrelid)"
    f"{_ENUM_FROM} JOIN pg_index x ON x.indrelid = c.oid AND (x.indpred IS NOT NULL OR x.indexprs IS NOT NULL)"
    " JOIN pg_depend p ON p.classid = 'pg_class'::regclass AND p.objid = x.indexrelid AND p.refobjid = c.oid"
    f" AND p.refobjsubid = a.attnum{_ENUM_WHERE}"
)


def live_views(connection: Connection, schema: str | None) -> dict[str, LiveView]:
    """Views and materialised views of a schema."""
    return {
        row[0]: LiveView(row[0], row[1].strip().rstrip(";"), row[2], tuple(row[3]))
        for row in connection.execute(_VIEWS, {"schema": schema})
    }


def _function(row: Any) -> LiveFunction:
    name, identity, arguments, result, language, source, *rest, body, created = row
    settings = tuple(rest[-1] or ())
    return LiveFunction(
        name, identity, (arguments, result), (language, source, *rest[:-1], settings, body), created.rstrip()
    )


def live_functions(connection: Connection, schema: str | None) -> dict[tuple[str, str], LiveFunction]:
    """Functions of a schema, by name and types of arguments, without those of extensions."""
    rows = connection.execute(_FUNCTIONS, {"schema": schema})
    return {(each.name, each.identity): each for each in map(_function, rows)}


def own_function(connection: Connection, name: str) -> LiveFunction:
    """A function of this session alone."""
    return _function(connection.execute(_OWN_FUNCTION, {"name": name}).one())


def live_policies(connection: Connection, schema: str | None, *, own: bool = False) -> dict[str, dict[str, LivePolicy]]:
    """Policies by table and name; ``own``: those of this session's temporary tables."""
    rows = connection.execute(_OWN_POLICIES) if own else connection.execute(_POLICIES, {"schema": schema})
    found: dict[str, dict[str, LivePolicy]] = {}
    for table, name, permissive, command, roles, using, check in rows:
        policy = LivePolicy(name, permissive == "PERMISSIVE", command, tuple(sorted(roles)), using, check)
        found.setdefault(table, {})[name] = policy
    return found


def live_row_security(connection: Connection, schema: str | None) -> dict[str, bool]:
    """Tables that have row security → whether it is forced."""
    return {row[0]: row[1] for row in connection.execute(_SECURITY, {"schema": schema})}


def live_sequences(connection: Connection, schema: str | None) -> dict[str, dict[str, Any]]:
    """Sequences that no column owns."""
    names = ("start", "increment", "minvalue", "maxvalue", "cycle", "cache", "type")
    return {
        row[0]: dict(zip(names, row[1:], strict=True)) for row in connection.execute(_SEQUENCES, {"schema": schema})
    }


def serial_columns(connection: Connection, schema: str | None) -> set[tuple[str, str]]:
    """Table and column that a sequence belongs to."""
    return {(row[0], row[1]) for row in connection.execute(_OWNED, {"schema": schema})}


def live_enums(connection: Connection, schema: str | None) -> dict[str, LiveEnum]:
    """Enum types of a schema, with what has them and what depends on their values."""
    found = {row[0]: tuple(row[1]) for row in connection.execute(_ENUMS, {"schema": schema})}
    if not found:
        return {}
    columns: dict[str, list[LiveColumn]] = {}
    for name, table, place, relation, column, is_array, default in connection.execute(
        _ENUM_COLUMNS, {"schema": schema}
    ):
        columns.setdefault(name, []).append(LiveColumn(table, (place, relation), column, is_array, default))
    dependents: dict[str, list[tuple[str, str]]] = {}
    for name, table, check, definition in connection.execute(_ENUM_CHECKS, {"schema": schema}):
        change = f"ALTER TABLE {table}"
        dependents.setdefault(name, []).append(
            (f"{change} DROP CONSTRAINT {check}", f"{change} ADD CONSTRAINT {check} {definition}")
        )
    for name, index, definition in connection.execute(_ENUM_INDEXES, {"schema": schema}):
        dependents.setdefault(name, []).append((f"DROP INDEX {index}", definition))
    return {
        name: LiveEnum(labels, tuple(columns.get(name, ())), tuple(dependents.get(name, ())))
        for name, labels in found.items()
    }
