"""The models of Tortoise; Tortoise looks for them in a module."""

from __future__ import annotations

from typing import Any

from tortoise import fields
from tortoise.models import Model

from sillar.testing.conformance import Colour


class Author(Model):
    id = fields.IntField(primary_key=True)
    name = fields.CharField(max_length=100, null=True)
    books: fields.ReverseRelation[Book]

    class Meta:
        table = "oc_author"


class Book(Model):
    id = fields.IntField(primary_key=True)
    title = fields.CharField(max_length=100)
    pages = fields.IntField()
    author: fields.ForeignKeyRelation[Author] = fields.ForeignKeyField("models.Author", related_name="books")

    class Meta:
        table = "oc_book"


class Record(Model):
    id = fields.IntField(primary_key=True)
    whole = fields.IntField()
    large = fields.BigIntField()
    note = fields.TextField()
    flag = fields.BooleanField()
    amount = fields.DecimalField(max_digits=18, decimal_places=4)
    ratio = fields.FloatField()
    day = fields.DateField()
    moment = fields.DatetimeField()
    token = fields.UUIDField()
    content = fields.BinaryField()
    data: Any = fields.JSONField()
    items: Any = fields.JSONField()
    colour = fields.CharEnumField(Colour, max_length=100)
    missing = fields.TextField(null=True)

    class Meta:
        table = "oc_record"
