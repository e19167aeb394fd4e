from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.conftest import subject_of
from tests.conformance.orm.beanie_subject import BeanieSubject
from tests.conformance.orm.builder_subject import BuilderSubject
from tests.conformance.orm.engines import SQL_ENGINES, engine_of
from tests.conformance.orm.sqlalchemy_subject import SQLAlchemySubject
from tests.conformance.orm.statements_subject import DocumentsSubject, StatementsSubject
from tests.conformance.orm.tortoise_subject import TortoiseSubject

from sillar.testing.conformance import ORMEngine, ORMSubject
from sillar.testing.servers import ServerFleet

_SQL: tuple[type[ORMSubject], ...] = (StatementsSubject, BuilderSubject, SQLAlchemySubject, TortoiseSubject)
_DOCUMENTS: tuple[type[ORMSubject], ...] = (DocumentsSubject, BuilderSubject, BeanieSubject)
WAYS: dict[str, tuple[type[ORMSubject], ...]] = {**dict.fromkeys(SQL_ENGINES, _SQL), "mongodb": _DOCUMENTS}
"""The ways that each engine has."""


async def _engine(name: str, fleet: ServerFleet, folder: Path) -> ORMEngine:
    return engine_of(name, await subject_of(name, fleet, folder))


@pytest.fixture
async def subject(request: pytest.FixtureRequest, fleet: ServerFleet, tmp_path: Path) -> ORMSubject:
    """The way, on the engine, that an indirect parameter names."""
    kind, engine = request.param
    way: ORMSubject = kind(await _engine(engine, fleet, tmp_path))
    return way


@pytest.fixture
async def pair(request: pytest.FixtureRequest, fleet: ServerFleet, tmp_path: Path) -> tuple[ORMSubject, ORMSubject]:
    """The two ways, on the engine, that an indirect parameter names."""
    first, second, engine = request.param
    shared = await _engine(engine, fleet, tmp_path)
    return first(shared), second(shared)


@pytest.fixture
async def ways(request: pytest.FixtureRequest, fleet: ServerFleet, tmp_path: Path) -> list[ORMSubject]:
    """All ways on the engine that an indirect parameter names."""
    shared = await _engine(request.param, fleet, tmp_path)
    return [kind(shared) for kind in WAYS[request.param]]
