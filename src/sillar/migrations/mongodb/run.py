"""The run of one revision: begun or gone on with, ended, and undone where it fails."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from sillar.errors import (
    AuthenticationError,
    DatabaseError,
    MigrationFailedError,
    MigrationFileError,
    MigrationStateError,
    StatementError,
    UnavailableError,
)
from sillar.migrations.migration import Migration
from sillar.migrations.mongodb.journal import RunJournal
from sillar.migrations.mongodb.operations import DocumentOperations, StepPerformer
from sillar.migrations.mongodb.performers import Enough, JournalledPerformer, RecallingPerformer
from sillar.migrations.mongodb.store import DocumentStore

Script = Callable[[DocumentOperations], Awaitable[None]]
RIGHTS: Final = "a migrator needs the roles readWrite and, for set_validator, dbAdmin on the database"
FUNCTIONS: Final = {"up": "upgrade", "down": "downgrade"}


def function_of(migration: Migration, module: Any, direction: str) -> Script:
    """``upgrade`` or ``downgrade`` of a migration file.

    Raises:
        MigrationFileError: it is not there, or no coroutine function.
    """
    name = FUNCTIONS[direction]
    function = getattr(module, name, None)
    if not inspect.iscoroutinefunction(function):
        raise MigrationFileError(
            f"{migration.path} has no `async def {name}(op)`: migrations of a document database are coroutine functions"
            " that await the calls of op"
        )
    found: Script = function
    return found


async def call(function: Script, performer: StepPerformer, store: DocumentStore | None) -> None:
    """Call ``upgrade`` or ``downgrade``.

    Raises:
        MigrationFileError: it makes a call of ``op`` that it does not await.
    """
    operations = DocumentOperations(performer, store)
    try:
        await function(operations)
        operations.calls.check()
    finally:
        await operations.calls.over()


async def run_through(
    migration: Migration, function: Script, store: DocumentStore, journal: RunJournal, performer: JournalledPerformer
) -> float:
    """Do the steps of a migration; seconds that it took.

    Raises:
        MigrationFailedError: a step was refused, or the file has raised; the message says what state is left.
        UnavailableError: the server went away, or the lease was lost; the next run goes on from the journal.
        MigrationStateError: the run cannot go on from where the one before was killed. Nothing was run.
    """
    begun = time.monotonic()
    try:
        await call(function, performer, store)
        _check_through(journal, performer)
    except AuthenticationError as error:
        raise await _failed(migration, journal, performer, error) from error
    except UnavailableError as error:
        error.add_note(_interrupted(migration, journal, performer))
        raise
    except Exception as error:
        if performer.stopped:
            raise
        raise await _failed(migration, journal, performer, error) from error
    return time.monotonic() - begun


async def recall(function: Script, store: DocumentStore, journal: RunJournal, performer: RecallingPerformer) -> None:
    """Meet the steps that were begun again, so that they can be taken back.

    Raises:
        MigrationStateError: the file has other steps now.
    """
    if not journal.entries:
        return
    try:
        await call(function, performer, store)
    except Enough:
        return
    raise MigrationStateError(
        f"{journal.version} was begun with {len(journal.entries)} steps at least, and the file has"
        f" {len(performer.taken)} now; restore it: steps that were begun have to stay as they are, until the migration"
        " is through or undone"
    )


def _check_through(journal: RunJournal, performer: JournalledPerformer) -> None:
    """Every step that was begun was called, and none has failed behind the back of whoever called it."""
    called, known = len(performer.taken), len(journal.entries)
    if called < known:
        performer.stopped = True
        raise MigrationStateError(
            f"{journal.version}: the run before has begun {known} steps, and the file has {called} now; restore it"
        )
    failed = next((entry for _, entry in performer.taken if entry.state != "done"), None)
    if failed is not None:
        raise MigrationStateError(
            f"step {failed.number} ({failed.words}) has failed and the file went on; let the error through"
        )


def _interrupted(migration: Migration, journal: RunJournal, performer: JournalledPerformer) -> str:
    done = sum(entry.state == "done" for _, entry in performer.taken)
    return (
        f"{migration.version} ({migration.name}) is interrupted: {done} of its steps are done, and the journal has"
        f" them; run it again ({FUNCTIONS[journal.direction]}), and it goes on from there"
    )


async def _failed(
    migration: Migration, journal: RunJournal, performer: JournalledPerformer, error: Exception
) -> MigrationFailedError:
    """Undo the steps where all of them can be, and say what state is left."""
    steps = performer.taken
    number = steps[-1][1].number if steps and steps[-1][1].state == "failed" else None
    where = f" in step {number} ({steps[-1][0].words})" if number is not None else _between(performer)
    said = str(error) if isinstance(error, DatabaseError) else f"{type(error).__name__}: {error}"
    if isinstance(error, AuthenticationError):
        said += f"; {RIGHTS}"
    head = f"{migration.version} ({migration.name}) failed{where}: {said}."
    obstacles = performer.obstacles()
    rolled_back = False
    if not obstacles:
        try:
            await performer.take_back()
            await journal.close()
            rolled_back = True
            tail = _undone(performer)
        except DatabaseError as failure:
            tail = _half_undone(performer, failure)
    else:
        tail = _left(performer, obstacles, FUNCTIONS[journal.direction])
    fields: dict[str, Any] = {}
    if isinstance(error, StatementError):
        fields = {name: getattr(error, name) for name in ("code", "constraint", "table", "column", "detail")}
    return MigrationFailedError(
        f"{head} {tail}", revision=migration.version, statement_number=number, rolled_back=rolled_back, **fields
    )


def _between(performer: JournalledPerformer) -> str:
    done = len(performer.taken)
    return f" after step {done}" if done else " before its first step"


def _undone(performer: JournalledPerformer) -> str:
    number = performer.undone
    steps = "1 step was" if number == 1 else f"{number} steps were"
    return f"The database is as it was before: {steps} undone" if number else "Nothing was changed"


def _half_undone(performer: JournalledPerformer, failure: DatabaseError) -> str:
    steps = performer.taken
    left = [entry.number for _, entry in steps if entry.state != "reversed"]
    return (
        f"Undoing its steps failed at step {left[-1]}: {failure}. Steps after that are undone, steps 1 to {left[-1]}"
        " are not. Remove what is in the way and run the same again: it goes on with the undoing first"
    )


def _left(performer: JournalledPerformer, obstacles: list[str], function: str) -> str:
    done = [f"{entry.number} {step.words}" for step, entry in performer.taken if entry.state == "done"]
    failed = next((entry for _, entry in performer.taken if entry.state == "failed"), None)
    partly = ""
    if failed is not None and failed.position:
        partly = f" Of step {failed.number}, {failed.position.get('changed', 0)} documents are changed."
    return (
        f"What is done stays: {'; '.join(done) or 'no step'}.{partly} It was not undone, because of"
        f" {'; '.join(obstacles)}. Correct what is wrong, leave the steps that are done as they are in the file, and"
        f" run {function} again: it goes on where it failed"
    )


__all__ = ["FUNCTIONS", "Script", "call", "function_of", "recall", "run_through"]
