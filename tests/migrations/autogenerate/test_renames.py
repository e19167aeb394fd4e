from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from tests.migrations.autogenerate.conftest import ENGINES
from tests.migrations.autogenerate.place import Place

from sillar.errors import MigrationRefusedError, UsageError
from sillar.migrations.autogenerate import RenameCandidate


def before() -> sa.MetaData:
    metadata = sa.MetaData()
    sa.Table(
        "person",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("surname", sa.String(40), nullable=False, index=True, server_default="x"),
        sa.Column("age", sa.Integer),
        sa.CheckConstraint("age > 0 AND surname <> 'age'", name="ck_person_age"),
    )
    sa.Table(
        "pet",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("person_id", sa.ForeignKey("person.id", name="fk_pet_person", ondelete="CASCADE")),
    )
    return metadata


def after(**hints: str) -> sa.MetaData:
    """The table, a column of it and one that refers to it under other names."""
    metadata = sa.MetaData()
    table = hints.get("table")
    sa.Table(
        "customer",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "family_name",
            sa.String(40),
            nullable=False,
            server_default="x",
            info={"renamed_from": hints["column"]} if "column" in hints else {},
        ),
        sa.Column("age", sa.BigInteger),
        sa.Index("ix_person_surname", "family_name"),
        sa.CheckConstraint("age > 0 AND family_name <> 'age'", name="ck_person_age"),
        info={"renamed_from": table} if table else {},
    )
    sa.Table(
        "pet",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "owner_id",
            sa.ForeignKey("customer.id", name="fk_pet_person", ondelete="CASCADE"),
            info={"renamed_from": "person_id"},
        ),
    )
    return metadata


@pytest.mark.parametrize("place", ENGINES, indirect=True)
async def test_what_the_models_hint_is_renamed_with_its_rows(place: Place) -> None:
    await place.create(before())
    await place.execute("INSERT INTO person (surname, age) VALUES ('Doe', 7)", "INSERT INTO pet (person_id) VALUES (1)")
    hints = {"table": "person", "column": "surname"}
    kinds = [each[0][0] if isinstance(each, list) else each[0] for each in await place.differences(after(**hints))]
    assert kinds.count("rename_table") == 1
    assert kinds.count("rename_column") == 2
    assert {"add_table", "remove_table", "add_column", "remove_column"}.isdisjoint(kinds)

    _, down = await place.migrate(after(**hints))
    assert await place.differences(after(**hints)) == []
    assert await place.rows("SELECT family_name, age, owner_id FROM customer JOIN pet ON owner_id = customer.id") == [
        ("Doe", 7, 1)
    ]
    await place.undo(down)
    assert await place.differences(before()) == []
    assert await place.rows("SELECT surname, person_id FROM person JOIN pet ON person_id = person.id") == [("Doe", 1)]


def renamed_column(name: str, kind: Any = None) -> sa.MetaData:
    metadata = before()
    person = metadata.tables["person"]
    metadata.remove(person)
    sa.Table(
        "person",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(name, kind or sa.String(40), nullable=False, server_default="x"),
        sa.Column("age", sa.Integer),
        sa.Index("ix_person_surname", name),
        sa.CheckConstraint(f"age > 0 AND {name} <> 'age'", name="ck_person_age"),
    )
    return metadata


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_a_possible_rename_is_refused_until_it_is_answered(place: Place) -> None:
    await place.create(before())
    with pytest.raises(MigrationRefusedError) as refused:
        await place.differences(renamed_column("last_name"))
    assert str(refused.value) == (
        "1 possible renames without an answer: column surname of person is gone and last_name is new:"
        " answer --rename person.surname=last_name or --drop person.surname"
    )
    assert refused.value.findings == (RenameCandidate("column", "person", "surname", "last_name"),)

    renamed = await place.differences(renamed_column("last_name"), renames={"person.surname": "last_name"})
    assert [each[0] for each in renamed] == ["rename_column"]
    dropped = {each[0] for each in await place.differences(renamed_column("last_name"), drops=["person.surname"])}
    assert {"add_column", "remove_column"} <= dropped
    looked = {each[0] for each in await place.differences(renamed_column("last_name"), refuse_renames=False)}
    assert {"add_column", "remove_column"} <= looked

    asked: list[RenameCandidate] = []

    def decide(candidate: RenameCandidate) -> Any:
        asked.append(candidate)
        return "rename"

    assert [each[0] for each in await place.differences(renamed_column("last_name"), decide=decide)] == [
        "rename_column"
    ]
    assert asked == [RenameCandidate("column", "person", "surname", "last_name")]
    with pytest.raises(UsageError, match="'rename', 'drop and add' or None, not 'yes'"):
        await place.differences(renamed_column("last_name"), decide=lambda candidate: "yes")


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_a_column_of_another_type_is_no_rename(place: Place) -> None:
    await place.create(before())
    found = {each[0] for each in await place.differences(renamed_column("last_name", sa.LargeBinary))}
    assert {"add_column", "remove_column"} <= found


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_a_table_with_the_same_columns_is_asked_about(place: Place) -> None:
    await place.create(before())
    metadata = before()
    table = metadata.tables["pet"]
    metadata.remove(table)
    table.to_metadata(metadata, name="animal")
    with pytest.raises(MigrationRefusedError, match="table pet is gone and animal is new: answer --rename pet=animal"):
        await place.differences(metadata)
    assert [each[0] for each in await place.differences(metadata, renames={"pet": "animal"})] == ["rename_table"]
    assert [each[0] for each in await place.differences(metadata, renames={"pet": "other"})] == [
        "add_table",
        "remove_table",
    ]

    def include(item: Any, name: str, kind: str, reflected: bool, compare_to: Any) -> bool:
        return not (kind == "table" and reflected)

    assert [each[0] for each in await place.differences(metadata, include_object=include)] == ["add_table"]
