"""Tables of SQLite are changed by copying them: with their rows, and with everything that stays."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from tests.migrations.autogenerate.place import Place

TABLE = """
CREATE TABLE stock (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    code VARCHAR(20) NOT NULL UNIQUE,
    amount INT DEFAULT 0 CHECK (amount >= 0),
    price NUMERIC(10, 2) CONSTRAINT ck_price CHECK (price < 1000),
    total INTEGER GENERATED ALWAYS AS (amount * 2) STORED,
    place_id INT REFERENCES place (id) ON DELETE CASCADE
)
"""
CREATED = (
    "CREATE TABLE place (id INTEGER PRIMARY KEY NOT NULL)",
    TABLE,
    "CREATE UNIQUE INDEX ix_lower ON stock (lower(code))",
    "CREATE INDEX ix_amount ON stock (amount DESC) WHERE amount > 5",
    "CREATE TABLE log (what TEXT)",
    "CREATE TRIGGER stock_log AFTER INSERT ON stock BEGIN INSERT INTO log VALUES ('new ' || new.code); END",
    "CREATE VIEW cheap AS SELECT code FROM stock WHERE price < 10",
    "INSERT INTO place VALUES (1)",
    "INSERT INTO stock (code, amount, price, place_id) VALUES ('A', 7, 1.5, 1)",
)


def models(**changed: Any) -> sa.MetaData:
    metadata = sa.MetaData()
    sa.Table("place", metadata, sa.Column("id", sa.Integer, primary_key=True))
    sa.Table("log", metadata, sa.Column("what", sa.Text))
    stock = sa.Table(
        "stock",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(changed.get("code", "code"), sa.String(changed.get("length", 20)), nullable=False, unique=True),
        sa.Column("amount", sa.Integer, server_default="0"),
        sa.Column("price", sa.Numeric(10, 2)),
        sa.Column("total", sa.Integer, sa.Computed("amount * 2", persisted=True)),
        sa.Column("place_id", sa.Integer, sa.ForeignKey("place.id", ondelete="CASCADE")),
        sa.CheckConstraint("amount >= 0"),
        sa.CheckConstraint("price < 1000", name="ck_price"),
        *(each() for each in changed.get("more", ())),
    )
    sa.Index("ix_lower", sa.func.lower(stock.c[changed.get("code", "code")]), unique=True)
    sa.Index("ix_amount", sa.text("amount DESC"), sqlite_where=sa.text("amount > 5"), _table=stock)
    return metadata


async def look(place: Place, name: str = "code") -> None:
    """Everything is as it was, and works."""
    assert await place.rows(f"SELECT id, {name}, amount, price, total, place_id FROM stock WHERE id = 1") == [
        (1, "A", 7, 1.5, 14, 1)
    ]
    await place.execute(f"INSERT INTO stock ({name}) VALUES ('b')")
    assert ("new b",) in await place.rows("SELECT what FROM log")
    assert await place.rows("SELECT count(*) FROM cheap") == [(1,)]
    for refused in (
        f"INSERT INTO stock ({name}) VALUES ('B')",
        f"INSERT INTO stock ({name}) VALUES ('b')",
        f"INSERT INTO stock ({name}, amount) VALUES ('c', -1)",
        f"INSERT INTO stock ({name}, price) VALUES ('d', 1000)",
    ):
        with pytest.raises(sa.exc.IntegrityError):
            await place.execute(refused)
    await place.execute(f"DELETE FROM stock WHERE {name} = 'b'")
    names = {row[0] for row in await place.rows("SELECT name FROM sqlite_master WHERE sql IS NOT NULL")}
    assert {"ix_lower", "ix_amount", "stock_log", "cheap"} <= names


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_a_copied_table_keeps_all_that_it_had(place: Place) -> None:
    await place.execute(*CREATED)
    assert await place.differences(models()) == []
    await look(place)

    for changed in (
        {"length": 40},
        {"more": [lambda: sa.CheckConstraint("amount <> 8")]},
        {"more": [lambda: sa.UniqueConstraint("amount", "price")]},
        {"more": [lambda: sa.Column("note", sa.String(9), server_default=sa.text("(upper('x'))"))]},
        {"more": [lambda: sa.Column("extra", sa.Integer), lambda: sa.Index("ix_extra", sa.text("extra DESC"))]},
    ):
        _, down = await place.migrate(models(**changed))
        assert await place.differences(models(**changed)) == []
        await look(place)
        await place.undo(down)
        assert await place.differences(models()) == []
        await look(place)


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_a_column_is_renamed_and_changed_at_once(place: Place) -> None:
    await place.execute(*CREATED)
    changed = models(code="label", length=30)
    _, down = await place.migrate(changed, renames={"stock.code": "label"})
    assert await place.differences(changed) == []
    await look(place, "label")
    await place.undo(down)
    assert await place.differences(models()) == []
    await look(place)


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_a_check_without_a_name_is_dropped(place: Place) -> None:
    await place.execute(*CREATED)
    without = models()
    stock = without.tables["stock"]
    stock.constraints.remove(
        next(each for each in stock.constraints if isinstance(each, sa.CheckConstraint) and not each.name)
    )
    with pytest.warns(UserWarning, match="Unnamed CHECK constraint on reflected table 'stock' is being omitted"):
        up, down = await place.migrate(without)
    assert "recreate='always'" not in up  # the computed column is something to do
    assert await place.differences(without) == []
    await place.execute("INSERT INTO stock (code, amount) VALUES ('neg', -1)", "DELETE FROM stock WHERE amount < 0")
    await place.undo(down)
    assert await place.differences(models()) == []
    await look(place)
