"""The commands that write files: ``init``, ``revision``, ``merge``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sillar.cli.migrations_choice import CONFIGURATION_FILE, Choice, with_choice
from sillar.cli.migrations_output import Answer, run_on_targets, statement_lines
from sillar.errors import MigrationFileError, UsageError

if TYPE_CHECKING:
    from sillar.migrations import Migration, MigrationManager
    from sillar.migrations.autogenerate.renames import Answer as RenameAnswer
    from sillar.migrations.autogenerate.renames import RenameCandidate


def register(application: typer.Typer) -> None:
    """Add the commands."""
    for command in (init, revision, merge):
        application.command(command.__name__)(with_choice(command))


def init(
    choice: Choice,
    models: Annotated[
        list[str] | None, typer.Option(help="Where the models are: package.module or package.module:Base.")
    ] = None,
) -> int:
    """Make the folder of the migrations, and a sillar.toml where there is none."""
    from sillar.migrations.scripts import Scripts

    written: list[Path] = []
    if choice.file is None:
        written.append(_write_configuration(choice, models or []))
    elif models:
        raise UsageError(f"{choice.file} is there already: set migration_config.models in it")

    async def work(migrations: MigrationManager) -> Answer:
        files = [*written, *Scripts.create(migrations.folder, migrations.template)]
        has_models = bool(models or choice.config.migration_config.models)
        lines = [f"written: {file}" for file in files]
        if not has_models:
            lines.append("next: name your models in migration_config.models (sillar.toml)")
        lines.append('next: sillar revision --autogenerate -m "first"')
        return Answer({"folder": str(migrations.folder), "written": list(map(str, files))}, lines)

    return run_on_targets("init", choice, work, opens=False)


def _write_configuration(choice: Choice, models: list[str]) -> Path:
    """Write ``sillar.toml`` with the database that was given; a password is not written anywhere."""
    name = choice.only_target.database
    database = choice.config.databases[name]
    lines = [f"[databases.{name}]", f'engine = "{database.engine.value}"', f"database = {_quoted(database.database)}"]
    if database.host is not None:
        lines += [f"host = {_quoted(database.host)}", f"port = {database.port}"]
    if database.unix_socket is not None:
        lines.append(f"unix_socket = {_quoted(str(database.unix_socket))}")
    if database.credentials.user is not None:
        lines.append(f"credentials.user = {_quoted(database.credentials.user)}")
    if database.credentials.password is not None:
        variable = f"SILLAR__DATABASES__{name.upper()}__CREDENTIALS__PASSWORD"
        lines.append(f"# the password is not kept here: set {variable} in the environment")
    listed = ", ".join(_quoted(model) for model in models)
    lines += [
        "",
        "[migration_config]",
        "# package.module or package.module:Base, as many as there are",
        f"models = [{listed}]",
    ]
    CONFIGURATION_FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return CONFIGURATION_FILE


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def revision(
    choice: Choice,
    message: Annotated[str, typer.Option("--message", "-m", help="What it does, in a line.")],
    autogenerate: Annotated[
        bool, typer.Option("--autogenerate", help="Write what the models have and the database has not.")
    ] = False,
    rename: Annotated[
        list[str] | None, typer.Option(help="What is a rename: table.old=new, or old=new for a table; may be repeated.")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option(help="What is dropped, and not renamed: table.column, or table.")
    ] = None,
    head: Annotated[str | None, typer.Option(help="The migration that it follows; the only head.")] = None,
    splice: Annotated[bool, typer.Option("--splice", help="It may follow one that others follow already.")] = False,
    rev_id: Annotated[str | None, typer.Option("--rev-id", help="Its identifier; a new one.")] = None,
    branch_label: Annotated[str | None, typer.Option(help="Name of the branch that begins with it.")] = None,
    depends_on: Annotated[
        list[str] | None,
        typer.Option(help="What has to be applied before it, and it does not follow; may be repeated."),
    ] = None,
    version_path: Annotated[
        str | None, typer.Option(help="The folder to write it into, where version_locations names several.")
    ] = None,
) -> int:
    """Write a new migration."""
    from sillar.migrations.runner import Generation

    async def work(migrations: MigrationManager) -> Answer:
        generation = Generation(
            message,
            autogenerate=autogenerate,
            head=head,
            splice=splice,
            version=rev_id,
            branch_labels=(branch_label,) if branch_label else (),
            depends_on=tuple(depends_on or ()),
            version_path=version_path,
            options=_answers(rename, drop, choice),
        )
        with _standard_output_aside():
            versions = await migrations.runner.generate(generation)
        if not versions:
            nothing: dict[str, Any] = {"version": None, "file": None, "follows": [], "statements": [], "findings": []}
            return Answer(nothing, ["nothing is written: process_revision_directives of env.py left nothing"])
        return await _written(migrations, migrations.scripts.get(versions[-1]), autogenerate=autogenerate)

    return run_on_targets("revision", choice, work, opens=autogenerate)


@contextmanager
def _standard_output_aside() -> Iterator[None]:
    """Within the block, what hooks of an ``alembic.ini`` print goes to standard error: the other has the result."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _answers(rename: list[str] | None, drop: list[str] | None, choice: Choice) -> dict[str, Any]:
    """What is said about renames, for the comparison."""
    renames = {}
    for each in rename or ():
        old, is_there, new = each.partition("=")
        if not is_there or not old or not new:
            raise UsageError(f"--rename {each}: write table.old=new for a column, old=new for a table")
        renames[old] = new
    answers: dict[str, Any] = {}
    if renames:
        answers["renames"] = renames
    if drop:
        answers["drops"] = list(drop)
    if sys.stdin.isatty() and not choice.as_json:
        answers["decide"] = _ask
    return answers


def _ask(candidate: RenameCandidate) -> RenameAnswer:
    """Ask whoever sits there about a possible rename."""
    where = f" of {candidate.place}" if candidate.place else ""
    question = f"{candidate.kind} {candidate.old}{where} is gone and {candidate.new} is new: was it renamed?"
    return "rename" if typer.confirm(question, err=True) else "drop and add"


async def _written(migrations: MigrationManager, migration: Migration, *, autogenerate: bool) -> Answer:
    lines, findings, warnings = [f"written: {migration.place}"], [], []
    if autogenerate:
        from sillar.migrations.lint import lint_plan

        try:
            migration.operations = await migrations.runner.operations(migration.version)
        except MigrationFileError:  # batch mode, which reads the table that it copies
            lines.append("  its statements depend on the tables as they are: `sillar upgrade --dry-run` tries them")
        report = await lint_plan(migrations, migrations=[migration])
        findings, warnings = report.findings, report.lines()
        lines += statement_lines(migration.operations)
        lines.append("read it before you apply it: a comparison cannot know what you meant")
    data = {
        "version": migration.version,
        "file": migration.place,
        "follows": list(migration.down_versions),
        "statements": [operation.sql for operation in migration.operations],
        "findings": [finding.as_json() for finding in findings],
    }
    return Answer(data, lines, warnings)


def merge(
    choice: Choice,
    revisions: Annotated[list[str] | None, typer.Argument(help="What is joined; all heads.")] = None,
    message: Annotated[str, typer.Option("--message", "-m", help="What it does, in a line.")] = "join heads",
    rev_id: Annotated[str | None, typer.Option("--rev-id", help="Its identifier; a new one.")] = None,
) -> int:
    """Write a migration that joins several heads."""

    async def work(migrations: MigrationManager) -> Answer:
        scripts = migrations.scripts
        named = revisions if revisions and revisions != ["heads"] else list(scripts.heads())
        joined = [scripts.get(each).version for each in named]
        if len(set(joined)) < 2:
            raise UsageError(f"there is nothing to join: {', '.join(joined) or 'no migration'} is the only head")
        with _standard_output_aside():
            written = scripts.write(message, version=rev_id, head=joined)
        data = {"version": written.version, "file": written.place, "follows": joined}
        return Answer(data, [f"written: {written.place}, which follows {' and '.join(joined)}"])

    return run_on_targets("merge", choice, work, opens=False)
