"""Finds the mapped classes of packages."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.orm import Mapper, configure_mappers

from sillar.errors import UsageError


def mapped_classes(*places: Any) -> list[type[Any]]:
    """The mapped classes among classes, in modules, and in packages with everything below them, each once.

    Args:
        places: mapped classes, modules, or dotted names of modules or packages.

    Raises:
        UsageError: a name cannot be imported, a class is not mapped, a place has no mapped class, or the mapping itself
            is faulty (a relationship that leads nowhere).
    """
    found: dict[type[Any], None] = {}
    for place in places:
        if isinstance(place, type):
            if _mapper(place) is None:
                raise UsageError(f"{place.__module__}.{place.__qualname__} is not mapped by SQLAlchemy")
            found[place] = None
            continue
        here = [each for module in _modules(place) for each in vars(module).values() if _mapper(each) is not None]
        if not here:
            raise UsageError(f"{getattr(place, '__name__', place)} has no class that SQLAlchemy maps")
        found.update(dict.fromkeys(here))
    try:
        configure_mappers()
    except Exception as error:
        raise UsageError(f"the mapping of the models is faulty: {error}") from error
    return list(found)


def _modules(place: ModuleType | str) -> Iterator[ModuleType]:
    module = _imported(place) if isinstance(place, str) else place
    yield module
    for path in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{module.__name__}.", onerror=_imported):
        yield _imported(path.name)


def _imported(name: str) -> ModuleType:
    try:
        return import_module(name)
    except Exception as error:
        raise UsageError(f"the models in {name!r} cannot be imported: {type(error).__name__}: {error}") from error


def _mapper(value: Any) -> Mapper[Any] | None:
    if not isinstance(value, type):
        return None
    found: Any = inspect(value, raiseerr=False)
    return found if isinstance(found, Mapper) else None
