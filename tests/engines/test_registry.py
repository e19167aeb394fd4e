"""Engines are found through entry points."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest

from sillar import DatabaseConfig
from sillar.config import SQLiteConfig
from sillar.engines import adapter_class, open_adapter, registry
from sillar.engines.adapter import DatabaseAdapter
from sillar.engines.postgresql import PostgreSQLAdapter
from sillar.engines.sqlite import SQLiteAdapter
from sillar.errors import UnsupportedCapabilityError, UsageError


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    adapter_class.cache_clear()
    yield
    adapter_class.cache_clear()


@pytest.mark.parametrize(
    ("url", "kind"), [("sqlite://", SQLiteAdapter), ("postgresql://me@127.0.0.1/x", PostgreSQLAdapter)]
)
def test_the_engine_of_a_configuration_is_found(url: str, kind: type) -> None:
    assert isinstance(open_adapter(DatabaseConfig.from_url(url).connection()), kind)


def test_an_unknown_engine_names_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"no engine is registered as 'oracle'; there are .*postgresql.*sqlite"):
        adapter_class("oracle")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("a_driver_that_is_not_there:Adapter", r"the driver of mine is not installed .*pip install 'sillar\[mine\]'"),
        ("json:JSONDecoder", "which is no DatabaseAdapter"),
    ],
)
def test_an_entry_point_that_leads_nowhere_says_so(monkeypatch: pytest.MonkeyPatch, value: str, message: str) -> None:
    point = EntryPoint("mine", value, registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    with pytest.raises(UsageError, match=message):
        adapter_class("mine")


def test_an_adapter_without_plans_or_catalogue_says_so() -> None:
    class Bare(SQLiteAdapter):
        explainer = DatabaseAdapter.explainer  # type: ignore[assignment]
        catalogue = DatabaseAdapter.catalogue  # type: ignore[assignment]

    adapter = Bare(SQLiteConfig(database=":memory:"))
    for ask in (lambda: adapter.explainer, lambda: adapter.catalogue):
        with pytest.raises(UnsupportedCapabilityError, match="by hand"):
            ask()
