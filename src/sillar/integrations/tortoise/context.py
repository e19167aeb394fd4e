"""Tortoise's context of one host: its aliases and apps, shared by the integrations of all its databases."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from pkgutil import walk_packages
from types import ModuleType
from typing import Any, Final
from weakref import WeakKeyDictionary

from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.context import TortoiseContext
from tortoise.exceptions import ConfigurationError
from tortoise.models import Model

from sillar.errors import UsageError
from sillar.execution import Executor
from sillar.integrations.tortoise import private

Modules = Mapping[str, Iterable[str | ModuleType]]
"""App label → modules with models, as Tortoise takes them."""

DEFAULT_ALIAS: Final = "default"
_CLIENTS: Final = {
    "postgresql": "sillar.integrations.tortoise.postgresql",
    "mysql": "sillar.integrations.tortoise.mysql",
    "sqlite": "sillar.integrations.tortoise.sqlite",
}


class SharedContext:
    """The ``TortoiseContext`` of one host.

    Attributes:
        context: Tortoise's own.
        connections, apps: what it was initialised with, in the form of Tortoise's configuration.
    """

    def __init__(self) -> None:
        self.context = TortoiseContext()
        self.connections: dict[str, Any] = {}
        self.apps: dict[str, Any] = {}

    @classmethod
    def of(cls, host: Any) -> SharedContext:
        """The one of a manager."""
        found = _contexts.get(host)
        if found is None:
            found = _contexts[host] = cls()
        return found

    async def open(
        self, alias: str, executor: Executor, modules: Mapping[str, list[str]], options: Mapping[str, Any]
    ) -> None:
        """Add a database and the apps on it, and initialise Tortoise with all that there is."""
        if self._is_closed():
            self.connections, self.apps = {}, {}
        self.connections[alias] = connection_settings(executor)
        self.apps.update(app_settings(alias, modules))
        with private.entered(self.context):
            await self.context.init(config={"connections": self.connections, "apps": self.apps}, **options)
        self._also_by_name(alias, executor)
        if not private.become_global(self.context):
            private.enter(self.context)

    def client(self, alias: str) -> BaseDBAsyncClient:
        """The client of an alias."""
        return self.context.connections.get(alias)

    async def close(self) -> None:
        """Have Tortoise forget its clients; they have nothing open."""
        await self.context.close_connections()
        self.connections, self.apps = {}, {}

    def _is_closed(self) -> bool:
        """Whether it was never opened, or was closed since: by Tortoise's own ``close_connections()``, too."""
        try:
            return not self.context.connections.db_config
        except ConfigurationError:
            return True

    def _also_by_name(self, alias: str, executor: Executor) -> None:
        """Let the default database be found by its own name, too, without it counting as another one: Tortoise's
        ``in_transaction()`` wants a name where there are several."""
        if alias != executor.name:
            known = self.context.connections.db_config
            known[executor.name] = connection_settings(executor)
            self.context.connections.get(executor.name)
            del known[executor.name]


_contexts: WeakKeyDictionary[Any, SharedContext] = WeakKeyDictionary()


def connection_settings(executor: Executor) -> dict[str, Any]:
    """What Tortoise's configuration says of a connection.

    Raises:
        UsageError: Tortoise has no client for this engine.
    """
    engine = executor.adapter.config.engine
    module = _CLIENTS.get(engine)
    if module is None:
        raise UsageError(f"Tortoise works on PostgreSQL, MySQL, MariaDB and SQLite, not on {engine}: use Beanie there")
    return {"engine": module, "credentials": {"executor": executor}}


def app_settings(alias: str, modules: Mapping[str, list[str]]) -> dict[str, Any]:
    """What Tortoise's configuration says of apps."""
    return {label: {"models": list(names), "default_connection": alias} for label, names in modules.items()}


def module_names(models: Iterable[Any]) -> list[str]:
    """The modules that hold some models, in order.

    Args:
        models: model classes, modules, or dotted names of modules and of packages, which are searched.

    Raises:
        UsageError: a class is not to be found in its module, or there is no such module.
    """
    names: dict[str, None] = {}
    for each in models:
        if isinstance(each, type) and issubclass(each, Model):
            if getattr(sys.modules.get(each.__module__), each.__name__, None) is not each:
                raise UsageError(
                    f"the model {each.__qualname__} is no attribute of its module {each.__module__}, where Tortoise"
                    " looks for it; define it at the top of a module"
                )
            names[each.__module__] = None
        elif isinstance(each, (str, ModuleType)):
            for name in _with_models(each):
                names[name] = None
        else:
            raise UsageError(f"models are given as classes, modules or dotted names, not as {type(each).__name__}")
    return list(names)


def _with_models(module: str | ModuleType) -> Iterable[str]:
    """The module itself, or of a package all modules that define models."""
    if isinstance(module, str):
        try:
            module = import_module(module)
        except ModuleNotFoundError as error:
            raise UsageError(f"there is no module {module!r} to look for models in") from error
    name, path = module.__name__, getattr(module, "__path__", None)
    if sys.modules.get(name) is not module:
        raise UsageError(f"the module {name!r} cannot be imported by its name, by which Tortoise looks for it")
    if path is None:
        return [name]
    inside = [name, *(found.name for found in walk_packages(path, f"{name}."))]
    return [each for each in inside if _defines_models(import_module(each))]


def _defines_models(module: ModuleType) -> bool:
    return hasattr(module, "__models__") or any(
        isinstance(each, type) and issubclass(each, Model) and each.__module__ == module.__name__
        for each in vars(module).values()
    )
