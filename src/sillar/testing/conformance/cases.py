"""What all cases share: managers, sessions and tables of one test."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from typing import Any, Generic, TypeVar

import pytest

from sillar import Capability, DatabaseManager, DatabaseSession, Interceptor
from sillar.errors import UnsupportedCapabilityError
from sillar.testing.conformance.subject import ConformanceSubject, SQLSubject

SubjectT = TypeVar("SubjectT", bound=ConformanceSubject)
OpenManager = Callable[..., Awaitable[DatabaseManager]]
MakeTable = Callable[..., Awaitable[str]]

PROMISED_SECONDS = 1.0
"""Within a second of a cancel or a timeout, the statement is stopped and its connection is back."""
LOOKING_SECONDS = 2.0
"""What is added where the machine may be loaded."""
_ONE_LOOK_SECONDS = 60.0

_numbers = itertools.count(1)


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 5.0) -> None:
    """Return once the condition holds.

    Looking takes a while itself where the machine is loaded, so what counts is when a look begins: the last one begins
    after ``seconds``, and may take as long as it needs, up to a minute.

    Raises:
        TimeoutError: it does not within that time.
    """
    ends = asyncio.get_running_loop().time() + seconds
    while True:
        last = asyncio.get_running_loop().time() >= ends
        async with asyncio.timeout(_ONE_LOOK_SECONDS):
            if await condition():
                return
        if last:
            message = f"it does not hold after {seconds} s"
            raise TimeoutError(message)
        await asyncio.sleep(0.01)


async def begun(subject: ConformanceSubject, session: DatabaseSession, *, marks_long: bool = True) -> None:
    """Return once the server runs the subject's long statement; where it cannot be asked, after a moment.

    Args:
        subject: the engine.
        session: any on it.
        marks_long: the statement has the subject's marker in its text.
    """
    if not marks_long or not session.capabilities.has(Capability.SERVER_SESSIONS):
        await asyncio.sleep(0.3)
        return

    async def somebody() -> bool:
        return await subject.running() > 0

    await eventually(somebody, 30)


class Cases(Generic[SubjectT]):
    """The parent of all cases. Inherit from those below and give them a fixture ``subject``."""

    @pytest.fixture
    async def open_manager(self, subject: SubjectT) -> AsyncIterator[OpenManager]:
        """Opens managers, closed with the test."""
        async with AsyncExitStack() as stack:

            async def open_one(
                *, settings: Any = None, pool: Any = None, interceptors: Iterable[Interceptor] = ()
            ) -> DatabaseManager:
                config = subject.config(settings=settings, pool=pool)
                return await stack.enter_async_context(DatabaseManager(config, interceptors=interceptors))

            yield open_one

    @pytest.fixture
    async def manager(self, open_manager: OpenManager) -> DatabaseManager:
        """A manager of the subject."""
        return await open_manager()

    @pytest.fixture
    async def session(self, manager: DatabaseManager) -> DatabaseSession:
        """A session of that manager."""
        return manager.session()

    @pytest.fixture
    async def table(
        self, subject: SubjectT, open_manager: OpenManager, session: DatabaseSession
    ) -> AsyncIterator[MakeTable]:
        """Creates tables with the column ``id``; dropped with the test. ``on`` is the session to use."""
        made: list[tuple[DatabaseSession, str]] = []

        async def make(on: DatabaseSession | None = None) -> str:
            name = f"ledger_{next(_numbers)}"
            await subject.create(on or session, name)
            made.append((on or session, name))
            return name

        yield make
        for where, name in reversed(made):
            await subject.drop(where, name)


class SQLCases(Cases[SQLSubject]):
    """The parent of the cases that are written in SQL."""

    @pytest.fixture
    async def define(self, subject: SQLSubject, session: DatabaseSession) -> AsyncIterator[MakeTable]:
        """Creates tables from a definition such as ``id {integer} PRIMARY KEY``; dropped with the test."""
        made: list[str] = []

        async def make(definition: str) -> str:
            name = f"defined_{next(_numbers)}"
            await subject.drop(session, name)
            await session.execute(f"CREATE TABLE {name} ({definition.format_map(subject.types)})")
            made.append(name)
            return name

        yield make
        for name in reversed(made):
            await subject.drop(session, name)


def lacks(session: DatabaseSession, capability: Capability) -> bool:
    """Whether the engine has no such thing; the case then goes on to :func:`refused`."""
    return not session.capabilities.has(capability)


def refused(capability: Capability) -> Any:
    """For ``with``: what is tried inside is refused with the typed error that names this capability."""
    return pytest.raises(UnsupportedCapabilityError, match=capability.value)
