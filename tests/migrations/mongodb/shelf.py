"""Documents that the tests generate migrations from."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from beanie import Document, Indexed, TimeSeriesConfig, View
from pydantic import Field
from pymongo import IndexModel


class Book(Document):
    title: Annotated[str, Indexed(unique=True)]
    pages: Annotated[int, Field(ge=1)]
    price: Decimal | None = Field(default=None, ge=Decimal("0.01"))

    class Settings:
        name = "books"
        indexes = (
            IndexModel([("pages", -1), ("title", 1)], name="by_pages"),
            IndexModel([("price", 1)], name="dear", partialFilterExpression={"price": {"$gt": Decimal(100)}}),
        )


class Reading(Document):
    at: datetime
    celsius: float

    class Settings:
        name = "readings"
        validator = False
        indexes = (IndexModel([("at", 1)], name="forgotten", expireAfterSeconds=3600),)


class Thick(View):
    title: str

    class Settings:
        source = Book
        pipeline = ({"$match": {"pages": {"$gt": 500}}},)


class Series(Document):
    at: datetime

    class Settings:
        name = "series"
        timeseries = TimeSeriesConfig(time_field="at")
