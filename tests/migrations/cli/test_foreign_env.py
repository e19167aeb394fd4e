"""Projects of plain Alembic, as people have them: what ``sillar`` makes of their ``env.py`` and configuration."""

from __future__ import annotations

import json
import py_compile
import re
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from tests.children import ended as ended_program
from tests.migrations.cli.conftest import Project
from tests.migrations.running.foreign import stock

from sillar import load_config
from sillar.integrations import alembic_plugin
from sillar.migrations import MigrationManager
from sillar.migrations.names import BATCHES_TABLE, COPIES_TABLE

MODELS = """
from sqlalchemy import CheckConstraint, Column, Integer, MetaData, String, Table
metadata = MetaData(naming_convention={"ck": "ck_%(table_name)s_%(constraint_name)s"})
Table(
    "stone", metadata, Column("id", Integer, primary_key=True), Column("sort", String(20)),
    Column("n", Integer, CheckConstraint("n > 0", name="positive")),
)
"""


class ForeignProject:
    """A project of ``alembic init``, whose ``env.py`` has its models in it.

    Attributes:
        folder: with ``env.py``.
        ini: its ``alembic.ini``.
        sillar, well: as those of a project.
    """

    def __init__(self, project: Project) -> None:
        self.root, self.folder, self.ini = project.folder, project.folder / "alembic", project.folder / "alembic.ini"
        command.init(Config(str(self.ini)), str(self.folder))
        self.edit(self.ini, "sqlalchemy.url = .*", "sqlalchemy.url = sqlite:///stones.db")
        self.edit(self.env, r"if config.config_file_name[^\n]*\n[^\n]*\n", "")  # its logging is the process's
        self.edit(self.env, "target_metadata = None", f"{MODELS}\ntarget_metadata = metadata")
        self.sillar, self.well = project.sillar, project.well
        project.configure('[databases.default]\nengine = "sqlite"\ndatabase = "stones.db"\n' + MIGRATIONS)

    @property
    def env(self) -> Path:
        return self.folder / "env.py"

    @property
    def files(self) -> list[Path]:
        return sorted((self.folder / "versions").glob("*.py"))

    def edit(self, file: Path, pattern: str, text: str) -> None:
        before = file.read_text()
        after = re.sub(pattern, lambda _: text, before)
        assert after != before
        file.write_text(after)


MIGRATIONS = '[migration_config]\ndirectory = "alembic"\n'


@pytest.fixture
def foreign(project: Project) -> ForeignProject:
    return ForeignProject(project)


async def test_models_of_a_foreign_env_are_compared_as_ours_are(foreign: ForeignProject) -> None:
    """Alembic alone forgets a check that stands at its column, and takes a rename for a drop and an add."""
    await foreign.well("revision", "-m", "first", "--autogenerate")
    assert "CheckConstraint('n > 0', name=op.f('ck_stone_positive'))" in foreign.files[0].read_text()
    await foreign.well("upgrade")
    await foreign.well("check")
    foreign.edit(foreign.env, "sort", "category")  # of another length: Python keeps what it compiled in the same second
    ended = await foreign.sillar("revision", "-m", "second", "--autogenerate")
    assert ended.status == 1
    assert "--rename stone.sort=category" in ended.complained
    foreign.edit(
        foreign.env, "context.configure\\(", 'context.configure(autogenerate_plugins=["alembic.autogenerate.*"],'
    )
    await foreign.well(
        "revision", "-m", "second", "--autogenerate", "--rename", "stone.sort=category", "--rev-id", "two"
    )
    assert "new_column_name='category'" in (foreign.folder / "versions" / "two_second.py").read_text()


async def test_hooks_of_a_foreign_env(foreign: ForeignProject) -> None:
    """Alembic's recipes: nothing is written where nothing changed, numbers for names, and formatters afterwards."""
    hook = (
        "def process(context, revision, directives):\n"
        "    if directives[0].upgrade_ops.is_empty() and getattr(config.cmd_opts, 'autogenerate', False):\n"
        "        directives[:] = []\n"
        "    else:\n"
        "        directives[0].rev_id = '0001'\n\n\nprint('env.py prints')\n\n\n"
    )
    foreign.edit(foreign.env, r"def run_migrations_offline", f"{hook}def run_migrations_offline")
    foreign.edit(foreign.env, "context.configure\\(", "context.configure(process_revision_directives=process,")
    foreign.edit(foreign.ini, "# revision_environment = false", "revision_environment = true")
    foreign.edit(
        foreign.ini,
        r"\[post_write_hooks\]",
        "[post_write_hooks]\nhooks = x\nx.type = exec\nx.executable = echo\n"
        "x.options = hooked REVISION_SCRIPT_FILENAME\n",
    )
    arguments = ("-m", "sillar.cli", "revision", "-m", "first", "--autogenerate", "--json")
    _, printed, complained = await ended_program(sys.executable, *arguments, stdout=PIPE, stderr=PIPE)
    assert json.loads(printed)["results"][0]["file"] == "alembic/versions/0001_first.py"
    assert b"hooked /" in complained
    await foreign.well("upgrade")
    await foreign.well("check")
    ended = await foreign.well("revision", "-m", "second", "--autogenerate", "--json")
    assert (ended.result["version"], len(foreign.files)) == (None, 1)
    foreign.edit(foreign.env, "0001", "0002")
    ended = await foreign.well("revision", "-m", "second", "--json")
    assert ended.result["file"] == "alembic/versions/0002_second.py"


async def test_several_folders_of_versions(foreign: ForeignProject) -> None:
    (foreign.root / "billing").mkdir()
    foreign.edit(
        foreign.ini, "# version_locations = .*", "version_locations = %(here)s/alembic/versions:%(here)s/billing"
    )
    await foreign.well("revision", "-m", "a", "--rev-id", "a1", "--version-path", "alembic/versions")
    await foreign.well(
        *("revision", "-m", "b", "--rev-id", "b1", "--head", "base", "--branch-label", "billing"),
        *("--version-path", "billing", "--depends-on", "a1"),
    )
    assert (foreign.root / "billing" / "b1_b.py").is_file()
    ended = await foreign.sillar("heads")
    assert "2 heads: join them" in ended.complained
    foreign.edit(foreign.folder / "versions" / "a1_a.py", "branch_labels: .* = None", 'branch_labels = ("main",)')
    assert (await foreign.well("upgrade")).complained == ""
    await foreign.well("downgrade", "base")
    await foreign.well("upgrade", "billing@head")
    ended = await foreign.sillar("downgrade", "billing@-3")
    assert ended.status == 2
    assert "env.py" not in ended.complained


@pytest.mark.parametrize("recipe", ["a package", "pyproject.toml", "compiled"])
async def test_how_a_foreign_project_is_laid_out(
    foreign: ForeignProject, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await foreign.well("revision", "-m", "first", "--autogenerate", "--rev-id", "one")
    if recipe == "a package":
        package = foreign.root / "quarry_package"
        package.mkdir()
        (package / "__init__.py").touch()
        foreign.folder.rename(package / "moved")
        monkeypatch.syspath_prepend(str(foreign.root))
        foreign.edit(foreign.ini, "script_location = .*", "script_location = quarry_package:moved")
        foreign.edit(foreign.root / "sillar.toml", '"alembic"', '"quarry_package/moved"')
    elif recipe == "pyproject.toml":
        foreign.edit(foreign.ini, "script_location = .*", "")
        text = '[tool.alembic]\nscript_location = "%(here)s/alembic"\nfile_template = "%%(slug)s_%%(rev)s"\n'
        (foreign.root / "pyproject.toml").write_text(text)
    else:
        foreign.edit(foreign.ini, "# sourceless = false", "sourceless = true")
        source = foreign.files[0]
        source.write_bytes(b"# -*- coding: latin-1 -*-\n# caf\xe9\n" + source.read_bytes())
        await foreign.well("upgrade")
        await foreign.well("downgrade", "base")
        py_compile.compile(str(source), f"{source}c")
        source.unlink()
    await foreign.well("upgrade")
    await foreign.well("check")
    if recipe == "pyproject.toml":
        ended = await foreign.well("revision", "-m", "second", "--json")
        assert "/second_" in ended.result["file"]


@pytest.mark.parametrize(
    ("text", "is_taken"),
    [
        ("connectable = config.attributes.get('connection', None)", True),
        ('if "connection" in config.attributes:', True),
        ("connection = context.config.attributes[CONNECTION]", True),
        ("run_environment(context)", True),
        ("if config.attributes.get('configure_logger', True):", False),
    ],
)
async def test_which_env_takes_a_connection(project: Project, text: str, is_taken: bool) -> None:
    """One that does not is run in a thread: it may have a loop of its own."""
    await project.well("init", "--url", "sqlite:///quarry.db")
    (project.folder / "migrations" / "env.py").write_text(text)
    assert MigrationManager.of(load_config(url="sqlite:///quarry.db")).runner.uses_manager is is_taken


async def test_an_error_of_env_is_told_as_one(foreign: ForeignProject) -> None:
    foreign.edit(foreign.env, r"^", "{}['url']\n")
    ended = await foreign.sillar("current")
    assert ended.status == 2
    assert "env.py:1" in ended.complained
    assert "KeyError: 'url'" in ended.complained


async def test_plain_alembic_leaves_our_tables_alone(foreign: ForeignProject) -> None:
    """By an entry point: it knows nothing of an ``env.py`` of its own."""
    foreign.edit(foreign.env, r", CheckConstraint\(.*?\)\)", ")")  # which it does not compare, or wrongly
    await foreign.well("revision", "-m", "first", "--autogenerate")
    await foreign.well("upgrade")
    assert "No new upgrade operations" in await stock(foreign.root, "check")
    with (foreign.root / "sillar.toml").open("a") as file:
        file.write('table = "log"\n')
    with pytest.raises(AssertionError, match=r"remove_table.*_migrations"):
        await stock(foreign.root, "check")
    assert alembic_plugin._OTHERS == (BATCHES_TABLE, COPIES_TABLE)


async def test_a_query_that_fails_is_named(foreign: ForeignProject) -> None:
    await foreign.well("revision", "-m", "first", "--rev-id", "one")
    text = 'op.execute("CREATE TABLE t (n INT)")\n    op.execute("SELECT nonsense")'
    foreign.edit(foreign.files[0], r"pass(?=\s+def downgrade)", text)
    ended = await foreign.sillar("upgrade")
    assert "failed at a statement that reads (SELECT nonsense)" in ended.complained
