"""What migrations promise, whatever the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from sillar import Capability, DatabaseManager, DatabaseSession
from sillar.config import MigrationConfig
from sillar.errors import MigrationFailedError, MigrationFileError, MigrationRefusedError
from sillar.migrations import MigrationManager
from sillar.migrations.scripts import Scripts
from sillar.testing.conformance.cases import Cases, OpenManager
from sillar.testing.conformance.subject import ConformanceSubject

_FILE = '''"""{name}"""

import sqlalchemy as sa
from alembic import op

revision = {version!r}
down_revision = {follows!r}
branch_labels = None
depends_on = None


{up}


{down}
'''
_NAMES = ("_conformance_log", "_conformance_log_steps", "_conformance_log_lock", "alembic_version")
Write = Callable[..., Path]
Open = Callable[..., MigrationManager]


def _sql(made: str, fails: bool) -> tuple[str, str]:
    up = f'def upgrade():\n    op.create_table({made!r}, sa.Column("id", sa.Integer, primary_key=True))'
    up += f'\n    op.execute("INSERT INTO {made} (id) VALUES (1)")'
    if fails:
        up += f'\n    op.execute("INSERT INTO {made} (id) VALUES (1)")'
    return up, f"def downgrade():\n    op.drop_table({made!r})"


def _documents(made: str, fails: bool) -> tuple[str, str]:
    up = f"async def upgrade(op):\n    await op.create_collection({made!r})"
    if fails:
        up += '\n    raise RuntimeError("this one fails")'
    return up, f"async def downgrade(op):\n    await op.drop_collection({made!r})"


class MigrationCases(Cases[ConformanceSubject]):
    """History, going up and down, failing, many at once."""

    @pytest.fixture
    async def write(
        self, subject: ConformanceSubject, session: DatabaseSession, tmp_path: Path
    ) -> AsyncIterator[Write]:
        """Writes a migration that makes one table (collection); all of it is gone with the test."""
        is_sql = session.capabilities.has(Capability.SQL)
        folder = tmp_path / "migrations"
        Scripts.create(folder, "sql" if is_sql else "mongodb")
        made: list[str] = []

        def write_one(version: str, follows: str | None, *, fails: bool = False) -> Path:
            table = f"conformance_{version}"
            made.append(table)
            up, down = (_sql if is_sql else _documents)(table, fails)
            path = folder / "versions" / f"{version}_one.py"
            path.write_text(_FILE.format(name=f"make {table}", version=version, follows=follows, up=up, down=down))
            return path

        yield write_one
        for name in (*made, *_NAMES):
            await subject.drop(session, name)

    @pytest.fixture
    async def migrations(self, manager: DatabaseManager, write: Write, tmp_path: Path) -> Open:
        """Makes managers of migrations, each of which reads the files anew."""

        def make(**options: object) -> MigrationManager:
            config = MigrationConfig(directory=tmp_path / "migrations", table="_conformance_log")
            return MigrationManager(config, manager, **options)  # type: ignore[arg-type]

        return make

    async def test_up_and_down(
        self, subject: ConformanceSubject, session: DatabaseSession, write: Write, migrations: Open
    ) -> None:
        write("a1", None)
        write("b2", "a1")
        assert await migrations().current() == ()
        assert [each.version for each in await migrations().pending()] == ["a1", "b2"]
        assert [each.version for each in await migrations().apply_migrations("+1")] == ["a1"]
        assert await migrations().current() == ("a1",)
        assert [each.version for each in await migrations().apply_migrations()] == ["b2"]
        assert await migrations().apply_migrations() == []
        assert [each.version for each in await migrations().rollback_migration("-1")] == ["b2"]
        assert await migrations().current() == ("a1",)
        assert [each.version for each in await migrations().rollback_migration("base")] == ["a1"]
        assert await migrations().current() == ()

    async def test_history(self, write: Write, migrations: Open) -> None:
        path = write("a1", None)
        await migrations().apply_migrations()
        (entry,) = await migrations().history()
        assert (entry.version, entry.name, entry.direction) == ("a1", "make conformance_a1", "up")
        assert "@" in entry.applied_by
        assert entry.applied_at.tzinfo is not None
        assert entry.duration_seconds >= 0
        assert entry.checksum == migrations().scripts.get("a1").checksum
        assert await migrations().edited() == []
        path.write_text(path.read_text() + "\nEDITED = True\n")
        assert await migrations().edited() == ["a1"]

    async def test_a_migration_that_fails(self, write: Write, migrations: Open) -> None:
        write("a1", None)
        wrong = write("b2", "a1", fails=True)
        with pytest.raises(MigrationFailedError, match="b2") as caught:
            await migrations().apply_migrations()
        assert caught.value.revision == "b2"
        assert await migrations().current() == ("a1",)
        assert [each.version for each in await migrations().history()] == ["a1"]
        lines = wrong.read_text().splitlines()
        faulty = max(number for number, line in enumerate(lines) if "(1)" in line or "raise" in line)
        wrong.write_text("\n".join(lines[:faulty] + lines[faulty + 1 :]) + "\n")
        assert [each.version for each in await migrations().apply_migrations()] == ["b2"]
        assert await migrations().current() == ("b2",)

    async def test_many_at_once(self, write: Write, migrations: Open) -> None:
        write("a1", None)
        write("b2", "a1")
        found = await asyncio.gather(*(migrations().apply_migrations() for _ in range(6)))
        assert sorted(len(each) for each in found) == [0, 0, 0, 0, 0, 2]
        assert [each.version for each in await migrations().history()] == ["a1", "b2"]

    async def test_bad_files_change_nothing(self, write: Write, migrations: Open) -> None:
        write("a1", None)
        write("b2", "a1")
        write("c3", "a1")
        with pytest.raises(MigrationFileError, match="several heads"):
            await migrations().apply_migrations("head")
        write("d4", "missing")
        with pytest.raises(MigrationFileError, match="missing"):
            await migrations().apply_migrations()
        assert await migrations().current() == ()

    async def test_nothing_is_undone_in_prod(self, open_manager: OpenManager, write: Write, migrations: Open) -> None:
        write("a1", None)
        await migrations().apply_migrations()
        with pytest.raises(MigrationRefusedError, match="prod"):
            await migrations(environment="prod").rollback_migration("base")
        assert await migrations().current() == ("a1",)


__all__ = ["MigrationCases"]
