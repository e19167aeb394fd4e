"""Which databases a command of migrations is for: options that all of them have, and the configuration they name."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from importlib.util import find_spec
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from sillar.config import DatabaseConfig, load_config
from sillar.errors import UsageError

if TYPE_CHECKING:
    from sillar.migrations import MigrationManager
    from sillar.migrations.progress import Report

CONFIGURATION_FILE: Final = Path("sillar.toml")


@dataclass(frozen=True, slots=True)
class Target:
    """One database that a command works on.

    Attributes:
        database: its configured name.
        tenant: whose schema or database it is; None: nobody's.
    """

    database: str
    tenant: str | None = None

    def __str__(self) -> str:
        return self.database if self.tenant is None else f"{self.database}, tenant {self.tenant}"


@dataclass(frozen=True, slots=True)
class Choice:
    """What the options say that every command has.

    Attributes:
        config: of the databases.
        targets: what to work on, in order.
        keep_going: after a target that failed, the others are still worked on.
        as_json: results are printed as one JSON document.
        file: the configuration file; None: there is none.
    """

    config: DatabaseConfig
    targets: tuple[Target, ...]
    keep_going: bool
    as_json: bool
    file: Path | None

    def manager(self, target: Target, report: Report) -> MigrationManager:
        """The manager of the migrations of one target."""
        from sillar.migrations import MigrationManager

        return MigrationManager.of(self.config, target.database, tenant=target.tenant, report=report)

    @property
    def only_target(self) -> Target:
        """The target of a command that works on one.

        Raises:
            UsageError: there are several.
        """
        if len(self.targets) > 1:
            raise UsageError(f"this works on one database at a time, and {len(self.targets)} are named")
        return self.targets[0]


_OPTIONS: dict[str, Any] = {
    "config": Annotated[
        Path | None, typer.Option("--config", "-c", help="Configuration file; sillar.toml if there is one.")
    ],
    "url": Annotated[str | None, typer.Option(help="URL of the database, in place of the configured one.")],
    "environment": Annotated[
        str | None, typer.Option("--environment", "-e", help="Profile: its settings and its policy hold.")
    ],
    "database": Annotated[list[str] | None, typer.Option("--database", "-d", help="Configured name; may be repeated.")],
    "all_databases": Annotated[bool, typer.Option("--all", help="All configured databases, in their order.")],
    "tenant": Annotated[
        list[str] | None, typer.Option("--tenant", "-t", help="Tenant; may be repeated; all: every configured one.")
    ],
    "keep_going": Annotated[bool, typer.Option("--keep-going", help="Go on with the others when one fails.")],
    "as_json": Annotated[bool, typer.Option("--json", help="Print one JSON document.")],
}
_DEFAULTS: dict[str, Any] = dict.fromkeys(("all_databases", "keep_going", "as_json"), False)


def with_choice(command: Callable[..., int]) -> Callable[..., int]:
    """A command whose first parameter is a :class:`Choice`, with the options that make one."""
    own = list(signature(command, eval_str=True).parameters.values())[1:]
    common = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=_DEFAULTS.get(name), annotation=annotation)
        for name, annotation in _OPTIONS.items()
    ]

    @wraps(command)
    def chosen(**given: Any) -> int:
        options = {name: given.pop(name) for name in _OPTIONS}
        return command(choice_of(**options), **given)

    chosen.__signature__ = signature(command).replace(  # type: ignore[attr-defined]
        parameters=[each.replace(kind=Parameter.KEYWORD_ONLY) for each in own] + common
    )
    chosen.__annotations__ = {each.name: each.annotation for each in [*own, *common]}
    del chosen.__dict__["__wrapped__"]
    return chosen


def choice_of(
    *,
    config: Path | None = None,
    url: str | None = None,
    environment: str | None = None,
    database: Sequence[str] | None = None,
    all_databases: bool = False,
    tenant: Sequence[str] | None = None,
    keep_going: bool = False,
    as_json: bool = False,
) -> Choice:
    """What the options say.

    Raises:
        UsageError: they contradict each other, or name something that is not configured.
        ConfigurationError: in the configuration.
    """
    for package, extra in (("alembic", "migrations"), ("sqlalchemy", "sqlalchemy")):
        if find_spec(package) is None:
            raise UsageError(f"migrations need {package}, which is not installed: pip install 'sillar[{extra}]'")
    from sillar.migrations.tenants import tenants_of

    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # models are looked for where the command was typed
    if config is not None and not config.is_file():
        raise UsageError(f"there is no configuration file {config}")
    if all_databases and database:
        raise UsageError("give either --database or --all")
    if url is not None and (all_databases or len(database or ()) > 1):
        raise UsageError("--url is one database: give it with one --database, or with none")
    file = config or (CONFIGURATION_FILE if CONFIGURATION_FILE.is_file() else None)
    databases = None
    if url is not None:
        databases = {database[0] if database else _default_in(file): {"url": url}}
    loaded = load_config(file=file, databases=databases, profile=environment)
    names = list(loaded.databases) if all_databases else list(database or [loaded.default_database])
    targets = []
    for name in names:
        loaded.connection(name)
        whom: Sequence[str | None] = tenants_of(loaded.migration_config, tenant) if tenant else [None]
        targets += [Target(name, each) for each in whom]
    return Choice(loaded, tuple(targets), keep_going, as_json, file)


def _default_in(file: Path | None) -> str:
    """The database that ``--url`` takes the place of; what is wrong in the file is told when it is loaded."""
    if file is None:
        return "default"
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return "default"
    databases = settings.get("databases")
    names = list(databases) if isinstance(databases, dict) else []
    found = settings.get("default_database", names[0] if len(names) == 1 else "default")
    return str(found)


__all__ = ["Choice", "Target", "choice_of", "with_choice"]
