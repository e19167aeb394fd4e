"""All ways of one engine at once: one transaction, and one budget of connections."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import Any

import pytest

from sillar import Capability, DatabaseManager, Execution, errors
from sillar.errors import IntegrityError, UnsupportedCapabilityError, UsageError
from sillar.testing.conformance.cases import lacks
from sillar.testing.conformance.orm_records import ORMAuthor, ORMBook
from sillar.testing.conformance.orm_subject import ORMSubject, nothing_leased, opened
from sillar.testing.conformance.orm_transactions import LeftError, committed

Ways = Sequence[ORMSubject]
_TASKS = 50


class _Watcher:
    """An observer that keeps which connections were used."""

    def __init__(self) -> None:
        self.connections: set[int] = set()

    def executed(self, execution: Execution, error: BaseException | None) -> None:
        """An execution is over."""
        self.connections.add(id(execution.connection))

    def transaction_ended(self, database: str, outcome: str, duration_seconds: float) -> None:
        """A transaction is over."""


class ORMAcrossCases:
    """Give them a fixture ``ways``: all ways on one engine."""

    @pytest.fixture
    async def manager(self, ways: Ways) -> AsyncIterator[DatabaseManager]:
        """A manager with three connections, on which all are open."""
        async with opened(*ways, connections=3) as manager:
            yield manager

    @pytest.mark.parametrize("fails", [True, False])
    async def test_one_transaction_for_all(self, ways: Ways, manager: DatabaseManager, fails: bool) -> None:
        """All write, all see it, nobody else does; all of it is kept, or nothing."""
        names = [f"of {way.name}" for way in ways]
        try:
            async with manager.session() as session, session.transaction():
                for number, way in enumerate(ways, 1):
                    await way.add_author(ORMAuthor(number, f"of {way.name}"))
                    for each in ways:
                        assert await each.author_names() == names[:number], each
                assert await committed(manager) == 0
                assert manager.pools["default"].stats().leased <= 1
                if fails:
                    raise LeftError
        except LeftError:
            assert fails
        for way in ways:
            assert await way.author_names() == ([] if fails else names)
        assert await committed(manager) == (0 if fails else len(ways))

    async def test_it_is_one_session_of_the_server(self, ways: Ways, manager: DatabaseManager) -> None:
        """Which the server says, or where it cannot be asked that in a statement, the observed executions."""
        engine = ways[0].engine
        async with manager.session().transaction():
            await ways[0].add_author(ORMAuthor(1, "Rulfo"))
            for query in filter(None, (engine.backend_id, engine.transaction_id)):
                found = [await way.scalar(query) for way in ways]
                assert len(set(found)) == 1, found
                assert found[0] is not None
        if engine.transaction_id:
            async with manager.session().transaction():
                assert await ways[-1].scalar(engine.transaction_id) != found[0]
        if not engine.backend_id:
            watcher = _Watcher()
            async with opened(*ways, connections=3, observers=[watcher]) as watched:
                async with watched.session().transaction() as transaction:
                    for number, way in enumerate(ways, 1):
                        watcher.connections.clear()
                        await way.add_author(ORMAuthor(number, f"of {way.name}"))
                        assert watcher.connections == {id(transaction.driver_connection)}, way
                watcher.connections.clear()

    async def test_constraints_are_told_alike(self, ways: Ways, manager: DatabaseManager) -> None:
        """The class, the server's code, and what it names: whoever has sent the statement."""
        await ways[0].add_author(ORMAuthor(1, "Rulfo"))
        violations: tuple[Callable[[ORMSubject], Awaitable[None]], ...] = (
            lambda way: way.add_author(ORMAuthor(2, "Rulfo")),
            lambda way: way.add_author(ORMAuthor(2, None)),
            lambda way: way.add_book(ORMBook(1, "without pages", 0, 1)),
            lambda way: way.add_book(ORMBook(1, "of nobody", 100, 77)),
        )
        for violation in violations:
            told: set[Any] = set()
            for way in ways:
                try:
                    async with way.errors(), way.transaction():
                        await violation(way)
                        raise LeftError
                except IntegrityError as error:
                    kind = next(each for each in type(error).__mro__ if getattr(errors, each.__name__, None) is each)
                    told.add((kind, error.code, error.constraint, error.table, error.column, error.safe_to_retry))
                except LeftError:  # no such constraint here
                    told.add(LeftError)
            assert len(told) == 1, told
            assert LeftError not in told or lacks(manager.session(), Capability.FOREIGN_KEYS)

    async def test_what_any_commits_inside_is_a_savepoint(self, ways: Ways, manager: DatabaseManager) -> None:
        if lacks(manager.session(), Capability.SAVEPOINTS):
            async with manager.session().transaction():
                for way in ways:
                    with pytest.raises(UnsupportedCapabilityError, match=Capability.SAVEPOINTS.value):
                        async with way.transaction():
                            raise AssertionError
            return
        with pytest.raises(LeftError):
            async with manager.session().transaction():
                for number, way in enumerate(ways, 1):
                    async with way.transaction():
                        await way.add_author(ORMAuthor(number, f"of {way.name}"))
                    assert await committed(manager) == 0, way
                assert await ways[0].count_authors() == len(ways)
                raise LeftError
        assert await committed(manager) == 0
        async with manager.session().transaction():
            for number, way in enumerate(ways, 1):
                with pytest.raises(LeftError):
                    async with way.transaction():
                        await way.add_author(ORMAuthor(100, "undone"))
                        raise LeftError
                await way.add_author(ORMAuthor(number, f"of {way.name}"))
        assert await ways[-1].author_names() == [f"of {way.name}" for way in ways]

    async def test_savepoints_of_all_nest_in_each_other(self, ways: Ways, manager: DatabaseManager) -> None:
        if lacks(manager.session(), Capability.SAVEPOINTS):
            return await self.test_what_any_commits_inside_is_a_savepoint(ways, manager)
        for outside, inside in itertools.permutations(ways, 2):
            async with manager.session().transaction():
                async with outside.transaction():
                    await outside.add_author(ORMAuthor(1, "outside"))
                    with pytest.raises(LeftError):
                        async with inside.transaction():
                            await inside.add_author(ORMAuthor(2, "undone"))
                            raise LeftError
                    async with inside.transaction():
                        await inside.add_author(ORMAuthor(3, "inside"))
                    assert await outside.author_names() == ["outside", "inside"], (outside, inside)
            assert await committed(manager) == 2
            for number in (1, 3):
                await outside.remove_author(number)
        return None

    async def test_savepoints_out_of_order_are_refused(self, ways: Ways, manager: DatabaseManager) -> None:
        """Or the outer one takes the inner one along. Nothing is kept by half."""
        if lacks(manager.session(), Capability.SAVEPOINTS):
            return await self.test_what_any_commits_inside_is_a_savepoint(ways, manager)
        for outside, inside in itertools.permutations(ways, 2):
            with nullcontext() if inside.follows else pytest.raises(UsageError):
                async with manager.session().transaction():
                    outer = outside.transaction()
                    await outer.__aenter__()
                    await outside.add_author(ORMAuthor(1, "outside"))
                    async with inside.transaction():
                        await inside.add_author(ORMAuthor(2, "inside"))
                        await outer.__aexit__(None, None, None)
                        assert inside.follows
            assert await committed(manager) == (2 if inside.follows else 0), (outside, inside)
            await nothing_leased(manager)
            for number in (1, 2):
                await outside.remove_author(number)
        return None

    async def test_mixed_traffic_stays_in_one_budget(self, ways: Ways, manager: DatabaseManager) -> None:
        """The server's own count of sessions, every 10 ms."""
        engine = ways[0].engine
        ids: set[Any] = set()
        counts: list[int] = []

        async def work(number: int) -> None:
            way = ways[number % len(ways)]
            await way.add_author(ORMAuthor(number, f"author {number}"))
            if engine.backend_id:
                ids.add(await way.scalar(engine.backend_id))
            async with way.transaction():
                await way.rename_author(number, f"renamed {number}")
                if engine.backend_id:
                    ids.add(await way.scalar(engine.backend_id))
            assert await way.count_authors() > 0
            await asyncio.sleep(0)
            async with manager.session().transaction():
                for each in ways:
                    await each.rename_author(number, f"by {each.name} {number}")

        async def sample() -> None:
            while True:
                counts.append(await self.sessions(ways, manager))
                await asyncio.sleep(0.01)

        others = await self.sessions_of_others(ways, manager)
        sampling = asyncio.create_task(sample())
        try:
            await asyncio.gather(*(work(number) for number in range(1, _TASKS + 1)))
            assert not sampling.done()
        finally:
            sampling.cancel()
        expected = [f"by {ways[-1].name} {number}" for number in range(1, _TASKS + 1)]
        assert await ways[0].author_names() == expected
        assert len(counts) > 3
        stats = manager.pools["default"].stats()
        assert max(counts) <= stats.connections_max + stats.dedicated + others
        assert stats.connections_max == 3 or not engine.backend_id
        if engine.backend_id:
            assert len(ids) == 3
        await nothing_leased(manager)

    async def sessions_of_others(self, ways: Ways, manager: DatabaseManager) -> int:
        """Sessions that stay while this manager does nothing: of managers that are open beside it for the whole run.

        Those of the manager before are going, so the least of several looks counts.
        """
        looks = []
        for _ in range(20):
            looks.append(await self.sessions(ways, manager) - manager.pools["default"].stats().open)
            await asyncio.sleep(0.02)
        return max(0, min(looks))

    async def sessions(self, ways: Ways, manager: DatabaseManager) -> int:
        """How many sessions the server has of ours; where it cannot tell, how many connections are open."""
        engine = ways[0].engine
        return await engine.subject.session_count() if engine.backend_id else manager.pools["default"].stats().open
