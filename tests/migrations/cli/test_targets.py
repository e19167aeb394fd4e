"""Several databases and tenants: which are worked on, in which order, and what a failure does to the others."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.migrations.checks.conftest import database_on
from tests.migrations.cli.conftest import Project

from sillar.config import load_config
from sillar.errors import (
    ConnectError,
    ConnectionLostError,
    MigrationStateError,
    UnsupportedCapabilityError,
    UsageError,
)
from sillar.manager import DatabaseManager
from sillar.migrations import AppliedMigration, MigrationManager
from sillar.testing.servers import ServerFleet


def tables(file: Path) -> list[str]:
    with sqlite3.connect(file) as database:
        rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")
        return [row[0] for row in rows if not row[0].startswith(("_", "alembic"))]


@pytest.fixture
async def postgresql_url(fleet: ServerFleet) -> AsyncIterator[str]:
    async with database_on(await fleet.get("postgresql")) as found:
        yield found


@pytest.fixture(params=["postgresql", "mariadb"])
async def server_url(request: pytest.FixtureRequest, fleet: ServerFleet) -> AsyncIterator[str]:
    async with database_on(await fleet.get(request.param)) as found:
        yield found


async def two_databases(project: Project, url: str) -> None:
    project.configure(
        'default_database = "works"\n[databases.works]\nurl = "sqlite:///works.db"\n'
        f'[databases.archive]\nurl = "{url}"\n'
    )
    ended = await project.well("init", "--all")
    assert "written: migrations/works/env.py" in ended.printed
    assert "written: migrations/archive/env.py" in ended.printed
    project.migration(
        "w1", None, "CREATE TABLE stone (id INTEGER PRIMARY KEY)", "DROP TABLE stone", folder="migrations/works"
    )
    project.migration(
        "a1", None, "CREATE TABLE scroll (id INTEGER PRIMARY KEY)", "DROP TABLE scroll", folder="migrations/archive"
    )


async def test_all_databases_in_their_order(project: Project, postgresql_url: str) -> None:
    await two_databases(project, postgresql_url)
    ended = await project.well("upgrade", "--all")
    assert re.findall(r"── (\w+)\n", ended.printed) == ["works", "archive"]
    assert re.search(r"target +outcome\nworks +well: at w1\narchive +well: at a1\n", ended.printed)
    assert tables(project.folder / "works.db") == ["stone"]
    document = (await project.well("current", "--all", "--json")).document
    assert [(each["database"], each["current"]) for each in document["results"]] == [
        ("works", ["w1"]),
        ("archive", ["a1"]),
    ]
    ended = await project.well("downgrade", "base", "-d", "archive")
    assert re.search(r"undone +a1", ended.printed)
    assert (await project.well("current", "--json")).result["database"] == "works"


async def test_a_failure_stops_the_others_or_not(project: Project, postgresql_url: str) -> None:
    await two_databases(project, postgresql_url)
    project.migration("w2", "w1", "CREATE TABLE stone (id INTEGER)", folder="migrations/works")
    ended = await project.sillar("upgrade", "--all")
    assert ended.status == 1
    assert "migration w2 (make w2) failed" in ended.complained
    assert re.search(r"works +MigrationFailedError: at w1, 1 pending\narchive +not begun\n", ended.printed)
    ended = await project.sillar("upgrade", "--all", "--keep-going", "--json")
    assert ended.status == 1
    document = ended.document
    assert document["error"] == "MigrationFailedError"
    [works, archive] = document["results"]
    assert (works["is_well"], works["current"], works["error"]) == (False, ["w1"], "MigrationFailedError")
    assert (archive["is_well"], archive["current"]) == (True, ["a1"])


async def test_a_url_takes_the_place_of_a_configured_one(project: Project, postgresql_url: str) -> None:
    await two_databases(project, postgresql_url)
    await project.well("upgrade", "-d", "works", "--url", "sqlite:///elsewhere.db")
    await project.well("upgrade", "--url", "sqlite:///third.db")
    for file in ("elsewhere.db", "third.db"):
        assert tables(project.folder / file) == ["stone"]
    assert not (project.folder / "works.db").exists()


async def test_the_environment_is_a_profile(quarry: Project) -> None:
    quarry.configure(
        '[databases.default]\nurl = "sqlite:///quarry.db"\n[profiles.staging.databases.default]\n'
        'url = "sqlite:///staging.db"\n[migration_config.policies.staging]\nallow_downgrade = false\n'
    )
    result = (await quarry.well("upgrade", "-e", "staging", "--json")).result
    assert result["environment"] == result["applied"][0]["environment"] == "staging"
    assert tables(quarry.folder / "staging.db") == ["stone"]
    ended = await quarry.sillar("downgrade", "-1", "-e", "staging")
    assert ended.status == 1
    assert "nothing may be undone in 'staging'" in ended.complained
    assert (await quarry.sillar("current", "-e", "moon")).status == 2


# --- tenants ----------------------------------------------------------------------------------------------------------


async def test_a_file_for_each_tenant(quarry: Project) -> None:
    quarry.configure(
        '[databases.default]\nurl = "sqlite:///quarry.db"\n[migration_config]\ntenants = ["acme", "inca"]\n'
        'tenant_database = "tenants/{tenant}.db"\n'
    )
    ended = await quarry.sillar("upgrade", "-t", "acme")
    assert ended.status == 1
    assert "tenant 'acme' has no database tenants/acme.db" in ended.complained
    assert not (quarry.folder / "tenants").exists()
    await quarry.well("upgrade", "-t", "acme", "--create")
    assert tables(quarry.folder / "tenants/acme.db") == ["stone"]
    ended = await quarry.well("upgrade", "--create", "-t", "all")
    assert re.findall(r"── (.+)\n", ended.printed) == ["default, tenant acme", "default, tenant inca"]
    assert re.search(r"default, tenant acme +well: at two", ended.printed)
    assert tables(quarry.folder / "tenants/inca.db") == ["stone"]
    assert not (quarry.folder / "quarry.db").exists()
    ended = await quarry.sillar("current", "-t", "maya")
    assert ended.status == 2
    assert "there is no tenant 'maya'" in ended.complained
    ended = await quarry.sillar("current", "-t", "acme", "-t", "../etc")
    assert ended.status == 2
    assert "is no name of a tenant" in ended.complained


def tenants_in_schemas(project: Project, url: str) -> None:
    project.configure(f'[databases.default]\nurl = "{url}"\n[migration_config]\ntenant_schema = "tenant_{{tenant}}"\n')


async def test_a_schema_for_each_tenant(quarry: Project, server_url: str) -> None:
    """A database for each on MySQL, where that is the same thing."""
    name = server_url.rpartition("/")[2]
    tenants_in_schemas(quarry, server_url)
    quarry.configure((quarry.folder / "sillar.toml").read_text().replace("tenant_{", f"{name}_{{"))
    try:
        ended = await quarry.sillar("upgrade", "-t", "acme")
        assert ended.status == 1
        assert f"there is no schema {name}_acme: make it with" in ended.complained
        await quarry.well("upgrade", "-t", "acme", "-t", "inca", "--create")
        await quarry.well("downgrade", "base", "-t", "inca")
        acme = (await quarry.well("current", "-t", "acme", "--json")).result
        inca = (await quarry.well("current", "-t", "inca", "--json")).result
        assert (acme["tenant"], acme["current"], inca["current"]) == ("acme", ["two"], [])
        assert (await quarry.well("current", "--json")).result["current"] == []
        script = (await quarry.well("upgrade", "-t", "acme", "--sql")).printed
        assert re.match(rf"(SET search_path TO|USE) [\"`]{name}_acme[\"`];", script)
        await quarry.well("upgrade")  # what belongs to nobody has a history of its own
        report = await quarry.well("check", "-t", "acme")
        assert "ok    applied migrations are unedited" in report.printed
    finally:
        async with DatabaseManager(load_config(url=server_url, environment={})) as manager:
            for tenant in ("acme", "inca"):
                await manager.session().execute(drop_of(server_url).format(f"{name}_{tenant}"))


def drop_of(url: str) -> str:
    return "DROP SCHEMA IF EXISTS {} CASCADE" if url.startswith("postgresql") else "DROP DATABASE IF EXISTS {}"


async def test_a_database_for_each_tenant(quarry: Project, server_url: str) -> None:
    name = server_url.rpartition("/")[2]
    quarry.configure(
        f'[databases.default]\nurl = "{server_url}"\n[migration_config]\ntenant_database = "{name}_{{tenant}}"\n'
    )
    ended = await quarry.sillar("upgrade", "-t", "acme")
    assert ended.status == 1
    assert f"{name}_acme" in ended.complained
    try:
        await quarry.well("upgrade", "-t", "acme", "--create")
        assert (await quarry.well("upgrade", "-t", "acme", "--create")).printed.startswith("nothing to apply")
        assert (await quarry.well("current", "--json")).result["current"] == []
    finally:
        async with DatabaseManager(load_config(url=server_url, environment={})) as manager:
            await manager.session().execute(f"DROP DATABASE {name}_acme")


async def test_a_file_has_no_schemas(quarry: Project) -> None:
    tenants_in_schemas(quarry, "sqlite:///quarry.db")
    ended = await quarry.sillar("upgrade", "-t", "acme")
    assert ended.status == 2
    assert "migration_config.tenant_database" in ended.complained


async def test_a_connection_is_given_back_as_it_was(quarry: Project, server_url: str) -> None:
    """The service's own manager migrates a tenant, and goes on with its own schema."""
    name = server_url.rpartition("/")[2]
    overrides = {"migration_config": {"tenant_schema": f"{name}_{{tenant}}", "directory": "migrations"}}
    config = load_config(url=f"{server_url}", environment={}, overrides=overrides)
    async with DatabaseManager(config) as manager:
        own = MigrationManager.of(manager, tenant="acme")
        assert await own.create_tenant()
        assert not await own.create_tenant()
        where = "SELECT current_schema()" if server_url.startswith("postgresql") else "SELECT DATABASE()"
        before = (await manager.session().execute(where)).scalars()
        await own.apply_migrations()
        after = [(await manager.session().execute(where)).scalars() for _ in range(4)]
        assert after == [before] * 4
        await manager.session().execute(drop_of(server_url).format(f"{name}_acme"))
        with pytest.raises(MigrationStateError, match="there is no schema"):
            await own.current()


async def test_of_no_tenant_nothing_is_made(quarry: Project) -> None:
    with pytest.raises(UsageError, match="name a tenant"):
        await MigrationManager.of(load_config(file="sillar.toml")).create_tenant()


@pytest.fixture
async def mariadb_url(fleet: ServerFleet) -> AsyncIterator[str]:
    async with database_on(await fleet.get("mariadb")) as found:
        yield found


async def test_where_ddl_cannot_be_undone_a_dry_run_prints(quarry: Project, mariadb_url: str) -> None:
    quarry.configure(f'[databases.default]\nurl = "{mariadb_url}"\n')
    ended = await quarry.well("upgrade", "--dry-run")
    assert ended.printed.index("CREATE TABLE stone") < ended.printed.index("ADD COLUMN name")
    assert "this database cannot undo DDL: nothing was run" in ended.complained
    assert (await quarry.well("current", "--json")).result["current"] == []
    await quarry.well("upgrade")
    assert (await quarry.well("upgrade", "--dry-run")).printed.strip() == ""
    result = (await quarry.well("downgrade", "one", "--dry-run", "--json")).result
    assert (result["from"], result["to"]) == ("two", "one")
    assert "DROP COLUMN name" in result["sql"]
    assert (await quarry.well("downgrade", "base", "--dry-run", "--json")).result["to"] == "base"
    with pytest.raises(UnsupportedCapabilityError, match="upgrade --sql"):
        await MigrationManager.of(load_config(file="sillar.toml")).apply_migrations(dry_run=True)


async def test_a_database_that_goes_away_meanwhile(quarry: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is there to say what was applied: the first error is told, not the second. The manager is put in place."""
    lost = ConnectionLostError("the connection broke at COMMIT")
    calls = 0

    async def history(self: MigrationManager) -> list[AppliedMigration]:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise ConnectError("nobody is there")
        return []

    async def apply_migrations(self: MigrationManager, target: str) -> list[AppliedMigration]:
        raise lost

    monkeypatch.setattr(MigrationManager, "history", history)
    monkeypatch.setattr(MigrationManager, "apply_migrations", apply_migrations)
    ended = await quarry.sillar("upgrade")
    assert (ended.status, ended.printed) == (1, "")
    assert "the connection broke at COMMIT" in ended.complained
    assert "nobody is there" not in ended.complained
