"""Tests of a project's migrations, ready to be run: ``from sillar.testing.migrations import *`` in a test module.

They run on a throwaway database, which must be empty and is emptied after each test. For SQLite it is a file that is
made for each test; for a server a fixture of the project says where it is::

    from sillar.testing.migrations import *

    @pytest.fixture
    def throwaway_url():
        return "postgresql://tester@localhost/throwaway"

The configuration is ``sillar.toml``, the database its default one; a project with several overrides the fixture
``migrations``.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from sillar.config import load_config
from sillar.migrations import MigrationManager
from sillar.migrations.checks import CheckResult
from sillar.migrations.throwaway import (
    downgrades_exist,
    models_match,
    offline_equals_online,
    round_trip,
    single_head,
    stairway,
)
from sillar.portal import Portal


@pytest.fixture
def throwaway_url(tmp_path: Path) -> str:
    """URL of an empty database that these tests may fill and empty."""
    return f"sqlite:///{tmp_path / 'throwaway.db'}"


@pytest.fixture
def migrations(throwaway_url: str) -> MigrationManager:
    """The migrations under test, on the throwaway database."""
    return migrations_on(throwaway_url)


def migrations_on(url: str, *, file: Path | str = "sillar.toml", database: str | None = None) -> MigrationManager:
    """The migrations of a configuration, on another database than the one that it names.

    Args:
        url: of the database.
        file: the configuration.
        database: configured name; None is the default one.
    """
    name = database or load_config(file=file).default_database
    config = load_config(file=file, databases={name: {"url": url}}, profile="test")
    return MigrationManager.of(config, name)


def test_single_head(migrations: MigrationManager) -> None:
    """Only one migration is followed by none."""
    _require(single_head(migrations))


def test_downgrades_exist(migrations: MigrationManager) -> None:
    """Each migration that does something says how it is undone."""
    _require(downgrades_exist(migrations))


def test_models_match(migrations: MigrationManager) -> None:
    """All migrations together give what the models say."""
    _require(_run(models_match, migrations))


def test_round_trip(migrations: MigrationManager) -> None:
    """Up, down to base and up again gives the same schema, and base is empty."""
    _require(_run(round_trip, migrations))


def test_stairway(migrations: MigrationManager) -> None:
    """Each migration undoes just what it did."""
    _require(_run(stairway, migrations))


def test_offline_equals_online(migrations: MigrationManager) -> None:
    """What ``sillar upgrade --sql`` prints gives the same schema as the migrations themselves."""
    _require(_run(offline_equals_online, migrations))


def _run(
    check: Callable[[MigrationManager], Coroutine[Any, Any, CheckResult]], migrations: MigrationManager
) -> CheckResult:
    """In an event loop of its own: it makes no difference which plug-in for asynchronous tests there is, if any."""
    with Portal() as portal:
        return portal.call(check, migrations)


def _require(result: CheckResult) -> None:
    if not result.is_well:
        pytest.fail("\n".join([f"not so: {result.name}", *result.details]), pytrace=False)


__all__ = [
    "migrations",
    "migrations_on",
    "test_downgrades_exist",
    "test_models_match",
    "test_offline_equals_online",
    "test_round_trip",
    "test_single_head",
    "test_stairway",
    "throwaway_url",
]
