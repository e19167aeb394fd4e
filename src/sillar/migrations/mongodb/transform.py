"""Transforms of documents, batch by batch in the order of their ids.

Each batch is noted in the journal: with transactions in the same one as its documents. Without them a batch may be done
and not noted when the process is killed. Doing it again is harmless where the change is idempotent; any other change
leaves a mark in each document together with the change (one document is always atomic), and the mark goes when the
batch is noted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from sillar.errors import MigrationStateError, StatementError, UnavailableError
from sillar.execution.documents import DocumentCollection
from sillar.migrations.mongodb.change import MARK, Change, Given
from sillar.migrations.mongodb.journal import JournalEntry
from sillar.migrations.mongodb.ranges import IdRange, next_range, passed
from sillar.migrations.mongodb.step import Step, StepRun
from sillar.migrations.mongodb.store import LONG_SECONDS, DocumentStore

TOO_MUCH: Final = frozenset({251, 257, 290, 334})
"""The server's codes for a transaction that it has ended (for its time, as a rule), that is too large, that was open
for too long, and that does not fit into its cache."""


class Transform(Step):
    """Change, or delete, the documents that a filter finds.

    Args:
        kind: ``transform`` or ``delete_many``.
        condition: the filter.
        change: what is done to each.
        batch_documents: how many at a time.
        pause_seconds: between two batches, for whoever else uses the server.
        repeatable: doing it twice does no harm; None: as the change looks.
        verify: a filter that must find nothing afterwards.
        undo: the change that undoes it.
        undo_condition: of the changed documents, where the filter does not find them any more.
    """

    kind: ClassVar = "transform"
    in_pieces: ClassVar = True
    partial: ClassVar = True

    def __init__(
        self,
        collection: str,
        condition: Mapping[str, Any],
        change: Given | None,
        *,
        batch_documents: int,
        pause_seconds: float,
        repeatable: bool | None = None,
        verify: Mapping[str, Any] | None = None,
        undo: Given | None = None,
        undo_condition: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(collection, {"filter": dict(condition), "change": change})
        self._condition, self._change = dict(condition), Change(change)
        self._batch_documents, self._pause_seconds = batch_documents, pause_seconds
        self._is_repeatable = self._change.is_idempotent if repeatable is None else repeatable
        self._verify = verify
        self._undo = None if undo is None else Change(undo)
        self._undo_condition = dict(condition if undo_condition is None else undo_condition)

    @property
    def words(self) -> str:
        return super().words if self._change.given is None else f"{super().words}: {self._change.words}"

    def commands(self) -> list[dict[str, Any]] | None:
        if callable(self._change.given):
            return None
        if self._change.given is None:
            return [{"delete": self.collection, "deletes": [{"q": self._condition, "limit": 0}]}]
        return [
            {"update": self.collection, "updates": [{"q": self._condition, "u": self._change.given, "multi": True}]}
        ]

    def rehearsed(self) -> dict[str, int]:
        return {"expected": 0, "matched": 0, "changed": 0}

    async def concerned(self, store: DocumentStore) -> int | None:
        return await store.documents(self.collection).count(self._condition, timeout_seconds=LONG_SECONDS)

    # --- there --------------------------------------------------------------------------------------------------------

    async def perform(self, run: StepRun) -> dict[str, int]:
        """Raises MigrationStateError where documents are left that ``verify`` finds."""
        documents, entry = run.store.documents(self.collection), run.entry
        mark = None if self._is_repeatable or run.store.has_transactions else run.token
        if not entry.position:
            entry.position = {"expected": await self.concerned(run.store), "matched": 0, "changed": 0}
            await run.note()
        elif mark is not None:
            await self._unmark(
                documents, run.token, passed(entry.position)
            )  # noted, and not cleared when it was killed
        await self._batches(run, self._change, self._condition, mark)
        if mark is not None:
            await self._unmark(documents, {"$exists": True}, {})
        counts = {name: int(entry.position[name] or 0) for name in ("expected", "matched", "changed")}
        if self._verify is not None:
            left = await documents.count(self._verify, timeout_seconds=LONG_SECONDS)
            if left:
                raise MigrationStateError(
                    f"{self.words}: {counts['changed']} of {counts['matched']} documents were changed, and {left} are"
                    " left that verify= finds, and must not"
                )
        return counts

    async def _batches(self, run: StepRun, change: Change, condition: Mapping[str, Any], mark: str | None) -> None:
        documents, entry, size = run.store.documents(self.collection), run.entry, self._batch_documents
        while True:
            await run.check()
            batch = await next_range(documents, condition, entry.position, size)
            if batch is None:
                return
            before = {key: value for key, value in entry.position.items() if key != "flight"}
            if not run.store.has_transactions:
                entry.position = {**before, "flight": [batch.first, batch.last]}
                await run.note()

            async def one(batch: IdRange = batch, before: dict[str, Any] = before) -> None:
                changed = await change.apply(documents, {"$and": [condition, batch.condition]}, mark, run.check)
                entry.position = {
                    **batch.moved(before),
                    "matched": before["matched"] + batch.documents,
                    "changed": before["changed"] + changed,
                }
                await run.note()

            try:
                await run.store.atomically(one)
            except BaseException as error:
                is_known = isinstance(error, Exception) and not isinstance(error, UnavailableError)
                if run.store.has_transactions or (is_known and not await self._was_marked(documents, mark)):
                    entry.position = before  # as it was noted last
                if not run.store.has_transactions or batch.documents == 1 or not is_too_much(error):
                    raise
                size = batch.documents // 2
                run.report(entry.position["matched"], entry.position["expected"])
                continue
            if mark is not None:
                await self._unmark(documents, mark, batch.condition)
            run.report(entry.position["matched"], entry.position["expected"])
            if self._pause_seconds:
                await asyncio.sleep(self._pause_seconds)

    async def _was_marked(self, documents: DocumentCollection, mark: str | None) -> bool:
        """Whether a batch that has failed may have changed documents."""
        return mark is None or await documents.count({MARK: mark}, timeout_seconds=LONG_SECONDS) > 0

    async def _unmark(self, documents: DocumentCollection, mark: Any, condition: Mapping[str, Any]) -> None:
        await documents.update_many(
            {"$and": [condition, {MARK: mark}]}, {"$unset": {MARK: ""}}, timeout_seconds=LONG_SECONDS
        )

    # --- and back -----------------------------------------------------------------------------------------------------

    def obstacle(self, entry: JournalEntry) -> str | None:
        position = entry.position
        if self._undo is not None or not position or not (position["changed"] or "flight" in position):
            return None
        return f"it has changed {position['changed']} documents at least, and has no undo="

    async def reverse(self, run: StepRun) -> None:
        """Undo the batches that were noted, and what was in flight."""
        documents, entry = run.store.documents(self.collection), run.entry
        if not entry.position or self._undo is None:
            return
        if "reached" not in entry.position:
            reached = [passed(entry.position)]
            if "flight" in entry.position:
                first, last = entry.position["flight"]
                flight: dict[str, Any] = {"_id": {"$gte": first, "$lte": last}}
                reached.append(flight if self._is_repeatable else {**flight, MARK: run.token})
            entry.position = {"reached": {"$or": reached}, "expected": None, "matched": 0, "changed": 0}
            await run.note()
        mark = None if self._undo.is_idempotent or run.store.has_transactions else f"{run.token}-undo"
        await self._batches(run, self._undo, {"$and": [self._undo_condition, entry.position["reached"]]}, mark)
        await self._unmark(documents, {"$exists": True}, {})


def is_too_much(error: BaseException) -> bool:
    """Whether a transaction was refused for its size or its time."""
    return isinstance(error, StatementError) and error.code in TOO_MUCH


class DeleteMany(Transform):
    """Delete the documents that a filter finds, batch by batch; there is no way back."""

    kind: ClassVar = "delete_many"
