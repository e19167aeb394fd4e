"""The schema of an SQL database, read through SQLAlchemy's inspector and the engine's own words for types."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, inspect
from sqlalchemy.exc import SAWarning

from sillar.errors import UsageError
from sillar.migrations.copying.dialects.dialect import Dialect
from sillar.migrations.copying.model import Check, Column, ForeignKey, Index, Kind, Table

_NEXT: Final = re.compile(r"nextval\(", re.IGNORECASE)
_VALIDITY: Final = re.compile(r"\W*json_valid\W+(\w+)\W*", re.IGNORECASE)


def reflected(
    connection: Connection,
    names: Sequence[str],
    dialect: Dialect,
    natives: Mapping[tuple[str, str], Any],
    unseen: Mapping[str, Sequence[Index]],
) -> list[Table]:
    """The tables of these names, in their order. Runs in ``run_sync``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)  # of types that it does not know, and whose words the dialect has
        inspector = inspect(connection)
        return [_table(inspector, name, dialect, natives, unseen.get(name, ())) for name in names]


def _table(
    inspector: Any, name: str, dialect: Dialect, natives: Mapping[tuple[str, str], Any], unseen: Sequence[Index]
) -> Table:
    key = inspector.get_pk_constraint(name)
    columns = [_column(name, each, dialect, natives, key) for each in inspector.get_columns(name)]
    checks, as_json = _checks(inspector, name)
    columns = [
        column.typed(dialect.column_type(_JSON, "json", None)) if column.name in as_json else column
        for column in columns
    ]
    return Table(
        name,
        tuple(columns),
        tuple(key["constrained_columns"]),
        _all_indexes(inspector, name, inspector.bind.dialect.name, unseen),
        checks,
        tuple(_foreign_keys(inspector, name)),
        _comment(inspector, name),
    )


def foreign_key_names(connection: Connection, name: str) -> set[tuple[str, ...]]:
    """The columns of each foreign key of a table."""
    return {tuple(each["constrained_columns"]) for each in inspect(connection).get_foreign_keys(name)}


def _column(table: str, given: Any, dialect: Dialect, natives: Mapping[tuple[str, str], Any], key: Any) -> Column:
    if (table, given["name"]) not in natives:  # SQLAlchemy doubles a quote in a name of MySQL's
        where = f"the column {given['name']} of {table}"
        raise UsageError(f"{where} cannot be read by its name; rename it, or leave the table out (--exclude)")
    native, collation, *generated = natives[table, given["name"]]
    kind = dialect.column_type(given["type"], native, collation or getattr(given["type"], "collation", None))
    default = given.get("default")
    numbered = default is not None and _NEXT.match(default) is not None
    alone = list(key["constrained_columns"]) == [given["name"]] and native.upper() == "INTEGER"
    identity = bool(
        given.get("identity") or numbered or given.get("autoincrement") is True or (alone and not dialect.identity)
    )
    computed = given.get("computed")
    return Column(
        given["name"],
        kind,
        nullable=bool(given["nullable"]),
        default=None if identity else default,
        identity=identity and kind.kind is Kind.INTEGER,
        computed=generated[0] if generated else None if computed is None else str(computed["sqltext"]),
        comment=given.get("comment") or None,
        collation=collation,
    )


def _checks(inspector: Any, name: str) -> tuple[tuple[Check, ...], set[str]]:
    """The checks, and the columns that one of them declares to be JSON (MariaDB's JSON is text with such a check)."""
    checks, as_json = [], set()
    for each in inspector.get_check_constraints(name):
        validity = _VALIDITY.fullmatch(each["sqltext"])
        if validity is not None:
            as_json.add(validity[1])
        else:
            checks.append(Check(each["name"], each["sqltext"]))
    return tuple(checks), as_json


def _all_indexes(inspector: Any, name: str, engine: str, unseen: Sequence[Index]) -> tuple[Index, ...]:
    found = _indexes(inspector, name, engine)
    known = {(index.parts, index.unique) for index in found if not index.where and not index.expressions}
    return (*found, *(index for index in unseen if index.expressions or (index.parts, True) not in known))


def _indexes(inspector: Any, name: str, engine: str) -> list[Index]:
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)  # of what it does not see, and the dialect has found
        constraints, indexes = inspector.get_unique_constraints(name), inspector.get_indexes(name)
    unique = {each["name"]: each for each in constraints if each["name"]}
    for each in indexes:
        options = each.get("dialect_options", {})
        where = options.get(f"{engine}_where")
        constraint = each["name"] in unique or each.get("duplicates_constraint") in unique
        unique.pop(each["name"], None)
        unique.pop(each.get("duplicates_constraint"), None)
        parts = tuple(each["column_names"])
        expressions = tuple(
            expression
            for expression, part in zip(each.get("expressions", parts), parts, strict=True)
            if part is None and expression is not None
        )
        method = options.get(f"{engine}_using") or (each.get("type") or "").lower() or None
        where = None if where is None else str(where)
        found.append(Index(each["name"], parts, bool(each["unique"]), expressions, where, constraint, method))
    for each in (*unique.values(), *(each for each in constraints if not each["name"])):
        found.append(Index(each["name"], tuple(each["column_names"]), True, constraint=True))
    return found


def _foreign_keys(inspector: Any, name: str) -> list[ForeignKey]:
    return [
        ForeignKey(
            each["name"],
            tuple(each["constrained_columns"]),
            each["referred_table"],
            tuple(each["referred_columns"]),
            each["options"].get("ondelete"),
            each["options"].get("onupdate"),
        )
        for each in inspector.get_foreign_keys(name)
    ]


def _comment(inspector: Any, name: str) -> str | None:
    try:
        comment: str | None = inspector.get_table_comment(name)["text"]
    except NotImplementedError:  # SQLite has none
        return None
    return comment


class _JSONType:
    """Stands for a column of text that a check declares to be JSON."""


_JSON: Final = _JSONType()
