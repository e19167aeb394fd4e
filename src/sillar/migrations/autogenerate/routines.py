"""Functions, sequences and row security."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from alembic.operations import ops
from sqlalchemy import Sequence as SequenceItem
from sqlalchemy import Table
from sqlalchemy.schema import CreateSequence

from sillar.migrations.autogenerate.catalog import Catalog, TableKey
from sillar.migrations.autogenerate.catalog.catalog import plain
from sillar.migrations.autogenerate.catalog.objects import LiveFunction, LivePolicy
from sillar.migrations.autogenerate.declarations import Function, Policy
from sillar.migrations.autogenerate.filters import Filters
from sillar.migrations.autogenerate.operations import ExecuteOp, Statement, quoted

Operations = list[ops.MigrateOperation]


# --- functions --------------------------------------------------------------------------------------------------------


def compare_functions(
    catalog: Catalog, schema: str | None, declared: Iterable[Function], complete: bool, filters: Filters
) -> tuple[Operations, Operations]:
    """Functions that are gone, and those that are new or changed."""
    declared = [each for each in declared if filters.compares("function", each.name, each)]
    live = catalog.live_functions(schema) if declared or complete else {}
    gone, made = dict(live), Operations()
    for function in declared:
        printed = catalog.print_function(function.name, function.sql(catalog.dialect, place="pg_temp"))
        if printed is None:  # its types are not there yet: it is new, or the only one of its name
            same = [each for key, each in gone.items() if key[0] == function.name]
            before = same[0] if len(same) == 1 else None
        else:
            before = live.get((function.name, printed.identity))
        if before is not None:
            gone.pop((before.name, before.identity), None)
            if printed is not None and (printed.signature, printed.rest) == (before.signature, before.rest):
                continue
        made.append(_made(catalog, schema, function, printed, before))
    left = [each for each in gone.values() if complete and filters.drops("function", schema, each.name)]
    return [_removed(catalog, schema, each) for each in left], made


def _made(
    catalog: Catalog, schema: str | None, function: Function, printed: LiveFunction | None, before: LiveFunction | None
) -> ExecuteOp:
    created = Statement(function.sql(catalog.dialect))
    place = quoted(catalog.dialect, schema, function.name)
    identity = printed.identity if printed is not None else before.identity if before is not None else None
    dropped = Statement(f"DROP FUNCTION {place}" + (f"({identity})" if identity is not None else ""))
    if before is None:
        named = (schema, function.name)
        return ExecuteOp(("add_function", *named), [created], [dropped], ("remove_function", *named))
    up, down = [created], [Statement(before.created)]
    if printed is None or printed.signature != before.signature:
        up, down = [dropped, created], [dropped, *down]
    return ExecuteOp(("change_function", schema, function.name), up, down)


def _removed(catalog: Catalog, schema: str | None, live: LiveFunction) -> ExecuteOp:
    place = quoted(catalog.dialect, schema, live.name)
    return ExecuteOp(
        ("remove_function", schema, live.name),
        [Statement(f"DROP FUNCTION {place}({live.identity})")],
        [Statement(live.created)],
        ("add_function", schema, live.name),
    )


# --- sequences --------------------------------------------------------------------------------------------------------

_NAMES: Final = {
    "start": "START WITH {}",
    "increment": "INCREMENT BY {}",
    "minvalue": "MINVALUE {}",
    "maxvalue": "MAXVALUE {}",
    "cycle": "{}",
    "cache": "CACHE {}",
}


def compare_sequences(
    catalog: Catalog, schema: str | None, declared: Mapping[str, SequenceItem], complete: bool, filters: Filters
) -> tuple[Operations, Operations]:
    """Sequences that are new or changed, before the tables; those that are gone, after them."""
    declared = {name: each for name, each in declared.items() if filters.compares("sequence", name, each)}
    live = catalog.live_sequences(schema) if declared or complete else {}
    made, gone = Operations(), Operations()
    for name, sequence in declared.items():
        place = quoted(catalog.dialect, schema, name)
        created = plain(str(CreateSequence(sequence).compile(dialect=catalog.dialect)), catalog.dialect)
        if name not in live:
            made.append(
                ExecuteOp(
                    ("add_sequence", schema, name),
                    [Statement(created)],
                    [Statement(f"DROP SEQUENCE {place}")],
                    ("remove_sequence", schema, name),
                )
            )
            continue
        wanted = {key: getattr(sequence, key) for key in _NAMES if getattr(sequence, key, None) is not None}
        before = live[name]
        changed = {key: value for key, value in wanted.items() if value != before[key]}
        if changed:
            back = {key: before[key] for key in changed}
            made.append(
                ExecuteOp(
                    ("change_sequence", schema, name),
                    [Statement(f"ALTER SEQUENCE {place} {_options(catalog, changed)}")],
                    [Statement(f"ALTER SEQUENCE {place} {_options(catalog, back)}")],
                )
            )
    left = sorted(set(live) - set(declared)) if complete else ()
    for name in (each for each in left if filters.drops("sequence", schema, each)):
        place = quoted(catalog.dialect, schema, name)
        options = _options(catalog, {key: live[name][key] for key in _NAMES})
        gone.append(
            ExecuteOp(
                ("remove_sequence", schema, name),
                [Statement(f"DROP SEQUENCE {place}")],
                [Statement(f"CREATE SEQUENCE {place} {options}")],
                ("add_sequence", schema, name),
            )
        )
    return made, gone


def _options(catalog: Catalog, options: Mapping[str, Any]) -> str:
    said = {**options}
    if "cycle" in said:
        said["cycle"] = "CYCLE" if said["cycle"] else catalog.no_cycle
    return " ".join(_NAMES[key].format(value) for key, value in said.items())


# --- row security -----------------------------------------------------------------------------------------------------


class RowSecurity:
    """The differences of policies and of row security in one schema.

    Args:
        catalog: of the engine.
        schema: None: the default one.
        tables: the models', by schema and name.
        declared: their policies.
        security: tables that have it → whether it is forced.
        complete: what the database has beside is dropped.
        filters: of the ``env.py``.
    """

    def __init__(
        self,
        catalog: Catalog,
        schema: str | None,
        tables: Mapping[TableKey, Table],
        declared: Iterable[Policy],
        security: Mapping[Table, bool],
        complete: bool,
        filters: Filters,
    ) -> None:
        self.catalog, self.schema, self.complete, self.filters = catalog, schema, complete, filters
        self.tables = {key[1]: table for key, table in tables.items() if key[0] == schema}
        self.declared: dict[str, dict[str, Policy]] = {}
        for policy in declared:
            if policy.table in self.tables.values() and filters.compares("policy", policy.name, policy):
                self.declared.setdefault(policy.table.name, {})[policy.name] = policy
        self.security = {table.name: forced for table, forced in security.items() if table in self.tables.values()}
        looks = bool(self.security) or complete
        self.live = catalog.live_policies(schema) if looks else {}
        self.live_security = catalog.live_row_security(schema) if looks else {}

    def operations(self) -> tuple[Operations, Operations]:
        """What is done before the tables are changed, and after."""
        first, last = Operations(), Operations()
        for name in sorted(self.tables):
            self._switch(name, last)
            live, wanted = self.live.get(name, {}), self.declared.get(name, {})
            printed = None
            if live and wanted:
                table = f"pg_temp.{quoted(self.catalog.dialect, None, name)}"
                printed = self.catalog.print_policies(
                    self.tables[name], [each.sql(table, self.catalog.dialect) for each in wanted.values()]
                )
            for policy in sorted(live):
                alike = printed is not None and printed.get(policy) == live[policy]
                is_gone = self.complete and self.filters.drops("policy", self.schema, policy, name)
                if not alike and (policy in wanted or is_gone):
                    first.append(self._removed(name, live[policy]))
            for policy in sorted(wanted):
                if policy not in live or printed is None or printed.get(policy) != live[policy]:
                    last.append(self._added(name, wanted[policy]))
        return first, last

    def _switch(self, name: str, last: Operations) -> None:
        place = quoted(self.catalog.dialect, self.schema, name)
        was_on, is_on = name in self.live_security, name in self.security
        if was_on != is_on and (is_on or self.complete):
            on = Statement(f"ALTER TABLE {place} ENABLE ROW LEVEL SECURITY")
            off = Statement(f"ALTER TABLE {place} DISABLE ROW LEVEL SECURITY")
            up, down = ([on], [off]) if is_on else ([off], [on])
            last.append(ExecuteOp(("change_row_security", self.schema, name, is_on), up, down))
        was_forced, is_forced = self.live_security.get(name, False), self.security.get(name, False)
        if was_forced != is_forced and (is_on or self.complete):
            on = Statement(f"ALTER TABLE {place} FORCE ROW LEVEL SECURITY")
            off = Statement(f"ALTER TABLE {place} NO FORCE ROW LEVEL SECURITY")
            up, down = ([on], [off]) if is_forced else ([off], [on])
            last.append(ExecuteOp(("force_row_security", self.schema, name, is_forced), up, down))

    def _removed(self, table: str, live: LivePolicy) -> ExecuteOp:
        place = quoted(self.catalog.dialect, self.schema, table)
        policy = Policy.__new__(Policy)
        policy.name, policy.using, policy.check = live.name, live.using, live.check
        policy.command, policy.roles, policy.permissive = live.command, live.roles, live.permissive  # type: ignore[assignment]
        dropped = f"DROP POLICY {self.catalog.dialect.identifier_preparer.quote(live.name)} ON {place}"
        return ExecuteOp(
            ("remove_policy", self.schema, table, live.name),
            [Statement(dropped)],
            [Statement(policy.sql(place, self.catalog.dialect))],
            ("add_policy", self.schema, table, live.name),
        )

    def _added(self, table: str, policy: Policy) -> ExecuteOp:
        place = quoted(self.catalog.dialect, self.schema, table)
        dropped = f"DROP POLICY {self.catalog.dialect.identifier_preparer.quote(policy.name)} ON {place}"
        return ExecuteOp(
            ("add_policy", self.schema, table, policy.name),
            [Statement(policy.sql(place, self.catalog.dialect))],
            [Statement(dropped)],
            ("remove_policy", self.schema, table, policy.name),
        )
