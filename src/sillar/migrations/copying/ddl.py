"""Statements that define tables, and what of a definition cannot be carried."""

from __future__ import annotations

from collections.abc import Iterator

from sillar.migrations.copying.dialects.dialect import Dialect
from sillar.migrations.copying.expressions import Translation, Words, default_of, translated
from sillar.migrations.copying.model import Column, ForeignKey, Index, Kind, Table


def create_table(dialect: Dialect, table: Table, source: Words) -> Iterator[str]:
    """A table with its columns and primary key (and what its engine can only say there).

    Args:
        dialect: of the target.
        table: with the types of the target.
        source: whose expressions it has.
    """
    quoted = dialect.quoted
    for column in table.columns:
        yield from dialect.before_table(column, table.name)
    alone = table.key[0] if len(table.key) == 1 else None
    parts = []
    for column in table.columns:
        parts.append(_column(dialect, table, column, source, is_key=column.name == alone))
    if table.key:
        names = ", ".join(map(quoted, table.key))
        if not (alone is not None and table.column(alone).identity and not dialect.identity):
            parts.append(f"PRIMARY KEY ({names})")
    if dialect.inline_foreign_keys:
        parts += [_foreign_key(dialect, each) for each in table.foreign_keys]
        parts += list(_checks(dialect, table, source))
    comment = dialect.inline_comment(table.comment)
    yield f"CREATE TABLE {quoted(table.name)} (\n  {f',{chr(10)}  '.join(parts)}\n){dialect.table_options}{comment}"
    yield from dialect.comments(table.name, table.comment, table.columns)


def finish_table(dialect: Dialect, table: Table, present: Table, source: Words) -> Iterator[str]:
    """Indexes and checks, as far as they are not there."""
    there = {(index.name or "").lower() for index in present.indexes}
    covered = {index.parts for index in present.indexes if index.unique}
    for index in table.indexes:
        statement = create_index(dialect, table, index, source)
        if statement is not None and index_name(dialect, table, index).lower() not in there:
            if index.unique and index.parts in covered and None not in index.parts and not index.where:
                continue
            yield statement
    if not dialect.inline_foreign_keys:
        named = {(check.name or "").lower() for check in present.checks}
        for check, text in zip(_kept_checks(dialect, table, source), _checks(dialect, table, source), strict=True):
            if check.lower() not in named:
                yield f"ALTER TABLE {dialect.quoted(table.name)} ADD {text}"


def foreign_keys(dialect: Dialect, table: Table, present: set[tuple[str, ...]]) -> Iterator[str]:
    """The foreign keys that are not there."""
    for each in table.foreign_keys:
        if each.columns not in present:
            yield f"ALTER TABLE {dialect.quoted(table.name)} ADD {_foreign_key(dialect, each)}"


def create_index(dialect: Dialect, table: Table, index: Index, source: Words) -> str | None:
    """The statement that creates an index; None where the engine has no such index."""
    where = Translation("", None) if index.where is None else translated(index.where, source, dialect)
    expressions = [translated(each, source, dialect) for each in index.expressions]
    if where.sql is None or any(each.sql is None for each in expressions):
        return None
    if (index.where is not None and not dialect.partial_indexes) or (expressions and not dialect.expression_indexes):
        return None
    if index.method not in (None, "btree") and source.family != dialect.family:
        return None
    given = iter(expressions)
    parts = []
    for part in index.parts:
        shown = f"({next(given).sql})" if part is None else dialect.index_part(index, table.column(part))
        if shown is None:
            return None
        parts.append(shown)
    method = f" USING {index.method}" if index.method not in (None, "btree") else ""
    unique = "UNIQUE " if index.unique else ""
    name = dialect.quoted(index_name(dialect, table, index))
    suffix = f" WHERE {where.sql}" if index.where is not None else ""
    return f"CREATE {unique}INDEX {name} ON {dialect.quoted(table.name)}{method} ({', '.join(parts)}){suffix}"


def index_name(dialect: Dialect, table: Table, index: Index) -> str:
    """Its name; one that other engines share among tables gets the table's before it."""
    columns = "_".join(part or "expression" for part in index.parts)
    name = index.name if index.name and not index.name.startswith("sqlite_autoindex") else None
    if name is not None and table.name.lower() in name.lower():
        return name[: dialect.name_length_max]
    return f"{table.name}_{name or f'{columns}_idx'}"[: dialect.name_length_max]


def losses(dialect: Dialect, table: Table, source: Words) -> Iterator[tuple[str | None, str, str]]:
    """What of a definition is not carried; the table has the types and words of the source."""
    for column in table.columns:
        if column.default is not None:
            found = default_of(column, column.type, source, dialect)
            if " ON UPDATE " in column.default.upper() and source.family != dialect.family:
                yield column.name, "ON UPDATE of its default is not carried", "an update has to set the time itself"
            if found.sql is None:
                yield column.name, f"its default is not carried ({found.reason})", "new rows have to give a value"
        if column.comment and not dialect.has_comments:
            yield column.name, "the engine has no comments", "the comment is lost"
    if table.comment and not dialect.has_comments:
        yield None, "the engine has no comments", "the comment of the table is lost"
    for check in table.checks:
        found = translated(check.sql, source, dialect)
        if found.sql is None:
            yield None, f"the check {check.name or ''} is not carried ({found.reason})", "its rule is not enforced"
    for index in table.indexes:
        if create_index(dialect, table, index, source) is None:
            what = "unique index" if index.unique else "index"
            kind = "partial " if index.where else "expression " if index.expressions else f"{index.method} "
            consequence = "uniqueness is not enforced" if index.unique else "queries that used it are slower"
            yield None, f"the {kind}{what} {index.name or ''} has no equal here", consequence


def _column(dialect: Dialect, table: Table, column: Column, source: Words, *, is_key: bool) -> str:
    native = column.type.native
    if column.type.kind is Kind.ENUM and not native:
        native = dialect.enum_name(column, table.name)
    words = [dialect.quoted(column.name), native]
    if column.computed is not None:
        words.append(f"GENERATED ALWAYS AS ({translated(column.computed, source, dialect).sql}) STORED")
    if is_key and column.identity and not dialect.identity:
        words.append(f"PRIMARY KEY{dialect.numbered(table, source.family)}")
    if not column.nullable:
        words.append("NOT NULL")
    if column.identity and dialect.identity:
        words.append(dialect.identity)
    elif column.default is not None and column.computed is None:
        found = default_of(column, column.type, source, dialect)
        if found.sql is not None:
            words.append(f"DEFAULT {found.sql}")
    comment = dialect.inline_comment(column.comment)
    return " ".join(words) + comment


def _foreign_key(dialect: Dialect, key: ForeignKey) -> str:
    quoted = dialect.quoted
    name = f"CONSTRAINT {quoted(key.name)} " if key.name else ""
    ours, theirs = (", ".join(map(quoted, names)) for names in (key.columns, key.referred))
    actions = f"{f' ON DELETE {key.on_delete}' if key.on_delete else ''}" + (
        f" ON UPDATE {key.on_update}" if key.on_update else ""
    )
    return f"{name}FOREIGN KEY ({ours}) REFERENCES {quoted(key.table)} ({theirs}){actions}"


def _kept_checks(dialect: Dialect, table: Table, source: Words) -> list[str]:
    return [
        check.name or f"{table.name}_check_{number}"
        for number, check in enumerate(table.checks, 1)
        if translated(check.sql, source, dialect).sql is not None
    ]


def _checks(dialect: Dialect, table: Table, source: Words) -> Iterator[str]:
    for number, check in enumerate(table.checks, 1):
        found = translated(check.sql, source, dialect).sql
        if found is not None:
            name = check.name or f"{table.name}_check_{number}"
            yield f"CONSTRAINT {dialect.quoted(name)} CHECK ({found})"
