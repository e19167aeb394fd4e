"""The ways by which an application reaches its database: the work of a scenario goes down several of them at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final

from sillar.consistency import Consistency, consistency_context
from sillar.errors import UsageError
from sillar.manager import DatabaseManager

SCRATCH_TABLE: Final = "sillar_chaos"
PROBE_SUFFIX: Final = "_probe"


class Path(ABC):
    """One way of reading and writing rows of the scratch table, each known by its token.

    Errors of :mod:`sillar.errors` come out of every path; those of ORMs are translated.

    Attributes:
        name: of the report's rows.
    """

    name: str

    async def open(self) -> None:  # noqa: B027 - most are ready at once
        """Get ready, on an open manager whose scratch table exists."""

    @abstractmethod
    async def write(self, token: int, worker: int) -> None:
        """Insert one row in a transaction of its own (or in autocommit); returns once it is acknowledged."""

    @abstractmethod
    async def read(self, token: int) -> bool:
        """Whether a row with that token is seen, read as a replica may answer it."""

    async def read_old(self, token: int) -> bool:
        """As :meth:`read`, content with any replica, however old its data."""
        with consistency_context(Consistency.EVENTUAL):
            return await self.read(token)


class DirectPath(Path):
    """Sessions of Sillar itself; each statement commits by itself.

    Args:
        manager: open.
        database: configured name; None is the default one.
        table: the scratch table.
    """

    name = "direct"

    def __init__(self, manager: DatabaseManager, database: str | None = None, table: str = SCRATCH_TABLE) -> None:
        self._manager, self._database = manager, database
        self._insert = f"insert into {table} (token, worker) values (:token, :worker)"  # noqa: S608 - a checked name
        self._select = f"select token from {table} where token = :token"  # noqa: S608 - a checked name

    async def write(self, token: int, worker: int) -> None:
        await self._manager.session(self._database).execute(self._insert, {"token": token, "worker": worker})

    async def read(self, token: int) -> bool:
        return await self._manager.session(self._database).fetch_one(self._select, {"token": token}) is not None


class SQLAlchemyPath(Path):
    """Stock sessions of SQLAlchemy: a mapped object is added and committed, and got by its key.

    Args: as for :class:`DirectPath`.
    """

    name = "sqlalchemy"

    def __init__(self, manager: DatabaseManager, database: str | None = None, table: str = SCRATCH_TABLE) -> None:
        from sillar.integrations.sqlalchemy import SQLAlchemyIntegration
        from sillar.testing.chaos.sqlalchemy_row import row_class

        self._orm = SQLAlchemyIntegration(manager, database)
        self._row: Any = row_class(table)

    async def write(self, token: int, worker: int) -> None:
        async with self._orm.errors():
            async with await self._orm.create_session() as session:
                session.add(self._row(token=token, worker=worker))
                await session.commit()

    async def read(self, token: int) -> bool:
        async with self._orm.errors():
            async with await self._orm.create_session(read_only=True) as session:
                return await session.get(self._row, token) is not None


class TortoisePath(Path):
    """Models of Tortoise ORM.

    Args: as for :class:`DirectPath`.
    """

    name = "tortoise"

    def __init__(self, manager: DatabaseManager, database: str | None = None, table: str = SCRATCH_TABLE) -> None:
        from sillar.integrations.tortoise import TortoiseIntegration
        from sillar.testing.chaos.tortoise_row import ChaosRow

        ChaosRow._meta.db_table = table
        self._executor = manager.executor(database)
        self._orm = TortoiseIntegration(manager, database)
        self._row = ChaosRow

    async def open(self) -> None:
        self._orm.register_models(self._row)
        await self._orm.open()

    async def write(self, token: int, worker: int) -> None:
        with self._orm.entered():
            await self._row.create(token=token, worker=worker, using_db=self._orm.client)

    async def read(self, token: int) -> bool:
        with self._orm.entered():
            return await self._row.filter(token=token).using_db(self._orm.client).exists()


PATHS: Final[dict[str, type[DirectPath | SQLAlchemyPath | TortoisePath]]] = {
    path.name: path for path in (DirectPath, SQLAlchemyPath, TortoisePath)
}


async def open_paths(
    names: Sequence[str], manager: DatabaseManager, database: str | None = None, table: str = SCRATCH_TABLE
) -> list[Path]:
    """The named paths, ready.

    Args:
        names: ``direct``, ``sqlalchemy``, ``tortoise``.
        manager, database, table: as for :class:`DirectPath`.

    Raises:
        UsageError: an unknown name, or the package of that ORM is not installed.
    """
    paths: list[Path] = []
    for name in names:
        if name not in PATHS:
            raise UsageError(f"there is no path {name!r}; there are {', '.join(PATHS)}")
        try:
            paths.append(PATHS[name](manager, database, table))
        except ImportError as error:
            raise UsageError(
                f"the path {name} needs {error.name}, which is not installed: pip install 'sillar[{name}]'"
            ) from error
        await paths[-1].open()
    return paths
