"""Changes of a schema, each with its own tables: how they are before, how after, and what is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

Build = Callable[[sa.MetaData, str], None]
SQL = frozenset({"sqlite", "postgresql", "mariadb", "mysql"})
POSTGRESQL = frozenset({"postgresql"})
MYSQL = frozenset({"mariadb", "mysql"})


@dataclass(frozen=True)
class Case:
    """One change.

    Attributes:
        table: that it is about.
        before, after: what builds the models.
        found: kinds of differences.
        engines: that it runs on.
    """

    table: str
    before: Build
    after: Build
    found: tuple[str, ...]
    engines: frozenset[str] = SQL


CASES: list[Case] = []


def _columns(*columns: Callable[[], sa.schema.SchemaItem]) -> Callable[[str], Build]:
    def build(table: str) -> Build:
        def made(metadata: sa.MetaData, engine: str) -> None:
            sa.Table(table, metadata, sa.Column("id", sa.Integer, primary_key=True), *(each() for each in columns))

        return made

    return build


def case(
    table: str,
    before: list[Callable[[], sa.schema.SchemaItem]],
    after: list[Callable[[], sa.schema.SchemaItem]],
    *found: str,
    engines: frozenset[str] = SQL,
) -> None:
    CASES.append(Case(table, _columns(*before)(table), _columns(*after)(table), found, engines))


def column(name: str, kind: object, *items: object, **options: object) -> Callable[[], sa.schema.SchemaItem]:
    return lambda: sa.Column(name, kind, *items, **options)  # type: ignore[arg-type]


def index(name: str, *expressions: object, **options: object) -> Callable[[], sa.schema.SchemaItem]:
    return lambda: sa.Index(name, *expressions, **options)  # type: ignore[arg-type]


def check(condition: str, name: str | None = None) -> Callable[[], sa.schema.SchemaItem]:
    return lambda: sa.CheckConstraint(condition, name=name)


def unique(*columns: str, name: str | None = None, **options: object) -> Callable[[], sa.schema.SchemaItem]:
    return lambda: sa.UniqueConstraint(*columns, name=name, **options)  # type: ignore[arg-type]


A, B = column("a", sa.Integer), column("b", sa.String(20))
case("c_add", [], [column("note", sa.String(20))], "add_column")
case("c_add_full", [], [column("n", sa.Integer, nullable=False, server_default="7")], "add_column")
case("c_drop", [column("note", sa.String(20))], [], "remove_column")
case("c_length", [column("s", sa.String(20))], [column("s", sa.String(40))], "modify_type")
case(
    "c_length_comment",
    [column("s", sa.String(20), comment="it's")],
    [column("s", sa.String(40), comment="it's")],
    "modify_type",
    engines=MYSQL,
)
case("c_precision", [column("s", sa.Numeric(10, 2))], [column("s", sa.Numeric(12, 4))], "modify_type")
case("c_kind", [column("s", sa.Integer)], [column("s", sa.BigInteger)], "modify_type")
case("c_kind_text", [column("s", sa.String(20))], [column("s", sa.Text)], "modify_type")
case("c_unbound", [column("s", sa.Numeric(10, 2))], [column("s", sa.Numeric)], "modify_type", engines=POSTGRESQL)
case("c_null", [column("s", sa.Integer, nullable=True)], [column("s", sa.Integer, nullable=False)], "modify_nullable")
case("c_not_null", [column("s", sa.String(5), nullable=False)], [column("s", sa.String(5))], "modify_nullable")
case("d_add", [column("s", sa.Integer)], [column("s", sa.Integer, server_default="1")], "modify_default")
case(
    "d_change",
    [column("s", sa.String(9), server_default="a")],
    [column("s", sa.String(9), server_default="b")],
    "modify_default",
)
case(
    "d_quoted",
    [column("s", sa.String(9), server_default="'a'")],
    [column("s", sa.String(9), server_default="b'")],
    "modify_default",
)
case("d_drop", [column("s", sa.String(9), server_default="a")], [column("s", sa.String(9))], "modify_default")
case(
    "d_colon_gone",
    [
        column("s", sa.String(9), server_default="a \\ :b%"),
        column("n", sa.Integer),
        check("n <> 3 OR ' :x' = 'y'", "ck_d"),
    ],
    [column("s", sa.String(9)), column("n", sa.Integer)],
    "modify_default",
    "remove_constraint",
)
CASES.append(
    Case(
        "d_colon_table",
        _columns(column("s", sa.String(9), server_default=" :x"), check("s <> ' :y'", "ck_dt"))("d_colon_table"),
        lambda m, e: None,
        ("remove_table",),
    )
)
case("d_colon", [column("s", sa.String(9))], [column("s", sa.String(9), server_default="a:b%")], "modify_default")
case(
    "d_now",
    [column("s", sa.DateTime)],
    [column("s", sa.DateTime, server_default=sa.text("CURRENT_TIMESTAMP"))],
    "modify_default",
)
case(
    "m_comment",
    [column("s", sa.Integer, comment="one")],
    [column("s", sa.Integer, comment="it's two")],
    "modify_comment",
    engines=SQL - {"sqlite"},
)
case(
    "m_comment_drop",
    [column("s", sa.Integer, comment="one")],
    [column("s", sa.Integer)],
    "modify_comment",
    engines=SQL - {"sqlite"},
)
case("i_add", [A, B], [A, B, index("ix_i_add", "a", "b")], "add_index")
case("i_drop", [A, B, index("ix_i_drop", "a")], [A, B], "remove_index")
case("i_columns", [A, B, index("ix_i_columns", "a")], [A, B, index("ix_i_columns", "b")], "remove_index", "add_index")
case(
    "i_unique", [A, index("ix_i_unique", "a")], [A, index("ix_i_unique", "a", unique=True)], "remove_index", "add_index"
)
case(
    "i_desc",
    [A, index("ix_i_desc", "a")],
    [A, index("ix_i_desc", sa.text("a DESC"))],
    "remove_index",
    "add_index",
    engines=SQL - {"mariadb"},
)
case("i_expression", [B], [B, index("ix_i_expression", sa.text("(lower(b))"))], "add_index", engines=SQL - {"mariadb"})
case(
    "i_expression_change",
    [A, B, index("ix_i_ec", sa.text("(lower(b))"), sa.text("a DESC"))],
    [A, B, index("ix_i_ec", sa.text("(upper(b))"), sa.text("a DESC"))],
    "remove_index",
    "add_index",
    engines=SQL - {"mariadb"},
)
PARTIAL = frozenset({"sqlite", "postgresql"})


def partial(name: str, condition: str) -> Callable[[], sa.schema.SchemaItem]:
    where = sa.text(condition)
    return index(name, "a", sqlite_where=where, postgresql_where=where)


case(
    "i_partial",
    [A, B, partial("ix_i_partial", "a > 5")],
    [A, B, partial("ix_i_partial", "a > 6")],
    "remove_index",
    "add_index",
    engines=PARTIAL,
)
case("i_partial_add", [A, B], [A, B, partial("ix_i_partial_add", "b IN ('x:y', ':z')")], "add_index", engines=PARTIAL)
case(
    "i_include",
    [A, B, index("ix_i_include", "a")],
    [A, B, index("ix_i_include", "a", postgresql_include=["b"])],
    "remove_index",
    "add_index",
    engines=POSTGRESQL,
)
case(
    "i_ops",
    [B, index("ix_i_ops", "b")],
    [B, index("ix_i_ops", "b", postgresql_ops={"b": "text_pattern_ops"})],
    "remove_index",
    "add_index",
    engines=POSTGRESQL,
)
case(
    "i_using",
    [B, index("ix_i_using", "b")],
    [B, index("ix_i_using", "b", postgresql_using="hash")],
    "remove_index",
    "add_index",
    engines=POSTGRESQL,
)
case(
    "i_nulls",
    [A, index("ix_i_nulls", sa.text("a DESC"))],
    [A, index("ix_i_nulls", sa.text("a DESC NULLS LAST"))],
    "remove_index",
    "add_index",
    engines=POSTGRESQL,
)
case(
    "i_prefix",
    [B, index("ix_i_prefix", "b", mysql_length=5, mariadb_length=5)],
    [B, index("ix_i_prefix", "b", mysql_length=6, mariadb_length=6)],
    "remove_index",
    "add_index",
    engines=MYSQL,
)
case("u_add", [A, B], [A, B, unique("a", "b", name="uq_u_add")], "add_constraint")
case("u_drop", [A, B, unique("a", name="uq_u_drop")], [A, B], "remove_constraint")
case(
    "u_change",
    [A, B, unique("a", name="uq_u_change")],
    [A, B, unique("a", "b", name="uq_u_change")],
    "remove_constraint",
    "add_constraint",
)
case("u_unnamed_drop", [A, unique("a")], [A], "remove_constraint", engines=SQL - MYSQL)
case("u_unnamed_drop_index", [A, unique("a")], [A], "remove_constraint", engines=MYSQL)
case(
    "k_add",
    [A, B],
    [
        A,
        B,
        check("a > 0 AND a < 10", "ck_k_add"),
        lambda: sa.CheckConstraint(sa.column("b") != ":x 5%", name="ck_k_colon"),
    ],
    "add_constraint",
    "add_constraint",
)
case("k_drop", [A, check("a > 0", "ck_k_drop")], [A], "remove_constraint")
case(
    "k_change",
    [A, check("a > 0", "ck_k_change")],
    [A, check("a > 1", "ck_k_change")],
    "remove_constraint",
    "add_constraint",
)
case(
    "k_unnamed",
    [A, check("a > 0"), check("a < 9")],
    [A, check("a < 9"), check("a <> 7")],
    "remove_constraint",
    "add_constraint",
)
case(
    "k_kept",
    [A, B, check("a > 0"), check("b <> ':x'", "ck_k_kept")],
    [A, check("a > 0"), column("b", sa.String(44)), check("b <> ':x'", "ck_k_kept")],
    "modify_type",
)
case(
    "e_text",
    [column("s", sa.Enum("a", "b", name="ck_e_text", native_enum=False, create_constraint=True, length=9))],
    [column("s", sa.Enum("a", "c", name="ck_e_text", native_enum=False, create_constraint=True, length=9))],
    "remove_constraint",
    "add_constraint",
)
case(
    "e_mysql",
    [column("s", mysql.ENUM("a", "b"))],
    [column("s", mysql.ENUM("a", "b", "c"))],
    "modify_type",
    engines=MYSQL,
)


def computed(expression: str, persisted: bool | None = True) -> Callable[[], sa.schema.SchemaItem]:
    return column("total", sa.Integer, lambda: sa.Computed(expression, persisted=persisted))


def _total(expression: str) -> Callable[[], sa.schema.SchemaItem]:
    return lambda: sa.Column("total", sa.Integer, sa.Computed(expression, persisted=True))


case(
    "g_change",
    [A, _total("a * 2"), index("ix_g_change", "total")],
    [A, _total("a * 3"), index("ix_g_change", "total")],
    "remove_index",
    "remove_column",
    "add_column",
    "add_index",
)
case("p_identity", [], [lambda: sa.Column("n", sa.Integer, sa.Identity(always=True))], "add_column", engines=POSTGRESQL)
case(
    "p_identity_change",
    [lambda: sa.Column("n", sa.Integer, sa.Identity(start=5))],
    [lambda: sa.Column("n", sa.Integer, sa.Identity(start=7, always=True))],
    "modify_default",
    engines=POSTGRESQL,
)
case(
    "p_primary",
    [column("a", sa.Integer, server_default="1", nullable=False)],
    [column("a", sa.Integer, server_default="1", primary_key=True)],
    "remove_constraint",
    "add_constraint",
    engines=POSTGRESQL,
)
_ARGUMENTS = dict(postgresql.dialect.construct_arguments or ())[sa.UniqueConstraint]
INCLUDE: dict[str, object] = {"postgresql_include": ["b"]} if "include" in _ARGUMENTS else {"deferrable": True}
case(
    "p_unique",
    [A, B, unique("a", name="uq_p_u"), unique("b", name="uq_p_d")],
    [A, B, unique("a", name="uq_p_u", **INCLUDE), unique("b", name="uq_p_d", initially="DEFERRED")],
    *("remove_constraint", "remove_constraint", "add_constraint", "add_constraint"),
    engines=POSTGRESQL,
)
case(
    "p_unknown",
    [column("j", postgresql.JSONPATH)],
    [column("j", postgresql.JSONPATH), A],
    "add_column",
    engines=POSTGRESQL,
)
case(
    "g_retyped",
    [column("a", sa.Integer), _total("a * 2")],
    [column("a", sa.BigInteger), _total("a * 2")],
    "remove_column",
    "add_column",
    "modify_type",
    engines=POSTGRESQL,
)


def exclusion(where: str, name: str | None) -> Callable[[], sa.schema.SchemaItem]:
    return lambda: postgresql.ExcludeConstraint(("r", "&&"), where=sa.text(where), name=name)


RANGE = column("r", postgresql.INT4RANGE)
case(
    "x_exclude",
    [A, RANGE, exclusion("a > 1", "Ex One"), exclusion("a > 2", None), exclusion("a > 3", "ex_gone")],
    [A, RANGE, exclusion("a > 9", "Ex One"), exclusion("a > 2", None), exclusion("a > 4", None)],
    *("remove_constraint", "remove_constraint", "add_constraint", "add_constraint"),
    engines=POSTGRESQL,
)
CASES.append(
    Case(
        "x_serial",
        lambda m, e: _table(m, "x_serial"),
        lambda m, e: _table(m, "x_serial", sa.Identity(start=3)),
        (),
        engines=POSTGRESQL,
    )
)
case(
    "p_uuid",
    [column("s", sa.String(36), server_default=sa.text("'4b0e3a5e-0b5e-4f0a-8f3c-0d0f6a3b9c11'"))],
    [column("s", sa.Uuid, server_default=sa.text("'4b0e3a5e-0b5e-4f0a-8f3c-0d0f6a3b9c11'"))],
    "modify_default",
    "modify_type",
    "modify_default",
    engines=POSTGRESQL,
)
case("p_number", [column("s", sa.String(36))], [column("s", sa.Integer)], "modify_type", engines=POSTGRESQL)
case(
    "p_array",
    [column("s", postgresql.ARRAY(sa.Integer))],
    [column("s", postgresql.ARRAY(sa.BigInteger))],
    "modify_type",
    engines=POSTGRESQL,
)
case(
    "p_nulls",
    [A, unique("a", name="uq_p_nulls")],
    [A, unique("a", name="uq_p_nulls", postgresql_nulls_not_distinct=True)],
    engines=frozenset(),
)


def _enum(*labels: str, name: str) -> Callable[[], sa.schema.SchemaItem]:
    return lambda: sa.Column("s", sa.Enum(*labels, name=name), server_default=labels[0])


case("e_add", [_enum("a", "c", name="en_add")], [_enum("a", "b", "c", "d", name="en_add")], engines=POSTGRESQL)
case("e_remove", [_enum("a", "b", name="en_remove")], [_enum("a", name="en_remove")], engines=POSTGRESQL)
case(
    "e_new",
    [column("s", sa.String(9), server_default="x")],
    [_enum("x", "y", name="en_new")],
    "modify_default",
    "modify_type",
    "modify_default",
    engines=POSTGRESQL,
)
case("e_column", [], [_enum("x", "y", name="en_column")], "add_column", engines=POSTGRESQL)
case("e_gone", [_enum("x", "y", name="en_gone")], [], "remove_column", engines=POSTGRESQL)


def _table(metadata: sa.MetaData, name: str, *items: sa.schema.SchemaItem) -> None:
    sa.Table(name, metadata, sa.Column("id", sa.Integer, *items, primary_key=True))


def _tables(metadata: sa.MetaData, engine: str, names: str) -> None:
    """Tables of which each refers to the one before."""
    before = None
    for name in names:
        items = [sa.Column("other_id", sa.ForeignKey(f"t_{before}.id"), index=True)] if before else []
        sa.Table(f"t_{name}", metadata, sa.Column("id", sa.Integer, primary_key=True), *items)
        before = name


CASES.append(Case("t_", lambda m, e: _tables(m, e, "zyx"), lambda m, e: _tables(m, e, "abc"), ()))


def _keys(ondelete: str | None, both: bool) -> Build:
    def build(metadata: sa.MetaData, engine: str) -> None:
        sa.Table("f_parent", metadata, sa.Column("id", sa.Integer, primary_key=True))
        items = [sa.ForeignKeyConstraint(["b"], ["f_parent.id"], name="fk_f_b")] if both else []
        sa.Table(
            "f_child",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("a", sa.Integer),
            sa.Column("b", sa.Integer),
            sa.ForeignKeyConstraint(["a"], ["f_parent.id"], name="fk_f_a", ondelete=ondelete),
            *items,
        )

    return build


KEYS = ("remove_fk", "add_fk", "add_fk")
CASES.append(Case("f_child", _keys(None, False), _keys("CASCADE", True), KEYS, engines=SQL - MYSQL))
WITH_INDEXES = (*KEYS, "add_index", "add_index")  # which InnoDB would make by itself
CASES.append(Case("f_child", _keys(None, False), _keys("CASCADE", True), WITH_INDEXES, engines=MYSQL))


def _cycle(metadata: sa.MetaData, engine: str) -> None:
    sa.Table(
        "y_one",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("two_id", sa.ForeignKey("y_two.id", name="fk_y_one", use_alter=True)),
    )
    sa.Table(
        "y_two",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("one_id", sa.ForeignKey("y_one.id", name="fk_y_two")),
    )


CASES.append(Case("y_", lambda m, e: None, _cycle, (), engines=SQL - {"sqlite"}))


def _unnamed_cycle(metadata: sa.MetaData, prefix: str) -> None:
    for name, other in ((f"{prefix}_one", f"{prefix}_two"), (f"{prefix}_two", f"{prefix}_one")):
        items = [sa.Column("id", sa.Integer, primary_key=True), sa.Column("other_id", sa.ForeignKey(f"{other}.id"))]
        sa.Table(name, metadata, *items)


CASES.append(Case("w_", lambda m, e: _unnamed_cycle(m, "w"), lambda m, e: None, (), engines=SQL - {"sqlite"}))
CASES.append(Case("v_", lambda m, e: None, lambda m, e: _unnamed_cycle(m, "v"), (), engines=SQL - {"sqlite"}))


def models(engine: str, *, after: bool, tables: str = "") -> sa.MetaData:
    metadata = sa.MetaData()
    for each in CASES:
        if engine in each.engines and each.table.startswith(tables):
            (each.after if after else each.before)(metadata, engine)
    return metadata
