"""``sillar lint`` as somebody types it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.migrations.lint.conftest import Project, database_on

from sillar.cli.application import run
from sillar.migrations.lint import lint_plan
from sillar.testing.servers import PostgreSQLServer

UNSAFE = """-- sillar: acknowledge drop-column: nobody reads it
ALTER TABLE users DROP COLUMN b;
CREATE INDEX i ON users (a);
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unsafe.sql").write_text(UNSAFE)
    (tmp_path / "safe.sql").write_text("ALTER TABLE users ADD COLUMN c int;\nTHIS IS NO SQL;\n")
    return tmp_path


async def sillar(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    status = await asyncio.to_thread(run, ["lint", *arguments])
    return status, *capsys.readouterr()


async def test_files_without_a_database(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, printed, _ = await sillar(capsys, "unsafe.sql", "--dialect", "postgresql")
    assert status == 1
    assert printed.startswith("unsafe.sql:3: error: index-blocks-writes: i on users:")
    assert "drop-column" not in printed
    assert "recipe" not in printed  # without a database there is none to be written
    status, printed, _ = await sillar(capsys, "safe.sql", "--dialect", "postgresql")
    assert (status, printed) == (0, "nothing unsafe in 1 revision\n")
    status, printed, _ = await sillar(capsys, "safe.sql", "--dialect", "postgresql", "--hints", "--no-squawk")
    assert status == 0
    assert "unreadable-statement" in printed
    status, printed, _ = await sillar(capsys, "unsafe.sql", "safe.sql", "--dialect", "mysql", "--json")
    document: dict[str, Any] = json.loads(printed)
    assert (status, document["errors"], document["dialect"]) == (0, 0, "mysql")
    [dropped] = document["revisions"][0]["findings"]
    assert (dropped["rule"], dropped["acknowledged"]) == ("drop-column", "nobody reads it")


async def test_wrong_use(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (["unsafe.sql", "--dialect", "mysql", "--write-recipe", "truncate"], "goes without --dialect"),
        (["nothing.sql", "--dialect", "mysql"], "nothing.sql cannot be read (FileNotFoundError)"),
        (["unsafe.sql", "--dialect", "oracle"], "no rules for 'oracle'"),
        (["head", "--dialect", "mysql"], "--dialect is for .sql files"),
        (["head", "unsafe.sql", "--url", "sqlite:///x.db"], "give either revisions or .sql files"),
    ):
        status, _, complained = await sillar(capsys, *arguments)
        assert status == 2
        assert words in complained


async def test_batch_mode_that_reads_the_table(project: Project) -> None:
    async with project.manager(f"sqlite:///{project.folder}/x.db") as manager:
        async with manager.connection() as connection:
            await connection.exec_driver_sql("CREATE TABLE users (id INTEGER PRIMARY KEY, age INTEGER)")
            await connection.exec_driver_sql("INSERT INTO users VALUES (1, 1), (2, 2)")
            await connection.commit()
        batch = "with op.batch_alter_table('users') as batch:\n        batch.alter_column('age', nullable=False)"
        await project.write(manager, "batch", batch)
        report = await lint_plan(manager)
        assert [(each.rule, each.table) for each in report.findings] == [
            ("revision-not-read", None),
            ("batch-copies-table", "users"),
        ]


async def test_revisions_and_files_with_a_database(
    postgresql: PostgreSQLServer, project: Project, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with database_on(postgresql) as url, project.manager(url) as manager:
        await project.write(
            manager, "first", "op.execute('CREATE TABLE users (id bigint PRIMARY KEY, a varchar(10), b int)')"
        )
        await manager.apply_migrations()
        async with manager.connection() as connection:
            await connection.exec_driver_sql("INSERT INTO users SELECT i FROM generate_series(1, 5000) i")
            await connection.exec_driver_sql("ANALYZE users")
            await connection.commit()
        alone = f'[databases.default]\nurl = "{url}"\n[migration_config]\nlarge_table_rows = 1000\n'
        (folder / "sillar.toml").write_text(alone)
        status, printed, _ = await sillar(capsys)
        assert (status, printed) == (0, "nothing unsafe in 0 revisions\n")

        widened = await project.write(manager, "widen", "op.alter_column('users', 'a', type_=sa.String(20))")
        indexed = await project.write(manager, "index", "op.create_index('users_a', 'users', ['a'])")
        status, printed, _ = await sillar(capsys)
        assert status == 1
        assert printed.splitlines() == [printed.strip()]  # widening is free, as the database shows
        file = manager.scripts.get(indexed).place
        line = 1 + Path(file).read_text().splitlines().index("    op.create_index('users_a', 'users', ['a'])")
        assert printed.startswith(f"{file}:{line}: error: index-blocks-writes: users_a on users:")
        assert printed.endswith(f"to write that: sillar lint {indexed} --write-recipe index-blocks-writes\n")
        assert "(about 5,000 rows" in printed
        (folder / "sillar.toml").write_text(
            'default_database = "other"\n[databases.other]\nurl = "sqlite:///other.db"\n'
            f'[databases.main]\nurl = "{url}"\n[migration_config]\nlarge_table_rows = 1000\n'
            '[migration_config.directories]\nmain = "migrations"\n'
        )
        _, printed, _ = await sillar(capsys, indexed, "-d", "main")
        assert printed.endswith(f"to write that: sillar lint {indexed} -d main --write-recipe index-blocks-writes\n")
        (folder / "sillar.toml").write_text(alone)
        assert (await sillar(capsys, widened))[0] == 0
        assert (await sillar(capsys, indexed))[0] == 1
        status, printed, _ = await sillar(capsys, "unsafe.sql", "--json")
        assert json.loads(printed)["results"][0]["errors"] == 1
        assert status == 1

        status, printed, _ = await sillar(capsys, indexed, "--write-recipe", "index-blocks-writes")
        written = Path(printed.splitlines()[-1].removeprefix("written: "))
        assert (
            "with op.get_context().autocommit_block():\n        op.execute('CREATE INDEX CONCURRENTLY"
            in written.read_text()
        )
        for rule, words in (("nonsense", "no rule 'nonsense'"), ("truncate", "truncate was not found")):
            status, _, complained = await sillar(capsys, indexed, "--write-recipe", rule)
            assert status == 2
            assert words in complained

        manager = project.manager(url)  # the files have become more
        truncating = await project.write(manager, "truncate", "op.execute('TRUNCATE users')")
        status, _, complained = await sillar(capsys, truncating, "--write-recipe", "truncate")
        assert status == 2
        assert "there is no recipe" in complained
        asked = "if op.get_bind().execute(sa.text('SELECT 1')).scalar():"
        reading = f"{asked}\n        op.execute('ALTER TABLE users DROP COLUMN b')"
        await project.write(manager, "reading", reading)
        status, printed, _ = await sillar(capsys, "head")
        assert status == 1
        assert ": warning: revision-not-read: " in printed
        assert ": error: drop-column: users.b: " in printed
        await project.write(manager, "late", "op.execute('ALTER TABLE users ADD COLUMN padded char(3)')")
        status, _, complained = await sillar(capsys, "head")
        assert status == 0, complained
        assert (await sillar(capsys, "head", "--strict"))[0] == 1
