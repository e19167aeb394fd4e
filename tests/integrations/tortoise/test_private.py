"""The undocumented names of Tortoise that the integration uses are there, and do what it takes them to do."""

from __future__ import annotations

import inspect

from tests.integrations.tortoise.library import Author
from tortoise.backends.asyncpg.client import AsyncpgDBClient
from tortoise.backends.base import executor
from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.backends.mysql.client import MySQLClient
from tortoise.backends.sqlite.client import SqliteClient
from tortoise.context import _current_context
from tortoise.models import MetaInfo, Model


def test_executors_prefetch_in_one_overridable_place() -> None:
    source = inspect.getsource(executor.BaseExecutor)
    assert source.count("await self._execute_prefetch_queries(") == 2
    assert "_make_prefetch_queries" in source
    assert list(inspect.signature(executor.BaseExecutor._do_prefetch).parameters) == [
        "self",
        "instance_id_list",
        "field",
        "related_query",
    ]


def test_texts_are_kept_by_alias() -> None:
    assert isinstance(executor.EXECUTOR_CACHE, dict)
    assert "key = (self.db.connection_name," in inspect.getsource(executor.BaseExecutor.__init__)


def test_clients_begin_transactions_in_one_overridable_place() -> None:
    for client in (BaseDBAsyncClient, AsyncpgDBClient, MySQLClient, SqliteClient):
        assert list(inspect.signature(client._in_transaction).parameters) == ["self"]


def test_the_context_is_a_context_variable() -> None:
    assert _current_context.name == "tortoise_context"


def test_a_model_is_made_of_its_columns() -> None:
    assert {"fields_map", "fields_db_projection", "db_table", "schema", "pk_attr", "_inited"} <= set(MetaInfo.__slots__)
    assert Model._init_from_db.__kwdefaults__ is None
    assert Author._meta.db_table == "tt_author"
    for name in ("_partial", "_saved_in_db", "_custom_generated_pk", "_await_when_save"):
        assert f"self.{name} = " in inspect.getsource(Model._init_from_db.__func__), name  # type: ignore[attr-defined]
