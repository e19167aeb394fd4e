"""A program that copies, and is killed (SIGKILL) at the n-th step that it takes on the target."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from sillar import DatabaseManager
from sillar.migrations.copying import copy_database
from sillar.migrations.copying.document_side import DocumentSide, DocumentWriter
from sillar.migrations.copying.sql_side import SQLSide, SQLWriter

STEPS = ("create_progress", "note", "create_table", "drop_tables", "write", "finish_table", "number_on",
         "add_foreign_keys", "drop_progress")  # fmt: skip


class Killer:
    """Counts the steps; each has a moment before and one after it."""

    def __init__(self, kill_at: int) -> None:
        self.kill_at, self.steps = kill_at, 0

    def step(self) -> None:
        """Another moment."""
        self.steps += 1
        if self.steps == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, kind: type[Any]) -> None:
        """Count the steps that objects of a class take."""
        for name in STEPS:
            if name in vars(kind):
                self._wrap(kind, name, vars(kind)[name])

    def _wrap(self, kind: type[Any], name: str, work: Any) -> None:
        async def watched(*args: Any, **named: Any) -> Any:
            self.step()
            result = await work(*args, **named)
            self.step()
            return result

        setattr(kind, name, watched)


async def main(source: str, target: str, kill_at: int, batch_rows: int) -> None:
    """Copy, and print how many steps it took."""
    killer = Killer(kill_at)
    for kind in (SQLSide, SQLWriter, DocumentSide, DocumentWriter):
        killer.watch(kind)
    async with DatabaseManager.from_url(source) as ours, DatabaseManager.from_url(target) as theirs:
        report = await copy_database(ours, theirs, batch_rows=batch_rows)
        assert report.verified, report.differences
    sys.stdout.write(f"{killer.steps} {report.resumed}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
