"""What is told of a migration that failed."""

from __future__ import annotations

from typing import Final

from alembic.script import Script
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from sillar.errors import (
    ConnectionLostError,
    DatabaseError,
    MigrationFailedError,
    MigrationLockError,
    MigrationStateError,
)
from sillar.migrations.sql.connections import code_of, words_of
from sillar.migrations.sql.journal import Journal, StoppedError

_SHOWN: Final = 120


class LockNotGrantedError(DatabaseError):
    """A lock was not granted in time: everything that is not committed is undone, and it can be begun anew."""

    def __init__(self, revision: str, statement: str, cause: BaseException) -> None:
        super().__init__(revision)
        self.revision, self.statement, self.cause = revision, statement, cause


def kept_out(database: str, seconds: float) -> MigrationLockError:
    """What is told of another migrator that is at work for longer than ``migrator_timeout``."""
    return MigrationLockError(
        f"another migrator has been at work on {database} for {seconds:g} s and more: wait until it is done"
        " (`sillar current`), or raise migration_config.migrator_timeout"
    )


def failure(script: Script, journal: Journal, error: Exception) -> Exception:
    """What is told of an error in a migration: which statement it was, and what state is left.

    Args:
        script: the migration.
        journal: of it.
        error: what was raised in it.
    """
    if isinstance(error, StoppedError):
        return error
    code = code_of(error)
    if code in journal.dialect.lock_codes:
        return LockNotGrantedError(script.revision, journal.last, error)
    named = f"migration {script.revision} ({script.doc})"
    if _is_lost(journal, error, code):
        return ConnectionLostError(
            f"{named}: the connection was lost at statement {journal.sent} ({journal.last}): {words_of(error)};"
            " run it again: it finds out what was applied, and goes on there"
        )
    number = journal.sent if isinstance(error, SQLAlchemyError) and journal.sent else None
    if journal.is_replaying and not isinstance(error, DBAPIError):
        return MigrationStateError(
            f"{named} was interrupted after {journal.done} statements, and cannot be resumed: it uses the result of"
            f" a statement that is done already ({type(error).__name__}: {words_of(error)}); finish it by hand, and"
            f" `sillar stamp {script.revision}`"
        )
    what = f"statement {number} ({journal.last})" if number else "its own code"
    read = _other_statement(journal, error)
    if read is not None:
        number, what = None, f"a statement that reads ({read})"
    if journal.kept:
        state = (
            f"what it did up to statement {journal.done} is applied and stays, the rest is undone, the database is"  # noqa: S608 - words for a person
            " at the revision before: correct the migration behind them and run it again, it goes on there; or undo"
            f" them by hand and DELETE FROM {journal.tables.journal.name} WHERE version = '{script.revision}'"
        )
    else:
        state = "nothing of this migration is left in the database, it can be run again"
    if journal.cleared:
        state = f"{journal.cleared}; {state}"
    rights = (
        " (the user lacks the right: grant it, or migrate as the owner)" if code in journal.dialect.rights_codes else ""
    )
    return MigrationFailedError(
        f"{named} failed at {what}: {type(error).__name__}: {words_of(error)}{rights}; {state}",
        revision=script.revision,
        statement_number=number,
        rolled_back=not journal.kept,
        code=code,
    )


def _other_statement(journal: Journal, error: Exception) -> str | None:
    """The beginning of the statement that was refused, where it is none that the journal counts."""
    sent = getattr(error, "statement", None)
    text = " ".join(sent.split()) if isinstance(sent, str) else ""
    return None if not text or (journal.last and text.startswith(journal.last)) else text[:_SHOWN]


def _is_lost(journal: Journal, error: Exception, code: str | int | None) -> bool:
    if not isinstance(error, SQLAlchemyError):
        return False
    invalidated = isinstance(error, DBAPIError) and error.connection_invalidated
    return invalidated or code in journal.dialect.lost_codes or journal.connection.invalidated


__all__ = ["LockNotGrantedError", "failure", "kept_out"]
