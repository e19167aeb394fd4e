"""A row of the scratch table, as Tortoise ORM maps it."""

from __future__ import annotations

from tortoise import fields
from tortoise.models import Model


class ChaosRow(Model):
    """The token counts as the key, though nothing in the table says so: a write that is applied twice has to be seen,
    not refused."""

    token = fields.BigIntField(primary_key=True, generated=False)
    worker = fields.IntField()

    class Meta:
        table = "sillar_chaos"
