"""Generated statements give the same rows on PostgreSQL and on MongoDB, or are refused."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from tests.mongodb.compiler.generator import Generator
from tests.mongodb.compiler.sides import CONCURRENT, Sides, rows_of

from sillar.errors import DatabaseError, UnsupportedCapabilityError


async def compare(sides: Sides, seeds: range, variants: int) -> Counter[str]:
    """Run ``variants`` statements for each seed on both sides: of one shape, with different values.

    Raises:
        AssertionError: rows differ, or MongoDB failed otherwise than by a refusal.
    """
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    gate = asyncio.Semaphore(CONCURRENT)

    async def one(seed: int, values: int) -> None:
        generator = Generator(seed, values)
        statement = generator.statement()
        async with gate:
            expected, found = await asyncio.gather(*(rows_of(side, statement) for side in sides))
        if isinstance(found, UnsupportedCapabilityError):
            counts["refused"] += 1
            counts[f"refused: {found.capability}"] += 1
        elif isinstance(expected, DatabaseError):
            counts["refused by both" if isinstance(found, DatabaseError) else "refused by PostgreSQL alone"] += 1
            if not isinstance(found, DatabaseError):
                wrong.append(f"{seed}/{values}: PostgreSQL: {expected}")
        elif isinstance(found, DatabaseError):
            wrong.append(f"{seed}/{values}: {found}")
        else:
            if not generator.ordered:
                expected, found = sorted(expected, key=repr), sorted(found, key=repr)
            counts["same"] += expected == found
            counts["with rows"] += bool(expected)
            if expected != found:
                wrong.append(f"{seed}/{values}: {expected}\n   {found}\n{statement}")

    await asyncio.gather(*(one(seed, values) for seed in seeds for values in range(variants)))
    print(f"{len(seeds) * variants} statements: {dict(counts)}")
    assert not wrong, f"{len(wrong)} differ: " + "\n".join(wrong[:5])
    return counts


async def test_500_statements_agree(sides: Sides) -> None:
    counts = await compare(sides, range(250), 2)
    assert counts["same"] > 400
    assert counts["with rows"] > 250
    assert counts["refused"] < 100


@pytest.mark.slow
async def test_10_000_statements_agree(sides: Sides) -> None:
    counts = await compare(sides, range(1_000, 2_250), 8)
    assert counts["same"] > 8_000
    assert counts["with rows"] > 5_000
    assert counts["refused"] < 2_000
