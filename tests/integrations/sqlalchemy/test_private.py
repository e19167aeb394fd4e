"""The names of SQLAlchemy that are not documented, and that Sillar needs: a contract with the installed version.

For the other end of the supported range: make an environment with ``sqlalchemy[asyncio]==2.0.40`` and the other
requirements, and run this folder's tests with its Python.
"""

from __future__ import annotations

import inspect
from typing import Any

import sqlalchemy
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.base import OptionEngine
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.pool import Pool
from sqlalchemy.pool.base import _AdhocProxiedConnection, _ConnectionRecord
from sqlalchemy.sql import Insert
from sqlalchemy.sql.elements import ReleaseSavepointClause, RollbackToSavepointClause, SavepointClause


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_the_version_is_a_supported_one() -> None:
    assert sqlalchemy.__version__.startswith(("2.0.", "2.1."))


def test_pool_and_record() -> None:
    assert parameters(Pool._do_get) == ["self"]
    assert parameters(Pool._do_return_conn) == ["self", "record"]
    assert parameters(Pool._create_connection) == ["self"]
    assert parameters(Pool._close_connection) == ["self", "connection", "terminate"]
    assert parameters(Pool._invalidate) == ["self", "connection", "exception", "_checkin"]
    assert {"dbapi_connection", "info", "record_info"} <= set(dir(_ConnectionRecord))
    assert parameters(_AdhocProxiedConnection.__init__) == ["self", "dbapi_connection", "connection_record"]
    assert "connection" in parameters(Connection.__init__)


def test_engines_with_options_have_the_pool_of_the_engine_they_are_made_of() -> None:
    assert issubclass(OptionEngine, Engine)
    assert Engine._option_cls is OptionEngine  # type: ignore[attr-defined]
    assert parameters(OptionEngine.__init__) == ["self", "proxied", "execution_options"]
    assert isinstance(OptionEngine.pool, property)
    assert "pool.connect()" in inspect.getsource(Engine.raw_connection)


def test_the_adapter_of_asyncpg() -> None:
    connection, cursor = asyncpg.AsyncAdapt_asyncpg_connection, asyncpg.AsyncAdapt_asyncpg_cursor
    assert {"_transaction", "_prepared_statement_cache", "isolation_level"} <= set(connection.__slots__)
    assert parameters(connection.__init__) == [
        "self",
        "dbapi",
        "connection",
        "prepared_statement_cache_size",
        "prepared_statement_name_func",
    ]
    assert parameters(cursor._prepare_and_execute) == ["self", "operation", "parameters"]
    assert parameters(cursor._executemany) == ["self", "operation", "seq_of_parameters"]
    assert cursor.server_side is False
    assert parameters(connection._handle_exception) == ["self", "error"]
    assert asyncpg.AsyncAdapt_asyncpg_ss_cursor.server_side is True
    for name in ("setup_asyncpg_json_codec", "setup_asyncpg_jsonb_codec", "colspecs"):
        assert hasattr(asyncpg.PGDialect_asyncpg, name)


def test_statements_and_their_contexts() -> None:
    assert hasattr(DefaultExecutionContext, "_is_implicit_returning")
    assert hasattr(Insert, "_post_values_clause")
    assert hasattr(Insert, "_returning")
    for clause in (SavepointClause, ReleaseSavepointClause, RollbackToSavepointClause):
        assert clause("name").ident == "name"
