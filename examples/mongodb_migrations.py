"""Migrations of MongoDB: collections, validators, indexes and documents, in steps that a killed run continues.

In a project the files are written by `sillar init` and `sillar revision`, and applied by `sillar upgrade`; here they
are written and applied by hand, to run anywhere.
"""

import asyncio
import os
import tempfile
from pathlib import Path

from sillar import DatabaseManager, errors, load_config
from sillar.migrations import MigrationManager
from sillar.migrations.scripts import Scripts

URL = os.environ.get("SILLAR_EXAMPLE_MONGODB_URL", "mongodb://localhost/example")

FIRST = '''"""birds are counted"""

revision = "0001"
down_revision = None


async def upgrade(op):
    await op.create_collection("example_birds")
    await op.insert_many("example_birds", [{"name": f"bird {n}", "full": f"Bird Number {n}"} for n in range(2500)])
    await op.create_index("example_birds", "name", unique=True)


async def downgrade(op):
    await op.drop_collection("example_birds")
'''
SECOND = '''"""names in parts, and a validator that asks for them"""

revision = "0002"
down_revision = "0001"

NEW = {
    "bsonType": "object",
    "required": ["name", "given"],
    "properties": {"name": {"bsonType": "string"}, "given": {"bsonType": "string"}},
}


def split(document):
    document["given"], _, document["family"] = document.pop("full").partition(" ")
    return document


def join(document):
    document["full"] = document.pop("given") + " " + document.pop("family")
    return document


async def upgrade(op):
    old = {"full": {"$exists": True}}
    await op.transform("example_birds", old, split, verify=old, undo=join, undo_filter={"given": {"$exists": True}})
    await op.set_validator("example_birds", NEW)
    MORE


async def downgrade(op):
    await op.set_validator("example_birds")
    await op.transform("example_birds", {"given": {"$exists": True}}, join)
'''


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "migrations")
        Scripts.create(files, "mongodb")
        settings = {"directory": files, "table": "_example_migrations"}
        config = load_config(url=URL, overrides={"migration_config": settings}, environment={})
        async with DatabaseManager(config) as manager:
            await show(manager, files / "versions")


async def show(manager: DatabaseManager, versions: Path) -> None:
    birds = manager.session().documents("example_birds")
    (versions / "0001.py").write_text(FIRST)
    (versions / "0002.py").write_text(SECOND.replace("MORE", 'await op.insert_many("example_birds", [{"name": 7}])'))
    try:
        await MigrationManager.of(manager).apply_migrations()
    except errors.MigrationFailedError as error:
        print(f"{error.revision} failed in step {error.statement_number}, undone: {error.rolled_back}")
    print(f"in the old form: {await birds.count({'full': {'$exists': True}})}")

    (versions / "0002.py").write_text(SECOND.replace("MORE", ""))
    migrations = MigrationManager.of(manager)
    print("applied:", [each.version for each in await migrations.apply_migrations()])
    print(f"in the new form: {await birds.count({'given': 'Bird', 'full': {'$exists': False}})}")
    try:
        await birds.insert_one({"name": "nobody"})
    except errors.CheckViolationError:
        print("a bird without a given name is refused")

    await migrations.rollback_migration("base")
    print("at:", await migrations.current(), [each.direction for each in await migrations.history()])
    for name in ("_example_migrations", "_example_migration_steps", "_example_migration_lease"):
        await manager.session().documents(name).drop()


if __name__ == "__main__":
    asyncio.run(main())
