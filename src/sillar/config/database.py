"""The whole configuration: several databases and what holds for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SerializeAsAny, ValidationError, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler
from pydantic_core import InitErrorDetails

from sillar.config.connection import DatabaseConnectionConfig
from sillar.config.faults import at, fault, in_our_words, kept, several, suggestion
from sillar.config.model import ConfigurationModel, Sealed
from sillar.config.pool import ConnectionPoolConfig
from sillar.config.tls import SSLConfig, TLSVersion, is_on_this_machine
from sillar.errors import UsageError

Profile = Literal["dev", "test", "staging", "prod"]

_PASSWORDLESS_MECHANISMS = ("MONGODB-X509", "MONGODB-AWS", "GSSAPI", "MONGODB-OIDC")


class MigrationPolicy(ConfigurationModel, frozen=True):
    """What migrations may do in one environment."""

    allow_downgrade: bool = True
    """Whether anything may be undone there."""

    lint: Literal["off", "warn", "error"] = "warn"
    """What findings of the safety lint do to an upgrade: nothing, a warning each, or refuse it."""

    approvals: Path | None = None
    """A file that names the revisions that may run, one in each line, with who approved; None: all may."""


class MigrationConfig(ConfigurationModel, frozen=True):
    """Where migrations are kept, and how they are run."""

    directory: Path = Path("migrations")
    """Folder of the migration files, relative to the working directory."""

    directories: Sealed[str, Path] = Field(default_factory=dict, validate_default=True)
    """Folders by database. A database that is not named has ``directory``, or where there are several databases, the
    folder of its name in it."""

    table: str = Field(default="_migrations", min_length=1)
    """Table (collection) in which applied migrations are recorded."""

    models: tuple[str, ...] = ()
    """Where the models are that migrations are generated from: ``package.module``, ``package.module:Base``."""

    alembic_ini: Path | None = None
    """An ``alembic.ini`` to adopt: its folder, file names and version table are kept. None: ``alembic.ini`` beside the
    folder, if there is one."""

    lock_timeout: float = Field(default=3.0, gt=0, allow_inf_nan=False)
    """Seconds that a statement of a migration may wait for a lock, and so keep others waiting behind it."""

    lock_attempts: int = Field(default=20, ge=1)
    """How often a migration is begun anew after a lock was not granted."""

    migrator_timeout: float = Field(default=600.0, ge=0, allow_inf_nan=False)
    """Seconds to wait for another migrator that is at work."""

    large_table_rows: int = Field(default=100_000, ge=0)
    """From how many rows on a table is large: what keeps it locked for long is an error of the lint then."""

    policies: Sealed[Profile, MigrationPolicy] = Field(default_factory=dict, validate_default=True)
    """What migrations may do, by environment (``profile``); ``prod`` without a policy of its own refuses downgrades and
    unsafe migrations."""

    tenants: tuple[str, ...] = ()
    """Tenants that have a schema or database of their own; ``--tenant all`` means these."""

    tenant_schema: str | None = Field(default=None, min_length=1)
    """Schema of a tenant, with ``{tenant}`` in it; None: tenants have no schemas of their own."""

    tenant_database: str | None = Field(default=None, min_length=1)
    """Database (SQLite: file) of a tenant, with ``{tenant}`` in it; None: tenants have no databases of their own."""

    def policy(self, environment: str) -> MigrationPolicy:
        """What migrations may do in an environment."""
        for name, policy in self.policies.items():
            if name == environment:
                return policy
        return MigrationPolicy(allow_downgrade=False, lint="error") if environment == "prod" else MigrationPolicy()

    def folder(self, database: str, *, is_only: bool) -> Path:
        """Folder of the migrations of a database.

        Args:
            database: its configured name.
            is_only: there is no other one.
        """
        return self.directories.get(database) or (self.directory if is_only else self.directory / database)


class DatabaseSecurityConfig(ConfigurationModel, frozen=True):
    """Rules that every database has to meet."""

    require_tls: bool = False
    """TLS for loopback addresses, too; off this machine it is the default anyway."""

    minimum_tls_version: TLSVersion = "TLSv1.2"
    """Lowest TLS version of every connection; a connection's own may only be higher."""

    allow_passwordless: bool | None = None
    """Whether a network database may do without a password, secret or client certificate; None: unless ``prod``."""

    allow_weak_tls: bool = False
    """Whether ``prod`` may use less than ``verify-full`` off this machine."""


class DatabaseConfig(ConfigurationModel, frozen=True):
    """Unified database configuration. ``load_config`` builds one from URLs, the environment and files."""

    databases: Sealed[str, SerializeAsAny[DatabaseConnectionConfig]] = Field(min_length=1)
    """The databases by name."""

    default_database: str = "default"
    """The database meant where none is named; the only one if there is one."""

    connection_pools: ConnectionPoolConfig = ConnectionPoolConfig()
    """Pool limits of every database that sets none of its own."""

    migration_config: MigrationConfig = MigrationConfig()
    """Where migrations are kept."""

    security_config: DatabaseSecurityConfig = DatabaseSecurityConfig()
    """Rules that every database has to meet."""

    profile: Profile = "dev"
    """The environment this runs in; ``prod`` is strict about passwords and TLS."""

    metrics: bool = True
    """Whether executions are measured."""

    log_statements: Literal["off", "slow", "all"] = "slow"
    """Which statements are logged (by fingerprint, never with values): ``slow``: from ``slow_statement_seconds``."""

    @model_validator(mode="wrap")
    @classmethod
    def _as_a_whole(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(value, Mapping):
            return handler(value)
        settings = _completed(value)
        faults: list[InitErrorDetails] = []
        config = None
        try:
            config = handler(settings)
        except ValidationError as error:
            faults = kept(in_our_words(error, cls.model_fields))
        # On the settings as given, so that a fault elsewhere does not hide these.
        broken = list(_broken_rules(settings))
        faults = [found for found in faults if found["loc"] not in [rule["loc"] for rule in broken]] + broken
        if config is None or faults:
            raise several(cls.__name__, faults)
        return config

    def connection(self, name: str | None = None) -> DatabaseConnectionConfig:
        """The database ``name`` (None: the default one) with everything decided: ``pool`` and ``ssl_config`` are set.

        Raises:
            UsageError: there is no database of that name.
        """
        wanted = self.default_database if name is None else name
        if wanted not in self.databases:
            raise UsageError(f"there is no database {wanted!r}: {suggestion(wanted, list(self.databases))}")
        database = self.databases[wanted]
        pool = self.connection_pools
        if database.pool is not None:
            pool = ConnectionPoolConfig(**{**dict(pool), **_set_in(database.pool)})
        tls = database.tls
        if self.security_config.require_tls and database.addresses and database.ssl_config is None:
            tls = tls if database.unix_socket is not None else SSLConfig()
        if tls.minimum_version is None:
            tls = tls.model_copy(update={"minimum_version": self.security_config.minimum_tls_version})
        return database.model_copy(update={"pool": pool, "ssl_config": tls})

    @classmethod
    def from_url(cls, url: str, **settings: Any) -> DatabaseConfig:
        """One database, ``default``, from a URL alone; ``settings`` are further arguments of ``load_config``."""
        from sillar.config.load import load_config

        return load_config(url=url, **{"environment": {}, **settings})

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> DatabaseConfig:
        """From the variables ``SILLAR__…`` of ``environment`` (None: of this process) alone."""
        from sillar.config.load import load_config

        return load_config(environment=environment)

    @classmethod
    def from_file(cls, file: str | Path, *, profile: Profile | None = None) -> DatabaseConfig:
        """From a TOML file and its overlay for the profile alone."""
        from sillar.config.load import load_config

        return load_config(file=file, profile=profile, environment={})


def _completed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with what follows from others: the only database is the default, pools inherit the common limits."""
    completed = dict(settings)
    databases = completed.get("databases")
    if not isinstance(databases, Mapping):
        return completed
    if "default_database" not in completed and len(databases) == 1:
        completed["default_database"] = next(iter(databases))
    try:
        common = ConnectionPoolConfig.model_validate(completed.get("connection_pools", {}))
    except ValidationError:
        return completed  # reported at connection_pools
    inherited = _set_in(common)
    completed["databases"] = {
        name: {**database, "pool": {**inherited, **database["pool"]}}
        if isinstance(database, Mapping) and isinstance(database.get("pool"), Mapping)
        else database
        for name, database in databases.items()
    }
    return completed


def _set_in(pool: ConnectionPoolConfig) -> dict[str, Any]:
    return {field: getattr(pool, field) for field in pool.model_fields_set}


def _look(subject: Any, *path: str) -> Any:
    """What stands at ``path`` below a table or a model, None where nothing does."""
    for name in path:
        subject = subject.get(name) if isinstance(subject, Mapping) else getattr(subject, name, None)
    return subject


def _broken_rules(settings: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
    """The rules that concern several parts of a configuration, on settings that need not be valid themselves."""
    databases = settings.get("databases", {})
    if not isinstance(databases, Mapping):
        return
    if not databases:
        yield at(
            ("databases",),
            fault(
                "is missing",
                "give a URL (argument url, or SILLAR__URL in the environment) or [databases.<name>] in a file",
                absent=True,
            ),
        )
        return
    default = settings.get("default_database", "default")
    if isinstance(default, str) and default not in databases:
        yield at(
            ("default_database",),
            fault("is not one of the databases", suggestion(default, [str(name) for name in databases]), value=default),
        )
    for name, database in databases.items():
        yield from _broken_security_rules(str(name), database, settings)
        yield from _broken_pool_rules(str(name), _look(database, "pool"), settings.get("connection_pools", {}))


def _broken_pool_rules(name: str, own: Any, common: Any) -> Iterator[InitErrorDetails]:
    """A pool given as a model was valid by itself; tables are checked with what they inherit (``_completed``)."""
    if not isinstance(own, ConnectionPoolConfig):
        return
    try:
        inherited = _set_in(ConnectionPoolConfig.model_validate(common))
    except ValidationError:
        return  # reported at connection_pools
    try:
        ConnectionPoolConfig.model_validate({**inherited, **_set_in(own)})
    except ValidationError as error:
        for found in kept(error):
            yield {**found, "loc": ("databases", name, "pool", *found["loc"])}


def _broken_security_rules(name: str, database: Any, settings: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
    profile = settings.get("profile", "dev")
    security = settings.get("security_config", {})
    if _look(database, "engine") not in ("postgresql", "mysql", "mongodb") or _look(database, "unix_socket"):
        return
    allowed = _look(security, "allow_passwordless")
    if allowed is None:
        allowed = profile != "prod"
    if not _is_true(allowed) and not _proves_who_it_is(database):
        who = "profile prod" if profile == "prod" else "security_config"
        yield at(
            ("databases", name, "credentials", "password"),
            fault(
                f"is missing, and {who} refuses databases without one",
                "give credentials.password or credentials.password_secret, or ssl_config.certificate_file",
                absent=True,
            ),
        )
    mode = _look(database, "ssl_config", "mode")
    if _look(database, "ssl_config") is None:
        mode = None
    hosts = [_look(database, "host"), *(_look(node, "host") for node in _look(database, "nodes") or ())]
    remote = [host for host in hosts if isinstance(host, str) and not is_on_this_machine(host)]
    if mode == "disable" and _is_true(_look(security, "require_tls")):
        yield at(
            ("databases", name, "ssl_config", "mode"),
            fault("switches TLS off, and security_config.require_tls asks for it", "write verify-full", value=mode),
        )
    weak = mode in ("disable", "require", "verify-ca") and bool(remote)
    if weak and profile == "prod" and not _is_true(_look(security, "allow_weak_tls")):
        yield at(
            ("databases", name, "ssl_config", "mode"),
            fault(
                "is weaker than verify-full for a server off this machine, which profile prod refuses",
                "write verify-full, or set security_config.allow_weak_tls",
                value=mode,
            ),
        )
    own, floor = _look(database, "ssl_config", "minimum_version"), _look(security, "minimum_tls_version")
    if own == "TLSv1.2" and floor == "TLSv1.3":
        yield at(
            ("databases", name, "ssl_config", "minimum_version"),
            fault(f"is below security_config.minimum_tls_version ({floor})", f"write {floor} or remove it", value=own),
        )


def _is_true(value: object) -> bool:
    """A switch as pydantic reads it, from text, too."""
    return value.lower() in ("1", "true", "t", "yes", "y", "on") if isinstance(value, str) else bool(value)


def _proves_who_it_is(database: Any) -> bool:
    return bool(
        _look(database, "credentials", "password")
        or _look(database, "credentials", "password_secret")
        or _look(database, "ssl_config", "certificate_file")
        or _look(database, "connection_options", "auth_mechanism") in _PASSWORDLESS_MECHANISMS
    )
