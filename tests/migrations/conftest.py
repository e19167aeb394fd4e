from __future__ import annotations

import os

import pytest


@pytest.fixture
def every_point() -> bool:
    """Whether migrators and servers are killed at every point, and crowds run all rounds on every engine:
    SILLAR_MIGRATIONS_POINTS=all. Else at a sample of the points, which is what a run of all tests has time for."""
    return os.environ.get("SILLAR_MIGRATIONS_POINTS") == "all"
