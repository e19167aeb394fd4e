"""A schema with everything that SQLAlchemy has a type for, and with many tables."""

from __future__ import annotations

import enum

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Mood(enum.Enum):
    HAPPY = "happy"
    SAD = "sad"


def every_type(engine: str) -> list[sa.Column]:
    kinds: dict[str, object] = {
        "big": sa.BigInteger(),
        "small": sa.SmallInteger(),
        "whole": sa.Integer(),
        "number": sa.Numeric(12, 3),
        "number_plain": sa.Numeric(),
        "real": sa.Float(),
        "real24": sa.Float(24),
        "real53": sa.Float(53),
        "double": sa.Double(),
        "real_type": sa.REAL(),
        "flag": sa.Boolean(),
        "short": sa.String(30),
        "fixed": sa.CHAR(4),
        "national": sa.Unicode(20),
        "long": sa.Text(),
        "long_national": sa.UnicodeText(),
        "bytes": sa.LargeBinary(),
        "bytes_few": sa.LargeBinary(40),
        "day": sa.Date(),
        "moment": sa.DateTime(),
        "moment_zone": sa.DateTime(timezone=True),
        "stamp": sa.TIMESTAMP(),
        "hour": sa.Time(),
        "span": sa.Interval(),
        "document": sa.JSON(),
        "key": sa.Uuid(),
        "key_text": sa.Uuid(native_uuid=False),
        "mood": sa.Enum(Mood, name="mood"),
        "mood_text": sa.Enum("a", "bb", name="mood_text", native_enum=False, create_constraint=True),
        "flag_checked": sa.Boolean(create_constraint=True, name="flag_checked"),
        "variant": sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
        "pickled": sa.PickleType(),
    }
    kinds |= own_types(engine)
    return [sa.Column(name, kind, nullable=True) for name, kind in kinds.items() if (engine, name) not in MISSING]


MISSING = {("mysql", "number_plain"), ("mariadb", "number_plain")}


def own_types(engine: str) -> dict[str, object]:
    """Types of one engine alone."""
    if engine.startswith("postgresql"):
        return {
            "p_array": postgresql.ARRAY(sa.String(20)),
            "p_array2": postgresql.ARRAY(sa.Integer(), dimensions=2),
            "p_jsonb": postgresql.JSONB(),
            "p_inet": postgresql.INET(),
            "p_cidr": postgresql.CIDR(),
            "p_mac": postgresql.MACADDR(),
            "p_money": postgresql.MONEY(),
            "p_bit": postgresql.BIT(5),
            "p_varbit": postgresql.BIT(5, varying=True),
            "p_vector": postgresql.TSVECTOR(),
            "p_range": postgresql.INT4RANGE(),
            "p_tzrange": postgresql.TSTZRANGE(),
            "p_interval": postgresql.INTERVAL(fields="DAY TO SECOND", precision=3),
            "p_time": postgresql.TIME(precision=3, timezone=True),
            "p_stamp": postgresql.TIMESTAMP(precision=3, timezone=True),
            "p_oid": postgresql.OID(),
            "p_enum_array": postgresql.ARRAY(postgresql.ENUM("x", "y", name="letters")),
        }
    if engine in ("mysql", "mariadb"):
        return {
            "m_tiny": mysql.TINYINT(),
            "m_medium": mysql.MEDIUMINT(unsigned=True),
            "m_unsigned": mysql.BIGINT(unsigned=True),
            "m_text": mysql.MEDIUMTEXT(),
            "m_long": mysql.LONGTEXT(),
            "m_blob": mysql.LONGBLOB(),
            "m_year": mysql.YEAR(),
            "m_set": mysql.SET("a", "b"),
            "m_enum": mysql.ENUM("x", "y"),
            "m_moment": mysql.DATETIME(fsp=6),
            "m_hour": mysql.TIME(fsp=3),
            "m_bit": mysql.BIT(4),
            "m_collated": mysql.VARCHAR(20, collation="utf8mb4_bin"),
        }
    return {}


def defaults(engine: str) -> list[sa.Column]:
    own = {"sqlite": [], "postgresql": [], "mysql": [], "mariadb": []}
    own["postgresql"] = [
        sa.Column("d_now", sa.DateTime(timezone=True), server_default=sa.text("now()")),
        sa.Column("d_array", postgresql.ARRAY(sa.Integer), server_default=sa.text("'{}'")),
        sa.Column("d_json", postgresql.JSONB, server_default=sa.text("'{}'::jsonb")),
        sa.Column("d_json_text", postgresql.JSONB, server_default="{}"),
        sa.Column("d_uuid", sa.Uuid, server_default=sa.text("gen_random_uuid()")),
        sa.Column("d_interval", sa.Interval, server_default=sa.text("interval '1 day'")),
        sa.Column("d_enum", sa.Enum(Mood, name="mood"), server_default="HAPPY"),
        sa.Column("d_expr", sa.Integer, server_default=sa.text("1 + 2 * 3")),
        sa.Column("d_upper", sa.String(10), server_default=sa.text("upper('abc')")),
    ]
    mine = [
        sa.Column("m_now", sa.DateTime(), server_default=sa.text("now()")),
        sa.Column("m_on", sa.DateTime(), server_default=sa.text("CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP")),
        sa.Column("m_expr", sa.Integer, server_default=sa.text("(1 + 2)")),
        sa.Column("m_text", sa.String(30), server_default=sa.text("(concat('a', 'b'))")),
    ]
    own["mysql"] = own["mariadb"] = mine
    own["sqlite"] = [sa.Column("s_expr", sa.String(20), server_default=sa.text("(lower('ABC'))"))]
    return [
        sa.Column("d_zero", sa.Integer, server_default="0"),
        sa.Column("d_zero_text", sa.Integer, server_default=sa.text("0")),
        sa.Column("d_minus", sa.Integer, server_default=sa.text("-1")),
        sa.Column("d_number", sa.Numeric(10, 2), server_default="1.50"),
        sa.Column("d_true", sa.Boolean, server_default=sa.true()),
        sa.Column("d_false", sa.Boolean, server_default=sa.false()),
        sa.Column("d_text", sa.String(20), server_default="it's"),
        sa.Column("d_empty", sa.String(20), server_default=""),
        sa.Column("d_quoted", sa.String(20), server_default=sa.text("'x'")),
        sa.Column("d_func", sa.DateTime(), server_default=sa.func.now()),
        sa.Column("d_stamp", sa.DateTime(), server_default=sa.text("CURRENT_TIMESTAMP")),
        sa.Column("d_day", sa.Date(), server_default="2020-01-01"),
        sa.Column("d_null", sa.String(5), server_default=sa.null()),
        sa.Column("d_percent", sa.String(20), server_default="100%"),
        sa.Column("d_colon", sa.String(20), server_default="a:b"),
        *own[engine.removesuffix("18")],
    ]


def large_schema(engine: str, tables: int = 150) -> sa.MetaData:
    """Tables that refer to one another, with constraints and indexes of all kinds."""
    metadata = sa.MetaData(naming_convention=CONVENTION)
    sa.Table("every_type", metadata, sa.Column("id", sa.Integer, primary_key=True), *every_type(engine))
    sa.Table("every_default", metadata, sa.Column("id", sa.BigInteger, primary_key=True), *defaults(engine))
    rich(metadata, engine)
    for number in range(tables - len(metadata.tables)):
        table = sa.Table(
            f"plain_{number:03}",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("name", sa.String(60), nullable=False, index=True, comment="what it is called"),
            sa.Column("price", sa.Numeric(10, 2), server_default="0"),
            sa.Column("active", sa.Boolean, nullable=False, server_default=sa.true()),
            sa.Column("made", sa.DateTime, server_default=sa.func.now(), nullable=False),
            sa.Column("note", sa.Text),
            sa.UniqueConstraint("name", "price"),
            sa.CheckConstraint("price >= 0", name=f"ck_plain_{number:03}_price"),
            comment=f"table {number}",
        )
        if number:
            table.append_column(
                sa.Column("parent_id", sa.ForeignKey(f"plain_{number - 1:03}.id", ondelete="CASCADE"), index=True)
            )
    return metadata


def rich(metadata: sa.MetaData, engine: str) -> None:
    """Two tables with what is compared by expression."""
    parts = sa.Table(
        "parts",
        metadata,
        sa.Column(
            "id", sa.Integer, sa.Identity(start=10) if engine.startswith("postgresql") else None, primary_key=True
        )
        if engine.startswith("postgresql")
        else sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("code", sa.String(20), nullable=False, unique=True),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("width", sa.Integer),
        sa.Column("height", sa.Integer),
        sa.Column("area", sa.Integer, sa.Computed("width * height", persisted=True)),
        sa.Column("deleted", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.CheckConstraint("width > 0 AND (height > 0 OR height IS NULL)", name="ck_parts_size"),
        sa.CheckConstraint("kind IN ('a', 'b') AND code <> ''", name="ck_parts_kind"),
        sa.CheckConstraint("length(code) < 15"),
    )
    if engine not in ("mysql", "mariadb"):
        where = {"postgresql_where": parts.c.deleted == sa.false(), "sqlite_where": parts.c.deleted == sa.false()}
        sa.Index("ix_parts_live", parts.c.code, unique=True, **where)
        sa.Index(
            "ix_parts_big", parts.c.kind, postgresql_where=sa.text("width > 10"), sqlite_where=sa.text("width > 10")
        )
    if engine != "mariadb":
        sa.Index("ix_parts_lower", sa.func.lower(parts.c.code))
        sa.Index("ix_parts_mixed", parts.c.kind, sa.func.upper(parts.c.code), parts.c.width.desc())
    sa.Index("ix_parts_desc", parts.c.width.desc(), parts.c.height)
    if engine.startswith("postgresql"):
        sa.Index("ix_parts_nulls", parts.c.width.desc().nulls_last())
        sa.Index("ix_parts_include", parts.c.kind, postgresql_include=["width", "height"])
        sa.Index("ix_parts_ops", parts.c.code, postgresql_ops={"code": "text_pattern_ops"})
        sa.Index("ix_parts_hash", parts.c.code, postgresql_using="hash")
        sa.Index("ix_parts_fill", parts.c.height, postgresql_with={"fillfactor": 70})
        sa.Index("ix_parts_ops2", sa.text("lower(code) text_pattern_ops"), _table=parts)
    if engine in ("mysql", "mariadb"):
        sa.Index("ix_parts_prefix", parts.c.code, mysql_length={"code": 5}, mariadb_length={"code": 5})
    sa.Table(
        "part_links",
        metadata,
        sa.Column("part_id", sa.Integer, sa.ForeignKey("parts.id", ondelete="CASCADE", onupdate="CASCADE")),
        sa.Column("other_id", sa.Integer, sa.ForeignKey("parts.id", ondelete="SET NULL"), nullable=True),
        sa.Column("rank", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
        sa.UniqueConstraint("part_id", "other_id"),
    )
