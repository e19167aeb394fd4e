"""Views: compared by what the engine prints; in the way of tables that change, and so dropped before and made after."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from alembic.operations import ops

from sillar.migrations.autogenerate.catalog import Catalog
from sillar.migrations.autogenerate.catalog.objects import LiveView
from sillar.migrations.autogenerate.declarations import View
from sillar.migrations.autogenerate.filters import Filters
from sillar.migrations.autogenerate.operations import ExecuteOp, Statement, quoted
from sillar.migrations.autogenerate.text import mentions


class Views:
    """The differences of the views of one schema.

    Args:
        catalog: of the engine.
        schema: None: the default one.
        declared: the models' views in it.
        complete: what the database has beside is dropped.
        filters: of the ``env.py``.
    """

    def __init__(
        self, catalog: Catalog, schema: str | None, declared: Iterable[View], complete: bool, filters: Filters
    ) -> None:
        self.catalog, self.schema = catalog, schema
        self.declared = {each.name: each for each in declared if filters.compares("view", each.name, each)}
        self.live = catalog.live_views(schema) if self.declared or complete or catalog.copies_tables else {}
        self.queries = {name: view.sql(catalog.dialect) for name, view in self.declared.items()}
        self.changed = {
            name for name in self.declared if name in self.live and not self._alike(name, self.declared[name])
        }
        gone = set(self.live) - set(self.declared)
        self.gone: set[str] = {each for each in gone if complete and filters.drops("view", schema, each)}
        self.held: set[str] = gone - self.gone
        """Views that are not declared, and stay."""

    def operations(
        self, in_the_way: Callable[[str], bool], renamed: Callable[[str], str]
    ) -> tuple[list[ops.MigrateOperation], list[ops.MigrateOperation]]:
        """What is done before the tables are changed, and after.

        Args:
            in_the_way: whether a view with this definition hinders a change of a table.
            renamed: a definition with the new names of tables and columns, for views that are put back.
        """
        self._renamed = renamed
        replaced = {name for name in self.changed if self._can_be_replaced(name)}
        dropped = self.gone | (self.changed - replaced)
        dropped |= {
            name
            for name, view in self.live.items()
            if in_the_way(view.definition) and (name not in self.held or self.catalog.copies_tables)
        }
        while more := {
            name
            for name, view in self.live.items()
            if name not in dropped
            and name not in self.held
            and any(mentions(view.definition, each) for each in dropped)
        }:
            dropped |= more
        replaced -= dropped
        order = reversed(_ordered(self._definitions(dropped)))
        first: list[ops.MigrateOperation] = [self._drop(self.live[name]) for name in order]
        made = (dropped - self.gone) | replaced | (set(self.declared) - set(self.live))
        last: list[ops.MigrateOperation] = []
        for name in _ordered({name: self._query(name) for name in made}):
            last.append(self._replace(name) if name in replaced else self._create(name))
        return first, last

    def _definitions(self, names: Iterable[str]) -> dict[str, str]:
        return {name: self.live[name].definition for name in names}

    def _query(self, name: str) -> str:
        return self.queries[name] if name in self.queries else self._renamed(self.live[name].definition)

    def _alike(self, name: str, view: View) -> bool:
        live = self.live[name]
        if view.materialized != live.materialized:
            return False
        printed = self.catalog.print_view(name, self.queries[name])
        return printed is not None and self.catalog.exact(printed) == self.catalog.exact(live.definition)

    def _can_be_replaced(self, name: str) -> bool:
        if self.declared[name].materialized or self.live[name].materialized:
            return False
        return self.catalog.can_replace(
            self._made(name, self.queries[name], "OR REPLACE "),
            self._made(name, self.live[name].definition, "OR REPLACE "),
        )

    def _made(self, name: str, query: str, kind: str = "") -> str:
        return f"CREATE {kind}VIEW {quoted(self.catalog.dialect, self.schema, name)} AS {query}"

    def _drop(self, view: LiveView) -> ExecuteOp:
        kind = "MATERIALIZED " if view.materialized else ""
        place = quoted(self.catalog.dialect, self.schema, view.name)
        created = [self._made(view.name, view.definition, kind), *view.indexes]
        return ExecuteOp(
            ("remove_view", self.schema, view.name),
            [Statement(f"DROP {kind}VIEW {place}")],
            [Statement(each) for each in created],
            ("add_view", self.schema, view.name),
        )

    def _create(self, name: str) -> ExecuteOp:
        view, live = self.declared.get(name), self.live.get(name)
        materialized = view.materialized if view is not None else live is not None and live.materialized
        kind = "MATERIALIZED " if materialized else ""
        created = [self._made(name, self._query(name), kind)]
        if live is not None and live.materialized and materialized:
            created += live.indexes
        return ExecuteOp(
            ("add_view", self.schema, name),
            [Statement(each) for each in created],
            [Statement(f"DROP {kind}VIEW {quoted(self.catalog.dialect, self.schema, name)}")],
            ("remove_view", self.schema, name),
        )

    def _replace(self, name: str) -> ExecuteOp:
        return ExecuteOp(
            ("change_view", self.schema, name),
            [Statement(self._made(name, self.queries[name], "OR REPLACE "))],
            [Statement(self._made(name, self.live[name].definition, "OR REPLACE "))],
        )


def _ordered(definitions: dict[str, str]) -> list[str]:
    """Names, each after those that its definition mentions."""
    order: list[str] = []

    def add(name: str, within: tuple[str, ...]) -> None:
        if name in order or name in within:
            return
        for other in sorted(definitions):
            if other != name and mentions(definitions[name], other):
                add(other, (*within, name))
        order.append(name)

    for name in sorted(definitions):
        add(name, ())
    return order
