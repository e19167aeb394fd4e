"""The same table for both ORMs."""

from __future__ import annotations

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from tortoise import fields
from tortoise.models import Model


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    text: Mapped[str]


class Memo(Model):
    id = fields.IntField(primary_key=True, generated=False)
    text = fields.CharField(max_length=50)

    class Meta:
        table = "note"
