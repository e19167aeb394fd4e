"""Read by plain `alembic`, which has nothing to do with documents: use `sillar upgrade` and its kin."""

raise SystemExit("these are migrations of a document database: run them by `sillar upgrade`, not by alembic")
