"""What running migrations on one kind of database takes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sillar.config import MigrationConfig
from sillar.migrations.applied import AppliedMigration
from sillar.migrations.migration import MigrationOperation
from sillar.migrations.progress import Report, silent
from sillar.migrations.scripts import Scripts


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How migrations are run on one database.

    Attributes:
        config: where they are kept, locks, timeouts.
        database: configured name of the database.
        environment: the profile that this runs in.
        tenant_schema: the schema of the tenant that this is for; None: no tenant, or one with a database of its own.
        report: is told how far it has come.
        before: is told the versions that are about to run, under the lock; what it raises stops the run.
    """

    config: MigrationConfig
    database: str
    environment: str = "dev"
    tenant_schema: str | None = None
    report: Report = field(default=silent, compare=False)
    before: Callable[[Sequence[str], str], None] = field(default=lambda _versions, _direction: None, compare=False)


@dataclass(frozen=True, slots=True)
class Generation:
    """What a new migration is generated with.

    Attributes:
        message: what it does, in a line.
        autogenerate: write what the models have and the database has not.
        options: for whoever compares: answers about renames and the like.
        head: the revision that it follows; None: the only head.
        splice: it may follow something that is no head.
        version: its identifier; None: a new one.
        branch_labels: names of the branch that begins with it.
        depends_on: revisions that have to be applied before it, besides what it follows.
        version_path: the folder to write it into, where there are several.
        upgrade_text, downgrade_text, imports_text: the bodies, where they are written already.
    """

    message: str
    autogenerate: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    head: str | None = None
    splice: bool = False
    version: str | None = None
    branch_labels: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    version_path: str | None = None
    upgrade_text: str = ""
    downgrade_text: str = ""
    imports_text: str = ""


class MigrationRunner(ABC):
    """Runs the migrations of one folder on one database.

    Args:
        scripts: the folder.
        settings: how.

    Attributes:
        rehearsal: what the latest dry run has written down, in words, where it runs nothing.
    """

    def __init__(self, scripts: Scripts, settings: RunSettings) -> None:
        self.scripts = scripts
        self.settings = settings
        self.rehearsal: list[str] = []

    @property
    def uses_manager(self) -> bool:
        """Whether it works on connections of a ``DatabaseManager``, not on those of somebody's ``env.py``."""
        return True

    @property
    def own_tables(self) -> frozenset[str]:
        """What migrations themselves keep in the database, which is nobody else's business."""
        table = self.settings.config.table
        return frozenset({table, f"{table}_steps", "alembic_version"})

    @property
    def has_models(self) -> bool:
        """Whether there may be models to compare the database with."""
        return True

    @abstractmethod
    async def current(self) -> tuple[str, ...]:
        """The revisions that the database is at; empty before the first one."""

    @abstractmethod
    async def log(self) -> list[AppliedMigration]:
        """The log of this database, oldest first."""

    @abstractmethod
    async def upgrade(self, target: str, *, dry_run: bool = False) -> list[AppliedMigration]:
        """Apply what is missing up to a revision (``head``, ``heads``, ``+1``, a version).

        Under the migrator's lock: what another one has applied meanwhile is found applied.

        Args:
            target: how far.
            dry_run: run it in a transaction that is rolled back.

        Raises:
            MigrationLockError, MigrationFailedError, MigrationStateError, MigrationFileError
            UnsupportedCapabilityError: a dry run without DDL inside transactions.
        """

    @abstractmethod
    async def downgrade(self, target: str, *, dry_run: bool = False) -> list[AppliedMigration]:
        """Undo what is beyond a revision (``base``, ``-1``, a version)."""

    @abstractmethod
    async def stamp(self, target: str, *, purge: bool = False) -> None:
        """Take a revision as applied without running anything.

        Args:
            target: the revision, ``head``, ``heads`` or ``base``.
            purge: forget what the database is at first, whatever that is.
        """

    @abstractmethod
    async def operations(self, version: str, direction: str = "up") -> list[MigrationOperation]:
        """The steps of one migration, without a database where that is possible."""

    @abstractmethod
    async def render(self, start: str, target: str, direction: str = "up") -> str:
        """What would be sent between two revisions, as a script for somebody else to run (``--sql``)."""

    @abstractmethod
    async def generate(self, generation: Generation) -> list[str]:
        """Write new migration files; returns their versions."""

    @abstractmethod
    async def differences(self) -> list[str]:
        """What the models have and the database has not, or the other way round, one line each."""

    @abstractmethod
    async def interrupted(self) -> tuple[str, ...]:
        """The versions that were begun and not ended."""
