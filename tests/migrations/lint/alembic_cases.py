"""Migrations written with Alembic's operations, and what the lint has to say of them in each dialect.

The tables are those of the corpus' schemas.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.dialects import mysql, postgresql
from tests.migrations.lint.labelled import Case, label

from sillar.migrations.lint import planned_statements

Upgrade = Callable[[Any], None]
_CASES: list[tuple[str, dict[str, str], Upgrade]] = []
_ALL = ("postgresql", "mysql", "mariadb", "sqlite")


def case(**labels: str) -> Callable[[Upgrade], Upgrade]:
    """Label a migration for some dialects; ``everywhere`` is for all that are not named."""

    def add(upgrade: Upgrade) -> Upgrade:
        everywhere = labels.pop("everywhere", None)
        named = dict.fromkeys(_ALL, everywhere) if everywhere is not None else {}
        _CASES.append((upgrade.__name__.replace("_", " "), {**named, **labels}, upgrade))
        return upgrade

    return add


def render(upgrade: Upgrade, dialect: str) -> str:
    """A migration as the script that Alembic writes offline."""
    buffer = io.StringIO()
    in_transactions = dialect in ("postgresql", "sqlite")
    options = {
        "as_sql": True, "output_buffer": buffer, "literal_binds": True, "transactional_ddl": in_transactions
    }  # fmt: skip
    context = MigrationContext.configure(dialect_name=dialect, opts=options)
    with context.begin_transaction(), Operations.context(context) as op:
        upgrade(op)
    return buffer.getvalue()


def alembic_cases() -> Iterator[Case]:
    """All of them, rendered."""
    for name, labels, upgrade in _CASES:
        for dialect, text in labels.items():
            statements = planned_statements(render(upgrade, dialect), dialect, in_transaction=True)
            yield Case(dialect, f"alembic: {name}", label(text), statements, alembic=True)


@case(everywhere="safe")
def create_table_with_index(op: Any) -> None:
    op.create_table(
        "fresh",
        sa.Column("id", sa.BigInteger, primary_key=True),
        sa.Column("user_id", sa.BigInteger, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("made", sa.DateTime(timezone=True), server_default=sa.func.now()),
        sa.Column("state", sa.String(20), nullable=False),
    )
    op.create_index("ix_fresh_user", "fresh", ["user_id"])


@case(everywhere="safe")
def add_nullable_column(op: Any) -> None:
    op.add_column("users", sa.Column("extra", sa.String(50)))


@case(everywhere="safe")
def add_column_with_constant_default(op: Any) -> None:
    op.add_column("users", sa.Column("extra", sa.Boolean, nullable=False, server_default=sa.false()))


@case(everywhere="column-required", sqlite="column-cannot-be-added")
def add_required_column(op: Any) -> None:
    op.add_column("users", sa.Column("extra", sa.Integer, nullable=False))


@case(everywhere="safe", sqlite="column-cannot-be-added")
def add_column_with_now(op: Any) -> None:
    op.add_column("users", sa.Column("extra", sa.DateTime, server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False))


@case(postgresql="index-blocks-writes", mysql="safe", mariadb="safe", sqlite="index-blocks-writes")
def create_index(op: Any) -> None:
    op.create_index("ix_users_age", "users", ["age"])


@case(postgresql="safe")
def create_index_concurrently(op: Any) -> None:
    with op.get_context().autocommit_block():
        op.create_index("ix_users_age", "users", ["age"], postgresql_concurrently=True, if_not_exists=True)


@case(postgresql="concurrently-in-transaction")
def create_index_concurrently_in_the_transaction(op: Any) -> None:
    op.create_index("ix_users_age", "users", ["age"], unique=True, postgresql_concurrently=True)


@case(postgresql="index-blocks-writes")
def create_partial_gin_index(op: Any) -> None:
    op.create_index("ix", "users", ["tags"], postgresql_using="gin", postgresql_where=sa.text("age > 3"))


@case(mysql="fulltext-index-blocks-writes", mariadb="fulltext-index-blocks-writes")
def create_fulltext_index(op: Any) -> None:
    op.create_index("ix_users_bio", "users", ["bio"], mysql_prefix="FULLTEXT", mariadb_prefix="FULLTEXT")


@case(postgresql="drop-index-locks", sqlite="safe")
def drop_index(op: Any) -> None:
    op.drop_index("users_email", table_name="users")


@case(everywhere="drop-column", sqlite="drop-column, column-in-use")
def drop_column(op: Any) -> None:
    op.drop_column("users", "bio")


@case(everywhere="drop-table")
def drop_table(op: Any) -> None:
    op.drop_table("orders")


@case(everywhere="rename-table")
def rename_table(op: Any) -> None:
    op.rename_table("orders", "purchases")


@case(everywhere="rename-column")
def rename_column(op: Any) -> None:
    op.alter_column("users", "age", new_column_name="years", existing_type=sa.Integer)


@case(postgresql="set-not-null-scans", mysql="table-rebuilt", mariadb="table-rebuilt")
def set_not_null(op: Any) -> None:
    op.alter_column("users", "age", nullable=False, existing_type=sa.Integer)


@case(postgresql="safe")
def set_not_null_by_a_check(op: Any) -> None:
    op.create_check_constraint("age_known", "users", "age IS NOT NULL", postgresql_not_valid=True)
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE users VALIDATE CONSTRAINT age_known")
    op.alter_column("users", "age", nullable=False)


@case(postgresql="safe", mysql="safe", mariadb="safe")
def widen_varchar(op: Any) -> None:
    op.alter_column("users", "email", type_=sa.String(200), existing_nullable=False, existing_type=sa.String(100))


@case(everywhere="type-change-rewrites", sqlite="batch-copies-table")
def widen_integer(op: Any) -> None:
    if op.get_context().dialect.name == "sqlite":
        table = sa.Table(
            "teams",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("name", sa.Text, nullable=False),
        )
        with op.get_context().autocommit_block():
            op.execute("PRAGMA foreign_keys = OFF")
        with op.batch_alter_table("teams", copy_from=table) as batch:
            batch.alter_column("id", type_=sa.BigInteger, existing_type=sa.Integer)
    else:
        op.alter_column("users", "age", type_=sa.BigInteger, existing_type=sa.Integer)


@case(postgresql="type-change-rewrites")
def change_type_by_an_expression(op: Any) -> None:
    op.alter_column("users", "bio", type_=postgresql.JSONB, postgresql_using="bio::jsonb")


@case(mysql="type-change-rewrites", mariadb="type-change-rewrites")
def change_enum(op: Any) -> None:
    op.alter_column("users", "mood", type_=mysql.ENUM("sad", "meh", "ok", "happy"), existing_type=mysql.ENUM("sad"))


@case(mysql="safe", mariadb="safe")
def append_to_enum(op: Any) -> None:
    op.alter_column("users", "mood", type_=mysql.ENUM("sad", "ok", "happy", "new"), existing_type=mysql.ENUM("sad"))


@case(everywhere="safe")
def set_default(op: Any) -> None:
    if op.get_context().dialect.name != "sqlite":  # it has no ALTER COLUMN
        op.alter_column("users", "age", server_default="3", existing_type=sa.Integer)


@case(postgresql="foreign-key-without-not-valid", mysql="foreign-key-copies-table", mariadb="foreign-key-copies-table")
def create_foreign_key(op: Any) -> None:
    op.create_foreign_key("fk_orders_user", "orders", "users", ["user_id"], ["id"], ondelete="CASCADE")


@case(postgresql="safe")
def create_foreign_key_not_valid(op: Any) -> None:
    op.create_foreign_key("fk_orders_user", "orders", "users", ["user_id"], ["id"], postgresql_not_valid=True)


@case(postgresql="check-without-not-valid", mysql="table-copied", mariadb="table-copied")
def create_check(op: Any) -> None:
    op.create_check_constraint("ck_total", "orders", "total > 0")


@case(postgresql="unique-without-index", mysql="safe", mariadb="safe")
def create_unique_constraint(op: Any) -> None:
    op.create_unique_constraint("uq_users_age", "users", ["age"])


@case(postgresql="unique-without-index")
def create_primary_key(op: Any) -> None:
    op.create_primary_key("pk_logs", "logs_old", ["id", "at"])


@case(everywhere="safe")
def drop_constraint(op: Any) -> None:
    if op.get_context().dialect.name != "sqlite":
        op.drop_constraint("something", "users", type_="unique")


@case(everywhere="unbounded-change")
def update_of_all(op: Any) -> None:
    op.execute(sa.update(sa.table("orders", sa.column("state", sa.String))).values(state="new"))


@case(postgresql="backfill-under-lock", mysql="unbounded-change", mariadb="unbounded-change", sqlite="unbounded-change")
def column_with_backfill(op: Any) -> None:
    op.add_column("orders", sa.Column("paid", sa.Boolean))
    op.execute("UPDATE orders SET paid = (state = 'paid')")


@case(everywhere="safe", mysql="ddl-commits-implicitly", mariadb="ddl-commits-implicitly")
def bulk_insert_before_ddl(op: Any) -> None:
    op.bulk_insert(
        sa.table("teams", sa.column("id", sa.Integer), sa.column("name", sa.String)), [{"id": 1, "name": "a"}]
    )
    op.add_column("orders", sa.Column("extra", sa.Integer))


@case(postgresql="many-tables-locked", mysql="safe", mariadb="safe")
def three_tables(op: Any) -> None:
    for table in ("users", "orders", "teams"):
        op.add_column(table, sa.Column("extra", sa.Integer))


@case(postgresql="safe", mysql="safe")
def comments(op: Any) -> None:
    op.create_table_comment("users", "who")


@case(postgresql="volatile-default", mysql="volatile-default", mariadb="volatile-default")
def uuid_default(op: Any) -> None:
    is_postgresql = op.get_context().dialect.name == "postgresql"
    default = sa.text("gen_random_uuid()" if is_postgresql else "(uuid())")
    op.add_column("users", sa.Column("token", sa.Uuid if is_postgresql else sa.String(36), server_default=default))


@case(postgresql="identity-column-rewrites")
def identity(op: Any) -> None:
    op.add_column("users", sa.Column("number", sa.BigInteger, sa.Identity(always=True)))


@case(everywhere="generated-column-rewrites", sqlite="column-cannot-be-added")
def stored_computed(op: Any) -> None:
    op.add_column("users", sa.Column("older", sa.Integer, sa.Computed("age + 1", persisted=True)))


@case(sqlite="batch-copies-table, batch-deletes-children, drop-column")
def batch_that_drops(op: Any) -> None:
    table = sa.Table(
        "teams",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
    )
    with op.batch_alter_table("teams", copy_from=table, recreate="always") as batch:
        batch.drop_column("name")
        batch.add_column(sa.Column("title", sa.Text))
