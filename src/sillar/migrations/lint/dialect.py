"""What the lint knows of one kind of database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from sillar.migrations.lint import model
from sillar.migrations.lint.context import Context
from sillar.migrations.lint.finding import Severity
from sillar.migrations.lint.model import Statement
from sillar.migrations.lint.tokens import Lexicon

_DROPS = {
    "table": "drop-table",
    "foreign table": "drop-table",
    "view": "drop-view",
    "materialized view": "drop-view",
    "type": "drop-type",
    "domain": "drop-type",
    "attribute": "drop-type",
    "function": "drop-function",
    "procedure": "drop-function",
    "schema": "drop-schema",
    "owned by": "drop-schema",
    "database": "drop-schema",
}


class DialectRules(ABC):
    """The rules of a dialect; one instance looks at one revision.

    Attributes:
        names: dialects that they are for, as SQLAlchemy calls them.
        lexicon: how they are written.
        squawk: squawk reads it, too.

    Args:
        context: the revision.
    """

    names: ClassVar[tuple[str, ...]]
    lexicon: ClassVar[Lexicon]
    squawk: ClassVar[bool] = False

    def __init__(self, context: Context) -> None:
        self.context = context
        self.transaction: int | None = None
        self._checks = self.checks()
        self._checks.setdefault(model.Unknown, self.unknown)

    @abstractmethod
    def checks(self) -> dict[type, Callable[[Any], None]]:
        """What looks at which kind of statement."""

    def check(self, statement: Statement) -> None:
        """Find what is unsafe in a statement. The facts are still those from before it."""
        self.transaction = statement.transaction
        check = self._checks.get(type(statement.action))
        if check is not None:
            check(statement.action)

    def finish(self) -> None:
        """Find what is unsafe in the revision as a whole."""
        return

    # --- what is unsafe everywhere -----------------------------------------------------------------------------------

    def unknown(self, _action: model.Unknown) -> None:
        """A statement that cannot be read."""
        self.context.find("unreadable-statement", severity=Severity.HINT)

    def dropped(self, what: str, name: str, *, cascade: bool = False) -> None:
        """A table, view, type or function is dropped."""
        rule = _DROPS.get(what)
        table, subject = (name, None) if what == "table" else (None, name)
        if rule is not None:
            self.context.find(rule, name, table=table, subject=subject)
        if cascade:
            self.context.find("drop-cascade", f"{what} {name}", table=table, subject=subject)

    def column_dropped(self, table: str, name: str) -> None:
        """A column is dropped; one that the revision has added itself is nobody's."""
        if not self.context.added_here(table, name):
            self.context.find("drop-column", f"{table}.{name}", table=table, subject=name)

    def column_renamed(self, table: str, name: str, new_name: str) -> None:
        """A column is renamed."""
        if not self.context.added_here(table, name):
            self.context.find("rename-column", f"{table}.{name} to {new_name}", table=table, subject=name, new=new_name)

    def table_renamed(self, table: str, new_name: str) -> None:
        """A table is renamed."""
        self.context.find("rename-table", f"{table} to {new_name}", table=table, new=new_name)
