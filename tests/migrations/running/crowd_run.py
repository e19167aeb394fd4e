"""Migrators of one process, kept for many rounds: each line that comes in is a revision, to which all go at once."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import structlog
from tests.migrations.running.project import Place

from sillar.migrations import MigrationManager


async def migrated(manager: MigrationManager, version: str) -> Any:
    try:
        return [each.version for each in await manager.apply_migrations(version)]
    except Exception as error:
        return repr(error)


async def main(name: str, settings: dict[str, Any], folder: Path, count: int) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    config = Place(name, settings).config(folder)
    async with AsyncExitStack() as stack:
        managers = [await stack.enter_async_context(MigrationManager.of(config)) for _ in range(count)]
        print("ready", flush=True)
        while version := (await asyncio.to_thread(sys.stdin.readline)).strip():
            found = await asyncio.gather(*(migrated(manager, version) for manager in managers))
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])))
