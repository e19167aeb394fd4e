"""``sillar copy``: schema and rows from one database into another, of the same or another engine."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sillar.cli.migrations_choice import CONFIGURATION_FILE
from sillar.cli.migrations_output import columns, print_json, printer
from sillar.cli.migrations_progress import ShownProgress
from sillar.config import DatabaseConfig, load_config
from sillar.errors import UsageError
from sillar.manager import DatabaseManager

if TYPE_CHECKING:
    from sillar.migrations.copying import CopyReport


def register(application: typer.Typer) -> None:
    """Add the command."""
    application.command("copy")(copy)


def copy(
    source: Annotated[str, typer.Option("--from", help="Configured name, or URL, of the database to read.")],
    target: Annotated[str, typer.Option("--to", help="Configured name, or URL, of the database to write to.")],
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Configuration file; sillar.toml if there is one.")
    ] = None,
    table: Annotated[list[str] | None, typer.Option(help="Only this table; may be repeated.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Not this table; may be repeated.")] = None,
    schema_only: Annotated[bool, typer.Option("--schema-only", help="Create tables and copy no rows.")] = False,
    data_only: Annotated[bool, typer.Option("--data-only", help="Copy rows into tables that are there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace tables (with --data-only: rows) that are there.")
    ] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Begin again what was interrupted.")] = False,
    compare_only: Annotated[bool, typer.Option("--compare-only", help="Write nothing: compare both sides.")] = False,
    no_survey: Annotated[bool, typer.Option("--no-survey", help="Do not look at all values beforehand.")] = False,
    no_verify: Annotated[bool, typer.Option("--no-verify", help="Do not compare both sides at the end.")] = False,
    batch_rows: Annotated[int, typer.Option(min=1, help="Rows in memory, and in one transaction.")] = 5_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON document.")] = False,
) -> int:
    """Copy schema and rows between databases. Interrupted, the same command goes on; at the end both are compared.

    Exit status: 0 all is well, 1 the two sides differ or a server cannot be reached, 2 it was refused.
    """
    if schema_only and data_only:
        raise UsageError("give either --schema-only or --data-only")
    options: dict[str, Any] = {
        "tables": table or None, "exclude": exclude or (), "schema": not data_only, "data": not schema_only,
        "verify": not no_verify, "resume": not restart, "survey_values": not no_survey, "batch_rows": batch_rows,
        "on_existing": "replace" if replace else "refuse", "dry_run": dry_run,
    }  # fmt: skip
    if compare_only:
        options = {name: options[name] for name in ("tables", "exclude", "batch_rows")}
    configured = _Configured(config)
    report = asyncio.run(
        _copied(configured.only(source, must_exist=True), configured.only(target), options, compare_only)
    )
    if as_json:
        print_json(report.to_json())
    else:
        _show(report)
    return 1 if report.differences else 0


class _Configured:
    """The configuration file, read when a name is given."""

    def __init__(self, file: Path | None) -> None:
        if file is not None and not file.is_file():
            raise UsageError(f"there is no configuration file {file}")
        self._file = file if file is not None else CONFIGURATION_FILE if CONFIGURATION_FILE.is_file() else None

    def only(self, given: str, *, must_exist: bool = False) -> DatabaseConfig:
        """The configuration of one database, by its URL or name.

        Raises:
            UsageError: there is no such name, or no such file.
        """
        if "://" in given:
            found = DatabaseConfig.from_url(given)
        else:
            if self._file is None and "SILLAR__" not in " ".join(os.environ):
                raise UsageError(
                    f"{given!r} is a configured name, and there is no configuration: give --config or a URL"
                )
            loaded = load_config(file=self._file)
            loaded.connection(given)  # raises with a suggestion
            chosen = {"databases": {given: loaded.databases[given]}, "default_database": given}
            found = loaded.model_copy(update=chosen)
        place = found.connection()
        if must_exist and not place.addresses and not Path(place.database).is_file():
            raise UsageError(f"there is no database file {place.database}")
        return found


async def _copied(
    source: DatabaseConfig, target: DatabaseConfig, options: dict[str, Any], compare_only: bool
) -> CopyReport:
    from sillar.migrations.copying import compare_databases, copy_database

    work = compare_databases if compare_only else copy_database

    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(DatabaseManager(source))
        theirs = await stack.enter_async_context(DatabaseManager(target))
        with ShownProgress() as progress:
            return await work(ours, theirs, **options, progress=progress.report)


def _show(report: CopyReport) -> None:
    out, complaints = printer(), printer(to_stderr=True)
    out.print(
        f"from {report.source}\nto   {report.target}{' (dry run: nothing was written)' if report.dry_run else ''}"
    )
    if report.unfaithful:
        out.print("\nnot carried as it is:")
        for each in report.unfaithful:
            out.print(f"  {'PREVENTS ' if each.prevents else ''}{each}")
    if report.resumed:
        out.print("\nan interrupted copy was continued")
    if report.tables:
        words = {True: "the same", False: "DIFFERENT", None: "not compared"}
        rows = [
            (each.table, str(each.rows), words[each.verified], (each.checksum or "")[:16]) for each in report.tables
        ]
        out.print()
        for line in columns(*rows, head=("table", "rows", "both sides", "checksum")):
            out.print(line)
    for note in report.notes:
        complaints.print(f"note: {note}")
    for difference in report.differences:
        complaints.print(f"different: {difference}")
    out.print(f"\n{report.rows} rows in {report.seconds:.1f} s")
