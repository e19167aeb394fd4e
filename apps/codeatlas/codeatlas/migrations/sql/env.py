"""The environment of codeatlas's migrations on SQL databases, for codeatlas, `sillar` and plain `alembic`."""

from alembic import context

from codeatlas.schema import METADATA
from sillar.migrations.env import run_environment

run_environment(context, METADATA)
