"""What becomes of steps: done and journalled, taken back, or written down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sillar.errors import AuthenticationError, MigrationStateError, UnavailableError
from sillar.migrations.migration import calling_line
from sillar.migrations.mongodb.journal import JournalEntry, RunJournal
from sillar.migrations.mongodb.lease import MigratorLease
from sillar.migrations.mongodb.operations import StepPerformer
from sillar.migrations.mongodb.step import Step, StepRun, UndecidedError
from sillar.migrations.mongodb.store import DocumentStore

Told = Callable[[str, int, int | None, str], None]


class JournalledPerformer(StepPerformer):
    """Does the steps of one run, and takes them back.

    Args:
        store: the database.
        lease: that this migrator holds.
        journal: of the run.
        told: is told of progress: what, done, of how many, of what.

    Attributes:
        taken: the steps called so far, with their entries.
        stopped: a step was met that this run may not go on from, nor back.
        undone: how many steps were taken back.
    """

    def __init__(self, store: DocumentStore, lease: MigratorLease, journal: RunJournal, told: Told) -> None:
        self._store, self._lease, self._journal, self._told = store, lease, journal, told
        store.guard = lease.check
        self.taken: list[tuple[Step, JournalEntry]] = []
        self.stopped = False
        self.undone = 0

    async def perform(self, step: Step) -> Any:
        """Do the next step, unless the journal says that it is done.

        Raises:
            MigrationStateError: the file does not say what it said when this step was done.
            MigrationLockError: another migrator has taken over.
            StatementError: the server has refused it.
        """
        number = len(self.taken) + 1
        await self._lease.check()
        entry = self._journal.entries.get(number)
        if entry is not None and entry.digest != step.digest:
            if entry.state != "failed":
                raise self._edited(step, entry)
            entry = None  # one that has failed may be another one now
        if entry is None:
            entry = await self._begin(step, number)
        self.taken.append((step, entry))
        if entry.state == "done":
            return entry.result
        if entry.state == "failed":
            entry.state, entry.position = "started", entry.position if step.in_pieces else {}
            await self._journal.write(entry)
        self._told(f"{self._journal.version} step {number}: {step.words}", number, None, "steps")
        try:
            await self._do(step, entry)
        except AuthenticationError:  # a right is missing: the server is there, and has refused it
            entry.state = "failed"
            await self._journal.write(entry)
            raise
        except UnavailableError:
            raise  # the server is gone, or the lease: what became of the step is found out by the next run
        except UndecidedError as error:
            self.stopped = True
            raise MigrationStateError(f"{self._journal.version} step {number}: {error}") from None
        except Exception:
            entry.state = "failed"
            await self._journal.write(entry)
            raise
        return entry.result

    async def _begin(self, step: Step, number: int) -> JournalEntry:
        kept = await step.prepare(self._store)
        entry = JournalEntry(number, "started", step.digest, step.words, kept)
        await self._journal.write(entry)
        self._journal.entries[number] = entry
        return entry

    async def _do(self, step: Step, entry: JournalEntry) -> None:
        run = self.run_of(step, entry)

        async def both() -> None:
            entry.result = await step.perform(run)
            await self._journal.write(_with_state(entry, "done"))

        await (self._store.atomically(both) if step.atomic else both())
        entry.state = "done"

    def run_of(self, step: Step, entry: JournalEntry) -> StepRun:
        """What a step of this run runs with."""
        version = self._journal.version

        async def note() -> None:
            await self._journal.write(entry)

        return StepRun(
            store=self._store,
            entry=entry,
            note=note,
            check=self._lease.check,
            report=lambda done, total: self._told(f"{version} {step.words}", done, total, "documents"),
            token=f"{version}:{self._journal.entry}:{entry.number}:{entry.digest[:8]}",
        )

    def _edited(self, step: Step, entry: JournalEntry) -> MigrationStateError:
        self.stopped = True
        state = {"done": "done", "failed": "refused"}.get(entry.state, "in flight")
        return MigrationStateError(
            f"{self._journal.version}: step {entry.number} was {state} when the run before ended, as {entry.words!r},"
            f" and the file says {step.words!r} now, or the same with other arguments; restore it: steps that were"
            " begun have to stay as they are, until the migration is through or undone"
        )

    # --- back ---------------------------------------------------------------------------------------------------------

    def obstacles(self) -> list[str]:
        """What is in the way of undoing the steps."""
        found = []
        for step, entry in self.taken:
            why = None if self._left_nothing(step, entry) else step.obstacle(entry)
            if why is not None:
                found.append(f"step {entry.number} ({step.words}): {why}")
        return found

    async def take_back(self) -> None:
        """Undo the steps, the last one first. What is undone already stays so.

        Raises:
            DatabaseError: one cannot be undone after all; the ones after it are.
        """
        if self._journal.state != "reversing":
            await self._journal.turn_back()
        for step, entry in reversed(self.taken):
            if entry.state == "reversed":
                continue
            await self._lease.check()
            if not self._left_nothing(step, entry):
                await self._journal.write(_with_state(entry, "reversing"))
                entry.state = "reversing"
                said = f"{self._journal.version} undoes step {entry.number}: {step.words}"
                self._told(said, entry.number, None, "steps")
                await step.reverse(self.run_of(step, entry))
                self.undone += 1
            entry.state = "reversed"
            await self._journal.write(entry)

    def _left_nothing(self, step: Step, entry: JournalEntry) -> bool:
        """The server has refused the step as a whole."""
        is_whole = not step.partial or (step.atomic and self._store.has_transactions)
        return entry.state == "failed" and is_whole


class Enough(Exception):  # noqa: N818 (no error: it ends the call of a migration whose steps are all known)
    """The steps that were begun have all been met."""


class RecallingPerformer(JournalledPerformer):
    """Meets the steps of a run again without doing them, to take them back."""

    async def perform(self, step: Step) -> Any:
        """Raises Enough behind the last step that was begun."""
        entry = self._journal.entries.get(len(self.taken) + 1)
        if entry is None:
            raise Enough
        if entry.digest != step.digest:
            raise self._edited(step, entry)
        self.taken.append((step, entry))
        if len(self.taken) == len(self._journal.entries):
            raise Enough
        return entry.result


class RecordingPerformer(StepPerformer):
    """Writes the steps down.

    Attributes:
        steps: so far.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []

    async def perform(self, step: Step) -> Any:
        """Note the step; nothing is sent."""
        step.line = calling_line()
        self.steps.append(step)
        return step.rehearsed()


def _with_state(entry: JournalEntry, state: Any) -> JournalEntry:
    """The entry as it is to be noted; what it says here changes when that has come through."""
    return JournalEntry(entry.number, state, entry.digest, entry.words, entry.kept, entry.position, entry.result)
