"""The same commands on MongoDB, beside an SQL database in one configuration."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest
from tests.migrations.cli.conftest import Project

from sillar.config import load_config
from sillar.migrations import MigrationManager
from sillar.migrations.throwaway import empty, offline_equals_online, round_trip, stairway, state_of
from sillar.testing.servers import MongoDBServer


@pytest.fixture
async def url(mongodb: MongoDBServer) -> AsyncIterator[str]:
    """URL of an empty database of its own."""
    base, _, rest = mongodb.url.rpartition("/")
    name = f"migrations_{secrets.token_hex(5)}"
    options = rest.partition("?")[2]
    found = f"{base}/{name}" + (f"?{options}" if options else "")
    yield found
    config = load_config(url=found, environment={}, overrides={"migration_config": {"directory": "migrations/birds"}})
    await empty(MigrationManager.of(config))


async def aviary(project: Project, url: str) -> Project:
    project.configure(
        'default_database = "birds"\n[databases.works]\nurl = "sqlite:///works.db"\n[databases.birds]\n'
        f'url = "{url}"\n[migration_config]\ntenant_database = "tenant_{{tenant}}"\n'
    )
    await project.well("init", "--all")
    project.migration("w1", None, "CREATE TABLE stone (id INTEGER)", "DROP TABLE stone", folder="migrations/works")
    versions = project.folder / "migrations/birds/versions"
    head = '"""make birds"""\nrevision = "b1"\ndown_revision = None\nbranch_labels = None\ndepends_on = None\n\n'
    (versions / "b1.py").write_text(
        head + "\nasync def upgrade(op):\n    await op.create_collection('bird')\n"
        "    await op.create_index('bird', 'name', unique=True)\n\n\n"
        "async def downgrade(op):\n    await op.drop_collection('bird')\n"
    )
    return project


async def test_all_engines_in_one_command(project: Project, url: str) -> None:
    await aviary(project, url)
    ended = await project.well("upgrade", "--all")
    assert "works   well: at w1\nbirds   well: at b1\n" in ended.printed
    result = (await project.well("history", "--json")).result
    assert (result["database"], result["migrations"][0]["state"]) == ("birds", "applied")
    shown = (await project.well("show", "b1")).printed
    assert "bird" in shown.partition("up:")[2]
    ended = await project.well("downgrade", "base", "--dry-run")
    assert ended.printed.startswith("b1 step 1: drop_collection bird (0 documents)\ntried  b1")
    assert (await project.well("current", "--json")).result["current"] == ["b1"]
    checked = (await project.well("check", "--json")).result["checks"]
    assert all(each["is_well"] for each in checked)
    assert checked[-1]["details"] == ["not compared: no models are named in migration_config.models"]
    await project.well("downgrade", "-1")
    ended = await project.well("upgrade", "--sql")
    assert "step 1: create_collection bird" in ended.printed


async def test_checks_on_an_empty_database(project: Project, url: str) -> None:
    await aviary(project, url)
    migrations = MigrationManager.of(load_config(file="sillar.toml"))
    for check in (round_trip, stairway):
        assert (await check(migrations)).details == ()
    assert (await offline_equals_online(migrations)).details[0].startswith("not compared")
    path = project.folder / "migrations/birds/versions/b1.py"
    path.write_text(path.read_text().replace("await op.drop_collection('bird')", "pass"))
    migrations = MigrationManager.of(load_config(file="sillar.toml"))
    result = await round_trip(migrations)
    assert any("collection bird is left, or new" in line for line in result.details)
    assert await state_of(migrations) == {}


async def test_a_tenant_is_a_database(project: Project, url: str) -> None:
    await aviary(project, url)
    name = f"t{secrets.token_hex(4)}"
    ended = await project.well("upgrade", "--create", "-t", name)
    assert "at b1" in ended.printed
    assert (await project.well("current", "--json")).result["current"] == []
    await empty(MigrationManager.of(load_config(file="sillar.toml"), tenant=name))


GUARDED = """
[databases.default]
url = "{url}"
[migration_config]
directory = "migrations/birds"
[migration_config.policies.prod]
allow_downgrade = false
approvals = "approved.txt"
[migration_config.policies.staging]
lint = "error"
"""


async def test_what_an_environment_allows(project: Project, url: str) -> None:
    await aviary(project, url)
    project.configure(GUARDED.format(url=url))
    approved = project.folder / "approved.txt"
    approved.write_text("b0 killa\n")
    ended = await project.sillar("upgrade", "-e", "prod", "--json")
    assert (ended.status, ended.document["error"], ended.result["findings"]) == (1, "MigrationRefusedError", ["b1"])
    assert (await project.well("current", "--json")).result["current"] == []
    approved.write_text("b1 killa\n")
    await project.well("upgrade", "-e", "prod")
    ended = await project.sillar("downgrade", "base", "-e", "prod")
    assert "migration_config.policies.prod.allow_downgrade" in ended.complained

    head = '"""strict"""\nrevision = "b2"\ndown_revision = "b1"\nbranch_labels = None\ndepends_on = None\n\n'
    path = project.folder / "migrations/birds/versions/b2.py"
    path.write_text(
        head + "\nasync def upgrade(op):\n    await op.set_validator('bird', {'required': ['name']})\n"
        "    await op.insert_many('bird', [{'name': 'Hornero'}])\n\n\nasync def downgrade(op):\n    pass\n"
    )
    migrations = MigrationManager.of(load_config(file="sillar.toml"))
    async with migrations.opened() as manager:
        await manager.session().documents("bird").insert_one({"name": "Zorzal"})
        ended = await project.sillar("upgrade", "-e", "staging", "--json")
        assert (ended.status, ended.document["error"]) == (1, "MigrationRefusedError")
        [finding] = ended.result["findings"]
        assert (finding["rule"], finding["table"]) == ("validator-strict", "bird")
        assert (await project.well("current", "--json")).result["current"] == ["b1"]
        ended = await project.well("upgrade", "--dry-run")
        assert "validator-strict" in ended.complained  # elsewhere it warns
        path.write_text(path.read_text() + "\n# sillar: acknowledge validator-strict on bird: all have a name\n")
        ended = await project.well("upgrade", "-e", "staging")
        assert ended.complained == ""
        assert await manager.session().documents("bird").count() == 2
