"""The models that the tests of the Tortoise integration share."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Any

from tortoise import fields
from tortoise.models import Model


class Shelf(IntEnum):
    LOW = 1
    HIGH = 2


class Binding(Enum):
    PAPER = "paper"
    CLOTH = "cloth"


class Author(Model):
    id = fields.IntField(primary_key=True)
    name = fields.CharField(max_length=50, unique=True)
    books: fields.ReverseRelation[Book]
    seat: fields.BackwardOneToOneRelation[Seat]

    class Meta:
        table = "tt_author"


class Tag(Model):
    id = fields.IntField(primary_key=True)
    word = fields.CharField(max_length=30)
    books: fields.ManyToManyRelation[Book]

    class Meta:
        table = "tt_tag"


class Book(Model):
    id = fields.IntField(primary_key=True)
    title = fields.CharField(max_length=100)
    author: fields.ForeignKeyRelation[Author] = fields.ForeignKeyField("models.Author", related_name="books")
    tags: fields.ManyToManyRelation[Tag] = fields.ManyToManyField(
        "models.Tag", related_name="books", through="tt_book_tag"
    )

    class Meta:
        table = "tt_book"


class Seat(Model):
    id = fields.IntField(primary_key=True)
    number = fields.IntField(source_field="seat_number")
    owner: fields.OneToOneNullableRelation[Author] = fields.OneToOneField(
        "models.Author", related_name="seat", null=True
    )

    class Meta:
        table = "tt_seat"


class Every(Model):
    """A column of every kind."""

    id = fields.BigIntField(primary_key=True)
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
        table = "tt_every"
