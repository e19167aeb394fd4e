"""One process of several that read by keys at the same time: ``python -m bench.micro.lookups_process URL SECONDS``.

It says ``ready``, waits for a line so that all begin together, and prints how many statements of 500 keys it got
answered a second.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time

import structlog
import uvloop

from bench.micro.postgresql import ROWS, Item
from sillar import DatabaseManager

COLUMNS = ["id", "name", "qty", "note"]
BATCH_KEYS = 500
_AT_ONCE = 2


async def main(url: str, seconds: float) -> float:
    """Statements a second."""
    async with DatabaseManager.from_url(url, overrides={"connection_pools": {"max_connections": _AT_ONCE}}) as manager:
        session = manager.session()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        answered = 0
        end = time.perf_counter() + seconds

        async def worker(offset: int) -> None:
            nonlocal answered
            while time.perf_counter() < end:
                keys = [(answered * 11 + place * 7 + offset) % ROWS + 1 for place in range(BATCH_KEYS)]
                found = await session.get_many("bench_item", keys, columns=COLUMNS, into=Item)
                assert found[0] is not None
                answered += 1

        await asyncio.gather(*(worker(number * 31) for number in range(_AT_ONCE)))
        return answered / seconds


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(uvloop.run(main(sys.argv[1], float(sys.argv[2]))))
