"""Runs the migrations of a folder in processes of their own, which kill themselves where they are told to.

It reads lines of JSON, forks for each, and prints how the child ended: starting Python anew each time takes seconds.

The places: ``N begun``: step N is noted as begun, and nothing of it is done; ``N done``: it is done, and not noted;
``N noted``; ``N frozen``: it has looked at the database and not written yet, and is not killed but stopped, until
somebody lets it go on; ``batch N``: after the documents of a batch, before it is noted.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog

from sillar import DatabaseManager
from sillar.config import MigrationConfig
from sillar.migrations.mongodb import MongoDBRunner, performers
from sillar.migrations.mongodb.change import Change
from sillar.migrations.mongodb.journal import JournalEntry, RunJournal
from sillar.migrations.mongodb.store import DocumentStore
from sillar.migrations.runner import RunSettings
from sillar.migrations.scripts import Scripts


def die() -> None:
    """Nothing is cleaned up, nobody is told."""
    os.kill(os.getpid(), signal.SIGKILL)


def freeze_at(number: int, folder: str) -> None:
    """Have this process stop within a step, behind its first look at a collection; its number is in a file."""
    write, look = RunJournal.write, DocumentStore.collection
    is_there = False

    async def watched(self: RunJournal, entry: JournalEntry) -> None:
        nonlocal is_there
        await write(self, entry)
        is_there = entry.number == number

    async def looked(self: DocumentStore, name: str) -> dict[str, Any] | None:
        found = await look(self, name)
        if is_there:
            unfinished = Path(folder, "frozen.part")
            unfinished.write_text(str(os.getpid()))
            unfinished.rename(Path(folder, "frozen"))
            os.kill(os.getpid(), signal.SIGSTOP)
        return found

    performers.RunJournal.write = watched  # type: ignore[method-assign]
    DocumentStore.collection = looked  # type: ignore[method-assign]


def kill_at(place: str) -> None:
    """Have this process kill itself at a place."""
    write = RunJournal.write
    number, _, moment = place.partition(" ")
    batches = 0
    apply = Change.apply

    async def watched(self: RunJournal, entry: JournalEntry) -> None:
        is_step = str(entry.number) == number
        first = entry.number not in self.entries
        if is_step and entry.state in ("done", "reversed") and moment == "done":
            die()
        await write(self, entry)
        if is_step and first and entry.state == "started" and moment == "begun":
            die()
        if is_step and entry.state in ("done", "reversed") and moment == "noted":
            die()

    async def counted(self: Change, *arguments: Any) -> int:
        nonlocal batches
        changed = await apply(self, *arguments)
        batches += 1
        if number == "batch" and batches == int(moment):
            die()
        return changed

    performers.RunJournal.write = watched  # type: ignore[method-assign]
    Change.apply = counted  # type: ignore[method-assign]


async def main(url: str, folder: str, way: str, target: str, place: str, lease_seconds: float) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    number, _, moment = place.partition(" ")
    if moment == "frozen":
        freeze_at(int(number), folder)
    elif place:
        kill_at(place)
    async with DatabaseManager.from_url(url) as manager:

        @asynccontextmanager
        async def opened() -> AsyncIterator[DatabaseManager]:
            yield manager

        settings = RunSettings(MigrationConfig(migrator_timeout=60.0), "default")
        runner = MongoDBRunner(Scripts(Path(folder)), settings, opened, lease_seconds=lease_seconds)
        applied = await (runner.upgrade(target) if way == "up" else runner.downgrade(target))
    Path(folder, "applied.json").write_text(json.dumps([each.version for each in applied]))


def serve() -> None:
    """A child for each line; the line that is printed is what ``waitstatus_to_exitcode`` makes of its end."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            sys.stdin.close()
            asyncio.run(main(*json.loads(line)))
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
