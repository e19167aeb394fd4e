"""How far long work has come: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Final

from rich import progress as bars
from rich.console import Console

if TYPE_CHECKING:
    from sillar.migrations.progress import Progress

_SECONDS_BETWEEN_LINES: Final = 10.0


class ShownProgress:
    """Shows progress on standard error for as long as the block lasts.

    Args:
        console: where to; None: standard error.
        seconds_between_lines: where there is no terminal.
    """

    def __init__(self, console: Console | None = None, seconds_between_lines: float = _SECONDS_BETWEEN_LINES) -> None:
        self._console = console or Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        self._between = seconds_between_lines
        self._told = monotonic()
        self._bars: bars.Progress | None = None
        self._tasks: dict[str, bars.TaskID] = {}

    def __enter__(self) -> ShownProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def report(self, progress: Progress) -> None:
        """Show one report."""
        count = f"{progress.done} {progress.unit}"
        if progress.total is not None:
            count = f"{progress.done} of {progress.total} {progress.unit}"
        if not self._console.is_terminal:
            if monotonic() - self._told >= self._between:
                self._told = monotonic()
                self._console.print(f"{progress.what}: {count}")
            return
        if self._bars is None:
            self._bars = self._started()
        if progress.what not in self._tasks:
            self._tasks[progress.what] = self._bars.add_task(progress.what, total=progress.total, count=count)
        task = self._tasks[progress.what]
        self._bars.update(task, completed=progress.done, total=progress.total, count=count)
        if progress.total is not None and progress.done >= progress.total:
            self._bars.remove_task(self._tasks.pop(progress.what))

    def _started(self) -> bars.Progress:
        shown = bars.Progress(
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(),
            bars.TextColumn("{task.fields[count]}", markup=False),
            bars.TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        shown.start()
        return shown


__all__ = ["ShownProgress"]
