"""MongoDB through PyMongo's asyncio client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import bson
from bson.json_util import RELAXED_JSON_OPTIONS, dumps
from pymongo import AsyncMongoClient
from sqlalchemy.sql.elements import ClauseElement

from sillar import errors
from sillar.capabilities import Capabilities, Capability
from sillar.config import DatabaseConnectionConfig, DatabaseCredentials, MongoDBConfig, NodeAddress
from sillar.engines.adapter import DatabaseAdapter
from sillar.engines.mongodb.accounts import MongoDBAccounts
from sillar.engines.mongodb.arguments import checked
from sillar.engines.mongodb.bulk import keyed_command
from sillar.engines.mongodb.client import MongoDBClient
from sillar.engines.mongodb.compiler import DocumentPlanCompiler
from sillar.engines.mongodb.compiler.plan import CommandPlan
from sillar.engines.mongodb.connection import MongoDBConnection
from sillar.engines.mongodb.explain import MongoDBExplainer
from sillar.engines.mongodb.schema import MongoDBCatalogue
from sillar.engines.mongodb.source import MongoDBSource
from sillar.engines.mongodb.values import CODEC
from sillar.errors import ConfigurationError, ConfigurationFault
from sillar.query.bulk import KeyedRead
from sillar.query.composed import Composed
from sillar.query.document import DocumentCommand
from sillar.query.plans import PlanCache
from sillar.query.statement import Parameters

_PRESENT: Final = (
    Capability.DOCUMENTS,
    Capability.TRANSACTIONS,
    Capability.READ_ONLY_TRANSACTIONS,
    Capability.COMMIT_OUTCOME,
    Capability.REPEATABLE_READ,
    Capability.CHECK_CONSTRAINTS,
    Capability.RETURNING,
    Capability.ARRAYS,
    Capability.NATIVE_UUID,
    Capability.NATIVE_JSON,
    Capability.NATIVE_DECIMAL,
    Capability.NATIVE_TIME_ZONE,
    Capability.NUL_IN_TEXT,
    Capability.NAN,
    Capability.SERVER_SESSIONS,
    Capability.AUTHENTICATION,
    Capability.TLS,
    Capability.DRIVER_POOL,
)


class MongoDBAdapter(DatabaseAdapter):
    """MongoDB, driven by PyMongo's ``AsyncMongoClient``, which brings its own pool and follows the topology."""

    driver = "pymongo"
    schemes: ClassVar = ("mongodb", "mongodb+srv")
    capabilities = Capabilities("MongoDB", _PRESENT)
    keys_max = 10_000

    def __init__(self, config: DatabaseConnectionConfig) -> None:
        super().__init__(config)
        if not isinstance(config, MongoDBConfig):
            raise errors.UsageError(f"MongoDBAdapter takes a MongoDBConfig, not {type(config).__name__}")
        if config.source_address is not None:
            raise ConfigurationError([ConfigurationFault(
                "source_address", "MongoDBConfig", "PyMongo cannot choose the local address of a connection",
                "remove it, and route by the operating system")])  # fmt: skip
        self._mongodb_config = config
        self.plans = PlanCache(DocumentPlanCompiler())

    def bind(self, statement: Any, params: Parameters) -> tuple[DocumentCommand, Sequence[Any]]:
        """Check a command, with a mapping of further arguments of its verb; or compile a statement of SQLAlchemy, with
        values by name."""
        if isinstance(statement, (Composed, ClauseElement)):
            command, args = self.plans.bind(statement, params)
            self._check_write(command)
            return command, args
        if not isinstance(statement, DocumentCommand):
            self.capabilities.require(
                Capability.SQL, remedy='use session.documents("collection"), or execute a DocumentCommand'
            )
        if params and not hasattr(params, "keys"):
            raise errors.ParameterError(
                "the parameters of a document command are a mapping: further arguments of its verb"
            )
        checked(statement, params)  # type: ignore[arg-type]  # a mapping, or nothing
        self._check_write(statement)
        return statement, (params,) if params else ()

    def _check_write(self, command: DocumentCommand) -> None:
        if self._mongodb_config.read_only and not command.is_read:
            raise errors.ReadOnlyError(f"{command.fingerprint} writes, and this database is configured read_only")

    def bind_keys(self, read: KeyedRead, keys: Sequence[Any]) -> tuple[DocumentCommand, Sequence[Any]]:
        return keyed_command(read, keys), ()

    def check_name(self, name: str) -> None:
        """As for all; and a field is no operator and no path."""
        super().check_name(name)
        if name.startswith("$") or "." in name:
            raise errors.ParameterError("the name of a field begins with no $ and has no dot")

    @property
    def explainer(self) -> MongoDBExplainer:
        return MongoDBExplainer(self)

    @property
    def accounts(self) -> MongoDBAccounts:
        return MongoDBAccounts(self._mongodb_config)

    @property
    def catalogue(self) -> MongoDBCatalogue:
        return MongoDBCatalogue(self)

    def rendered(self, bound: Any, args: Sequence[Any]) -> str:
        """A command as the shell of MongoDB writes it, with its values in extended JSON."""
        arguments: Any = args[0] if isinstance(bound, CommandPlan) else checked(bound, args[0] if args else None)
        shown = arguments["pipeline"] if set(arguments) == {"pipeline"} else dict(arguments)
        plain = bson.decode(bson.encode({"shown": shown}, codec_options=CODEC))["shown"]
        return f"{bound.collection}.{bound.verb}({dumps(plain, json_options=RELAXED_JSON_OPTIONS)})"

    async def connect(self) -> AsyncMongoClient[dict[str, Any]]:
        """A client of the driver, connected and logged in. The caller closes it."""
        return (await self._opened(self.config.credentials)).raw

    async def open_connection(
        self, credentials: DatabaseCredentials | None = None, address: NodeAddress | None = None
    ) -> MongoDBConnection:
        """A lease on a client of its own, which it closes with itself."""
        return MongoDBConnection(await self._opened(credentials or self.config.credentials), owned=True)

    def own_source(self, name: str = "") -> MongoDBSource:
        """The driver's pool, on a new client."""
        return MongoDBSource(
            self._mongodb_config, self.capabilities, self.current_credentials, self.other_credentials, name=name
        )

    async def _opened(self, credentials: DatabaseCredentials) -> MongoDBClient:
        client = MongoDBClient(self._mongodb_config, credentials, self.capabilities)
        try:
            await client.connect()
        except BaseException:
            await client.close()
            raise
        return client
