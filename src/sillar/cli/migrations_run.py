"""The commands that change a database or look at where it is: ``upgrade``, ``downgrade``, ``stamp``, ``current``,
``check``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sillar.cli.migrations_choice import Choice, with_choice
from sillar.cli.migrations_output import Answer, IncompleteError, applied_as_json, columns, run_on_targets
from sillar.errors import DatabaseError, UsageError

if TYPE_CHECKING:
    from sillar.migrations import AppliedMigration, MigrationManager

# "-1" is a target, not an option.
_TAKES_RELATIVE = {"ignore_unknown_options": True}

Sql = Annotated[bool, typer.Option("--sql", help="Print the script and run nothing; FROM:TO is a range.")]
Create = Annotated[bool, typer.Option("--create", help="Make a tenant's schema or database if it is missing.")]
Purge = Annotated[bool, typer.Option("--purge", help="Forget first where the database is, whatever that is.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Run and undo it; where DDL cannot be undone, print what would be sent.")
]


def register(application: typer.Typer) -> None:
    """Add the commands."""
    for command in (upgrade, downgrade, current, stamp, check):
        settings = _TAKES_RELATIVE if command in (upgrade, downgrade) else None
        application.command(command.__name__, context_settings=settings)(with_choice(command))


def upgrade(
    choice: Choice,
    target: Annotated[str, typer.Argument(help="head, heads, +1, a revision; with --sql FROM:TO.")] = "heads",
    sql: Sql = False,
    dry_run: DryRun = False,
    create: Create = False,
) -> int:
    """Apply what is pending."""
    _check_target(target)
    _only_one(sql=sql, dry_run=dry_run)

    async def work(migrations: MigrationManager) -> Answer:
        if sql:
            return await _script(migrations, target, "up")
        if dry_run:
            return await _tried(migrations, target, "up")
        if create:
            await migrations.create_tenant()
        return await _changed(migrations, target, "up")

    return run_on_targets("upgrade", choice, work, opens=not sql and not create)


def downgrade(
    choice: Choice,
    target: Annotated[str, typer.Argument(help="What stays: a revision, -1, base; with --sql FROM:TO.")],
    sql: Sql = False,
    dry_run: DryRun = False,
) -> int:
    """Undo what is beyond a migration."""
    _check_target(target)
    _only_one(sql=sql, dry_run=dry_run)

    async def work(migrations: MigrationManager) -> Answer:
        if sql:
            return await _script(migrations, target, "down")
        if dry_run:
            return await _tried(migrations, target, "down")
        return await _changed(migrations, target, "down")

    return run_on_targets("downgrade", choice, work, opens=not sql)


def current(choice: Choice) -> int:
    """Say where the database is, and what is pending."""

    async def work(migrations: MigrationManager) -> Answer:
        answer = Answer()
        await _stand(migrations, answer)
        return answer

    return run_on_targets("current", choice, work)


def stamp(
    choice: Choice,
    revision: Annotated[str, typer.Argument(help="A revision, head, heads or base.")],
    purge: Purge = False,
) -> int:
    """Take a migration, and all before it, as applied without running anything."""

    async def work(migrations: MigrationManager) -> Answer:
        await migrations.stamp(revision, purge=purge)
        answer = Answer()
        await _stand(migrations, answer)
        return answer

    return run_on_targets("stamp", choice, work)


def check(choice: Choice) -> int:
    """See whether models, history and database agree; exit status 1 if they do not."""

    async def work(migrations: MigrationManager) -> Answer:
        report = await migrations.check()
        lines: list[Any] = []
        for result in report.results:
            lines.append(f"{'ok  ' if result.is_well else 'FAIL'}  {result.name}")
            lines += [f"        {detail}" for detail in result.details]
        data = {
            "checks": [
                {"name": each.name, "is_well": each.is_well, "details": list(each.details)} for each in report.results
            ],
            "brief": ", ".join(each.name for each in report.results if not each.is_well) or "everything agrees",
        }
        return Answer(data, lines, is_well=report.is_well)

    return run_on_targets("check", choice, work)


# --- what they have in common -----------------------------------------------------------------------------------------


def _check_target(target: str) -> None:
    if target.startswith("--"):
        raise UsageError(f"there is no option {target}")


def _only_one(*, sql: bool, dry_run: bool) -> None:
    if sql and dry_run:
        raise UsageError("give either --sql or --dry-run")


async def _changed(migrations: MigrationManager, target: str, direction: str) -> Answer:
    """Apply or undo, and say what was done, whether or not all of it could be."""
    before = len(await migrations.history())
    error: DatabaseError | None = None
    entries: list[AppliedMigration] = []
    try:
        if direction == "up":
            entries = await migrations.apply_migrations(target)
        else:
            entries = await migrations.rollback_migration(target)
    except DatabaseError as failed:
        error = failed
    answer = Answer()
    try:
        if error is not None:
            entries = (await migrations.history())[before:]
        if entries or not isinstance(error, UsageError):
            _say_done(answer, entries, direction, failed=error is not None)
            await _stand(migrations, answer)
    except DatabaseError:
        if error is None:
            raise
        # The database is not to be reached any more: the error that is known says more than this one.
    answer.warnings += migrations.warnings
    if error is not None:
        raise IncompleteError(answer, error) from error
    return answer


def _say_done(answer: Answer, entries: list[AppliedMigration], direction: str, *, failed: bool) -> None:
    answer.data["applied" if direction == "up" else "undone"] = [applied_as_json(entry) for entry in entries]
    word = "applied" if direction == "up" else "undone"
    if not entries:
        if not failed:
            answer.lines.append("nothing to apply" if direction == "up" else "nothing to undo")
        return
    rows = [(word, entry.version, entry.name, f"{entry.duration_seconds:.3f} s") for entry in entries]
    answer.lines += columns(*rows)


async def _stand(migrations: MigrationManager, answer: Answer) -> None:
    """Where the database is, what is pending, and what is not as it should be."""
    at = await migrations.current()
    scripts = migrations.scripts
    heads = scripts.heads()
    pending = scripts.pending(at)
    interrupted = await migrations.runner.interrupted()
    edited = await migrations.edited()
    answer.data |= {
        "current": list(at),
        "heads": list(heads),
        "pending": [{"version": each.version, "name": each.name} for each in pending],
        "interrupted": list(interrupted),
        "edited": edited,
    }
    names = [f"{version} {scripts.get(version).name}" for version in at]
    place = f"at {', '.join(names)}" if names else "at base: nothing is applied"
    answer.lines.append(f"{place}{' (head)' if heads and set(at) == set(heads) else ''}")
    answer.data["brief"] = f"at {', '.join(at) or 'base'}"
    if pending:
        answer.data["brief"] += f", {len(pending)} pending"
        answer.lines.append(f"{len(pending)} pending:")
        answer.lines += columns(*(("  " + each.version, each.name) for each in pending))
    if scripts.unjoined():
        answer.warnings.append(f"there are {len(heads)} heads ({', '.join(heads)}): join them with `sillar merge`")
    answer.warnings += [
        f"{version} was interrupted: the next upgrade or downgrade, whichever it was, goes on with it"
        for version in interrupted
    ]
    from sillar.cli.migrations import edited_warnings

    answer.warnings += edited_warnings(migrations, edited)


async def _tried(migrations: MigrationManager, target: str, direction: str) -> Answer:
    """A dry run; where DDL cannot be undone, the statements in its place."""
    if not migrations.has_dry_run:
        answer = await _script(migrations, await _range(migrations, target, direction), direction)
        answer.warnings.append("this database cannot undo DDL: nothing was run, this is what would be sent")
        return answer
    if direction == "up":
        entries = await migrations.apply_migrations(target, dry_run=True)
    else:
        entries = await migrations.rollback_migration(target, dry_run=True)
    answer = Answer({"would_apply" if direction == "up" else "would_undo": [applied_as_json(each) for each in entries]})
    if migrations.runner.rehearsal:
        answer.data["steps"] = migrations.runner.rehearsal
    answer.lines += migrations.runner.rehearsal
    rows = [("tried", each.version, each.name, f"{each.duration_seconds:.3f} s") for each in entries]
    answer.lines += columns(*rows) or ["nothing to do"]
    if rows:
        answer.lines.append("nothing is changed")
    answer.warnings += migrations.warnings
    return answer


async def _range(migrations: MigrationManager, target: str, direction: str) -> str:
    at = await migrations.current()
    start = ",".join(at) or "base"
    planned = migrations.scripts.pending(at, target) if direction == "up" else migrations.scripts.undone(at, target)
    if not planned:
        return f"{start}:{start}"
    if direction == "up":
        return f"{start}:{planned[-1].version}"
    return f"{start}:{(planned[-1].down_versions or ('base',))[0]}"


async def _script(migrations: MigrationManager, span: str, direction: str) -> Answer:
    """The script of a range, without a database."""
    start, is_range, target = span.rpartition(":")
    if not is_range:
        if direction == "down":
            raise UsageError(
                "say from where: `sillar downgrade FROM:TO --sql`; the script is written without looking at a database"
            )
        start = "base"
    text = "" if start == target else await migrations.runner.render(start, target, direction)
    return Answer({"sql": text, "from": start, "to": target}, [text.rstrip()])
