"""Programs and tasks beside a test: waited for with a limit, and gone with the test, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

SECONDS_MAX = 240.0
"""Far more than any of them takes, and less than a test may take: it ends by itself then, and cleans up."""


@asynccontextmanager
async def child(*command: str, **options: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process. If it is still there at the end of the block, it is killed, with its own children."""
    process = await asyncio.create_subprocess_exec(*command, **options)
    try:
        yield process
    finally:
        if process.returncode is None:
            _kill(process.pid)
            async with asyncio.timeout(SECONDS_MAX):
                await process.wait()


async def ended(
    *command: str, given: bytes | None = None, seconds: float = SECONDS_MAX, **options: Any
) -> tuple[int, bytes, bytes]:
    """Run a program to its end: exit status, output, errors; empty where they are not pipes.

    Raises:
        TimeoutError: it has not ended within that time; it is gone then.
    """
    async with child(*command, **options) as process, asyncio.timeout(seconds):
        printed, complained = await process.communicate(given)
    assert process.returncode is not None
    return process.returncode, printed or b"", complained or b""


async def appears(file: Path, work: asyncio.Future[Any]) -> None:
    """Return once a file is there, which some work makes when it has come so far; raise what the work raises before."""
    async with asyncio.timeout(SECONDS_MAX / 2):
        while not file.exists():
            if work.done():
                raise AssertionError(f"it ended without {file.name}: {await work!r}")
            await asyncio.sleep(0.005)


@asynccontextmanager
async def left(work: asyncio.Future[Any]) -> AsyncIterator[None]:
    """Work that is cancelled at the end of the block if it is not done, so that it disturbs no later test."""
    try:
        yield
    finally:
        if not work.done():
            work.cancel()
            await asyncio.wait([work], timeout=SECONDS_MAX / 2)


def _kill(number: int) -> None:
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(number)
        for each in (root, *root.children(recursive=True)):  # found before it is killed: orphans are nobody's children
            with suppress(psutil.NoSuchProcess):
                each.kill()
