"""PostgreSQL through asyncpg."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import chain
from typing import Any, ClassVar, Final

import asyncpg
from sqlalchemy.sql.elements import ClauseElement

from sillar import errors
from sillar.capabilities import Capabilities, Capability
from sillar.config import DatabaseConnectionConfig, DatabaseCredentials, NodeAddress, PostgreSQLConfig
from sillar.engines.adapter import DatabaseAdapter
from sillar.engines.connection import NodeStatus
from sillar.engines.postgresql.accounts import PostgreSQLAccounts
from sillar.engines.postgresql.bulk import keyed_sql
from sillar.engines.postgresql.connection import PostgreSQLConnection
from sillar.engines.postgresql.errors import connect_error
from sillar.engines.postgresql.explain import PostgreSQLExplainer
from sillar.engines.postgresql.plan import PostgreSQLPlanCompiler
from sillar.engines.postgresql.position import LogPosition
from sillar.engines.postgresql.schema import PostgreSQLCatalogue
from sillar.engines.postgresql.session import GatedConnection
from sillar.query.bulk import KeyedRead, padded_keys
from sillar.query.composed import Composed
from sillar.query.functions import POSTGRESQL_FUNCTIONS
from sillar.query.plans import PlanCache
from sillar.query.statement import Parameters
from sillar.query.text import LexicalRules, Placeholder, StatementText, StatementTexts

_ABSENT: Final = frozenset(
    {
        Capability.DOCUMENTS,
        Capability.NUL_IN_TEXT,
        Capability.READ_UNCOMMITTED,
        Capability.ONLINE_BACKUP,
        Capability.DRIVER_POOL,
    }
)


LEXICAL_RULES: Final = LexicalRules(Placeholder.DOLLAR, dollar_quotes=True, functions=POSTGRESQL_FUNCTIONS)


class PostgreSQLAdapter(DatabaseAdapter):
    """PostgreSQL, driven by asyncpg."""

    driver = "asyncpg"
    schemes: ClassVar = ("postgresql", "postgres")
    name_length_max = 63  # what is longer the server would cut off silently
    keys_max = 10_000
    capabilities = Capabilities("PostgreSQL", [c for c in Capability if c not in _ABSENT])

    def __init__(self, config: DatabaseConnectionConfig) -> None:
        super().__init__(config)
        if not isinstance(config, PostgreSQLConfig):
            raise errors.UsageError(f"PostgreSQLAdapter takes a PostgreSQLConfig, not {type(config).__name__}")
        self._options = config.connection_options
        self._statements = StatementTexts(LEXICAL_RULES)
        self.plans = PlanCache(PostgreSQLPlanCompiler(LEXICAL_RULES))
        self._gates: dict[NodeAddress, asyncio.Semaphore] = {}
        self.address = str(config.addresses[0])

    def bind(self, statement: Any, params: Parameters) -> tuple[StatementText, Sequence[Any]]:
        if type(statement) is not str and not isinstance(statement, str):
            if isinstance(statement, (Composed, ClauseElement)):
                return self.plans.bind(statement, params)
            self.capabilities.require(Capability.DOCUMENTS, remedy="PostgreSQL takes SQL text; send a str")
        return self._statements.bound(statement, params)

    def bind_keys(self, read: KeyedRead, keys: Sequence[Any]) -> tuple[StatementText, Sequence[Any]]:
        if len(read.key) == 1:
            return self._statements.get(keyed_sql(read)), (keys,)
        tuples = padded_keys(keys)
        return self._statements.get(keyed_sql(read, len(tuples))), list(chain.from_iterable(tuples))

    @property
    def explainer(self) -> PostgreSQLExplainer:
        return PostgreSQLExplainer(self)

    @property
    def accounts(self) -> PostgreSQLAccounts:
        return PostgreSQLAccounts()

    @property
    def catalogue(self) -> PostgreSQLCatalogue:
        return PostgreSQLCatalogue(self)

    def learn(self, status: NodeStatus) -> None:
        super().learn(status)
        self.plans.replace(PostgreSQLPlanCompiler(LEXICAL_RULES, status.version))

    async def connect(self) -> asyncpg.Connection:
        return (await self.open_connection()).raw

    async def open_connection(
        self, credentials: DatabaseCredentials | None = None, address: NodeAddress | None = None
    ) -> PostgreSQLConnection:
        node = address or self.config.addresses[0]
        arguments = self._arguments(credentials or self.config.credentials, node)
        gate = self._gates.get(node)
        if gate is None:
            pool = self.config.pool
            gate = self._gates[node] = asyncio.Semaphore(pool.handshakes_max if pool else 3)
        try:
            async with gate:
                raw = await asyncpg.connect(**arguments, connection_class=GatedConnection)
        except BaseException as error:
            translated = connect_error(error, address=str(node))
            if translated is None:
                raise
            raise translated from error
        raw.sillar_gate = gate
        connection = PostgreSQLConnection(
            raw,
            address=str(node),
            capabilities=self.capabilities,
            prepared_max=self._options.prepared_statements,
        )
        connection.kept["connect"] = arguments
        return connection

    def position_from(self, text: str) -> LogPosition:
        return LogPosition.decode(text)

    def _arguments(self, credentials: DatabaseCredentials, node: NodeAddress) -> dict[str, Any]:
        password = credentials.password
        arguments: dict[str, Any] = {
            "host": node.host,
            "port": node.port,
            "user": credentials.user,
            "password": None if password is None else password.get_secret_value(),
            "database": self.config.database,
            "ssl": self.tls_context or False,
            "server_settings": self._server_settings(),
            "timeout": self.config.pool.connect_timeout if self.config.pool else 10.0,
        }
        if self._options.pgbouncer:
            arguments["statement_cache_size"] = 0
        if self.config.source_address:
            arguments["loop"] = _SourceAddressLoop(asyncio.get_running_loop(), self.config.source_address)
        return arguments

    def _server_settings(self) -> dict[str, str]:
        options = self._options
        settings = {"application_name": options.application_name}
        if not options.pgbouncer:
            settings["timezone"] = "UTC"
            for name, seconds in (
                ("statement_timeout", options.statement_timeout),
                ("lock_timeout", options.lock_timeout),
                ("idle_in_transaction_session_timeout", options.idle_in_transaction_timeout),
            ):
                if seconds is not None:
                    settings[name] = str(max(1, round(seconds * 1000)))
            if options.search_path is not None:
                settings["search_path"] = options.search_path
            if self.config.read_only:
                settings["default_transaction_read_only"] = "on"
        return settings | dict(options.server_settings)


class _SourceAddressLoop:
    """The running loop, except that its TCP connections start from a given local address: asyncpg has no argument for
    it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, source_address: str) -> None:
        self._loop, self._source_address = loop, source_address

    async def create_connection(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("sock") is None:
            kwargs["local_addr"] = (self._source_address, 0)
        return await self._loop.create_connection(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)
