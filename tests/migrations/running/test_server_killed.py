"""The server is killed around a statement of a migration, and started again: the next run comes to the same end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy.util import await_only
from tests.migrations.running import ten_steps
from tests.migrations.running.killed import POINTS, broken_off, migrate
from tests.migrations.running.project import Project, place_on

from sillar.errors import UnavailableError
from sillar.testing.servers import MariaDBServer, MySQLServer, PostgreSQLServer, Server

_SAMPLE = {
    PostgreSQLServer: [(5, "announced"), (8, "sent"), (11, "marked")],
    MariaDBServer: [(4, "sent"), (5, "announced"), (8, "sent")],
    MySQLServer: [(6, "sent"), (9, "announced")],
}
_STATEMENTS = 11


@pytest.mark.parametrize("kind", _SAMPLE)
async def test_a_killed_server(
    kind: type[PostgreSQLServer] | type[MySQLServer], tmp_path: Path, every_point: bool
) -> None:
    """Throwaway servers hand what is committed to the system, without waiting for the disk: a killed process loses
    nothing of it."""
    every = [(number, point) for number in range(1, _STATEMENTS + 1) for point in POINTS]
    async with kind(own=True) as server:
        async with place_on(kind.__name__.removesuffix("Server").lower(), server, tmp_path) as place:
            project = Project(tmp_path)
            ten_steps.write(project, place)
            config = place.config(project.folder)
            queries = ten_steps.queries(place, up=True)
            await migrate(config, "up")
            expected = await place.state(*queries)
            for number, point in every if every_point else _SAMPLE[kind]:
                await migrate(config, "down")
                await _killed(server, config, number, point)
                await migrate(config, "up")
                assert await place.state(*queries) == expected, (number, point)


async def _killed(server: Server, config: object, number: int, point: str) -> None:
    def strike() -> None:
        await_only(server.kill())

    with pytest.raises(UnavailableError), broken_off(number, point, strike):
        async with asyncio.timeout(60):
            await migrate(config, "up")  # type: ignore[arg-type]
    await server.start()
