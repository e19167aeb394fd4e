"""What of the models is in the database in other words, and what is really otherwise: told for all tables at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Column, Enum, Index, Table
from sqlalchemy.schema import DefaultClause
from sqlalchemy.types import NullType

from sillar.migrations.autogenerate import stock
from sillar.migrations.autogenerate.catalog import Catalog, ColumnText, PrintedTable, TableKey
from sillar.migrations.autogenerate.catalog.catalog import checks_of, column_text, shadow_name, type_text
from sillar.migrations.autogenerate.renames import Renames

_CACHE: Final = "sillar_comparison"


@dataclass(slots=True)
class CheckPair:
    """A check of the model and one of the database.

    Attributes:
        model: the model's, with its name, if it has one.
        live: what SQLAlchemy read: ``name`` and ``sqltext``.
    """

    model: Any | None
    live: dict[str, Any] | None


class Comparison:
    """One comparison of models and database.

    Args:
        context: Alembic's.
        catalog: of the engine.
        tables: the models', by schema and name.
        keys: tables that both have.
        renames: by which what was read has its new names.
    """

    def __init__(
        self,
        context: AutogenContext,
        catalog: Catalog,
        tables: Mapping[TableKey, Table],
        keys: Sequence[TableKey],
        renames: Renames,
    ) -> None:
        self.context = context
        self.catalog = catalog
        self.tables = tables
        self.inspector = context.inspector
        self.renames = renames
        self.types: dict[tuple[TableKey, str], bool] = {}
        self.defaults: dict[tuple[TableKey, str], bool] = {}
        self.computed: dict[tuple[TableKey, str], bool] = {}
        self.indexes: dict[TableKey, set[str]] = {}
        self.checks: dict[TableKey, list[CheckPair]] = {}
        self.definitions: dict[TableKey, dict[str, str]] = {}
        self.live_tables: dict[TableKey, Table] = {}
        self.collations: dict[TableKey, str] = {}
        self.exclusions: dict[TableKey, dict[str, str]] = {}
        self.triggers = catalog.live_triggers()
        self.autoincremented = catalog.autoincremented()
        for schema in {key[0] for key in keys}:
            for table, collation in self.catalog.table_collations(schema).items():
                self.collations[renames.renamed_tables.get((schema, table), (schema, table))] = collation
            for table, found in self.catalog.index_definitions(schema).items():
                key = renames.renamed_tables.get((schema, table), (schema, table))
                self.definitions[key] = {
                    name: renames.renamed_text(key, definition) for name, definition in found.items()
                }
        for schema in {key[0] for key in renames.found["columns"]}:
            for table, exclusions in self.catalog.live_exclusions(schema).items():
                key = renames.renamed_tables.get((schema, table), (schema, table))
                self.exclusions[key] = {name: renames.renamed_text(key, each) for name, each in exclusions.items()}
        self._tell(keys)

    @classmethod
    def of(cls, context: AutogenContext) -> Comparison | None:
        """The one of a context; None before tables were read."""
        found = context.inspector.info_cache.get(_CACHE)
        return found if isinstance(found, cls) else None

    def keep(self) -> None:
        """Make it the one of its context."""
        self.inspector.info_cache[_CACHE] = self

    def live_table(self, key: TableKey) -> Table | None:
        """A table as it is in the database, once it was compared."""
        return self.live_tables.get(key)

    def live_columns(self, key: TableKey) -> dict[str, dict[str, Any]]:
        """What was read of a table's columns, by name."""
        return {each["name"]: each for each in stock.kept(self.inspector, "columns", key)}

    # --- what is alike ----------------------------------------------------------------------------------------------

    def _tell(self, keys: Sequence[TableKey]) -> None:
        doubtful_columns: list[tuple[TableKey, Column[Any], dict[str, Any], ColumnText]] = []
        doubtful_tables: list[TableKey] = []
        for key in keys:
            table = self.tables[key]
            for column, live in self._pairs(key):
                written = column_text(column, self.catalog.dialect)
                if not self._column_alike(key, column, live, written):
                    doubtful_columns.append((key, column, live, written))
            if not self._expressions_alike(key, table):
                doubtful_tables.append(key)
        if doubtful_columns or doubtful_tables:
            with self.catalog.printing(list(self.tables.values())):
                self._ask_columns(doubtful_columns)
                for key in doubtful_tables:
                    self._ask_table(key, self.catalog.print_table(self.tables[key]))

    def _pairs(self, key: TableKey) -> Iterator[tuple[Column[Any], dict[str, Any]]]:
        live = self.live_columns(key)
        for column in self.tables[key].columns:
            found = live.get(column.name)
            if found is not None and not isinstance(column.type, NullType) and not column.system:
                yield column, found

    def _column_alike(self, key: TableKey, column: Column[Any], live: dict[str, Any], written: ColumnText) -> bool:
        place = (key, column.name)
        known = type_text(live["type"], self.catalog.dialect)
        read = self._own_type(key, known or "")
        types = known is None or _names_enum(column, live) or read.upper() == self._own_type(key, written.type).upper()
        self.types[place] = not types
        defaults = True
        if _is_plain(column, live):
            defaults = self.catalog.form(written.default) == self.catalog.form(live["default"])
            self.defaults[place] = not defaults
        return types and defaults

    def _own_type(self, key: TableKey, text: str) -> str:
        """The text of a type without the collation that is its table's anyhow."""
        return text.removesuffix(f" COLLATE {self.collations.get(key)}")

    def _ask_columns(self, doubtful: Iterable[tuple[TableKey, Column[Any], dict[str, Any], ColumnText]]) -> None:
        doubtful = list(doubtful)
        texts = list(dict.fromkeys(written for *_, written in doubtful))
        answers = dict(zip(texts, self.catalog.print_columns(texts), strict=True))
        for key, column, live, written in doubtful:
            printed = answers[written]
            if printed is None:
                continue
            place = (key, column.name)
            if self.types[place]:
                read = self._own_type(key, type_text(live["type"], self.catalog.dialect) or "")
                self.types[place] = self._own_type(key, printed.type or "") != read
            if self.defaults.get(place):
                self.defaults[place] = self.catalog.exact(printed.default) != self.catalog.exact(live["default"])

    def _expressions_alike(self, key: TableKey, table: Table) -> bool:
        """First look: texts in their normal form."""
        alike = True
        live = self.live_columns(key)
        for column in table.columns:
            found = live.get(column.name)
            if column.computed is None or not found or not found.get("computed"):
                continue
            same = self.catalog.form(str(column.computed.sqltext)) == self.catalog.form(found["computed"]["sqltext"])
            self.computed[key, column.name] = not same
            alike = alike and same
        definitions = self.definitions.get(key, {})
        changed = {
            str(index.name)
            for index in table.indexes
            if index.name in definitions
            and self.catalog.form(self.catalog.index_text(index)) != self.catalog.form(definitions[str(index.name)])
        }
        self.indexes[key] = changed
        forms = {
            number: self.catalog.form(self.catalog.check_text(each))
            for number, each in enumerate(checks_of(table, self.catalog.dialect))
        }
        return self._match_checks(key, table, forms, self.catalog.form) and alike and not changed

    def _ask_table(self, key: TableKey, printed: PrintedTable | None) -> None:
        """Second look: what the server prints."""
        if printed is None:
            return
        exact = self.catalog.exact
        live = self.live_columns(key)
        for name, expression in printed.computed.items():
            if (key, name) in self.computed:
                self.computed[key, name] = exact(expression) != exact(live[name]["computed"]["sqltext"])
        definitions = self.definitions.get(key, {})
        self.indexes[key] = {
            name for name in self.indexes[key] if exact(printed.indexes.get(name)) != exact(definitions[name])
        }
        forms = {
            number: exact(printed.checks[shadow_name(number)])
            for number, _ in enumerate(checks_of(self.tables[key], self.catalog.dialect))
        }
        self._match_checks(key, self.tables[key], forms, exact)

    def _match_checks(self, key: TableKey, table: Table, forms: dict[int, Any], form: Any) -> bool:
        """Pairs the checks of model and database, by name, then by what they say. Returns whether all are alike."""
        remaining = [
            (dict(each), form(each["sqltext"])) for each in stock.kept(self.inspector, "check_constraints", key)
        ]
        pairs: list[CheckPair] = []
        unmatched = []
        for number, check in enumerate(checks_of(table, self.catalog.dialect)):
            name = self.final_name(check)
            found = next((each for each in remaining if name is not None and each[0]["name"] == name), None)
            if found is None:
                unmatched.append((check, name, forms[number]))
                continue
            remaining.remove(found)
            if found[1] != forms[number]:
                pairs.append(CheckPair(check, found[0]))
        for check, name, said in unmatched:
            found = next(
                (each for each in remaining if each[1] == said and (name is None or each[0]["name"] is None)), None
            )
            if found is None:
                pairs.append(CheckPair(check, None))
            else:
                remaining.remove(found)
        pairs += [CheckPair(None, each) for each, _ in remaining if not self.catalog.is_implied(each["sqltext"])]
        self.checks[key] = pairs
        return not pairs

    def final_name(self, constraint: Any) -> str | None:
        """The name that a constraint or index gets in the database; None: the server gives it one."""
        preparer = self.catalog.dialect.identifier_preparer
        if constraint.name is None:
            return None
        shown = (
            preparer.format_index(constraint)
            if isinstance(constraint, Index)
            else preparer.format_constraint(constraint)
        )
        if shown is None:
            return None
        quote = preparer.initial_quote
        return shown[1:-1].replace(quote * 2, quote) if shown.startswith(quote) else str(shown)


def _is_plain(column: Column[Any], live: dict[str, Any]) -> bool:
    """Whether both sides have a default that is a plain expression, or none."""
    if column.computed is not None or column.identity is not None or live.get("computed") or live.get("identity"):
        return False
    default = column.server_default
    return default is None or isinstance(default, DefaultClause)


def _names_enum(column: Column[Any], live: dict[str, Any]) -> bool:
    """Whether both are the same named type, whose values are compared by themselves."""
    found, wanted = live["type"], column.type
    return isinstance(found, Enum) and isinstance(wanted, Enum) and bool(found.name) and found.name == wanted.name
