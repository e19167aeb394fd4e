"""One step of a migration: what a call of ``op`` stands for."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from sillar.engines.mongodb.values import extended_json
from sillar.migrations.mongodb.journal import JournalEntry
from sillar.migrations.mongodb.store import DocumentStore

if TYPE_CHECKING:
    from sillar.migrations.lint.mongodb.rules import DocumentOperation


SCRIPT_HEAD: Final = """// For mongosh. It stops at the first step that the server refuses; the steps before it stay.
function check(reply) {
  if (!reply.ok || reply.writeErrors?.length || reply.writeConcernError) throw new Error(EJSON.stringify(reply));
}
function run(command) {
  check(db.runCommand(EJSON.deserialize(command, {relaxed: false})));
}
"""


@dataclass(frozen=True, slots=True)
class StepRun:
    """What a step runs with.

    Attributes:
        store: the database.
        entry: of the journal; a step that comes in pieces changes ``position`` and calls ``note``.
        note: writes the entry into the journal, in the transaction that is open if there is one.
        check: raises if this migrator may not go on.
        report: is told of documents done, and of how many.
        token: names this step of this revision, for marks in documents.
    """

    store: DocumentStore
    entry: JournalEntry
    note: Callable[[], Awaitable[None]]
    check: Callable[[], Awaitable[None]]
    report: Callable[[int, int | None], None]
    token: str


class UndecidedError(Exception):
    """A run was killed while the step was in flight, and only a person can say what became of it."""


class Step(ABC):
    """One step.

    Args:
        collection: that it is about; empty where it is about the database.
        details: what it is made of.

    Attributes:
        kind: the name of the call.
        atomic: it changes documents, so it can share a transaction with its entry in the journal.
        in_pieces: it notes by itself how far it has come.
        partial: refused, it may have been done in part.
        concerns: what :meth:`concerned` counts, behind the number.
        line: of the migration's file, that it was called from, where it was only written down.
    """

    kind: ClassVar[str]
    atomic: ClassVar[bool] = False
    partial: ClassVar[bool] = False
    in_pieces: ClassVar[bool] = False
    concerns: ClassVar[str] = "documents"
    line: int | None = None

    def __init__(self, collection: str, details: Mapping[str, Any]) -> None:
        self.collection = collection
        self.details = dict(details)

    @property
    def words(self) -> str:
        """The step in words, without values."""
        return f"{self.kind} {self.collection}".rstrip()

    @property
    def digest(self) -> str:
        """The same for the same step."""
        text = f"{self.kind} {self.collection} {extended_json(_named(self.details))}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def operation(self) -> DocumentOperation:
        """The step as the safety lint reads it."""
        from sillar.migrations.lint.mongodb.rules import DocumentOperation  # with it comes the lint of all engines

        return DocumentOperation(self.kind, self.collection, self.details, self.words)

    async def prepare(self, store: DocumentStore) -> dict[str, Any]:
        """Look at what is there, before the step is noted as begun; what has to be kept for settling and undoing it.

        Raises:
            MigrationStateError: the database is not as the step expects.
        """
        return {}

    @abstractmethod
    async def perform(self, run: StepRun) -> Any:
        """Do it. It may have been done, or partly done, by a run that was killed: then do what is left."""

    def obstacle(self, entry: JournalEntry) -> str | None:
        """Why the step cannot be undone; None if it can."""
        return f"{self.kind} has no reverse"

    async def reverse(self, run: StepRun) -> None:
        """Undo it, whether it was done, partly done, or undone by a run that was killed.

        Raises:
            MigrationStateError: what is there now may not be undone.
        """
        raise AssertionError(f"{self.kind} cannot be undone")  # obstacle() says so

    async def concerned(self, store: DocumentStore) -> int | None:
        """How many documents it is about; None where that has no meaning."""
        return None

    def rehearsed(self) -> Any:
        """What the call gives where the step is only written down."""
        return None

    def commands(self) -> list[dict[str, Any]] | None:
        """What is sent, as commands; None where Python has a part in it."""
        return None

    def script(self) -> list[str]:
        """The step as lines of MongoDB's shell."""
        commands = self.commands()
        if commands is None:
            return [f'throw new Error("{self.words} runs Python: apply this migration by sillar upgrade");']
        return [f"run({_shell_literal(each)});" for each in commands]


def _shell_literal(command: Mapping[str, Any]) -> str:
    """A command as Extended JSON whose numbers keep their types in the shell: 5.0 would be an integer there."""
    return json.dumps(_shorter(json.loads(extended_json(command))), ensure_ascii=False)


def _shorter(value: Any) -> Any:
    """Numbers as such where the shell makes of them what they were."""
    match value:
        case {"$numberInt": text}:
            return int(text)
        case {"$numberDouble": text} if "." in text and not text.endswith(".0"):
            return float(text)
        case dict():
            return {key: _shorter(inner) for key, inner in value.items()}
        case list():
            return [_shorter(each) for each in value]
    return value


def _named(value: Any) -> Any:
    """Details with functions by their names."""
    if isinstance(value, Mapping):
        return {str(key): _named(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_named(inner) for inner in value]
    if callable(value) and not isinstance(value, type):
        return f"function {function_name(value)}"
    return value


def function_name(function: Any) -> str:
    """How a function is called in its file."""
    return str(getattr(function, "__qualname__", type(function).__qualname__))
