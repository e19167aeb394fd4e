"""Documents: one of an inheritance, and what is imported from elsewhere, which does not count."""

from __future__ import annotations

from beanie import Document, UnionDoc
from tests.integrations.beanie.quarry import Stone as Imported

__all__ = ["Chisel", "Imported", "Tool", "ToothChisel"]


class Tool(Document):
    name: str

    class Settings:
        name = "tools"
        is_root = True


class Chisel(Tool):
    width_mm: int = 20


class ToothChisel(Chisel):
    teeth: int = 5


class Things(UnionDoc):
    class Settings:
        name = "things"
        class_id = "kind"


class Bucket(Document):
    litres: int

    class Settings:
        union_doc = Things
        class_id = "kind"
