"""The command ``codeatlas``: index a tree, serve what was found, or both."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import platform
import signal
import socket
import sys
import sysconfig
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import structlog
import typer
import uvicorn
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from codeatlas.indexing import Indexed, index
from codeatlas.indexing import Progress as IndexProgress
from codeatlas.store import AtlasStore, RunInProgressError, SchemaVersionError
from codeatlas.stores import store_for
from codeatlas.web import create_app
from codeatlas.workers import WorkerStartError, workers_default
from sillar import DatabaseConfig, DatabaseEngine, DatabaseManager
from sillar.errors import DatabaseError

DATABASE_DEFAULT = "sqlite:///.sillar/codeatlas.db"
PORT_DEFAULT = 8000
WORKERS_DEFAULT = workers_default()
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it: 128 + SIGINT."""

T = TypeVar("T")
_OUT = Console()
_ERR = Console(stderr=True)
app = typer.Typer(
    help="What is in a tree of Python files, how complex it is, and how that changes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Database = Annotated[
    str,
    typer.Option(
        "--database",
        envvar="CODEATLAS_DATABASE",
        help="URL of the database: sqlite:///path, postgresql://…, mysql://…, mariadb://… or mongodb://…",
    ),
]
Host = Annotated[str, typer.Option("--host", help="Address to listen on.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65_535, help="Port to listen on; 0 takes a free one.")]
Workers = Annotated[int, typer.Option("--workers", min=1, max=256, help="Processes that analyse.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show what the database layer logs.")]


Upgrade = Annotated[
    bool, typer.Option("--upgrade", envvar="CODEATLAS_UPGRADE", help="Migrate a database of an older release first.")
]


class RefusedError(Exception):
    """What was asked cannot be done; the message is for the person at the keyboard."""


@app.command("index")
def index_command(
    path: Annotated[Path, typer.Argument(help="Root of the tree.")],
    database: Database = DATABASE_DEFAULT,
    project: Annotated[str | None, typer.Option("--project", help="Name; the folder's name if not given.")] = None,
    workers: Workers = WORKERS_DEFAULT,
    upgrade: Upgrade = False,
    verbose: Verbose = False,
) -> None:
    """Analyse a tree of Python files and store what is found. Again: only what changed."""

    async def work() -> None:
        async with _opened(database) as manager:
            store = store_for(manager)
            await store.open_schema(upgrade=upgrade)
            await _index(store, path, project or path.resolve().name or "root", workers)

    _run(work, verbose)


@app.command()
def serve(
    database: Database = DATABASE_DEFAULT,
    host: Host = "127.0.0.1",
    port: Port = PORT_DEFAULT,
    upgrade: Upgrade = False,
    verbose: Verbose = False,
) -> None:
    """Serve the JSON API and the page over what is stored."""

    async def work() -> None:
        with _listening(host, port) as listener:
            async with _opened(database) as manager:
                await _serve(manager, listener, upgrade)

    _run(work, verbose)


@app.command()
def upgrade(database: Database = DATABASE_DEFAULT, verbose: Verbose = False) -> None:
    """Bring the database to what this release needs: create its tables, or migrate those of an older release."""

    async def work() -> None:
        async with _opened(database) as manager:
            from codeatlas.history import migrations_of

            await store_for(manager).open_schema(upgrade=True)
            current = ", ".join(await migrations_of(manager).current())
            _OUT.print(f"The database is at {current}.", highlight=False)

    _run(work, verbose)


@app.command()
def demo(
    database: Database = DATABASE_DEFAULT,
    host: Host = "127.0.0.1",
    port: Port = PORT_DEFAULT,
    source: Annotated[
        Path | None, typer.Option("--source", help="Tree to analyse; this Python's standard library if not given.")
    ] = None,
    workers: Workers = WORKERS_DEFAULT,
    upgrade: Upgrade = False,
    verbose: Verbose = False,
) -> None:
    """Index a tree, then serve it."""
    tree = source or Path(sysconfig.get_paths()["stdlib"])
    project = tree.resolve().name if source is not None else f"Python {platform.python_version()} standard library"

    async def work() -> None:
        with _listening(host, port) as listener:  # first of all: a port that is taken should not cost an indexing run
            async with _opened(database) as manager:
                store = store_for(manager)
                await store.open_schema(upgrade=upgrade)
                await _index(store, tree, project, workers)
                await _serve(manager, listener, upgrade)

    _run(work, verbose)


def main() -> None:
    """The entry point of the command."""
    app()


# --- what the commands are made of ----------------------------------------------------------------------------------


def _run(work: Callable[[], Coroutine[Any, Any, T]], verbose: bool) -> T:
    """Run a command to its end, and turn what stops it into a message and an exit status."""
    _configure_logs(logging.INFO if verbose else logging.ERROR)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(work())
    except KeyboardInterrupt:
        _ERR.print("Interrupted. What was recorded is safe; the same command goes on from there.")
        raise typer.Exit(INTERRUPTED) from None
    except (RefusedError, RunInProgressError, SchemaVersionError, WorkerStartError, DatabaseError, OSError) as error:
        _ERR.print(f"[bold red]error:[/] {type(error).__name__ if isinstance(error, OSError) else ''}", end="")
        _ERR.print(str(error), markup=False, highlight=False)
        raise typer.Exit(1) from error


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed."""
    if importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _configure_logs(level: int) -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _opened(url: str) -> DatabaseManager:
    """The manager for a URL; the folder of a SQLite file is made."""
    config = DatabaseConfig.from_url(url)
    database = config.connection(config.default_database)
    if database.engine is DatabaseEngine.SQLITE and not database.database.startswith((":memory:", "file:")):
        Path(database.database).parent.mkdir(parents=True, exist_ok=True)
    return DatabaseManager(config)


def _listening(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        RefusedError: the address cannot be had.
    """
    try:
        return socket.create_server((host, port), backlog=2048)
    except OSError as error:
        raise RefusedError(
            f"cannot listen on {host}:{port}: {error.strerror}; give another --port (0 takes a free one)"
        ) from error


async def _index(store: AtlasStore, root: Path, project: str, workers: int) -> Indexed:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=_OUT) as display:
        task = display.add_task("looking for files", total=None)

        def report(progress: IndexProgress) -> None:
            if progress.files_total == 0:
                display.update(task, description="nothing has changed", total=1, completed=1)
                return
            failed = f", {progress.files_failed} unparsable" if progress.files_failed else ""
            display.update(
                task,
                description=f"analysing and storing{failed}",
                total=progress.files_total,
                completed=progress.files_done,
            )

        done = await index(store, root, project=project, workers=workers, report=report)
    _tell(done, project)
    return done


def _tell(done: Indexed, project: str) -> None:
    run = done.run
    verb = "Resumed and finished" if done.resumed else "Finished"
    _OUT.print(
        f"{verb} run {run.id} of {project} in {done.seconds:.1f} s: {run.files_found:,} files,"
        f" {run.files_analysed:,} analysed, {run.files_unchanged:,} unchanged, {run.files_removed:,} removed,"
        f" {run.files_failed:,} unparsable.",
        highlight=False,
        markup=False,
    )
    for path, reason in done.skipped[:10]:
        _OUT.print(f"  skipped {path}: {reason}", highlight=False, markup=False)
    if len(done.skipped) > 10:
        _OUT.print(f"  and {len(done.skipped) - 10:,} more were skipped", highlight=False)


async def _serve(manager: DatabaseManager, listener: socket.socket, upgrade: bool) -> None:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    application = create_app(manager, opens_manager=False, upgrade=upgrade)
    server = _Server(uvicorn.Config(application, log_level="warning", timeout_graceful_shutdown=5))
    _OUT.print(f"Serving on http://{shown}:{port} (Ctrl-C ends it)", highlight=False, soft_wrap=True)
    await server.serve(sockets=[listener])
    _OUT.print("Stopped.")


class _Server(uvicorn.Server):
    """Ends on a signal without raising it once more: what is open around the server is then closed in order."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
