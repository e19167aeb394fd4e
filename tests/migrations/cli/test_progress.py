"""Progress: a bar on a terminal, a line now and then elsewhere, nothing for what is short."""

from __future__ import annotations

import io

from rich.console import Console

from sillar.cli.migrations_progress import ShownProgress
from sillar.migrations.progress import Progress


def shown(*reports: Progress, terminal: bool, seconds: float) -> str:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=100, highlight=False, markup=False)
    with ShownProgress(console, seconds) as progress:
        for report in reports:
            progress.report(report)
    return output.getvalue()


BATCHES = [Progress("fill stone", 500 * number, 1000) for number in range(3)]


def test_without_a_terminal_a_line_from_time_to_time() -> None:
    assert shown(*BATCHES, terminal=False, seconds=0) == (
        "fill stone: 0 of 1000 rows\nfill stone: 500 of 1000 rows\nfill stone: 1000 of 1000 rows\n"
    )
    assert shown(*BATCHES, terminal=False, seconds=60) == ""
    assert shown(Progress("copy", 7), terminal=False, seconds=0) == "copy: 7 rows\n"


def test_on_a_terminal_a_bar() -> None:
    printed = shown(
        Progress("[fill] stone", 500, 1000), Progress("count", 3, None, "documents"), terminal=True, seconds=60
    )
    assert "[fill] stone" in printed
    assert "500 of 1000 rows" in printed
    assert "3 documents" in printed
    assert "1000 of 1000" not in shown(*BATCHES, terminal=True, seconds=60).rpartition("fill stone")[2]


def test_nothing_is_drawn_before_there_is_progress() -> None:
    assert shown(terminal=True, seconds=0) == ""
