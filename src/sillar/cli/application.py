"""All commands, and what their errors look like: one message, no traceback."""

from __future__ import annotations

from collections.abc import Sequence

import typer
from rich.console import Console

from sillar.cli import copying, lint, migrations
from sillar.cli.chaos import chaos
from sillar.cli.exit_status import INTERRUPTED, status_of
from sillar.cli.migrations_output import error_as_json, print_json
from sillar.errors import DatabaseError

application = typer.Typer(
    name="sillar", add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)
application.command("chaos")(chaos)
migrations.register(application)
copying.register(application)
lint.register(application)


@application.callback()
def sillar() -> None:
    """The data layer's tools."""


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit status: 0 all is well, 1 it is not, 2 wrong use, 130 interrupted."""
    errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    as_json = "--json" in arguments
    try:
        status = application(list(arguments), prog_name="sillar", standalone_mode=False)
    except DatabaseError as error:
        if as_json:
            print_json(error_as_json(error))
        else:
            errors.print(f"sillar: {error}")
        return status_of(error)
    except Exception as error:  # click's own: a wrong option; its class depends on which click typer brings
        if not hasattr(error, "format_message"):
            raise
        command = getattr(getattr(error, "ctx", None), "command_path", None) or "sillar"
        if as_json:
            print_json({"error": "UsageError", "message": error.format_message()})
        else:
            errors.print(f"sillar: {error.format_message()} ({command} --help)")
        return 2
    if status == INTERRUPTED:
        errors.print("sillar: interrupted")
    return status if isinstance(status, int) else 0
