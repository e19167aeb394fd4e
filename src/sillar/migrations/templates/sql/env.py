"""The environment of the migrations, for `sillar` and for plain `alembic`."""

from alembic import context

from sillar.migrations.env import run_environment

# MetaData, or a list of them, that migrations are generated from. None: what migration_config.models names.
target_metadata = None

run_environment(context, target_metadata)
