from __future__ import annotations

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column
from tests.integrations.sqlalchemy.shelves.mapping import Base


class Tag(Base):
    __tablename__ = "sa_tag"
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
