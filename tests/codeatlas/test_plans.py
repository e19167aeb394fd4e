"""Every statement that the program sends is served by an index, on every engine, in a database of some size."""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from tests.codeatlas.conftest import ENGINES, empty_database
from tests.codeatlas.plans import Recorder, faults_of

from codeatlas.analysis import FileAnalysis, analyse
from codeatlas.records import FileRecord, FileTouch, Run
from codeatlas.store import AtlasStore
from codeatlas.stores import store_for
from sillar import Capability, DatabaseConfig, DatabaseManager, DatabaseSession
from sillar.testing.servers import ServerFleet

PROJECTS, FILES, BARE_ROWS = 16, 120, 2000
FIRST_BARE_ID = 1_000_000


class Filled(msgspec.Struct):
    """A database with many projects."""

    engine: str
    manager: DatabaseManager
    store: AtlasStore
    recorder: Recorder


@pytest.fixture(scope="module", params=ENGINES)
async def filled(
    request: pytest.FixtureRequest, fleet: ServerFleet, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Filled]:
    engine: str = request.param
    recorder = Recorder()
    async for url in empty_database(engine, fleet, tmp_path_factory.mktemp("plans")):
        async with DatabaseManager(DatabaseConfig.from_url(url), observers=[recorder]) as manager:
            store = store_for(manager)
            await store.open_schema()
            await fill(store)
            async with manager.session() as session:
                await add_bare_rows(session)
                await update_statistics(engine, session)
            recorder.forget()
            yield Filled(engine, manager, store, recorder)


def varieties() -> list[FileAnalysis]:
    """Files of some variety: functions of several complexities, imports, findings, words."""
    found = []
    for variety in range(30):
        lines = [f"import module_{variety % 7}", "from os import path"]
        for function in range(8):
            branches = "".join(f"    if a == {branch}: return b\n" for branch in range((variety * function) % 13))
            lines.append(f"def verb{function}_noun{variety}(a, b):\n    '''Word{function} text{variety}'''\n{branches}")
        lines.append("class Thing:\n    def method(self, x=[]): return x == None\n")
        found.append(analyse("x.py", "\n".join(lines).encode()))
    return found


async def fill(store: AtlasStore) -> None:
    kinds = varieties()
    for number in range(PROJECTS):
        project = await store.project(f"project {number:03}")
        repository = await store.repository(project.id, f"/tree/{number}")
        run = await store.begin_run(repository, "here:1", never)
        records = [
            FileRecord(None, 1, 1, msgspec.structs.replace(kinds[file % 30], path=f"package{file % 9}/file{file}.py"))
            for file in range(FILES)
        ]
        for start in range(0, FILES, 40):
            await store.record_files(run, records[start : start + 40])
        await store.finish_run(run, files_found=FILES)


def never(run: Run) -> bool:
    return False


async def add_bare_rows(session: DatabaseSession) -> None:
    """Many projects, repositories and runs, which no engine would read from end to end."""
    now = dt.datetime.now(dt.UTC)
    ids = range(FIRST_BARE_ID, FIRST_BARE_ID + BARE_ROWS)
    is_sql = session.capabilities.has(Capability.SQL)
    identity = "id" if is_sql else "_id"
    counts = ("resumes", "files_found", "files_analysed", "files_unchanged", "files_removed", "files_failed")
    tables: dict[str, tuple[tuple[str, ...], list[tuple[Any, ...]]]] = {
        "projects": ((identity, "name", "created_at"), [(id_, f"bare {id_}", now) for id_ in ids]),
        "repositories": (
            (identity, "project_id", "root", "open_analysis_id"),
            [(id_, id_, f"/bare/{id_}", None) for id_ in ids],
        ),
        "analyses": (
            *((identity, "project_id", "repository_id", "status", "owner", "started_at", "heartbeat_at", *counts),),
            [(id_, id_, id_, "finished", "", now, now, 0, 0, 0, 0, 0, 0) for id_ in ids],
        ),
    }
    if is_sql:
        rows = [(id_, "total", name, 1) for id_ in ids for name in ("files", "lines_code", "functions")]
        tables["metrics"] = (("analysis_id", "kind", "name", "value"), rows)
    for table, (columns, values) in tables.items():
        await session.bulk_insert(f"atlas_{table}", columns, values)


async def update_statistics(engine: str, session: DatabaseSession) -> None:
    """What a server does by itself after a while. SQLite does not, so its plans must do without."""
    tables = ("projects", "repositories", "analyses", "metrics", "files", "symbols", "imports", "rule_results", "terms")
    if engine == "postgresql":
        await session.execute("ANALYZE")
    elif engine in ("mariadb", "mysql"):
        await session.execute(f"ANALYZE TABLE {', '.join(f'atlas_{table}' for table in (*tables, 'file_metrics'))}")


class Caller:
    """Calls verbs and notes which."""

    def __init__(self, store: AtlasStore) -> None:
        self._store = store
        self.called: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.called.add(name)
        return getattr(self._store, name)


async def use_everything(store: Any) -> None:
    """Every verb of a store, in the ways in which the program calls it."""
    project = (await store.projects(after="project 006", limit=5))[0]
    assert (await store.project(project.name)).id == project.id
    repository = await store.repository(project.id, "/tree/7")
    kind = varieties()[3]
    run = await store.begin_run(repository, "here:1", never)
    with pytest.raises(RuntimeError):
        await store.begin_run(repository, "there:2", never)
    known = list((await store.known_files(repository.id)).values())
    changed = FileRecord(known[0], 2, 2, msgspec.structs.replace(kind, path=known[0].path))
    new = FileRecord(None, 2, 2, msgspec.structs.replace(kind, path="new.py"))
    await store.record_files(run, [changed, new], [FileTouch(known[1], 1, 3)])
    await store.remove_files(run, known[2:4])
    await store.interrupt_run(run)
    assert await store.overview(project.id) is not None
    run = await store.begin_run(repository, "here:1", never)
    await store.finish_run(run, files_found=FILES)
    await store.begin_run(await store.repository(project.id, "/empty"), "here:1", never)
    empty = await store.project("new")
    assert (await store.overview(empty.id)).run is None
    assert len(await store.trends(project.id)) == 2
    listed = await store.files(project.id, limit=20)
    assert len(await store.files(project.id, after=(listed[-1].path, listed[-1].id), limit=20)) == 20
    assert len(await store.files_named(project.id, "file77")) == 1
    assert await store.files_named(project.id, "77")
    assert await store.files_containing(project.id, "verb3 noun2 text")
    assert await store.symbols_named(project.id, "verb3_noun1")
    functions = await store.functions_by_complexity(project.id, limit=20)
    last = functions[-1]
    following = await store.functions_by_complexity(project.id, after=(last.complexity, last.file_id, last.ordinal))
    assert following[0].complexity <= last.complexity
    findings = await store.findings(project.id, "none-comparison", limit=20)
    after = (findings[-1].file_id, findings[-1].ordinal)
    assert await store.findings(project.id, "none-comparison", after=after, limit=20)
    assert await store.file_detail(listed[0].id) is not None


async def test_every_statement_is_served_by_an_index(filled: Filled) -> None:
    caller = Caller(filled.store)
    await use_everything(caller)
    verbs = {name for name, _ in inspect.getmembers(AtlasStore, inspect.iscoroutinefunction)}
    assert caller.called == verbs - {"open_schema"}
    assert len(filled.recorder.statements) + len(filled.recorder.commands) > 30
    async with filled.manager.session() as session:
        faults = await faults_of(filled.engine, session, filled.recorder)
    assert faults == {}


async def test_a_missing_index_would_be_noticed(filled: Filled) -> None:
    """The check itself, last: it takes indexes away."""
    async with filled.manager.session() as session:
        if session.capabilities.has(Capability.SQL):
            on = " ON atlas_symbols" if filled.engine in ("mariadb", "mysql") else ""
            await session.execute(f"DROP INDEX atlas_symbols_complexity{on}")
            await session.execute(f"DROP INDEX atlas_symbols_name{on}")
        else:
            await session.documents("atlas_symbols").drop_index("complexity")
            await session.documents("atlas_symbols").drop_index("search_name")
        filled.recorder.forget()
        project = (await filled.store.projects(after="project 006", limit=1))[0]
        await filled.store.functions_by_complexity(project.id, limit=20)
        faults = await faults_of(filled.engine, session, filled.recorder)
    assert len(faults) == 1
    assert "atlas_symbols" in next(iter(faults))
