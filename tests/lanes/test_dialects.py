"""A dialect that was never connected compiles as one that was."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import func, insert, literal, select, text, update
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from tests.lanes.conftest import Ground

from sillar.engines.mysql.plan import MySQLPlanCompiler, dialect_for
from sillar.engines.postgresql.adapter import LEXICAL_RULES
from sillar.engines.postgresql.plan import PostgreSQLPlanCompiler

SCHEMES = {
    "sqlite": ("sqlite://", "sqlite+aiosqlite://"),
    "postgresql": ("postgresql://", "postgresql+asyncpg://"),
    "mysql": ("mysql://", "mysql+asyncmy://"),
    "mariadb": ("mariadb://", "mariadb+asyncmy://"),
}
_OF_CONNECTIONS = """
    identifier_preparer dbapi loaded_dbapi statement_compiler compiler_linting _type_memos type_compiler_instance
    type_compiler isolation_level _on_connect_isolation_level default_isolation_level default_schema_name dispatch
    _dialect_dispatch _user_defined_max_identifier_length _connection_charset _casing colspecs _json_serializer
    _json_deserializer server_version_info _sql_mode _server_ansiquotes skip_autocommit_rollback driver_version_info
    dialect_description supports_smallserial _supports_drop_index_concurrently supports_identity_columns
    supports_virtual_generated_columns _support_default_function
    _needs_correct_for_88718_96365
"""
_UNLIKE = frozenset(_OF_CONNECTIONS.split())
"""What is of connections, pools and the server's catalogue."""


async def test_nothing_that_a_compiler_looks_at_differs(ground: Ground) -> None:
    stock = create_async_engine(ground.url.replace(*SCHEMES[ground.engine], 1), poolclass=NullPool)
    async with stock.connect() as connection:
        await connection.execute(text("SELECT 1"))
    connected: Any = stock.dialect
    ours = ground.adapter.plans.compiler.dialect
    attributes = {name for name in (*vars(connected), *vars(ours)) if name not in _UNLIKE}
    unlike = {
        name: (getattr(ours, name, "absent"), getattr(connected, name, "absent"))
        for name in sorted(attributes)
        if hasattr(connected, name) and getattr(ours, name, "absent") != getattr(connected, name)
    }
    assert unlike == {}
    for name in ("insert_returning", "update_returning", "delete_returning", "use_insertmanyvalues",
                 "supports_native_boolean", "supports_native_uuid", "paramstyle", "max_identifier_length"):  # fmt: skip
        assert getattr(ours, name) == getattr(connected, name), name
    assert type(ours.identifier_preparer) is type(connected.identifier_preparer)
    assert ours.identifier_preparer.reserved_words == connected.identifier_preparer.reserved_words


async def test_what_the_probe_says_is_used(ground: Ground) -> None:
    version = ground.adapter.plans.compiler.dialect.server_version_info if ground.engine != "sqlite" else ()
    said = {"postgresql": (15,), "mariadb": (10,), "mysql": (9,), "sqlite": ()}
    assert version[:1] == said[ground.engine]


def test_older_servers() -> None:
    old, new = (PostgreSQLPlanCompiler(LEXICAL_RULES, version).dialect for version in ("13.4", "14.1"))
    assert (old._supports_jsonb_subscripting, new._supports_jsonb_subscripting) == (False, True)
    assert not PostgreSQLPlanCompiler(LEXICAL_RULES).dialect._supports_jsonb_subscripting
    assert [dialect_for(version, is_mariadb=True).insert_returning for version in ("10.4.2", "10.5.0")] == [False, True]
    assert [dialect_for(version, is_mariadb=False).use_mysql_for_share for version in (None, "8.0.30")] == [False, True]
    assert MySQLPlanCompiler(LEXICAL_RULES).engine == "MySQL"


async def test_aware_times_go_as_their_digits(ground: Ground) -> None:
    """As SQLAlchemy sends them, where the engine has no time zones."""
    if ground.engine in ("mysql", "mariadb"):
        noon = dt.datetime(2024, 1, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
        found = await ground.manager.session().fetch_value(select(func.concat(literal(noon))))
        assert found.startswith("2024-01-01 12:00:00")


async def test_prepared_on_the_server_or_sent_as_text(ground: Ground) -> None:
    """MySQL: what has the same values in both protocols is prepared."""
    number = 1
    item, simple = ground.tables.item, ground.tables.simple
    prepared = {
        "plain columns": select(item.c.id, item.c.name, item.c.price).where(item.c.id == number),
        "limited": select(item.c.id).where(item.c.big > number, item.c.name.like("a%")).limit(5).offset(1),
        "insert": insert(simple).values(id=1, name="x"),
        "update": update(simple).values(name="x").where(simple.c.id == 1),
    }
    as_text = {
        "float": select(item.c.ratio).where(item.c.id == number),
        "date": select(item.c.made).where(item.c.id == number),
        "function": select(func.lower(item.c.name)).where(item.c.id == number),
        "computed": select(item.c.id).where(item.c.id + number == 2),
        "enum": select(item.c.color).where(item.c.id == number),
    }
    if ground.engine in ("mysql", "mariadb"):
        for name, statement in {**prepared, **as_text}.items():
            assert ground.adapter.plan(statement).statement.results.prepared is (name in prepared), name
