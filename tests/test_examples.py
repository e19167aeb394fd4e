"""Every example runs, as a program of its own, against the real servers it is for."""

from __future__ import annotations

import os
import re
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest
from tests.children import ended
from tests.replicated import ReplicatedFleet

from sillar.testing.servers import ServerFleet

EXAMPLES = Path(__file__).parents[1] / "examples"
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[")
SQL_ENGINES = ("sqlite", "postgresql", "mariadb", "mysql")
OWN_TESTS = {"fastapi_app.py"}  # run in tests/fastapi, with requests
RUNS = {
    "adopting_alembic.py": ("SILLAR_EXAMPLE_SQLITE_URL", ("sqlite",)),
    "pool_sizing.py": ("SILLAR_EXAMPLE_POSTGRESQL_URL", ("postgresql",)),
    "quickstart_sqlite.py": ("SILLAR_EXAMPLE_SQLITE_URL", ("sqlite",)),
    "quickstart_postgresql.py": ("SILLAR_EXAMPLE_POSTGRESQL_URL", ("postgresql", "postgresql18")),
    "quickstart_mysql.py": ("SILLAR_EXAMPLE_MYSQL_URL", ("mariadb", "mysql")),
    "quickstart_mongodb.py": ("SILLAR_EXAMPLE_MONGODB_URL", ("mongodb",)),
    "bulk_work.py": ("SILLAR_EXAMPLE_URL", SQL_ENGINES),
    "copy_database.py": ("SILLAR_EXAMPLE_URL", ("postgresql", "mysql")),
    "statements.py": ("SILLAR_EXAMPLE_URL", SQL_ENGINES),
    "transactions.py": ("SILLAR_EXAMPLE_URL", SQL_ENGINES),
    "migrations.py": ("SILLAR_EXAMPLE_URL", SQL_ENGINES),
    "data_migration.py": ("SILLAR_EXAMPLE_URL", SQL_ENGINES),
    "blue_green.py": ("SILLAR_EXAMPLE_URL", SQL_ENGINES),
    "run_in_transaction.py": ("SILLAR_EXAMPLE_URL", SQL_ENGINES),
    "tortoise_models.py": ("SILLAR_EXAMPLE_URL", SQL_ENGINES),
    "sqlalchemy_models.py": ("SILLAR_EXAMPLE_URL", SQL_ENGINES),
    "mixing_orms.py": ("SILLAR_EXAMPLE_URL", SQL_ENGINES),
    "beanie_documents.py": ("SILLAR_EXAMPLE_MONGODB_URL", ("mongodb",)),
    "mongodb_migrations.py": ("SILLAR_EXAMPLE_MONGODB_URL", ("mongodb",)),
    "replicas.py": ("SILLAR_EXAMPLE_REPLICATED_URL", ("replicated",)),
    "read_your_writes.py": ("SILLAR_EXAMPLE_REPLICATED_URL", ("replicated",)),
    "credential_rotation.py": ("SILLAR_EXAMPLE_ADMIN_URL", ("postgresql", "postgresql18")),
}
SAYS = {
    "adopting_alembic.py": ("applied: ['a1']\nlog: up make stones\nafter alembic downgrade: ()\napplied: ['a1']\n"),
    "migrations.py": (
        "planned: ['quarries', 'their names']\napplied by each: [0, 0, 0, 0, 2]\n"
        "single head: True | at head: True\nundone: their names\nlog: up up down down\n"
    ),
    "copy_database.py": (
        "a value does not fit: example_stone.kg\n5000 rows, both sides are the same: True\n"
        "the newest stone has the number 5001\nfound: id=17 different\n"
    ),
    "credential_rotation.py": "now: example_b\nnow: example_a\nnow: example_b\nserved: True, failed: 0\n",
    "pool_sizing.py": "saturated: True\nat least one more is needed: True\ngrown within the limits: True\n",
    "replicas.py": (
        "a primary and 2 replicas\nin a transaction: primary\nread back: queñua\nsaid to be a read: replica\n"
        "sent to the primary: primary\nof 10 eventual reads the replicas served 10\n"
    ),
    "read_your_writes.py": "50 orders, each seen at once by the other service\n",
    "mixing_orms.py": (
        "3 blocks, of three kinds of code\nUniqueViolationError: the blocks are still there\n"
        "['basalt', 'tuff', 'marl']\nTrue\n"
    ),
    "beanie_documents.py": (
        "2 inside, 0 outside\nUniqueViolationError of name: both are undone\n['charango', 'quena']\n"
        "indexes as asked for: True\n"
    ),
    "mongodb_migrations.py": (
        "0002 failed in step 3, undone: True\nin the old form: 2500\napplied: ['0002']\nin the new form: 2500\n"
        "a bird without a given name is refused\nat: () ['up', 'up', 'down', 'down']\n"
    ),
    "sqlalchemy_models.py": "UniqueViolationError: neither quarry is kept\nKilla ['basalt', 'tuff']\n",
    "tortoise_models.py": "UniqueViolationError: the savepoint is undone\nKilla ['basalt']\n",
    "quickstart_sqlite.py": "Pedro Páramo: 124 pages\nPopol Vuh: 320 pages\n",
    "quickstart_postgresql.py": "roof: [18.5, 19.25] at UTC\n10000 rows by COPY, notifications: True\n",
    "quickstart_mysql.py": "Ñandutí 🕸 owes 1234.50\n10000 rows in bulk\n",
    "quickstart_mongodb.py": "Hornero: 49 g\nZorzal: 78 g\nFurnariidae 82 g, Turdidae 78 g\n",
    "statements.py": (
        "[{'id': 1, 'kind': 'andesite'}, {'id': 2, 'kind': 'basalt'}]\n"
        "[Stone(id=1, kind='andesite'), Stone(id=2, kind='basalt')]\n"
        "StoneStruct(id=1, kind='andesite')\nid=1 kind='andesite'\n5003\n"
        "('id', 'kind') 3 ['andesite', 'basalt', 'granite']\n5003 rows streamed\n"
        "ParameterError, safe to retry: False\nStatementSyntaxError, safe to retry: False\n"
        "UnsupportedCapabilityError, safe to retry: False\n"
    ),
    "bulk_work.py": (
        "4000 rows\n8000 rows\n10000 rows\n9800 deleted in 1 batches\nrow 2 is there already\n"
        "100 stones found together\n"
    ),
    "run_in_transaction.py": (
        "each mason took another block: [99, 98, 97, 96, 95, 94, 93, 92]\nin attempt 3\nleft: 90\n"
        "markers too young to be deleted: True\n"
    ),
    "data_migration.py": (
        "interrupted; done so far: 1000\n5000 rows in 20 batches, 4000 of them now\n"
        "remaining: 0, wrong: 0\nundone: 5000 rows\n"
    ),
    "blue_green.py": (
        "expanded under the old code\nbackfilled beside both, 0 rows remaining\nreads and writes are switched\n"
        "contracted; failed requests: 0, rows lost or wrong: 0\n"
    ),
    "transactions.py": (
        "after a payment: 700 300\nrefused (CheckViolationError): 700 300\n"
        "inside, after the savepoint: 1 300\nafter a rollback: 1\n"
    ),
}


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} - OWN_TESTS == set(RUNS) == set(SAYS)


@pytest.mark.parametrize(
    ("example", "engine"), [(name, engine) for name, (_, engines) in RUNS.items() for engine in engines]
)
async def test_example(
    example: str, engine: str, fleet: ServerFleet, replicated_fleet: ReplicatedFleet, tmp_path: Path
) -> None:
    if engine == "sqlite":
        url = f"sqlite:///{tmp_path}/example.db"
    else:
        server: Any = await (replicated_fleet.get() if engine == "replicated" else fleet.get(engine))
        url = server.url
        if RUNS[example][0].endswith("_ADMIN_URL"):
            url = url.replace(f"{server.user}:{server.password}@", f"{server.superuser}:{server.superuser_password}@")
    status, output, errors = await ended(
        sys.executable, "-W", "error", str(EXAMPLES / example),
        stdout=PIPE, stderr=PIPE, cwd=tmp_path,
        env=os.environ | {RUNS[example][0]: url, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert status == 0, errors.decode()
    said = [line for line in output.decode().splitlines(keepends=True) if not LOG_LINE.match(line)]
    assert "".join(said) == SAYS[example]
