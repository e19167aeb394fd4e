"""``docs/configuration.md`` names every setting with type, default and meaning, and its examples work."""

from __future__ import annotations

import enum
import re
import shlex
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from sillar.config import (
    BreakerConfig,
    ConnectionPoolConfig,
    DatabaseConfig,
    DatabaseConnectionConfig,
    DatabaseCredentials,
    DatabaseSecurityConfig,
    EngineOptions,
    MigrationConfig,
    MigrationPolicy,
    MongoDBConfig,
    MongoDBOptions,
    MySQLOptions,
    NodeConfig,
    PostgreSQLConfig,
    PostgreSQLOptions,
    RetryConfig,
    SQLiteOptions,
    SSLConfig,
    TopologyConfig,
    load_config,
)
from sillar.config.url_parameters import PARAMETERS, REFUSED

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
MODELS: list[type[BaseModel]] = [
    DatabaseConfig,
    DatabaseConnectionConfig,
    NodeConfig,
    DatabaseCredentials,
    SSLConfig,
    ConnectionPoolConfig,
    BreakerConfig,
    TopologyConfig,
    RetryConfig,
    PostgreSQLOptions,
    MySQLOptions,
    MongoDBOptions,
    SQLiteOptions,
    DatabaseSecurityConfig,
    MigrationConfig,
    MigrationPolicy,
]
SIGNS = {Ge: "≥", Gt: ">", Le: "≤", Lt: "<"}


def takes(annotation: Any, field: FieldInfo) -> str:
    """What a field takes, in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (types.UnionType, Union):
        return " or ".join(takes(part, field) for part in arguments if part is not type(None))
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin is dict:
        return "table by name"
    if origin is tuple:
        return f"list of {arguments[0].__name__}"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return ", ".join(f"`{choice.value}`" for choice in annotation)
    if isinstance(annotation, type) and issubclass(annotation, EngineOptions):
        return "options of the engine"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation.__name__
    words = {bool: "true or false", int: "whole number", float: "number", str: "text", SecretStr: "text", Path: "path"}[
        annotation
    ]
    bounds = [
        f"{SIGNS[type(bound)]} {getattr(bound, type(bound).__name__.lower())}"
        for bound in field.metadata
        if type(bound) in SIGNS
    ]
    return " ".join([words, *bounds])


def default(field: FieldInfo) -> str:
    """The default of a field, as one would write it."""
    value = field.get_default(call_default_factory=True, validated_data={}) if not field.is_required() else None
    if field.is_required():
        return "required"
    if isinstance(value, BaseModel) or value in ((), {}):
        return "empty" if not isinstance(value, BaseModel) else "its defaults"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "none" if value is None else f"`{value}`"


def row(name: str, field: FieldInfo) -> str:
    meaning = " ".join(str(field.description).replace("``", "`").split())
    return f"| `{name}` | {takes(field.annotation, field)} | {default(field)} | {meaning} |"


def section(heading: str) -> str:
    """The text below a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found, f"docs/configuration.md has no heading {heading!r}"
    return found[1]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_setting_stands_in_the_reference(model: type[BaseModel]) -> None:
    rows = [row(name, field) for name, field in model.model_fields.items()]
    listed = [line for line in section(model.__name__).splitlines() if line.startswith("| `")]
    assert listed == rows, "\n" + "\n".join(rows)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_setting_has_a_meaning(model: type[BaseModel]) -> None:
    assert [name for name, field in model.model_fields.items() if not field.description] == []
    texts = [name for name, field in model.model_fields.items() if "str | None" in str(field.annotation)]
    may_be_empty = {"search_path", "sql_mode", "init_command"}
    for name in set(texts) - may_be_empty:
        assert any(isinstance(bound, MinLen) for bound in model.model_fields[name].metadata), name


def test_every_url_parameter_stands_in_the_reference() -> None:
    for engine, parameters in PARAMETERS.items():
        missing = [name for name in parameters if f"`{name}`" not in section(f"Parameters of {engine} URLs")]
        assert missing == []
    assert [name for name in REFUSED if f"`{name}`" not in section("Parameters of other tools")] == []


def example(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def test_the_examples_work(tmp_path: Path) -> None:
    file = tmp_path / "sillar.toml"
    file.write_text(example("toml"))
    variables = dict(word.split("=", 1) for word in shlex.split(example("sh"), comments=True) if "=" in word)
    config = load_config(file=file, environment=variables)
    shop, events = config.connection("shop"), config.connection("events")
    assert isinstance(shop, PostgreSQLConfig)
    assert isinstance(events, MongoDBConfig)
    assert config.profile == "prod"
    assert config.default_database == "shop"
    assert [str(address) for address in shop.addresses] == ["db1.example.com:5432", "db2.example.com:5432"]
    assert shop.tls.mode == "verify-full"
    assert shop.pool is not None
    assert (shop.pool.max_connections, shop.pool.min_connections) == (40, 2)
    assert shop.credentials.password is not None
    development = load_config(file=file, environment={}).connection()
    assert [str(address) for address in development.addresses] == ["localhost:5432"]
    assert development.tls.mode == "disable"


def test_the_python_example_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sillar.toml").write_text(example("toml"))
    names: dict[str, Any] = {}
    exec(example("python"), names)
    assert names["config"].connection("reports").read_only is True
    assert isinstance(names["typed"].connection(), PostgreSQLConfig)
