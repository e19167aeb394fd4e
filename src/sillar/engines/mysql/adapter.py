"""MySQL and MariaDB through asyncmy."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar, Final, NoReturn
from weakref import WeakValueDictionary

from sqlalchemy.sql.elements import ClauseElement

from sillar import errors
from sillar.capabilities import Capabilities, Capability
from sillar.config import DatabaseConnectionConfig, DatabaseCredentials, MySQLConfig, NodeAddress
from sillar.engines.adapter import DatabaseAdapter
from sillar.engines.connection import NodeStatus
from sillar.engines.mysql import driver
from sillar.engines.mysql.accounts import MySQLAccounts
from sillar.engines.mysql.bulk import keyed_sql
from sillar.engines.mysql.connection import MySQLConnection
from sillar.engines.mysql.errors import connect_error
from sillar.engines.mysql.explain import MySQLExplainer
from sillar.engines.mysql.killer import Killer
from sillar.engines.mysql.placeholders import PreparedTexts
from sillar.engines.mysql.plan import MySQLPlanCompiler
from sillar.engines.mysql.position import MySQLPosition, decode
from sillar.engines.mysql.schema import MySQLCatalogue
from sillar.engines.mysql.session import SessionContract
from sillar.engines.mysql.values import ResultShapes, encode_parameters
from sillar.query.bulk import KeyedRead, padded_keys
from sillar.query.composed import Composed
from sillar.query.plans import PlanCache
from sillar.query.statement import Parameters
from sillar.query.text import LexicalRules, Placeholder, StatementText, StatementTexts

_ABSENT: Final = frozenset(
    {
        Capability.DOCUMENTS,
        Capability.LOCAL_SETTINGS,
        Capability.TRANSACTIONAL_DDL,
        Capability.DEFERRED_CONSTRAINTS,
        Capability.COPY,
        Capability.COMMIT_OUTCOME,
        Capability.UPDATE_RETURNING,
        Capability.ARRAYS,
        Capability.NATIVE_TIME_ZONE,
        Capability.NAN,
        Capability.NOTIFICATIONS,
        Capability.ONLINE_BACKUP,
        Capability.DRIVER_POOL,
    }
)
_PREPARED_MAX: Final = 100
_KILL_CONNECT_SECONDS: Final = 2.0


class MySQLAdapter(DatabaseAdapter):
    """MySQL and MariaDB, driven by asyncmy: the server says which of the two it is."""

    driver = "asyncmy"
    schemes: ClassVar = ("mysql", "mariadb")
    name_length_max = 192  # 64 characters, of three bytes at most; of more than 64 the server tells
    keys_max = 1024
    capabilities = Capabilities("MySQL", [c for c in Capability if c not in _ABSENT])

    def __init__(self, config: DatabaseConnectionConfig) -> None:
        super().__init__(config)
        if not isinstance(config, MySQLConfig):
            raise errors.UsageError(f"MySQLAdapter takes a MySQLConfig, not {type(config).__name__}")
        options = config.connection_options
        self._options = options
        self._contract = SessionContract(config)
        self._statements = StatementTexts(
            LexicalRules(Placeholder.FORMAT, backslash_escapes=True, hash_comments=True, user_variables=True)
        )
        self.plans = PlanCache(MySQLPlanCompiler(self._statements.rules))
        self._texts = PreparedTexts()
        self._shapes = ResultShapes()
        self._killers: WeakValueDictionary[tuple[NodeAddress, str | None], Killer] = WeakValueDictionary()
        self.address = str(config.addresses[0])

    def bind(self, statement: Any, params: Parameters) -> tuple[StatementText, tuple[Any, ...]]:
        if type(statement) is not str and not isinstance(statement, str):
            if isinstance(statement, (Composed, ClauseElement)):
                return self.plans.bind(statement, params)  # type: ignore[return-value]
            self.capabilities.require(Capability.DOCUMENTS, remedy="MySQL takes SQL text; send a str")
        text, args = self._statements.bound(statement, params)
        if not args:
            return text, ()
        if not text.names:
            count = self._texts.get(text.sql).count
            if count != len(args):
                raise errors.ParameterError(
                    f"the statement has {count} placeholders (%s), {len(args)} parameters were given"
                    f" — statement: {text.fingerprint}"
                )
        if not text.is_single:
            raise errors.ParameterError("several statements in one text take no parameters; send them one by one")
        return text, encode_parameters(args, text.names)

    def bind_keys(self, read: KeyedRead, keys: Sequence[Any]) -> tuple[StatementText, tuple[Any, ...]]:
        given = padded_keys(keys)
        text = self._statements.get(keyed_sql(read, len(given)))
        return text, encode_parameters(given if len(read.key) == 1 else list(chain.from_iterable(given)))

    def learn(self, status: NodeStatus) -> None:
        super().learn(status)
        is_mariadb = status.capabilities.engine.startswith("MariaDB")
        self.plans.replace(MySQLPlanCompiler(self._statements.rules, status.version, is_mariadb=is_mariadb))

    def position_from(self, text: str) -> MySQLPosition:
        return decode(text)

    @property
    def explainer(self) -> MySQLExplainer:
        return MySQLExplainer(self)

    @property
    def accounts(self) -> MySQLAccounts:
        return MySQLAccounts()

    @property
    def catalogue(self) -> MySQLCatalogue:
        return MySQLCatalogue(self)

    async def connect(self) -> Any:
        return (await self.open_connection()).raw

    async def open_connection(
        self, credentials: DatabaseCredentials | None = None, address: NodeAddress | None = None
    ) -> MySQLConnection:
        node = address or self.config.addresses[0]
        arguments = self._arguments(credentials or self.config.credentials, node)
        killer = self._killer_with(arguments, node)
        raw = await self._opened(arguments, node)
        try:
            contract, packet_max = await self._contract.establish(raw)
        except BaseException as error:
            driver.abort(raw)
            self._refuse(error, node, None)
        return MySQLConnection(
            raw,
            address=str(node),
            capabilities=self.capabilities,
            contract=contract,
            packet_max=packet_max,
            killer=killer,
            shapes=self._shapes,
            texts=self._texts,
            prepared_max=_PREPARED_MAX,
            statement_timeout=self._options.statement_timeout,
        )

    async def _opened(self, arguments: Mapping[str, Any], node: NodeAddress) -> Any:
        raw = driver.new_raw(arguments)
        try:
            async with asyncio.timeout(arguments["connect_timeout"]):
                await driver.log_in(raw, source_address=self.config.source_address)
        except BaseException as error:
            driver.abort(raw)
            self._refuse(error, node, driver.offers_tls(raw))
        if arguments.get("ssl") is not None and not driver.speaks_tls(raw):
            driver.abort(raw)
            raise errors.CertificateError(f"{node} went on without TLS").at(node=str(node))
        return raw

    def _refuse(self, error: BaseException, node: NodeAddress, offers_tls: bool | None) -> NoReturn:
        wants_tls = self.config.tls.mode != "disable"
        translated = connect_error(error, address=str(node), offers_tls=offers_tls, wants_tls=wants_tls)
        if translated is None:
            raise error
        raise translated from error

    def _killer_with(self, arguments: Mapping[str, Any], node: NodeAddress) -> Killer:
        """The killer of a node, which logs in as the last connection of this user did: nobody may kill what another
        user runs."""
        pool = self.config.pool
        own = {**arguments, "database": None, "connect_timeout": _KILL_CONNECT_SECONDS}

        async def connect() -> Any:
            return await self._opened(own, node)

        key = (node, arguments["user"])
        killer = self._killers.get(key)
        if killer is None:
            killer = self._killers[key] = Killer(connect, pool.handshakes_max if pool else 3)
        else:
            killer.connect = connect
        return killer

    def _arguments(self, credentials: DatabaseCredentials, node: NodeAddress) -> dict[str, Any]:
        password = credentials.password
        arguments: dict[str, Any] = {
            "user": credentials.user,
            # Bytes, because asyncmy would encode a str as Latin-1.
            "password": b"" if password is None else password.get_secret_value().encode(),
            "database": self.config.database,
            "charset": self._options.charset,
            "program_name": "sillar",
            "ssl": self.tls_context,
            "connect_timeout": self.config.pool.connect_timeout if self.config.pool else 10.0,
        }
        if node.is_unix_socket:
            arguments["unix_socket"] = node.host
        else:
            arguments["host"], arguments["port"] = node.host, node.port
        return arguments
