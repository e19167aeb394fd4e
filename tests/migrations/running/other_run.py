"""Another migrator, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from tests.migrations.running.project import Place

from sillar.migrations import MigrationManager

if __name__ == "__main__":
    place = Place(sys.argv[1], json.loads(sys.argv[2]))
    config = place.config(Path(sys.argv[3]), **json.loads(sys.argv[4]))
    tenant = sys.argv[5] if len(sys.argv) > 5 else None
    asyncio.run(MigrationManager.of(config, tenant=tenant).apply_migrations("a1"))
