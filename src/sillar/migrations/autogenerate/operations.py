"""Operations beside Alembic's own. What they are written as is Alembic's own, or SQL: the file runs without Sillar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Dialect

from sillar.migrations.autogenerate import stock
from sillar.migrations.autogenerate.text import as_text


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement.

    Attributes:
        sql: its text.
        autocommit: outside of a transaction: what it adds cannot be used in the one that adds it.
    """

    sql: str
    autocommit: bool = False


class ExecuteOp(ops.MigrateOperation):
    """Runs statements.

    Args:
        what: the difference, as in ``compare_metadata``: its kind, then names.
        up, down: statements of the upgrade and of the downgrade.
        undone: how the opposite is called.
    """

    def __init__(
        self, what: Sequence[Any], up: Sequence[Statement], down: Sequence[Statement], undone: Sequence[Any] = ()
    ) -> None:
        self.what, self.up, self.down = tuple(what), list(up), list(down)
        self.undone = tuple(undone) or self.what

    def reverse(self) -> ExecuteOp:
        """The same backwards."""
        return ExecuteOp(self.undone, self.down, self.up, self.what)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """As ``compare_metadata`` gives it."""
        return self.what


class RenameTableOp(ops.RenameTableOp):
    """A table gets another name."""

    def reverse(self) -> RenameTableOp:
        """Its old name again."""
        return RenameTableOp(self.new_table_name, self.table_name, schema=self.schema)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """As ``compare_metadata`` gives it."""
        return ("rename_table", self.schema, self.table_name, self.new_table_name)


class RenameColumnOp(ops.AlterColumnOp):
    """A column gets another name; everything else of it stays."""

    def has_changes(self) -> bool:
        """It always has."""
        return True

    def reverse(self) -> RenameColumnOp:
        """Its old name again."""
        assert self.modify_name is not None
        return RenameColumnOp(
            self.table_name,
            self.modify_name,
            schema=self.schema,
            modify_name=self.column_name,
            existing_type=self.existing_type,
            existing_nullable=self.existing_nullable,
            existing_server_default=self.existing_server_default,
            existing_comment=self.existing_comment,
            **self.kw,
        )

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """As ``compare_metadata`` gives it."""
        return ("rename_column", self.schema, self.table_name, self.column_name, self.modify_name)


class ConvertColumnOp(ops.AlterColumnOp):
    """A change of a type for which PostgreSQL is told how to convert the values."""

    using: str
    using_before: str

    @classmethod
    def of(cls, change: ops.AlterColumnOp, using: str, using_before: str) -> ConvertColumnOp:
        """A change with expressions for the upgrade and the downgrade."""
        made = cls(change.table_name, change.column_name, schema=change.schema)
        vars(made).update(vars(change))
        made.using, made.using_before = using, using_before
        return made

    def reverse(self) -> ConvertColumnOp:
        """The same backwards."""
        return ConvertColumnOp.of(super().reverse(), self.using_before, self.using)


class TableIndexOps(ops.ModifyTableOps):
    """The indexes of a new table, or of one that is dropped: these go with it, and nothing is to be done.

    Args:
        operations: that create them.
        created: whether the table is the new one.
    """

    def __init__(
        self, table_name: str, operations: Sequence[ops.MigrateOperation], *, schema: str | None, created: bool
    ) -> None:
        super().__init__(table_name, operations if created else (), schema=schema)
        self.indexes, self.created = list(operations), created

    def reverse(self) -> TableIndexOps:
        """The same backwards."""
        return TableIndexOps(self.table_name, self.indexes, schema=self.schema, created=not self.created)


class BatchOps(ops.ModifyTableOps):
    """Changes of one table of SQLite, which are made by copying it.

    Args:
        before, after: SQL around them: what a copied table would lose, or what would be in the way.
        after_undone: what comes after the downgrade.
        conditions: of checks without a name: a copied table has those that it is told, and no others.
        conditions_undone: the same in the downgrade.
        conventions: whether constraints that have no name get one, by which they are dropped.
        repairs: what is said again in the upgrade, because SQLAlchemy does not read it of the table.
        options: of the table, for the same reason.
        computed: what drops and adds computed columns: Alembic would copy their values, which SQLite refuses.
    """

    def __init__(
        self,
        table_name: str,
        operations: Sequence[ops.MigrateOperation],
        *,
        schema: str | None = None,
        before: Sequence[str] = (),
        after: Sequence[str] = (),
        after_undone: Sequence[str] = (),
        conditions: Sequence[str] = (),
        conditions_undone: Sequence[str] = (),
        conventions: bool = False,
        repairs: Sequence[ops.MigrateOperation] = (),
        options: Mapping[str, Any] | None = None,
        computed: Sequence[ops.MigrateOperation] = (),
    ) -> None:
        super().__init__(table_name, operations, schema=schema)
        self.before, self.after, self.after_undone = list(before), list(after), list(after_undone)
        self.conditions, self.conditions_undone = list(conditions), list(conditions_undone)
        self.conventions = conventions or bool(repairs)
        self.repairs, self.options, self.computed = list(repairs), dict(options or {}), list(computed)

    def reverse(self) -> BatchOps:
        """The same backwards, with the same around it."""
        return BatchOps(
            self.table_name,
            list(super().reverse().ops),
            schema=self.schema,
            before=self.before,
            after=self.after_undone,
            after_undone=self.after,
            conditions=self.conditions_undone,
            conditions_undone=self.conditions,
            conventions=self.conventions,
            options=self.options,
            computed=self.computed,
        )


def is_unnamed_check(change: ops.MigrateOperation) -> bool:
    """Whether an operation makes or drops a check that has no name, which a batch of SQLite cannot name."""
    if isinstance(change, ops.CreateCheckConstraintOp):
        return change.constraint_name is None
    return isinstance(change, ops.DropConstraintOp) and change.constraint_type == "check" and not change.constraint_name


CONVENTION = {
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
}
"""Names that a batch gives to constraints of SQLite that have none, so that they can be dropped."""


def quoted(dialect: Dialect, schema: str | None, name: str) -> str:
    """A name, with its schema, as SQL has it."""
    quote = dialect.identifier_preparer.quote
    return f"{quote(schema)}.{quote(name)}" if schema else quote(name)


def executed(context: AutogenContext, statement: str) -> str:
    """A statement as a migration runs it."""
    prefix = stock.prefix(context)
    lines = as_text(statement).splitlines(keepends=True)
    if len(lines) == 1 and len(lines[0]) < 90:
        return f"{prefix}execute({lines[0]!r})"
    return f"{prefix}execute(\n" + "\n".join(f"    {line!r}" for line in lines) + "\n)"


@stock.renders(ExecuteOp)
def _render_execute(context: AutogenContext, operation: ExecuteOp) -> list[str]:
    lines = []
    for number, statement in enumerate(operation.up):
        opened = number > 0 and operation.up[number - 1].autocommit
        if statement.autocommit and not opened:
            lines.append(f"with {stock.prefix(context)}get_context().autocommit_block():")
        elif opened and not statement.autocommit:
            lines.append("")
        lines.append(executed(context, statement.sql))
    if operation.up and operation.up[-1].autocommit:
        lines.append("")
    return lines


@stock.renders(RenameTableOp)
def _render_rename_table(context: AutogenContext, operation: RenameTableOp) -> str:
    schema = f", schema={str(operation.schema)!r}" if operation.schema else ""
    return f"{stock.prefix(context)}rename_table({operation.table_name!r}, {operation.new_table_name!r}{schema})"


@stock.renders(ConvertColumnOp)
def _render_convert(context: AutogenContext, operation: ConvertColumnOp) -> str:
    rendered: str = stock.renderers.dispatch(ops.AlterColumnOp(operation.table_name, operation.column_name))(
        context, operation
    )
    return f"{rendered.removesuffix(')')},\n{' ' * 11}postgresql_using={operation.using!r})"


@stock.renders(TableIndexOps)
def _render_indexes(context: AutogenContext, operation: TableIndexOps) -> list[str]:
    return [line for each in operation.ops for line in stock.render_operation(context, each)]


@stock.renders(BatchOps)
def _render_batch(context: AutogenContext, operation: BatchOps) -> list[str]:
    lines = [executed(context, each) for each in operation.before]
    options = [f"{operation.table_name!r}", f"schema={operation.schema!r}"]
    if operation.conventions:
        options.append(f"naming_convention={CONVENTION!r}")
    if operation.conditions:
        prefix = context.opts["sqlalchemy_module_prefix"] or ""
        listed = "".join(f"{prefix}CheckConstraint({as_text(each)!r}), " for each in operation.conditions)
        options.append(f"table_args=({listed.rstrip()})")
    if operation.options:
        options.append(f"table_kwargs={operation.options!r}")
    inner = [*operation.computed, *operation.repairs, *(each for each in operation.ops if not is_unnamed_check(each))]
    if not inner:
        options.append("recreate='always'")
    lines.append(f"with {stock.prefix(context)}batch_alter_table({', '.join(options)}) as batch_op:")
    with context._within_batch():
        for each in inner:
            lines += stock.render_operation(context, each)
    if not inner:
        lines.append("pass")
    lines.append("")
    return lines + [executed(context, each) for each in operation.after]
