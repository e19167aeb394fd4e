"""The models that migrations are generated from, as metadata of SQLAlchemy's."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Final

from sqlalchemy import MetaData, Table

from sillar.errors import UsageError

_GROUP: Final = "sillar.models"


def load_models(paths: Sequence[str]) -> list[MetaData]:
    """The metadata of models, each once.

    Args:
        paths: ``package.module``: every model in it, a package with everything below it; ``package.module:name``: a
            declarative base, a ``MetaData``, a mapped class, a table, a model of Tortoise's, or a list of such.

    Raises:
        UsageError: a path cannot be imported, has no models, or has models of a kind that has no tables.
    """
    found: dict[int, MetaData] = {}
    others: dict[str, list[type[Any]]] = {}
    for path in paths:
        place, _, name = path.partition(":")
        before = len(found) + sum(map(len, others.values()))
        seen = 0
        for value in _named(place, name) if name else _everything(place):
            seen += _take(value, found, others)
        if seen == 0 and before == len(found) + sum(map(len, others.values())):
            raise UsageError(
                f"{path} has no models: name a module with models, or package.module:Base for a declarative base or a"
                " MetaData"
            )
    return [*found.values(), *(_read(package, models) for package, models in others.items())]


def _take(value: Any, found: dict[int, MetaData], others: dict[str, list[type[Any]]]) -> int:
    """Take what a name leads to. Returns how much it was."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return sum(_take(each, found, others) for each in value)
    package = _package(value)
    if package is not None:
        listed = others.setdefault(package, [])
        if value not in listed:
            listed.append(value)
        return 1
    metadata = value if isinstance(value, MetaData) else None
    if isinstance(value, Table) or (isinstance(value, type) and isinstance(getattr(value, "metadata", None), MetaData)):
        metadata = value.metadata  # type: ignore[union-attr]
    if metadata is None or (not metadata.tables and not metadata.info):
        return 0
    found[id(metadata)] = metadata
    return 1


def _package(value: Any) -> str | None:
    """The package of another ORM that a model class comes from."""
    if not isinstance(value, type):
        return None
    known = {point.name for point in entry_points(group=_GROUP)}
    own = value.__module__.split(".")[0]
    packages = [each.__module__.split(".")[0] for each in value.__mro__]
    return next((each for each in packages if each in known and each != own), None)


def _read(package: str, models: Sequence[type[Any]]) -> MetaData:
    point: EntryPoint = next(each for each in entry_points(group=_GROUP) if each.name == package)
    try:
        module = import_module(f"{point.module.rpartition('.')[0]}.metadata")
    except ModuleNotFoundError as error:
        names = ", ".join(model.__name__ for model in models[:3])
        raise UsageError(
            f"{names} are models of {package}, which have no tables: SQL migrations are not generated from them"
        ) from error
    metadata: MetaData = module.models_metadata(models)
    return metadata


def _named(place: str, name: str) -> Iterator[Any]:
    value: Any = _imported(place)
    for part in name.split("."):
        if not hasattr(value, part):
            raise UsageError(f"{place} has no {name}")
        value = getattr(value, part)
    yield value


def _everything(place: str) -> Iterator[Any]:
    for module in _modules(place):
        for value in list(vars(module).values()):
            if isinstance(value, (MetaData, Table, type)):
                yield value


def _modules(place: str) -> Iterator[ModuleType]:
    module = _imported(place)
    yield module
    for found in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{place}.", onerror=_imported):
        yield _imported(found.name)


def _imported(name: str) -> ModuleType:
    try:
        return import_module(name)
    except Exception as error:
        raise UsageError(f"the models in {name!r} cannot be imported: {type(error).__name__}: {error}") from error
