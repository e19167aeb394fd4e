"""What every store promises, on every engine."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Sequence

import pytest

from codeatlas.analysis import ANALYSER_VERSION, analyse
from codeatlas.discovery import KnownFile
from codeatlas.records import FileRecord, FileTouch, Project, Repository, Run
from codeatlas.store import AtlasStore, RunInProgressError, SchemaVersionError
from codeatlas.stores import store_for
from codeatlas.worker import unread_analysis
from sillar import Capability, DatabaseManager
from sillar.errors import UniqueViolationError

SOURCES = {
    "parser.py": '''
        """Parses."""
        import os
        import re

        class Parser:
            """A parser."""
            def parse_args(self, text):
                """Parse."""
                if text and os:
                    return [word for word in text if word]
                return None
            def _reset(self, a=[]): ...

        def simple(): ...
        ''',
    "net/Socket.py": """
        import os
        from . import other

        def connect(host, port):
            try:
                return os.getcwd()  # the größe of a socket
            except:
                pass

        async def parse_address(a):
            while a:
                if a == None:
                    a()
        """,
    "net/__init__.py": "",
    "bad.py": "def broken(:\n    pass\n",
}


def record(path: str, source: str, known: KnownFile | None = None, mtime_ns: int = 1) -> FileRecord:
    data = textwrap.dedent(source).lstrip("\n").encode()
    return FileRecord(known, len(data), mtime_ns, analyse(path, data))


async def begun(
    store: AtlasStore, project: str = "quarry", root: str = "/quarry", owner: str = "here:1"
) -> tuple[Project, Repository, Run]:
    found = await store.project(project)
    repository = await store.repository(found.id, root)
    return found, repository, await store.begin_run(repository, owner, lambda run: False)


async def filled(store: AtlasStore, **kwargs: str) -> tuple[Project, Repository, Run]:
    """The sources above in one finished run."""
    project, repository, run = await begun(store, **kwargs)
    await store.record_files(run, [record(path, source) for path, source in SOURCES.items()])
    return project, repository, await store.finish_run(run, files_found=len(SOURCES))


async def path_id(store: AtlasStore, repository: Repository, path: str) -> int:
    return (await store.known_files(repository.id))[path].id


# --- schema, projects, repositories ---------------------------------------------------------------------------------


async def test_the_schema_is_opened_as_often_as_one_likes(store: AtlasStore, manager: DatabaseManager) -> None:
    project = await store.project("quarry")
    await store_for(manager).open_schema()
    assert await store.projects() == [project]


async def test_processes_may_open_the_schema_at_once(new_url: str) -> None:
    async def open_once() -> None:
        async with DatabaseManager.from_url(new_url) as manager:
            await store_for(manager).open_schema()

    await open_once()
    await asyncio.gather(*(open_once() for _ in range(3)))


async def test_a_database_of_a_newer_release_is_refused(new_store: AtlasStore, new_manager: DatabaseManager) -> None:
    async with new_manager.session() as session:
        if session.capabilities.has(Capability.SQL):
            await session.execute("UPDATE alembic_version SET version_num = 'r9999'")
        else:
            await session.documents("_migrations").update_many({}, {"$set": {"heads": ["r9999"]}})
    with pytest.raises(SchemaVersionError, match="r9999, which this program does not know"):
        await new_store.open_schema()


async def test_projects_and_repositories_are_made_once(store: AtlasStore) -> None:
    projects = await asyncio.gather(*(store.project("quarry") for _ in range(4)))
    assert len({project.id for project in projects}) == 1
    assert projects[0].created_at.utcoffset() is not None
    other = await store.project("Quarry")
    assert other.id != projects[0].id
    repositories = await asyncio.gather(*(store.repository(other.id, "/a") for _ in range(4)))
    assert len({repository.id for repository in repositories}) == 1
    assert (await store.repository(projects[0].id, "/a")).id != repositories[0].id


async def test_projects_come_page_by_page_in_the_order_of_names(store: AtlasStore) -> None:
    for name in ("b", "a", "ä", "B"):
        await store.project(name)
    first = await store.projects(limit=3)
    assert [project.name for project in first] == ["B", "a", "b"]
    assert [project.name for project in await store.projects(after="b")] == ["ä"]


# --- runs -----------------------------------------------------------------------------------------------------------


async def test_a_run_counts_what_it_does(store: AtlasStore) -> None:
    _, repository, run = await filled(store)
    assert (run.status, run.owner, run.resumes) == ("finished", "", 0)
    assert (run.files_found, run.files_analysed, run.files_unchanged, run.files_failed) == (4, 4, 0, 1)
    assert run.finished_at is not None
    assert run.started_at <= run.heartbeat_at <= run.finished_at
    following = await store.begin_run(repository, "here:1", lambda run: False)
    assert following.id > run.id
    files = await store.known_files(repository.id)
    await store.remove_files(following, [files["bad.py"]])
    finished = await store.finish_run(following, files_found=3)
    assert (finished.files_analysed, finished.files_unchanged, finished.files_removed) == (0, 3, 1)


async def test_an_interrupted_run_is_resumed(store: AtlasStore) -> None:
    _, repository, run = await begun(store)
    await store.record_files(run, [record("parser.py", SOURCES["parser.py"])])
    await store.interrupt_run(run)
    again = await store.begin_run(repository, "there:2", lambda run: False)
    assert (again.id, again.status, again.owner, again.resumes) == (run.id, "running", "there:2", 1)
    assert again.files_analysed == 1
    assert list(await store.known_files(repository.id)) == ["parser.py"]


async def test_a_run_in_other_hands_is_left_alone_unless_abandoned(store: AtlasStore) -> None:
    _, repository, run = await begun(store)
    with pytest.raises(RunInProgressError, match="in the hands of here:1"):
        await store.begin_run(repository, "there:2", lambda run: False)
    taken = await store.begin_run(repository, "there:2", lambda run: run.owner == "here:1")
    assert (taken.id, taken.owner) == (run.id, "there:2")
    # Who lost it can record no more, and nothing of what it tried stays.
    with pytest.raises(RunInProgressError):
        await store.record_files(run, [record("parser.py", SOURCES["parser.py"])])
    assert await store.known_files(repository.id) == {}
    with pytest.raises(RunInProgressError):
        await store.finish_run(run, files_found=0)
    await store.interrupt_run(run)
    with pytest.raises(RunInProgressError):
        await store.begin_run(repository, "else:3", lambda run: False)


async def test_of_processes_that_begin_at_once_one_gets_the_run(store: AtlasStore) -> None:
    project = await store.project("quarry")
    repository = await store.repository(project.id, "/quarry")
    runs = await asyncio.gather(
        *(store.begin_run(repository, f"here:{number}", lambda run: False) for number in range(4)),
        return_exceptions=True,
    )
    begun_runs = [run for run in runs if isinstance(run, Run)]
    assert len(begun_runs) == 1
    assert all(isinstance(run, Run | RunInProgressError) for run in runs)


# --- files ----------------------------------------------------------------------------------------------------------


async def test_known_files_say_what_change_detection_needs(store: AtlasStore) -> None:
    _, repository, run = await begun(store)
    good = record("parser.py", SOURCES["parser.py"], mtime_ns=1_700_000_000_123_456_789)
    unread = FileRecord(None, 7, 5, unread_analysis("lost.py", "cannot be read: Permission denied"))
    await store.record_files(run, [good, unread])
    known = await store.known_files(repository.id)
    assert known["parser.py"] == KnownFile(
        known["parser.py"].id,
        "parser.py",
        good.size_bytes,
        1_700_000_000_123_456_789,
        good.analysis.sha256,
        ANALYSER_VERSION,
    )
    # Looked at again by the next run, whatever its size and time.
    assert (known["lost.py"].size_bytes, known["lost.py"].sha256, known["lost.py"].analyser) == (7, "", 0)


async def test_a_file_with_everything_in_it(store: AtlasStore) -> None:
    _, repository, run = await filled(store)
    detail = await store.file_detail(await path_id(store, repository, "net/Socket.py"))
    assert detail is not None
    facts = detail.facts
    assert (facts.root, facts.path, facts.package, facts.status) == ("/quarry", "net/Socket.py", "net", "parsed")
    assert (facts.functions, facts.classes, facts.imports, facts.findings) == (2, 0, 2, 4)
    assert [(symbol.kind, symbol.name, symbol.complexity, symbol.documented) for symbol in detail.symbols] == [
        ("function", "connect", 2, False),
        ("function", "parse_address", 3, False),
    ]
    assert detail.symbols[0].documented is False
    assert [(entry.module, entry.line) for entry in detail.imports] == [("os", 1), (".", 2)]
    assert [(finding.rule, finding.severity, finding.line) for finding in detail.findings] == [
        ("unused-import", "warning", 2),
        ("bare-except", "warning", 7),
        ("silent-except", "warning", 7),
        ("none-comparison", "warning", 12),
    ]
    (revision,) = detail.history
    assert (revision.analysis_id, revision.complexity_total, revision.findings) == (run.id, 5, 4)
    assert revision.started_at == run.started_at
    assert await store.file_detail(10_000) is None


async def test_a_file_that_does_not_parse_is_recorded_as_such(store: AtlasStore) -> None:
    project, repository, _ = await filled(store)
    detail = await store.file_detail(await path_id(store, repository, "bad.py"))
    assert detail is not None
    assert (detail.facts.status, detail.facts.failure_line) == ("failed", 1)
    assert detail.facts.failure_message == "invalid syntax"
    assert detail.facts.lines_total == 2
    (finding,) = await store.findings(project.id, "unparsable-file")
    assert (finding.path, finding.severity, finding.message) == ("bad.py", "error", "invalid syntax")
    assert [file.path for file in await store.files_containing(project.id, "broken")] == ["bad.py"]


async def test_a_changed_file_replaces_what_was_known_and_keeps_its_history(store: AtlasStore) -> None:
    project, repository, first = await filled(store)
    known = (await store.known_files(repository.id))["net/Socket.py"]
    second = await store.begin_run(repository, "here:1", lambda run: False)
    await store.record_files(second, [record("net/Socket.py", "def renamed(): ...\n", known, 2)])
    await store.finish_run(second, files_found=4)
    detail = await store.file_detail(known.id)
    assert detail is not None
    assert [symbol.name for symbol in detail.symbols] == ["renamed"]
    assert (detail.imports, detail.findings, detail.facts.findings) == ([], [], 0)
    assert [(each.analysis_id, each.functions) for each in detail.history] == [(first.id, 2), (second.id, 1)]
    assert (await store.known_files(repository.id))["net/Socket.py"].id == known.id
    assert await store.files_containing(project.id, "connect") == []
    assert await store.findings(project.id, "bare-except") == []
    assert await store.symbols_named(project.id, "parse_addr") == []
    assert [file.path for file in await store.files_containing(project.id, "renamed")] == ["net/Socket.py"]


async def test_a_file_recorded_twice_in_one_run_counts_once_in_its_history(store: AtlasStore) -> None:
    _, repository, run = await begun(store)
    await store.record_files(run, [record("a.py", "x = 1\n")])
    await store.interrupt_run(run)
    run = await store.begin_run(repository, "here:1", lambda run: False)
    known = (await store.known_files(repository.id))["a.py"]
    await store.record_files(run, [record("a.py", "def f(): ...\n", known)])
    detail = await store.file_detail(known.id)
    assert detail is not None
    assert [(each.analysis_id, each.functions) for each in detail.history] == [(run.id, 1)]


async def test_a_touched_file_is_known_by_its_new_time(store: AtlasStore) -> None:
    _, repository, run = await filled(store)
    run = await store.begin_run(repository, "here:1", lambda run: False)
    known = await store.known_files(repository.id)
    await store.record_files(run, [], [FileTouch(known["parser.py"], known["parser.py"].size_bytes, 77)])
    again = await store.known_files(repository.id)
    assert again["parser.py"].mtime_ns == 77
    assert again["parser.py"].sha256 == known["parser.py"].sha256
    assert again["bad.py"] == known["bad.py"]


async def test_removed_files_leave_nothing(store: AtlasStore, manager: DatabaseManager) -> None:
    project, repository, _ = await filled(store)
    run = await store.begin_run(repository, "here:1", lambda run: False)
    await store.remove_files(run, list((await store.known_files(repository.id)).values()))
    await store.finish_run(run, files_found=0)
    assert await store.files(project.id) == []
    assert await rows_left(manager) == {}
    overview = await store.overview(project.id)
    assert overview is not None
    assert (overview.totals["files"], overview.totals["lines_code"], overview.packages) == (0, 0, [])


async def test_a_batch_is_all_or_nothing(store: AtlasStore, manager: DatabaseManager) -> None:
    """The second file of the batch breaks a unique key at the end; nothing of the first stays."""
    _, repository, run = await begun(store)
    await store.record_files(run, [record("a.py", "x = 1\n")])
    before = await rows_left(manager)
    with pytest.raises(UniqueViolationError):
        await store.record_files(run, [record("b.py", SOURCES["parser.py"]), record("a.py", "y = 1\n")])
    assert list(await store.known_files(repository.id)) == ["a.py"]
    assert await rows_left(manager) == before


async def rows_left(manager: DatabaseManager) -> dict[str, int]:
    """Rows or documents by table of what belongs to files; empty tables are left out."""
    counts = {}
    async with manager.session() as session:
        is_sql = session.capabilities.has(Capability.SQL)
        for name in ("files", "symbols", "rule_results", "terms", *(("imports", "file_metrics") if is_sql else ())):
            if is_sql:
                count = await session.fetch_value(f"SELECT COUNT(*) FROM atlas_{name}", into=int)
            else:
                count = await session.documents(f"atlas_{name}").count()
            if count:
                counts[name] = count
    return counts


# --- searches and lists ---------------------------------------------------------------------------------------------


async def paths_named(store: AtlasStore, project: Project, name: str) -> list[str]:
    return [file.path for file in await store.files_named(project.id, name)]


async def test_files_are_found_by_any_part_of_their_path(store: AtlasStore) -> None:
    project, _, _ = await filled(store)
    await filled(store, project="other", root="/other")
    assert await paths_named(store, project, "socket") == ["net/Socket.py"]
    assert await paths_named(store, project, "ET/SO") == ["net/Socket.py"]
    assert await paths_named(store, project, "arse") == ["parser.py"]
    assert await paths_named(store, project, "t/") == ["net/Socket.py", "net/__init__.py"]
    assert await paths_named(store, project, "y") == ["bad.py", "net/Socket.py", "net/__init__.py", "parser.py"]
    assert await paths_named(store, project, "__") == ["net/__init__.py"]
    assert await paths_named(store, project, "p_r") == []
    assert await paths_named(store, project, "%") == []
    assert await paths_named(store, project, "a.p") == []
    assert await paths_named(store, project, "d.p") == ["bad.py"]
    assert await paths_named(store, project, "") == []


async def test_own_names_come_before_folders(store: AtlasStore) -> None:
    project, _, run = await begun(store)
    await store.record_files(
        run, [record(path, "") for path in ("core/a.py", "a_core.py", "z/core.py", "core/core.py")]
    )
    assert await paths_named(store, project, "core") == ["core/core.py", "z/core.py", "a_core.py", "core/a.py"]
    assert len(await store.files_named(project.id, "core", limit=2)) == 2


async def test_files_are_found_by_their_words(store: AtlasStore) -> None:
    project, _, _ = await filled(store)

    async def having(text: str) -> list[tuple[str, int]]:
        return [(file.path, file.score) for file in await store.files_containing(project.id, text)]

    assert await having("parse_args") == [("parser.py", 12)]
    assert await having("Größe") == [("net/Socket.py", 2)]
    # parser.py defines Parser (a name that begins with it); net/Socket.py has the part "parse" of parse_address.
    assert await having("parse") == [("net/Socket.py", 6), ("parser.py", 6)]
    assert await having("parse os") == [("net/Socket.py", 8), ("parser.py", 8)]
    assert await having("parse text") == [("parser.py", 8)]
    assert await having("gr") == [("net/Socket.py", 1)]
    assert await having("parse nowhere") == []
    assert await having("?!") == []
    assert len(await store.files_containing(project.id, "def", limit=1)) == 1


async def test_symbols_are_found_by_their_beginning(store: AtlasStore) -> None:
    project, _, _ = await filled(store)
    found = await store.symbols_named(project.id, "PARSE")
    assert [(symbol.name, symbol.path, symbol.kind) for symbol in found] == [
        ("parse_address", "net/Socket.py", "function"),
        ("Parser.parse_args", "parser.py", "method"),
        ("Parser", "parser.py", "class"),
    ]
    assert found[1].documented is True
    assert await store.symbols_named(project.id, "args") == []


async def test_functions_come_page_by_page_the_most_complex_first(store: AtlasStore) -> None:
    project, _, run = await begun(store)
    branches = ["".join(f"    if a == {each}: pass\n" for each in range(count)) for count in (0, 3, 1, 3, 0, 2)]
    source = "".join(f"def f{number}(a):\n    pass\n{body}" for number, body in enumerate(branches)) + "class C: ...\n"
    await store.record_files(run, [record("one.py", source), record("two.py", source)])
    seen: list[tuple[int, int, int]] = []
    after: tuple[int, int, int] | None = None
    while page := await store.functions_by_complexity(project.id, after=after, limit=5):
        seen += [(each.complexity, each.file_id, each.ordinal) for each in page]
        after = seen[-1]
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == len(seen) == 12
    assert [complexity for complexity, _, _ in seen] == [4, 4, 4, 4, 3, 3, 2, 2, 1, 1, 1, 1]


async def test_findings_of_a_rule_come_page_by_page(store: AtlasStore) -> None:
    project, _, run = await begun(store)
    source = "x == None\n" * 4 + "eval(x)\n"
    await store.record_files(run, [record("one.py", source), record("two.py", source)])
    seen: list[tuple[str, int]] = []
    after = (0, -1)
    while page := await store.findings(project.id, "none-comparison", after=after, limit=3):
        seen += [(each.path, each.line) for each in page]
        after = (page[-1].file_id, page[-1].ordinal)
    assert sorted(seen) == [(path, line) for path in ("one.py", "two.py") for line in range(1, 5)]
    assert seen[0][0] == seen[3][0]
    assert len(await store.findings(project.id, "dynamic-code")) == 2
    assert await store.findings(project.id, "star-import") == []


async def test_files_come_page_by_page_in_the_order_of_their_paths(store: AtlasStore) -> None:
    project, _, _ = await filled(store)
    await filled(store, root="/second")  # the same paths in another repository of the project
    await filled(store, project="other")
    seen: list[tuple[str, int]] = []
    after = ("", 0)
    while page := await store.files(project.id, after=after, limit=3):
        seen += [(file.path, file.id) for file in page]
        after = seen[-1]
    assert [path for path, _ in seen] == sorted([*SOURCES, *SOURCES])
    assert len(set(seen)) == 8


# --- the project as a whole -----------------------------------------------------------------------------------------


async def test_the_overview_adds_up(store: AtlasStore) -> None:
    project, _, run = await filled(store)
    await filled(store, project="other")
    overview = await store.overview(project.id)
    assert overview is not None
    assert (overview.project, overview.roots, overview.run, overview.latest) == (project, ["/quarry"], run, run)
    totals = overview.totals
    assert (totals["files"], totals["files_failed"], totals["functions"], totals["classes"]) == (4, 1, 5, 1)
    assert (totals["complexity_total"], totals["complexity_max"]) == (12, 5)
    kinds = ("lines_code", "lines_comment", "lines_docstring", "lines_blank")
    assert sum(totals[kind] for kind in kinds) == totals["lines_total"] == 29
    assert overview.complexity == [(1, 2), (2, 1), (3, 1), (5, 1)]
    assert [(each.name, each.files, each.findings) for each in overview.packages] == [
        ("(top level)", 2, 3),
        ("net", 2, 4),
    ]
    assert dict(overview.rules) == {
        "bare-except": 1,
        "mutable-default": 1,
        "none-comparison": 1,
        "silent-except": 1,
        "unparsable-file": 1,
        "unused-import": 2,
    }
    assert overview.rules[0] == ("unused-import", 2)
    assert overview.modules == [("os", 2), (".", 1), ("re", 1)]
    assert await store.overview(10_000) is None


async def test_before_the_first_run_is_finished_the_overview_is_of_this_moment(store: AtlasStore) -> None:
    project, _, run = await begun(store)
    await store.record_files(run, [record("parser.py", SOURCES["parser.py"])])
    overview = await store.overview(project.id)
    assert overview is not None
    assert overview.run is None
    assert overview.latest is not None
    assert (overview.latest.status, overview.latest.files_analysed) == ("running", 1)
    assert (overview.totals["files"], overview.totals["functions"]) == (1, 3)


async def test_each_run_keeps_its_figures(store: AtlasStore) -> None:
    project, repository, _ = await filled(store)
    for functions in (1, 3):
        run = await store.begin_run(repository, "here:1", lambda run: False)
        known = (await store.known_files(repository.id))["parser.py"]
        source = "".join(f"def f{number}(): ...\n" for number in range(functions))
        await store.record_files(run, [record("parser.py", source, known)])
        await store.finish_run(run, files_found=4)
    trends = await store.trends(project.id)
    assert [point.totals["functions"] for point in trends] == [5, 3, 5]
    assert [point.totals["files"] for point in trends] == [4, 4, 4]
    assert [point.run.id for point in trends] == sorted(point.run.id for point in trends)
    assert [point.totals["functions"] for point in await store.trends(project.id, limit=2)] == [3, 5]
    overview = await store.overview(project.id)
    assert overview is not None
    assert overview.run == trends[-1].run
    assert await store.trends((await store.project("empty")).id) == []


async def test_large_batches(store: AtlasStore) -> None:
    """More rows than fit one packet or one statement of some engine, and identifiers of all kinds."""
    project, repository, run = await begun(store)
    source = "".join(
        f"def function_{number}_größe(a): return {'a' * (number % 35)}_{number}\n" for number in range(3000)
    )
    await store.record_files(run, [record(f"f{number}.py", source) for number in range(3)])
    files = await store.files(project.id)
    assert [file.functions for file in files] == [3000, 3000, 3000]
    found = await store.symbols_named(project.id, "function_2999")
    assert [symbol.name for symbol in found] == ["function_2999_größe"] * 3
    assert await path_ids(store, repository) == sorted(file.id for file in files)


async def path_ids(store: AtlasStore, repository: Repository) -> Sequence[int]:
    return sorted(file.id for file in (await store.known_files(repository.id)).values())
