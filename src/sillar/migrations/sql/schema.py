"""The schema of a tenant: everything that a run does happens in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import inspect
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.schema import CreateSchema

from sillar.errors import MigrationStateError, UnsupportedCapabilityError
from sillar.migrations.sql.dialects import dialect_of


def entering(dialect: Dialect, schema: str) -> str:
    """The statement that enters a schema.

    Raises:
        UnsupportedCapabilityError: this kind of database has none.
    """
    text = dialect_of(dialect.name).enters_schema
    if text is None:
        raise UnsupportedCapabilityError(
            "schemas",
            engine=dialect.name,
            remedy="give each tenant a database of its own: migration_config.tenant_database",
        )
    return text.format(dialect.identifier_preparer.quote_identifier(schema))


class EnteredSchema:
    """The default schema of a run, as SQLAlchemy's dialect has it, which all connections of an engine share.

    Args:
        dialect: of the connection.
        schema: of the tenant; None: the default one stays.
    """

    def __init__(self, dialect: Dialect, schema: str | None) -> None:
        self._dialect, self._schema = dialect, schema
        self._before: str | None = None
        self._is_entered = False

    def enter(self) -> None:
        """Names without a schema are those of the tenant's."""
        if self._schema is not None and not self._is_entered:
            self._before, self._dialect.default_schema_name = self._dialect.default_schema_name, self._schema
            self._is_entered = True

    def leave(self) -> None:
        """They are as before."""
        if self._is_entered:
            self._dialect.default_schema_name = self._before
            self._is_entered = False


@contextmanager
def in_schema(connection: Connection, schema: str | None) -> Iterator[EnteredSchema]:
    """Within the block, names without a schema are those of this one; None: nothing is changed. Whoever lets other runs
    go first within the block leaves what is yielded, and enters it again.

    Raises:
        MigrationStateError: there is no such schema.
        UnsupportedCapabilityError: this kind of database has none.
    """
    entered = EnteredSchema(connection.dialect, schema)
    if schema is None:
        yield entered
        return
    dialect = connection.dialect
    statement = entering(dialect, schema)
    was_in_transaction = connection.in_transaction()
    if schema not in inspect(connection).get_schema_names():
        raise MigrationStateError(
            f"there is no schema {schema}: make it with `sillar upgrade --tenant … --create`, or correct"
            " migration_config.tenant_schema"
        )
    default = dialect.default_schema_name
    connection.exec_driver_sql(statement)
    if not was_in_transaction:
        connection.commit()
    entered.enter()
    try:
        yield entered
    finally:
        entered.leave()
        if not connection.closed and not connection.invalidated:
            connection.rollback()
            quoted = dialect.identifier_preparer.quote_identifier(default or "")
            connection.exec_driver_sql(dialect_of(dialect.name).leaves_schema.format(quoted))
            connection.commit()


def create_schema(connection: Connection, schema: str) -> bool:
    """Make a schema, if there is none of that name; says whether it was made."""
    entering(connection.dialect, schema)
    if schema in inspect(connection).get_schema_names():
        return False
    connection.execute(CreateSchema(schema, if_not_exists=True))
    connection.commit()
    return True


__all__ = ["EnteredSchema", "create_schema", "entering", "in_schema"]
