"""``sillar lint``: what is unsafe in pending migrations, in named ones, or in SQL files; and the safe way, written."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sillar.cli.migrations_choice import Choice, with_choice
from sillar.cli.migrations_output import Answer, print_json, printer, run_on_targets
from sillar.errors import UsageError

if TYPE_CHECKING:
    from sillar.migrations import MigrationManager
    from sillar.migrations.lint import Finding, LintReport
    from sillar.migrations.lint.recipes import Recipe


def register(application: typer.Typer) -> None:
    """Add the command."""
    with_database = with_choice(lint)

    @wraps(with_database)
    def command(**given: Any) -> int:
        if given["dialect"] is None:
            return with_database(**given)
        if given["write_recipe"] is not None:
            raise UsageError("recipes are written as revisions of a database: --write-recipe goes without --dialect")
        names = ("what", "dialect", "hints", "strict", "squawk", "as_json")
        return _without_database(**{name: given[name] for name in names})

    del command.__dict__["__wrapped__"]  # its signature is the one of the command with a database
    application.command("lint")(command)


def lint(
    choice: Choice,
    what: Annotated[
        list[str] | None,
        typer.Argument(help="Revisions or .sql files; what is pending if none is given.", metavar="WHAT"),
    ] = None,
    dialect: Annotated[
        str | None,
        typer.Option(help="Of the SQL files: postgresql, mysql, mariadb, sqlite. Then no database is asked."),
    ] = None,
    hints: Annotated[bool, typer.Option("--hints", help="Show hints, too: statements that cannot be read, …")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors, too.")] = False,
    squawk: Annotated[
        bool, typer.Option("--squawk/--no-squawk", help="Ask squawk, too, where it is installed.")
    ] = True,
    write_recipe: Annotated[
        str | None,
        typer.Option(help="Write the safe way for the findings of this rule as new revisions.", metavar="RULE"),
    ] = None,
) -> int:
    """Find what would hurt a running service: locks, rewrites, what running code still reads.

    Sizes of tables and types of columns come from the database. Exit status: 0 nothing unsafe, 1 errors that nobody has
    acknowledged in the file, 2 wrong use.
    """
    files = [Path(each) for each in what or () if each.endswith(".sql")]
    names = [each for each in what or () if not each.endswith(".sql")]
    if files and names:
        raise UsageError("give either revisions or .sql files")

    async def work(migrations: MigrationManager) -> Answer:
        report = await _report(migrations, files, names, squawk=squawk)
        written, notes = await _write(migrations, report, write_recipe) if write_recipe is not None else ([], [])
        return _answer(report, written, notes, hints=hints, strict=strict)

    return run_on_targets("lint", choice, work)


def _without_database(
    what: list[str] | None, dialect: str, *, hints: bool, strict: bool, squawk: bool, as_json: bool
) -> int:
    from sillar.migrations.lint import lint_files

    files = [Path(each) for each in what or () if each.endswith(".sql")]
    if not files or len(files) != len(what or ()):
        raise UsageError("--dialect is for .sql files; revisions are written in the dialect of their database")
    answer = _answer(lint_files(files, dialect=dialect, squawk=squawk), [], [], hints=hints, strict=strict)
    if as_json:
        print_json(answer.data)
    else:
        for line in answer.lines:
            printer().print(line)
    return 0 if answer.is_well else 1


async def _report(migrations: MigrationManager, files: list[Path], names: list[str], *, squawk: bool) -> LintReport:
    from sillar.migrations.lint import lint_files, lint_plan, name_in_commands, read_plan_facts

    if files:
        facts, dialect = await read_plan_facts(migrations)
        return lint_files(
            files,
            dialect=dialect,
            facts=facts,
            large_table_rows=migrations.config.large_table_rows,
            squawk=squawk,
            database=name_in_commands(migrations),
        )
    if not names:
        return await lint_plan(migrations, squawk=squawk)
    chosen = [migrations.scripts.get(name) for name in names]
    return await lint_plan(migrations, migrations=chosen, squawk=squawk)


def _answer(report: LintReport, written: list[Path], notes: list[str], *, hints: bool, strict: bool) -> Answer:
    bad = report.unacknowledged if strict else report.blocking
    lines = report.lines(hints=hints)
    if not lines:
        lines = [f"nothing unsafe in {len(report.revisions)} revision{'s' if len(report.revisions) != 1 else ''}"]
    lines += [f"written: {path}" for path in written]
    lines += [f"to do: {note}" for note in notes]
    data: dict[str, Any] = report.as_json() | {"written": [str(path) for path in written], "to_do": notes}
    return Answer(data, lines, is_well=not bad)


async def _write(migrations: MigrationManager, report: LintReport, rule: str) -> tuple[list[Path], list[str]]:
    """Write the recipes for the findings of a rule behind the head: the files, and what is to be done between them."""
    from sillar.migrations.lint import RULES, recipe_for
    from sillar.migrations.runner import Generation

    if rule not in RULES:
        raise UsageError(f"there is no rule {rule!r}; the names stand in the findings")
    found: list[Finding] = [each for each in report.findings if each.rule == rule]
    if not found:
        raise UsageError(f"{rule} was not found: there is nothing to write")
    recipes: list[Recipe] = [recipe for each in found if (recipe := recipe_for(each, report.facts)) is not None]
    if not recipes:
        raise UsageError(f"for {rule} there is no recipe that can be written here: {found[0].remedy}")
    paths: list[Path] = []
    for recipe in recipes:
        for revision in recipe.revisions:
            generation = Generation(
                revision.message,
                upgrade_text=revision.upgrade_text,
                downgrade_text=revision.downgrade_text,
                imports_text=revision.imports_text,
            )
            for version in await migrations.runner.generate(generation):
                path = migrations.scripts.get(version).path
                assert path is not None  # it was just written
                paths.append(path)
    return paths, [note for recipe in recipes for note in recipe.notes]
