from __future__ import annotations

import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase
from tests.migrations.autogenerate import tortoise_shop

from sillar.errors import UsageError
from sillar.migrations.autogenerate import load_models


class Base(DeclarativeBase):
    pass


class Own(Base):
    __tablename__ = "own"
    id = sa.Column(sa.Integer, primary_key=True)


class Empty(DeclarativeBase):
    pass


METADATA = sa.MetaData()
TABLE = sa.Table("plain", METADATA, sa.Column("id", sa.Integer))
SEVERAL = [TABLE, Own]
HERE = "tests.migrations.autogenerate.test_models"


def test_models_are_found_by_module_and_by_name() -> None:
    assert load_models([HERE]) == [Base.metadata, METADATA]
    assert load_models([f"{HERE}:Base", f"{HERE}:METADATA", f"{HERE}:Own"]) == [Base.metadata, METADATA]
    assert load_models([f"{HERE}:TABLE"]) == [METADATA]
    assert load_models([f"{HERE}:Own.metadata"]) == [Base.metadata]
    assert load_models([f"{HERE}:SEVERAL"]) == [METADATA, Base.metadata]
    assert load_models([f"{HERE}:Base", f"{HERE}:Base"]) == [Base.metadata]


def test_models_of_tortoise_are_read_together() -> None:
    (metadata,) = load_models([f"{tortoise_shop.__name__}:Maker", tortoise_shop.__name__])
    assert {"maker", "tg_thing", "tg_thing_tg_tag"} <= set(metadata.tables)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with models two levels down, and one that cannot be imported."""
    for name, text in {
        "ag_models/__init__.py": "",
        "ag_models/deep/__init__.py": "",
        "ag_models/deep/shop.py": "import sqlalchemy as sa\nmetadata = sa.MetaData()\nsa.Table('t', metadata)\n",
        "ag_broken/__init__.py": "import nobody_has_this\n",
        "ag_documents.py": "from beanie import Document\nclass Paper(Document):\n    pass\n",
        "ag_empty.py": "VALUE = 1\n",
    }.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "ag_models"


def test_a_package_is_searched_to_its_depth(package: str) -> None:
    (metadata,) = load_models([package])
    assert set(metadata.tables) == {"t"}
    assert "ag_models.deep.shop" in sys.modules


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("ag_broken", "'ag_broken' cannot be imported: ModuleNotFoundError"),
        ("ag_empty", "ag_empty has no models"),
        ("ag_empty:VALUE", "ag_empty:VALUE has no models"),
        ("ag_empty:missing", "ag_empty has no missing"),
        (f"{HERE}:Empty", "has no models: name a module with models"),
        ("ag_documents", "Paper are models of beanie, which have no tables"),
    ],
)
def test_a_path_without_models_is_refused(package: str, path: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_models([path])
