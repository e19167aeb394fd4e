"""Every class, method and field that the design document (001) names.

What ships has that spelling and shape. What does not stands in ``NOT_YET``, and the test fails as soon as the package
has something of that name, so that the list stays honest. Of a class that ships in part, ``missing`` names what is not.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import Column, Integer, MetaData, Table

import sillar
from sillar import ConnectionPool, ConnectionPoolConfig, DatabaseConfig, DatabaseManager, DatabaseSecurityConfig
from sillar.config import MongoDBConfig, MySQLConfig, PostgreSQLConfig, SQLiteConfig
from sillar.fastapi import get_database_session
from sillar.security import EnvironmentSource

SHIPPED = """
sillar.DatabaseManager(config)
    field config
    field connections
    field pools
    field health_monitor
    async initialize()
    async get_connection(name)
    async execute_query(query)
    async begin_transaction()
    async get_session(name)
sillar.DatabaseConfig
    field databases
    field default_database
    field connection_pools
    field migration_config
    field security_config
sillar.DatabaseConnectionConfig
    field engine
    field host
    field port
    field database
    field credentials
    field ssl_config
    field connection_options
sillar.ConnectionPool(config)
    field min_connections
    field max_connections
    field connection_timeout
    field idle_timeout
    async acquire()
    async release(connection)
    async health_check()
sillar.DatabaseAdapter(config)
    async connect()
    async execute_query(query, params)
    async begin_transaction()
sillar.engines.postgresql.PostgreSQLAdapter(config)
    field config
    field driver
    async connect()
    async execute_query(query, params)
    async begin_transaction()
sillar.engines.mysql.MySQLAdapter(config)
    field config
    field driver
    async connect()
sillar.engines.mongodb.MongoDBAdapter(config)
    field config
    field driver
    async connect()
sillar.engines.sqlite.SQLiteAdapter(config)
    field config
    field driver
    async connect()
sillar.DatabaseMetrics
    field connection_pool_size
    field active_connections
    field query_count
    field query_latency
    field error_rate
    field transaction_count
sillar.DatabaseMonitor
    field metrics
    async collect_metrics()
    async health_check()
sillar.fastapi.FastAPIDatabaseIntegration(app, db_manager)
    field app
    field db_manager
    def setup_dependencies()
    def setup_middleware()
    def setup_lifespan()
sillar.DatabaseSession
    async close()
sillar.ORMIntegration
    async create_session()
    async execute_query(query)
sillar.ORMSession
sillar.integrations.sqlalchemy.SQLAlchemyIntegration
    async create_session()
    async execute_query(query)
sillar.integrations.tortoise.TortoiseIntegration
    async create_session()
    async execute_query(query)
sillar.integrations.beanie.BeanieIntegration
    async create_session()
    async execute_query(query)
sillar.QueryBuilder(model)
    field model
    field query_parts
    def select()
    def where(condition)
    def join(model, on)
    async execute()
sillar.QueryPart
sillar.Condition
sillar.ConnectionPoolConfig
    field min_connections
    field max_connections
    field connection_timeout
    field idle_timeout
sillar.DatabaseConnection
sillar.DatabaseCredentials
sillar.DatabaseEngine
sillar.DatabaseHealth
sillar.DatabaseSecurityConfig
sillar.MigrationConfig
sillar.PoolHealth
sillar.Query
sillar.QueryResult
sillar.SSLConfig
sillar.Transaction
sillar.config.MongoDBConfig
sillar.config.MySQLConfig
sillar.config.PostgreSQLConfig
sillar.config.SQLiteConfig
sillar.config.SecretsManager
sillar.observability.DatabaseHealthMonitor
sillar.security.DatabaseSecurityManager(config)
    field config
    def create_ssl_context(ssl_config)
    missing sanitize_query
sillar.DatabaseCredentialManager(secrets_manager)
    field secrets_manager
    async get_credentials(database_name)
    async rotate_credentials(database_name)
sillar.PoolOptimizer(pool)
    field pool
    async analyze_usage()
    async optimize_size()
    async predict_load()
sillar.pool.PoolUsageAnalysis
sillar.pool.PoolOptimization
sillar.pool.LoadPrediction
sillar.migrations.MigrationManager(config)
    field config
    field migration_table
    async generate_migration(name)
    async apply_migrations()
    async rollback_migration(target)
sillar.migrations.Migration(name, version)
    field name
    field version
    field operations
    async up()
    async down()
sillar.migrations.AppliedMigration
sillar.migrations.MigrationOperation
"""

NOT_YET = """
QueryAnalytics: query_stats, record_query, get_slow_queries, optimize_suggestions
QueryStats
SlowQuery
OptimizationSuggestion
TransactionManager: databases, active_transactions, begin_distributed_transaction, commit_all, rollback_all
DistributedTransaction
SagaTransaction: steps, compensation_steps, add_step, execute
SagaStep
SagaResult
QueryCache: config, cache, get, set, invalidate_pattern
CacheConfig
CachedResult
DatabaseTestFramework: test_databases, create_test_database, cleanup_test_databases
TestDatabase: setup_schema, seed_data, cleanup
"""

DRIVERS = {
    "sillar.engines.postgresql.PostgreSQLAdapter": {"asyncpg"},
    "sillar.engines.mysql.MySQLAdapter": {"aiomysql", "asyncmy"},
    "sillar.engines.mongodb.MongoDBAdapter": {
        "pymongo"
    },  # Motor, which the document names, has reached its end of life
    "sillar.engines.sqlite.SQLiteAdapter": {"sqlite3"},  # docs/decisions has the reason for not using aiosqlite
}


@dataclass(frozen=True)
class Shape:
    """One class of the document: where it is, and its members as written above."""

    place: str
    parameters: tuple[str, ...]
    fields: tuple[str, ...]
    methods: tuple[tuple[str, str, tuple[str, ...]], ...]
    missing: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.place.rpartition(".")[2]

    def load(self) -> Any:
        module, _, name = self.place.rpartition(".")
        return getattr(import_module(module), name)


def split_names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def shapes(text: str) -> Iterator[Shape]:
    for block in re.split(r"\n(?=\S)", text.strip()):
        head, *members = block.splitlines()
        place, _, parameters = head.rstrip(")").partition("(")
        found = [re.fullmatch(r" {4}(field|def|async|missing) (\w+)(?:\((.*)\))?", member) for member in members]
        assert all(found), block
        parts = [match.groups() for match in found if match]
        yield Shape(
            place,
            split_names(parameters),
            tuple(name for kind, name, _ in parts if kind == "field"),
            tuple((kind, name, split_names(names or "")) for kind, name, names in parts if kind in ("def", "async")),
            tuple(name for kind, name, _ in parts if kind == "missing"),
        )


ALL = list(shapes(SHIPPED))
ABSENT = {line.partition(":")[0]: split_names(line.partition(":")[2]) for line in NOT_YET.strip().splitlines()}


def instance_of(shape: Shape) -> Any:
    """An object whose attributes can be looked at; nothing is opened."""
    config = {
        "PostgreSQLAdapter": PostgreSQLConfig(host="localhost", database="x"),
        "MySQLAdapter": MySQLConfig(host="localhost", database="x"),
        "MongoDBAdapter": MongoDBConfig(host="localhost", database="x"),
        "SQLiteAdapter": SQLiteConfig(database=":memory:"),
    }.get(shape.name)
    if config is not None:
        return shape.load()(config)
    if shape.name == "DatabaseSecurityManager":
        return shape.load()(DatabaseSecurityConfig())
    if shape.name == "QueryBuilder":
        return shape.load()(Table("t", MetaData(), Column("id", Integer)))
    manager = DatabaseManager(DatabaseConfig.from_url("sqlite://"))
    if shape.name in ("ConnectionPool", "PoolOptimizer"):
        adapter = next(each for each in ALL if each.name == "PostgreSQLAdapter")
        pool = ConnectionPool(ConnectionPoolConfig(), instance_of(adapter))
        return pool if shape.name == "ConnectionPool" else shape.load()(pool)
    if shape.name == "DatabaseCredentialManager":
        return shape.load()(EnvironmentSource())
    if shape.name == "MigrationManager":
        return shape.load()(manager.config.migration_config, manager)
    if shape.name == "Migration":
        return shape.load()("add people", "1f3a")
    if shape.name == "FastAPIDatabaseIntegration":
        return shape.load()(FastAPI(), manager)
    return {"DatabaseManager": manager, "DatabaseMonitor": manager.monitor}.get(shape.name)


def positional(function: Any) -> list[inspect.Parameter]:
    parameters = list(inspect.signature(function).parameters.values())
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [each for each in parameters if each.name != "self" and each.kind in kinds]


@pytest.mark.parametrize("shape", ALL, ids=lambda shape: shape.name)
def test_what_ships_has_the_documents_shape(shape: Shape) -> None:
    kind = shape.load()
    assert inspect.isclass(kind)
    assert kind.__name__ == shape.name
    if shape.parameters:
        assert tuple(each.name for each in positional(kind.__init__))[: len(shape.parameters)] == shape.parameters
    for name in shape.missing:
        assert not hasattr(kind, name), f"{shape.name}.{name} is there now: write its shape"
    for form, name, parameters in shape.methods:
        method = getattr(kind, name)
        assert inspect.iscoroutinefunction(method) is (form == "async"), f"{shape.name}.{name}"
        ours = positional(method)
        assert tuple(each.name for each in ours)[: len(parameters)] == parameters, f"{shape.name}.{name}"
        further = [each.name for each in ours[len(parameters) :] if each.default is inspect.Parameter.empty]
        assert not further, f"{shape.name}.{name} needs {further}, which the document does not give"


@pytest.mark.parametrize("shape", [each for each in ALL if each.fields], ids=lambda shape: shape.name)
def test_fields_have_the_documents_names(shape: Shape) -> None:
    kind = shape.load()
    if issubclass(kind, BaseModel):
        assert set(shape.fields) <= set(kind.model_fields)
    elif hasattr(kind, "__dataclass_fields__"):
        assert tuple(kind.__dataclass_fields__) == shape.fields
    else:
        instance = instance_of(shape)
        assert instance is not None
        for name in shape.fields:
            assert hasattr(instance, name), f"{shape.name}.{name}"


@pytest.mark.parametrize("place", DRIVERS)
def test_an_adapter_names_its_driver(place: str) -> None:
    shape = next(each for each in ALL if each.place == place)
    assert instance_of(shape).driver in DRIVERS[place]


def test_the_session_dependency_has_the_documents_shape() -> None:
    function = get_database_session
    assert inspect.isasyncgenfunction(function)
    assert function.__code__.co_varnames[0] == "database_name"
    assert function.__defaults__ is not None
    assert function.__defaults__[0] == "default"


def names_defined(folder: Path) -> set[str]:
    """Names of all classes, functions and module-level assignments below a folder."""
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                found.add(node.name)
            elif isinstance(node, ast.Assign):
                found.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return found


def test_what_is_not_there_yet_is_really_not_there() -> None:
    appeared = set(ABSENT) & names_defined(Path(sillar.__file__).parent)
    assert not appeared, f"move these from NOT_YET to SHIPPED, with their shape: {sorted(appeared)}"


def test_the_two_lists_name_everything_once() -> None:
    names = [shape.name for shape in ALL] + list(ABSENT)
    assert len(names) == len(set(names))


def test_the_search_for_names_finds_what_a_file_defines(tmp_path: Path) -> None:
    (tmp_path / "saga.py").write_text("class SagaStep:\n    pass\n\nSagaResult = dict\n")
    assert set(ABSENT) & names_defined(tmp_path) == {"SagaStep", "SagaResult"}
