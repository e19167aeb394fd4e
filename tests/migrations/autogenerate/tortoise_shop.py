"""Models of Tortoise's with everything that a schema of it can have."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any

from tortoise import fields
from tortoise.fields.db_defaults import Now, SqlDefault
from tortoise.indexes import Index, PartialIndex
from tortoise.models import Model


class Shelf(IntEnum):
    LOW = 1
    HIGH = 2


class Binding(Enum):
    PAPER = "paper"
    CLOTH = "cloth"


class Maker(Model):
    """Without a table name: Tortoise makes one."""

    id = fields.BigIntField(primary_key=True)
    name = fields.CharField(max_length=50, unique=True, description="what it's called")
    code = fields.CharField(max_length=8, db_index=True)

    class Meta:
        table_description = "who makes things"


class Tag(Model):
    word = fields.CharField(max_length=30, primary_key=True)

    class Meta:
        table = "tg_tag"


class Thing(Model):
    id = fields.IntField(primary_key=True)
    title = fields.CharField(max_length=100, source_field="thing_title")
    price = fields.DecimalField(max_digits=10, decimal_places=2, db_default=Decimal("1.50"))
    amount = fields.IntField(db_default=3)
    active = fields.BooleanField(db_default=True)
    word = fields.CharField(max_length=20, db_default="it")
    made = fields.DatetimeField(db_default=Now())
    counted = fields.IntField(db_default=SqlDefault("7"))
    maker: fields.ForeignKeyRelation[Maker] = fields.ForeignKeyField(
        "models.Maker", related_name="things", on_delete=fields.RESTRICT, description="who made it"
    )
    other: fields.ForeignKeyNullableRelation[Thing] = fields.ForeignKeyField(
        "models.Thing", related_name="parts", null=True, on_delete=fields.SET_NULL, db_index=True
    )
    loose: fields.ForeignKeyNullableRelation[Maker] = fields.ForeignKeyField(
        "models.Maker", related_name="loose", null=True, db_constraint=False
    )
    tags: fields.ManyToManyRelation[Tag] = fields.ManyToManyField("models.Tag", related_name="things")

    class Meta:
        table = "tg_thing"
        unique_together = (("title", "maker"),)
        indexes = (("title", "price"), Index(fields=("amount", "price"), name="ix_thing_amount"))


class Passport(Model):
    thing: fields.OneToOneRelation[Thing] = fields.OneToOneField(
        "models.Thing", related_name="passport", primary_key=True
    )
    token = fields.UUIDField()


class Every(Model):
    """A column of every kind."""

    id = fields.UUIDField(primary_key=True)
    small = fields.SmallIntField(null=True)
    whole = fields.IntField(null=True)
    big = fields.BigIntField(null=True)
    short = fields.CharField(max_length=40, null=True)
    text = fields.TextField(null=True)
    flag = fields.BooleanField(null=True)
    price = fields.DecimalField(max_digits=18, decimal_places=4, null=True)
    moment = fields.DatetimeField(null=True)
    day = fields.DateField(null=True)
    hour = fields.TimeField(null=True)
    span = fields.TimeDeltaField(null=True)
    ratio = fields.FloatField(null=True)
    document: Any = fields.JSONField(null=True)
    token = fields.UUIDField(null=True)
    blob = fields.BinaryField(null=True)
    shelf = fields.IntEnumField(Shelf, null=True)
    binding = fields.CharEnumField(Binding, null=True)

    class Meta:
        table = "tg_every"


class Live(Model):
    """Where the engine has partial indexes."""

    id = fields.IntField(primary_key=True)
    kind = fields.CharField(max_length=9)
    size = fields.IntField()

    class Meta:
        table = "tg_live"
        indexes = (PartialIndex(fields=("size",), condition={"kind": "a"}),)
