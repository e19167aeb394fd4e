"""Finds the adapter for an engine through entry points, so that engines are plug-ins."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from sillar.config import DatabaseConnectionConfig
from sillar.engines.adapter import DatabaseAdapter
from sillar.errors import UsageError

GROUP = "sillar.engines"


@cache
def adapter_class(engine: str) -> type[DatabaseAdapter]:
    """The adapter class registered for an engine name.

    Raises:
        UsageError: nothing is registered under that name, or its driver is not installed.
    """
    found = {point.name: point for point in entry_points(group=GROUP)}
    point = found.get(engine)
    if point is None:
        raise UsageError(
            f"no engine is registered as {engine!r}; there are {', '.join(sorted(found)) or 'none'}"
            f" (entry-point group {GROUP!r})"
        )
    try:
        loaded = point.load()
    except ImportError as error:
        raise UsageError(
            f"the driver of {engine} is not installed ({error.name}); install it with: pip install 'sillar[{engine}]'"
        ) from error
    if not (isinstance(loaded, type) and issubclass(loaded, DatabaseAdapter)):
        raise UsageError(f"the entry point {GROUP}:{engine} is {loaded!r}, which is no DatabaseAdapter")
    return loaded


def open_adapter(config: DatabaseConnectionConfig) -> DatabaseAdapter:
    """The adapter for a database configuration; nothing is connected yet."""
    return adapter_class(str(config.engine))(config)
