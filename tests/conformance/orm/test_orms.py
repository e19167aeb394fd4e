"""The suite for ORMs: statements, the query builder, SQLAlchemy, Tortoise and Beanie, on every engine they support."""

from __future__ import annotations

import itertools

import pytest
from tests.conformance.orm.conftest import WAYS

from sillar.testing import conformance

alone = pytest.mark.parametrize(
    "subject",
    [pytest.param((way, engine), id=f"{engine}-{way.name}") for engine, ways in WAYS.items() for way in ways],
    indirect=True,
)
in_pairs = pytest.mark.parametrize(
    "pair",
    [
        pytest.param((first, second, engine), id=f"{engine}-{first.name}-{second.name}")
        for engine, ways in WAYS.items()
        for first, second in itertools.permutations(ways, 2)
    ],
    indirect=True,
)
together = pytest.mark.parametrize("ways", list(WAYS), indirect=True)


@alone
class TestModels(conformance.ORMModelCases): ...


@alone
class TestTransactions(conformance.ORMTransactionCases): ...


@alone
class TestLoad(conformance.ORMLoadCases): ...


@in_pairs
class TestPairs(conformance.ORMPairCases): ...


@together
class TestAcross(conformance.ORMAcrossCases): ...
