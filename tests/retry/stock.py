"""One table for SQLAlchemy and Tortoise."""

from __future__ import annotations

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from tortoise import fields
from tortoise.models import Model


class Base(DeclarativeBase): ...


class Counter(Base):
    __tablename__ = "retried_counter"
    id: Mapped[int] = mapped_column(primary_key=True)
    amount: Mapped[int]


class CounterModel(Model):
    id = fields.IntField(primary_key=True)
    amount = fields.IntField()

    class Meta:
        table = "retried_counter"
