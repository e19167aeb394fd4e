"""What SQLAlchemy's metadata has no words for: views, functions, row security, declared beside the tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, TypeVar

from sqlalchemy import Dialect, MetaData, Table
from sqlalchemy.sql.elements import ClauseElement

from sillar.errors import UsageError
from sillar.migrations.autogenerate.catalog.catalog import plain

_KEY: Final = "sillar_declared"

Command: TypeAlias = Literal["ALL", "SELECT", "INSERT", "UPDATE", "DELETE"]
Volatility: TypeAlias = Literal["VOLATILE", "STABLE", "IMMUTABLE"]
Parallel: TypeAlias = Literal["UNSAFE", "RESTRICTED", "SAFE"]
Kind: TypeAlias = Literal["views", "functions", "policies", "sequences"]


class View:
    """A view, or a materialised view.

    Args:
        name: its name.
        definition: the query: SQL, or a SELECT of SQLAlchemy's.
        metadata: of the models that it belongs to.
        schema: where it is; None: the default schema.
        materialized: its rows are kept. PostgreSQL alone.

    Attributes:
        info: for an ``include_object`` of an ``env.py``.
    """

    def __init__(
        self,
        name: str,
        definition: str | ClauseElement,
        metadata: MetaData,
        *,
        schema: str | None = None,
        materialized: bool = False,
    ) -> None:
        self.name, self.definition, self.schema, self.materialized = name, definition, schema, materialized
        self.info: dict[str, Any] = {}
        Declared.of(metadata).add("views", self)

    def sql(self, dialect: Dialect) -> str:
        """Its query."""
        if isinstance(self.definition, str):
            return self.definition.strip().rstrip(";").rstrip()
        compiled = self.definition.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
        return plain(str(compiled), dialect)


class Function:
    """A function of PostgreSQL.

    Args:
        name: its name.
        arguments: as they are declared: ``a integer, b text DEFAULT 'x'``.
        returns: the type of what it gives: ``integer``, ``trigger``, ``TABLE (a integer)``.
        body: its text.
        metadata: of the models that it belongs to.
        language: of the body.
        schema: where it is; None: the default schema.
        volatility, strict, parallel: what the planner may take for granted.
        security_definer: it runs with the rights of its owner.
        settings: name → value, while it runs.

    Attributes:
        info: for an ``include_object`` of an ``env.py``.
    """

    def __init__(
        self,
        name: str,
        arguments: str,
        returns: str,
        body: str,
        metadata: MetaData,
        *,
        language: str = "sql",
        schema: str | None = None,
        volatility: Volatility = "VOLATILE",
        strict: bool = False,
        parallel: Parallel = "UNSAFE",
        security_definer: bool = False,
        settings: dict[str, str] | None = None,
    ) -> None:
        self.name, self.arguments, self.returns, self.body, self.language = name, arguments, returns, body, language
        self.schema, self.volatility, self.strict, self.parallel = schema, volatility, strict, parallel
        self.security_definer, self.settings = security_definer, settings or {}
        self.info: dict[str, Any] = {}
        Declared.of(metadata).add("functions", self)

    def sql(self, dialect: Dialect, *, place: str | None = None) -> str:
        """CREATE OR REPLACE FUNCTION.

        Args:
            dialect: quotes the names.
            place: a schema instead of its own.
        """
        quote = dialect.identifier_preparer.quote
        schema = place or self.schema
        name = f"{quote(schema)}.{quote(self.name)}" if schema else quote(self.name)
        tag = "$function$"
        if tag in self.body:
            raise UsageError(f"the body of the function {self.name} has {tag} in it, which is what it is quoted with")
        lines = [
            f"CREATE OR REPLACE FUNCTION {name}({self.arguments})",
            f" RETURNS {self.returns}",
            f" LANGUAGE {self.language} {self.volatility}" + (" STRICT" if self.strict else ""),
            f" PARALLEL {self.parallel}" + (" SECURITY DEFINER" if self.security_definer else ""),
        ]
        lines += [f" SET {key} TO {value}" for key, value in self.settings.items()]
        return "\n".join(lines) + f"\nAS {tag}{self.body}{tag}"


class Policy:
    """A policy of row security of PostgreSQL.

    Args:
        name: its name.
        table: a table or mapped class. Its row security is on from the first policy on.
        using: which rows are seen.
        check: which rows may be written; None: those of ``using``.
        command: the statements that it holds for.
        roles: whom it holds for.
        permissive: one of several permissive ones is enough; restrictive ones all have to hold.

    Attributes:
        info: for an ``include_object`` of an ``env.py``.
    """

    def __init__(
        self,
        name: str,
        table: Any,
        *,
        using: str | None = None,
        check: str | None = None,
        command: Command = "ALL",
        roles: Sequence[str] = ("public",),
        permissive: bool = True,
    ) -> None:
        self.name, self.table, self.using, self.check = name, table_of(table), using, check
        self.command, self.roles, self.permissive = command, tuple(roles), permissive
        self.info: dict[str, Any] = {}
        declared = Declared.of(self.table.metadata)
        declared.add("policies", self)
        declared.row_security.setdefault(self.table, False)

    def sql(self, table: str, dialect: Dialect) -> str:
        """CREATE POLICY on a table by its quoted name."""
        quote = dialect.identifier_preparer.quote
        roles = ", ".join(each.upper() if each.lower() in _ROLES else quote(each) for each in self.roles)
        kind = "" if self.permissive else " AS RESTRICTIVE"
        text = f"CREATE POLICY {quote(self.name)} ON {table}{kind} FOR {self.command} TO {roles}"
        text += f" USING ({self.using})" if self.using is not None else ""
        return text + (f" WITH CHECK ({self.check})" if self.check is not None else "")


_ROLES: Final = ("public", "current_user", "session_user", "current_role")
Object = TypeVar("Object", View, Function, Policy)


@dataclass(slots=True)
class Declared:
    """What is declared beside the tables of a metadata.

    Attributes:
        views, functions, policies: those.
        row_security: tables that have it → whether it holds for their owner, too.
        complete: kinds of which the database has nothing that is not declared.
    """

    views: list[View] = field(default_factory=list)
    functions: list[Function] = field(default_factory=list)
    policies: list[Policy] = field(default_factory=list)
    row_security: dict[Table, bool] = field(default_factory=dict)
    complete: set[Kind] = field(default_factory=set)

    @classmethod
    def of(cls, metadata: MetaData) -> Declared:
        """Of one metadata."""
        found: Declared = metadata.info.setdefault(_KEY, cls())
        return found

    @classmethod
    def together(cls, metadata: Iterable[MetaData]) -> Declared:
        """Of several."""
        whole = cls()
        for each in metadata:
            one = cls.of(each)
            whole.views += one.views
            whole.functions += one.functions
            whole.policies += one.policies
            whole.row_security |= one.row_security
            whole.complete |= one.complete
        return whole

    def add(self, kind: Literal["views", "functions", "policies"], declared: View | Function | Policy) -> None:
        """Add one. It makes its kind complete: what the database has of it beside is dropped."""
        listed: list[Any] = getattr(self, kind)
        listed.append(declared)
        self.complete.add(kind)


def enable_row_security(table: Any, *, force: bool = False) -> None:
    """Row security of a table is on: without a policy nobody sees a row.

    Args:
        table: a table or mapped class.
        force: it holds for the owner of the table, too.
    """
    found = table_of(table)
    Declared.of(found.metadata).row_security[found] = force


def declare_complete(metadata: MetaData, *kinds: Kind) -> None:
    """The database has nothing of these kinds but what is declared: the rest is dropped, even if nothing is declared.

    Args:
        metadata: of the models.
        kinds: ``views``, ``functions``, ``policies``, ``sequences``.
    """
    Declared.of(metadata).complete.update(kinds)


def table_of(table: Any) -> Table:
    """The table of a mapped class, or the table itself.

    Raises:
        UsageError: it is neither.
    """
    found = getattr(table, "__table__", table)
    if not isinstance(found, Table):
        raise UsageError(f"{table!r} is neither a table nor a class that is mapped to one")
    return found
