"""Finds documents in modules and packages."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from sillar.errors import UsageError
from sillar.integrations.beanie.private import MODEL_KINDS


def models_in(given: Any) -> Iterator[type[Any]]:
    """The documents, views and unions that something stands for.

    Args:
        given: a class, a module, or the dotted name of a module, a package (searched with all below it) or a class.

    Raises:
        UsageError: it is none of these, or there is no such name.
    """
    if is_model(given):
        yield given
    elif isinstance(given, ModuleType):
        yield from _models_below(given)
    elif isinstance(given, str):
        found = _named(given)
        yield from (found,) if is_model(found) else _models_below(found)
    else:
        raise UsageError(
            f"{getattr(given, '__name__', type(given).__name__)} is no Beanie model; register classes of Document, View"
            " or UnionDoc, modules, or dotted names"
        )


def is_model(given: Any) -> bool:
    """Whether it is a document, view or union of somebody's, not a base class of Beanie's."""
    return inspect.isclass(given) and issubclass(given, MODEL_KINDS) and given not in MODEL_KINDS


def _models_below(module: ModuleType) -> Iterator[type[Any]]:
    yield from _models_of(module)
    for info in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{module.__name__}."):
        yield from _models_of(importlib.import_module(info.name))


def _models_of(module: ModuleType) -> Iterator[type[Any]]:
    for each in vars(module).values():
        if is_model(each) and each.__module__ == module.__name__:
            yield each


def _named(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        owner, _, last = name.rpartition(".")
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise  # a module is there, and imports what is not
        if owner:
            try:
                found = getattr(importlib.import_module(owner), last, None)
            except ModuleNotFoundError:
                found = None
            if is_model(found):
                return found
        raise UsageError(f"there is no module, package or Beanie model {name!r}") from None
