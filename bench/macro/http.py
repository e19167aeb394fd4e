"""10,000 HTTP clients held open at once against one service on a pool of 20: all of them are answered."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from bench.case import SILLAR, TARGET, Case, Contest
from bench.servers import Servers

CLIENTS = 10_000
SECONDS = 60.0
REQUEST = b"GET /items/%d HTTP/1.1\r\nHost: bench\r\n\r\n"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _client(port: int, number: int, connected: asyncio.Event, ready: list[int]) -> bool:
    """Connect, wait until everybody is connected, ask once; whether the answer is right."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        ready.append(number)
        await connected.wait()
        writer.write(REQUEST % (number + 1))
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        return head.startswith(b"HTTP/1.1 200") and b'"id":%d,' % (number + 1) in body
    finally:
        writer.close()


@asynccontextmanager
async def clients_10k(servers: Servers) -> AsyncIterator[Contest]:
    server = await servers.postgresql()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port = _free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.macro.service",
        str(port),
        env={**os.environ, "SILLAR__URL": server.url},
        cwd=Path(__file__).parents[2],
    )
    try:
        await _until_it_answers(port)
        contest = Contest(CLIENTS, {})
        seconds: list[float] = []
        contest.measured[SILLAR] = seconds

        async def round_() -> None:
            loop = asyncio.get_running_loop()
            connected, ready = asyncio.Event(), []  # type: ignore[var-annotated]
            gate = asyncio.Semaphore(500)  # connecting, not waiting: the service's accept queue is finite

            async def one(number: int) -> bool:
                async with gate:
                    task = asyncio.create_task(_client(port, number, connected, ready))
                    while number not in seen and not task.done():
                        seen.update(ready)
                        await asyncio.sleep(0.01)
                return await task

            seen: set[int] = set()
            tasks = [asyncio.create_task(one(number)) for number in range(CLIENTS)]
            while len(ready) < CLIENTS:
                await asyncio.sleep(0.05)
            start = loop.time()
            connected.set()
            answered = sum(await asyncio.gather(*tasks))
            seconds.append(loop.time() - start)
            contest.notes["answered"] = answered
            contest.notes["service MiB"] = round(psutil.Process(process.pid).memory_info().rss / 2**20)
            if answered != CLIENTS:
                raise RuntimeError(f"{CLIENTS - answered} of {CLIENTS} clients got no right answer")

        contest.contenders = {SILLAR: round_}
        yield contest
    finally:
        process.terminate()
        await process.wait()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _until_it_answers(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return


CASES = [Case("http.clients10k", {TARGET: SECONDS}, clients_10k, unit="s", rounds=2)]
