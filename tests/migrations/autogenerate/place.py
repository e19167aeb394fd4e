"""An empty database on each engine, and what the tests do with it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from alembic.autogenerate import produce_migrations
from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import _render_python_into_templatevars
from alembic.migration import MigrationContext
from alembic.operations import Operations, ops
from sqlalchemy import Connection, MetaData
from sqlalchemy.ext.asyncio import AsyncEngine

from sillar.migrations.autogenerate.options import autogenerate_options

T = TypeVar("T")


class Place:
    """A database of its own.

    Attributes:
        name: of the server.
        engine: SQLAlchemy's.
    """

    def __init__(self, name: str, engine: AsyncEngine) -> None:
        self.name, self.engine = name, engine

    async def run(self, work: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Run something on a synchronous connection, committed."""
        async with self.engine.connect() as connection:
            made = await connection.run_sync(work, *arguments, **named)
            await connection.commit()
            return made

    async def create(self, *metadata: MetaData) -> None:
        for each in metadata:
            await self.run(each.create_all)

    async def script(self, *metadata: MetaData, **options: Any) -> ops.MigrationScript:
        return await self.run(compared, metadata, **options)

    async def differences(self, *metadata: MetaData, **options: Any) -> list[Any]:
        """What the models have and the database has not."""
        found = await self.script(*metadata, **options)
        assert found.upgrade_ops is not None
        return list(found.upgrade_ops.as_diffs())

    async def execute(self, *statements: str) -> None:
        for each in statements:
            await self.run(lambda connection, sql=each: connection.exec_driver_sql(sql))

    async def rows(self, statement: str) -> list[tuple[Any, ...]]:
        return await self.run(lambda connection: [tuple(row) for row in connection.exec_driver_sql(statement)])

    async def migrate(self, *metadata: MetaData, **options: Any) -> tuple[str, str]:
        """Generate, and run what was generated as stock Alembic would; the texts of upgrade and downgrade."""
        up, down = await self.run(generated, metadata, **options)
        await self.run(applied, up)
        return up, down

    async def undo(self, text: str) -> None:
        await self.run(applied, text)


def configured(connection: Connection, metadata: Sequence[MetaData], **options: Any) -> MigrationContext:
    prefixes = {"sqlalchemy_module_prefix": "sa.", "alembic_module_prefix": "op.", "user_module_prefix": None}
    known = set(inspect.signature(autogenerate_options).parameters)
    said = {key: options.pop(key) for key in list(options) if key in known}
    settings = {**autogenerate_options(connection.dialect.name, **said), **prefixes, "target_metadata": list(metadata)}
    settings |= options
    return MigrationContext.configure(connection, opts=settings)


def compared(connection: Connection, metadata: Sequence[MetaData], **options: Any) -> ops.MigrationScript:
    return produce_migrations(configured(connection, metadata, **options), list(metadata))  # type: ignore[arg-type]


def generated(connection: Connection, metadata: Sequence[MetaData], **options: Any) -> tuple[str, str]:
    """The bodies of upgrade() and downgrade(), as a file has them."""
    context = configured(connection, metadata, **options)
    script = produce_migrations(context, list(metadata))  # type: ignore[arg-type]
    hook = context.opts.get("process_revision_directives")
    if hook:
        hook(context, "head", [script])
    assert script.upgrade_ops is not None
    assert script.downgrade_ops is not None
    script.upgrade_ops.upgrade_token, script.downgrade_ops.downgrade_token = "up", "down"
    autogen = AutogenContext(context, list(metadata))  # type: ignore[arg-type]
    made: dict[str, Any] = {}
    _render_python_into_templatevars(autogen, script, made)
    return f"{made['imports']}\n{_dedented(made['up'])}", f"{made['imports']}\n{_dedented(made['down'])}"


def _dedented(text: str) -> str:
    return "\n".join(line.removeprefix("    ") for line in text.splitlines())


def applied(connection: Connection, text: str) -> None:
    """Run a body with nothing but Alembic and SQLAlchemy at hand."""
    context = MigrationContext.configure(connection, opts={"transaction_per_migration": True})
    with context.begin_transaction(_per_migration=True), Operations.context(context) as operations:
        names: dict[str, Any] = {"op": operations}
        exec("import sqlalchemy as sa\n" + text, names)
