"""What a run of batches did."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What a run of batches did.

    Attributes:
        name: of the run, as in the journal.
        state: ``finished``; ``undone``; ``offline`` where SQL was written
            instead, ``dry`` in a dry run.
        rows_done: rows changed, copied or undone, by this call and those before it that were interrupted.
        rows_done_now: by this call alone.
        batches: committed, by all calls.
        batches_now: by this call alone.
        passes: how often the table was gone through: more than once where rows came in behind.
        rows_before: rows that were to be done at the start of the run; None where they were not counted.
        rows_remaining: rows that are still to be done at the end; None where they were not counted.
        rows_different: of a copy: rows that are there and have other values; None where they were not compared.
        resumed: an earlier call had begun the run.
        duration_seconds: of this call.
        waited_seconds: of these, in waits of the throttle.
        longest_batch_seconds: the longest transaction of this call: for so long rows were locked at most.
    """

    name: str
    state: str
    rows_done: int = 0
    rows_done_now: int = 0
    batches: int = 0
    batches_now: int = 0
    passes: int = 0
    rows_before: int | None = None
    rows_remaining: int | None = None
    rows_different: int | None = None
    resumed: bool = False
    duration_seconds: float = 0.0
    waited_seconds: float = 0.0
    longest_batch_seconds: float = 0.0

    @property
    def rows_per_second(self) -> float:
        """Of this call, waits included."""
        return self.rows_done_now / self.duration_seconds if self.duration_seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "rows_per_second": round(self.rows_per_second, 1)}
