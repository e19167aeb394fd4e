"""the tables of the first release

Revision: r0001
Follows:
Written: 2026-11-26 23:40:00
"""

from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision: str = "r0001"
down_revision: str | Sequence[str] | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# The text as it was released, by dialect: what later releases make of the models does not change what this one did.
BASELINE = Path(__file__).parents[1] / "baseline"
TABLES = (
    *("symbols", "rule_results", "imports", "file_metrics", "files", "metrics", "analyses", "repositories"),
    *("terms", "sequences", "schema", "projects"),
)
SEQUENCES = ("projects", "repositories", "analyses", "files")


def upgrade() -> None:
    dialect = op.get_context().dialect.name
    text = (BASELINE / f"{'mysql' if dialect == 'mariadb' else dialect}.sql").read_text(encoding="utf-8")
    for statement in text.split(";\n"):
        if statement.strip():
            op.execute(statement.strip())
    op.bulk_insert(sa.table("atlas_schema", sa.column("version", sa.Integer)), [{"version": 1}])
    sequences = sa.table("atlas_sequences", sa.column("name", sa.String), sa.column("next_value", sa.BigInteger))
    op.bulk_insert(sequences, [{"name": name, "next_value": 1} for name in SEQUENCES])


def downgrade() -> None:
    for name in TABLES:
        op.drop_table(f"atlas_{name}")
