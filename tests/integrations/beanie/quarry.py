"""The documents that the tests of the Beanie integration share."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated

from beanie import BackLink, DecimalAnnotation, Document, Indexed, Link, View
from pydantic import BaseModel, Field
from pymongo import DESCENDING, IndexModel

COLLECTIONS = frozenset({"quarries", "stones", "contracts", "Heavy", "tools", "readings", "Free", "things"})


class Colour(Enum):
    GREY = "grey"
    RED = "red"


class Place(BaseModel):
    name: str
    depth_metres: float = 0.0


class Quarry(Document):
    name: Annotated[str, Indexed(unique=True)]
    place: Place | None = None
    stones: list[BackLink[Stone]] = Field(default_factory=list, json_schema_extra={"original_field": "quarry"})

    class Settings:
        name = "quarries"


class Stone(Document):
    name: Annotated[str, Indexed(unique=True)]
    weight: int = 0
    price: DecimalAnnotation = Decimal(0)
    colour: Colour = Colour.GREY
    found_at: datetime | None = Field(default=None, alias="foundAt")
    tags: list[str] = Field(default_factory=list)
    quarry: Link[Quarry] | None = None

    class Settings:
        name = "stones"
        indexes = (
            IndexModel([("weight", DESCENDING), ("name", 1)], name="by_weight"),
            "colour",
        )


class Contract(Document):
    text: str

    class Settings:
        name = "contracts"
        use_revision = True


class Heavy(View):
    name: str
    weight: int

    class Settings:
        source = Stone
        pipeline = ({"$match": {"weight": {"$gte": 100}}},)


Quarry.model_rebuild()
