"""Kills migrators at every point of a migration of many steps, and lets the next one go on: a process of its own.

Prints what it did, as JSON: the points, and where the outcome was another one than that of a run nobody has disturbed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from tests.migrations.running import ten_steps
from tests.migrations.running.killed import POINTS, broken_off, migrate, run_killed
from tests.migrations.running.project import Place, Project


def main(name: str, settings: dict[str, Any], folder: Path, every: int) -> None:
    place, project = Place(name, settings), Project(folder)
    ten_steps.write(project, place)
    config = place.config(project.folder)
    asyncio.run(_first(config))
    states = {"down": asyncio.run(place.state(*ten_steps.queries(place, up=False)))}
    steps = {}
    for direction in ("up", "down"):
        with broken_off(0, "", lambda: None) as seen:
            asyncio.run(migrate(config, direction))
        steps[direction] = list(seen)
        found = asyncio.run(place.state(*ten_steps.queries(place, up=direction == "up")))
        if direction == "up":
            states["up"] = found
        else:
            assert found == states["down"], "it does not undo itself"
    kills, wrong = 0, []
    most = max(map(len, steps.values()))
    for turn, (number, point) in enumerate((number, point) for number in range(1, most + 1) for point in POINTS):
        if turn % every:
            continue
        for direction in ("up", "down"):
            kills += run_killed(config, direction, number, point)
            asyncio.run(migrate(config, direction))
            found = asyncio.run(place.state(*ten_steps.queries(place, up=direction == "up")))
            if found != states[direction]:
                wrong.append([direction, number, point, repr(found)])
    print(json.dumps({"kills": kills, "wrong": wrong, "steps": {key: len(each) for key, each in steps.items()}}))


async def _first(config: Any) -> None:
    from sillar.migrations import MigrationManager

    await MigrationManager.of(config).apply_migrations("a1")


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
