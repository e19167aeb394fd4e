"""The commands that write migrations and look at them: ``init``, ``revision``, ``merge``, ``history``, ``show`` …"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sillar.cli import migrations_run, migrations_writing
from sillar.cli.migrations_choice import Choice, with_choice
from sillar.cli.migrations_output import Answer, applied_as_json, columns, run_on_targets, statement_lines
from sillar.errors import DatabaseError

if TYPE_CHECKING:
    from sillar.migrations import AppliedMigration, Migration, MigrationManager


def register(application: typer.Typer) -> None:
    """Add the commands of migrations."""
    for command in (history, heads, branches, show):
        application.command(command.__name__)(with_choice(command))
    migrations_writing.register(application)
    migrations_run.register(application)


def history(
    choice: Choice,
    log: Annotated[bool, typer.Option("--log", help="What was done to the database, one line for each time.")] = False,
) -> int:
    """List the migrations, what is applied and when, what is pending, and what was edited since."""

    async def work(migrations: MigrationManager) -> Answer:
        entries = await migrations.history()
        if log:
            lines = [
                (
                    f"{entry.applied_at:%Y-%m-%d %H:%M:%S}",
                    entry.direction,
                    entry.version,
                    entry.name,
                    f"{entry.duration_seconds:.3f} s",
                    entry.applied_by,
                )
                for entry in entries
            ]
            shown = columns(*lines, head=("when (UTC)", "", "revision", "what", "took", "who"))
            data = {"log": [applied_as_json(entry) for entry in entries]}
            return Answer(data, shown if lines else ["nothing was done yet"])
        return await _history(migrations, entries)

    return run_on_targets("history", choice, work)


async def _history(migrations: MigrationManager, entries: list[AppliedMigration]) -> Answer:
    scripts = migrations.scripts
    current = await migrations.current()
    applied = scripts.lineage(current)
    edited = await migrations.edited()
    heads = scripts.heads()
    last = {entry.version: entry for entry in entries if entry.direction != "down"}
    data, rows = [], []
    for migration in scripts.migrations():
        version, entry = migration.version, last.get(migration.version)
        is_applied = version in applied
        marks = [
            word
            for word, holds in (
                ("current", version in current),
                ("head", version in heads),
                ("edited", version in edited),
            )
            if holds
        ]
        data.append(
            {
                **_described(migration),
                "state": "applied" if is_applied else "pending",
                "is_current": version in current,
                "is_head": version in heads,
                "is_edited": version in edited,
                "applied": applied_as_json(entry) if entry is not None and is_applied else None,
            }
        )
        when = took = ""
        if is_applied and entry is not None:
            when, took = f"{entry.applied_at:%Y-%m-%d %H:%M:%S}", f"{entry.duration_seconds:.3f} s"
        state = "applied" if is_applied else "pending"
        rows.append((version, state, when, took, migration.name, ", ".join(marks)))
    warnings = edited_warnings(migrations, edited)
    shown = columns(*rows, head=("revision", "state", "when (UTC)", "took", "what", ""))
    return Answer({"migrations": data}, shown if rows else ["there are no migrations yet"], warnings)


def heads(choice: Choice) -> int:
    """List the migrations that nothing follows; there should be one."""

    async def work(migrations: MigrationManager) -> Answer:
        found = [migrations.scripts.get(version) for version in migrations.scripts.heads()]
        warnings = []
        if migrations.scripts.unjoined():
            warnings.append(f"{len(found)} heads: join them with `sillar merge`")
        lines = columns(*((each.version, each.name) for each in found)) or ["there are no migrations yet"]
        return Answer({"heads": [_described(each) for each in found]}, lines, warnings)

    return run_on_targets("heads", choice, work, opens=False)


def branches(choice: Choice) -> int:
    """List the migrations that several others follow, and what follows them."""

    async def work(migrations: MigrationManager) -> Answer:
        every = migrations.scripts.migrations()
        data, rows = [], []
        for migration in every:
            followers = [each for each in every if migration.version in each.down_versions]
            if len(followers) < 2:
                continue
            data.append({**_described(migration), "followed_by": [each.version for each in followers]})
            rows.append((migration.version, migration.name, ""))
            rows += [("", f"→ {each.version}", each.name) for each in followers]
        return Answer({"branches": data}, columns(*rows) or ["the history has no branches"])

    return run_on_targets("branches", choice, work, opens=False)


def show(
    choice: Choice,
    revision: Annotated[str, typer.Argument(help="Its identifier or the beginning of it, head, base+1 …")] = "head",
) -> int:
    """Show one migration: its file, whether it is applied, and the statements of both directions."""

    async def work(migrations: MigrationManager) -> Answer:
        migration = migrations.scripts.get(revision)
        version = migration.version
        is_applied = version in migrations.scripts.lineage(await migrations.current())
        entries = [entry for entry in await migrations.history() if entry.version == version]
        warnings = edited_warnings(migrations, [each for each in await migrations.edited() if each == version])
        data = {
            **_described(migration),
            "state": "applied" if is_applied else "pending",
            "log": [applied_as_json(entry) for entry in entries],
        }
        lines: list[str] = [
            f"{version}  {migration.name}",
            f"file     {migration.place}",
            f"follows  {', '.join(migration.down_versions) or 'nothing: it is the first'}",
            f"state    {'applied' if is_applied else 'pending'}",
        ]
        lines += [
            f"         {entry.direction} {entry.applied_at:%Y-%m-%d %H:%M:%S} UTC by {entry.applied_by},"
            f" {entry.duration_seconds:.3f} s"
            for entry in entries
        ]
        for direction in ("up", "down"):
            try:
                operations = await migrations.runner.operations(version, direction)
            except DatabaseError as error:
                warnings.append(f"its statements cannot be shown without running it ({direction}): {error}")
                data[direction] = None
                continue
            data[direction] = [{"sql": each.sql, "in_transaction": each.in_transaction} for each in operations]
            lines += ["", f"{direction}:", *statement_lines(operations)]
        return Answer(data, lines, warnings)

    return run_on_targets("show", choice, work)


def edited_warnings(migrations: MigrationManager, versions: list[str]) -> list[str]:
    """A warning for each applied migration whose file is not what was run."""
    return [
        f"{version} was edited after it was applied ({migrations.scripts.get(version).place}): restore the file and put"
        " the change into a new migration"
        for version in versions
    ]


def _described(migration: Migration) -> dict[str, object]:
    return {
        "version": migration.version,
        "name": migration.name,
        "follows": list(migration.down_versions),
        "file": migration.place,
        "checksum": migration.checksum,
    }
