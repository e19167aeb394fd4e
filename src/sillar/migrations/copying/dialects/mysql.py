"""MySQL and MariaDB: times are read as the server's own text, which has zero dates and every digit."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

from sillar.execution import DatabaseSession
from sillar.execution.statements import Statements
from sillar.migrations.copying import fit
from sillar.migrations.copying.dialects.dialect import Dialect
from sillar.migrations.copying.expressions import Translation
from sillar.migrations.copying.model import Column, ColumnType, Index, Kind, Table
from sillar.migrations.copying.side import Facts, Field, Usage
from sillar.migrations.copying.values import Convert, as_kind

_NATIVE: Final = re.compile(r"(\w+)(?:\((.*)\))?(.*)", re.DOTALL)
_VALUE: Final = re.compile(r"'((?:[^']|'')*)'")
_LENGTHS: Final = (255, 768)
"""Characters of a key, of which InnoDB takes 3072 bytes: utf8mb4 has 4 for each."""
_VARCHAR_MAX: Final = 1000
"""Longer ones become LONGTEXT: all VARCHARs of a row together have 65,535 bytes."""
_CHARACTER_BYTES, _ROW_BYTES_MAX = 4, 60_000
"""Of the 65,535 bytes some are left for the columns of a fixed size."""
_DECIMAL_DIGITS, _DECIMAL_SCALE = 65, 30
_AS_IT_IS: Final = "SET sql_mode = 'STRICT_TRANS_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'"
"""A 0 in a column that numbers itself stays 0, and a date that the source has taken is taken."""
_TIMES: Final = (Kind.DATE, Kind.TIME, Kind.MOMENT, Kind.INSTANT)
_OF_MARIADB: Final = "utf8mb4_nopad_bin"
_EXACT: Final = ("utf8mb4_0900_bin", _OF_MARIADB, "utf8mb4_bin")
"""Collations that compare by characters; the first two do not pad with blanks, and each is one of the two servers'."""


class MySQLDialect(Dialect):
    """MySQL; a MariaDB server turns it into one of a family of its own."""

    family = "mysql"
    translator = "mysql"
    tables_sql = (
        "SELECT table_name AS name FROM information_schema.tables"
        " WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'"
    )
    long_text = "LONGTEXT"
    partial_indexes = False
    name_length_max = 64
    identity = "AUTO_INCREMENT"
    suspend_foreign_keys = "SET foreign_key_checks = 0"
    generated_uuid = "(uuid())"
    true_false: ClassVar = ("1", "0")

    def __init__(self) -> None:
        self._collation = _EXACT[-1]

    async def prepare(self, session: DatabaseSession) -> None:
        """Ask which collation compares by characters, which tells which of the two servers it is, too."""
        names = ", ".join(map(self.literal, _EXACT))
        found = await session.fetch_all(
            f"SELECT collation_name AS name FROM information_schema.collations WHERE collation_name IN ({names})",  # noqa: S608
            into=str,
        )
        self._collation = next(name for name in _EXACT if name in found)
        if self._collation == _OF_MARIADB:
            self.family = "mariadb"  # type: ignore[misc]  # each of the two takes its own words alone
            self.expression_indexes = False
        self.exact_text = f" CHARACTER SET utf8mb4 COLLATE {self._collation}"
        self.table_options = f" ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {self._collation}"

    def quoted(self, name: str) -> str:
        escaped = name.replace("`", "``")
        return f"`{escaped}`"

    def literal(self, text: str) -> str:
        return super().literal(text.replace("\\", "\\\\"))

    # --- types ------------------------------------------------------------------------------------------------------

    async def natives(self, session: DatabaseSession) -> Mapping[tuple[str, str], Any]:
        rows = await session.fetch_all(
            "SELECT table_name AS t, column_name AS c, column_type AS native, collation_name AS collation"
            " FROM information_schema.columns WHERE table_schema = DATABASE()"
        )
        return {(row["t"], row["c"]): (_text(row["native"]), row["collation"]) for row in rows}

    def column_type(self, described: Any, native: str, collation: str | None) -> ColumnType:
        match = _NATIVE.fullmatch(native)
        assert match is not None  # the pattern takes any word
        word, inside, suffix = match[1].lower(), match[2] or "", match[3]
        if word in _INTEGERS:
            if word == "tinyint" and inside == "1":
                return ColumnType(Kind.BOOLEAN, native)
            return ColumnType(Kind.INTEGER, native, bits=_INTEGERS[word], unsigned="unsigned" in suffix)
        if word == "bit":
            return ColumnType(Kind.INTEGER, native, bits=int(inside or 1), unsigned=True)
        if word in ("decimal", "numeric"):
            precision, _, scale = inside.partition(",")
            return ColumnType(Kind.DECIMAL, native, precision=int(precision or 10), scale=int(scale or 0))
        if word in ("varchar", "char", "tinytext", "text", "mediumtext", "longtext"):
            length = int(inside) if inside else None
            insensitive = bool(collation) and "_bin" not in str(collation) and "_cs" not in str(collation)
            charset = "" if collation is None else f" CHARACTER SET {collation.split('_')[0]} COLLATE {collation}"
            return ColumnType(
                Kind.TEXT, native + charset, length=length, fixed=word == "char", insensitive=insensitive
            )  # fmt: skip
        if word in ("binary", "varbinary") or word.endswith("blob"):
            return ColumnType(Kind.BYTES, native, length=int(inside) if inside else None)
        if word in ("datetime", "timestamp", "time"):
            kind = {"timestamp": Kind.INSTANT, "datetime": Kind.MOMENT}.get(word, Kind.TIME)
            return ColumnType(kind, native, precision=int(inside or 0))
        if word == "enum":
            values = tuple(value.replace("''", "'") for value in _VALUE.findall(inside))
            charset = "" if collation is None else f" CHARACTER SET {collation.split('_')[0]} COLLATE {collation}"
            return ColumnType(Kind.ENUM, native + charset, values=values)
        return ColumnType(_KINDS.get(word, Kind.NATIVE), native)

    def storage(self, column: Column, usage: Usage) -> ColumnType:
        given, facts = column.type, usage.facts
        match given.kind:
            case Kind.INTEGER:
                bits = next(bits for bits in (8, 16, 32, 64) if given.bits <= bits)
                unsigned = " unsigned" if given.unsigned else ""
                return ColumnType(Kind.INTEGER, f"{_OF_BITS[bits]}{unsigned}", bits=bits, unsigned=given.unsigned)
            case Kind.DECIMAL:
                precision, scale = given.precision, given.scale or 0
                if precision is None and _fits_decimal(facts):
                    precision, scale = _DECIMAL_DIGITS, _DECIMAL_SCALE
                if precision is None or precision > _DECIMAL_DIGITS or not 0 <= scale <= _DECIMAL_SCALE:
                    return ColumnType(Kind.TEXT, f"longtext{self.exact_text}")
                return ColumnType(Kind.DECIMAL, f"decimal({precision},{scale})", precision=precision, scale=scale)
            case Kind.TEXT | Kind.NATIVE:
                return self._text(given, usage)
            case Kind.BYTES:
                length = _key_length(given.length, usage) if usage.keyed else given.length
                if length is None or length > _VARCHAR_MAX:
                    return ColumnType(Kind.BYTES, "longblob")
                return ColumnType(Kind.BYTES, f"varbinary({length})", length=length)
            case Kind.MOMENT | Kind.INSTANT | Kind.TIME:
                precision = 6 if given.precision is None else given.precision
                word = "time" if given.kind is Kind.TIME else "datetime"
                kind = Kind.TIME if given.kind is Kind.TIME else Kind.MOMENT
                return ColumnType(kind, f"{word}({precision})" if precision else word, precision=precision)
            case Kind.UUID:
                return ColumnType(Kind.TEXT, "char(36) CHARACTER SET ascii COLLATE ascii_bin", length=36)
            case Kind.ENUM:
                values = ",".join(map(self.literal, given.values))
                return ColumnType(Kind.ENUM, f"enum({values}){self.exact_text}", values=given.values)
        return ColumnType(given.kind, _STORED[given.kind])

    def _text(self, given: ColumnType, usage: Usage) -> ColumnType:
        length = _key_length(given.length, usage) if usage.keyed else given.length
        if length is None or length > _VARCHAR_MAX:
            return ColumnType(Kind.TEXT, f"longtext{self.exact_text}")
        word = "char" if given.fixed and length <= 255 else "varchar"
        return ColumnType(Kind.TEXT, f"{word}({length}){self.exact_text}", length=length, fixed=word == "char")

    def fitted(self, columns: Sequence[Column], source: Sequence[Column], keyed: Collection[str]) -> list[Column]:
        found = list(columns)
        sizes = {
            place: (column.type.length or 0) * (_CHARACTER_BYTES if column.type.kind is Kind.TEXT else 1)
            for place, column in enumerate(columns)
            if column.type.kind in (Kind.TEXT, Kind.BYTES)
        }
        while sum(sizes.values()) > _ROW_BYTES_MAX:
            longest = max(
                (place for place in sizes if columns[place].name not in keyed), key=sizes.__getitem__, default=-1
            )
            if not sizes.get(longest):
                break
            sizes[longest] = 0
            unlimited = source[longest].typed(replace(source[longest].type, length=None))
            found[longest] = found[longest].typed(self.storage(unlimited, Usage()))
        return found

    def losses(self, column: Column, stored: ColumnType) -> Iterator[tuple[str, str]]:
        given = column.type
        if given.kind is Kind.INSTANT and stored.kind is Kind.MOMENT:
            yield "a point in time becomes DATETIME in UTC", "the column does not say its zone; write UTC into it"
        if given.kind is Kind.UUID and stored.kind is Kind.TEXT:
            yield "UUIDs become text of 36 characters", "write new ones in lower case"
        if given.kind is Kind.DECIMAL and given.precision is None and stored.kind is Kind.DECIMAL:
            yield f"decimals without a limit become {stored.native}", "longer ones are refused from now on"
        if given.kind is Kind.DECIMAL and stored.kind is Kind.TEXT:
            yield "decimals beyond DECIMAL(65,30) become text", "they sort and compare as text"
        if given.kind in (Kind.TEXT, Kind.BYTES) and given.length is None and stored.length is not None:
            yield f"it is part of a key or index, and becomes {stored.native.split()[0]}", "longer ones are refused"
        if given.kind is Kind.TEXT and given.length is not None and stored.length is None:
            yield f"a limit of {given.length} is not kept: the column is LONGTEXT", "longer texts are taken"
        if given.kind is Kind.BOOLEAN:
            yield "booleans become TINYINT(1)", "the column takes other numbers, too"
        if given.kind is Kind.JSON:
            yield "JSON is rewritten: order of keys, blanks, duplicate keys", "compare values, not texts"
        if given.insensitive and "_bin" in stored.native:
            yield (
                "its collation takes letters of different case or accent for equal, this one does not",
                "comparisons and unique indexes tell them apart; choose a _ci collation",
            )

    # --- reading ----------------------------------------------------------------------------------------------------

    def selected(self, name: str, stored: ColumnType) -> str:
        if stored.kind in _TIMES or stored.kind in (Kind.JSON, Kind.UUID):
            return f"CAST({name} AS CHAR)"
        if stored.kind is Kind.FLOAT32:
            return f"{name} * 1e0"  # as text the server would round it to six digits
        if stored.native.startswith("bit"):
            return f"{name} + 0"
        if stored.kind is Kind.NATIVE and not stored.native.startswith("set"):
            return f"HEX({name})"
        return name

    def pages(self, stored: ColumnType) -> bool:
        return stored.kind not in (Kind.ENUM, Kind.NATIVE)  # which are ordered by numbers, and compared as texts

    def decode(self, stored: ColumnType) -> Convert | None:
        if stored.kind in (*_TIMES, Kind.BOOLEAN, Kind.FLOAT, Kind.FLOAT32, Kind.DECIMAL, Kind.JSON, Kind.UUID):
            return as_kind(stored)
        return int if stored.native.startswith("bit") else None

    # --- writing ----------------------------------------------------------------------------------------------------

    def encode(self, field: Field) -> Convert | None:
        stored, agreed = field.stored, field.agreed
        limits = fit.within(agreed, stored, trusted=field.trusted)
        if field.is_native and stored.kind in _TIMES:
            return None  # of the same server, zero dates and long times included
        match stored.kind:
            case Kind.DECIMAL:
                return fit.chained(fit.finite_decimal, limits)
            case Kind.FLOAT | Kind.FLOAT32:
                return fit.finite
            case Kind.DATE:
                return fit.common_date
            case Kind.TIME:
                return fit.chained(fit.common_time, fit.seconds_of(stored.precision))
            case Kind.MOMENT | Kind.INSTANT:
                return fit.chained(fit.common_moment, fit.seconds_of(stored.precision))
            case Kind.JSON:
                return fit.chained(fit.well_formed, fit.json_of_doubles)
            case Kind.TEXT | Kind.ENUM | Kind.NATIVE:
                return fit.chained(fit.well_formed, limits)
        return limits

    async def insert(
        self, transaction: Statements, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        await transaction.execute(_AS_IT_IS)
        await transaction.bulk_insert(table, columns, rows)

    # --- definitions ------------------------------------------------------------------------------------------------

    def numbers(self, table: Table, column: Column) -> bool:
        return table.key[:1] == (column.name,)  # one column alone, and the first of an index that CREATE TABLE has

    def now_for(self, stored: ColumnType) -> str:
        return f"CURRENT_TIMESTAMP({stored.precision})" if stored.precision else "CURRENT_TIMESTAMP"

    def default_text(self, text: str, stored: ColumnType) -> Translation:
        plain = self.literal(text)
        long = stored.kind is Kind.JSON or stored.native.startswith(("longtext", "longblob"))
        return Translation(f"({plain})" if long else plain, None)

    def inline_comment(self, comment: str | None) -> str:
        return f" COMMENT {self.literal(comment)}" if comment else ""

    def index_part(self, index: Index, column: Column) -> str | None:
        if not column.type.native.startswith(("longtext", "longblob")) and column.type.length is None:
            return None if column.type.kind is Kind.JSON else self.quoted(column.name)
        if column.type.length is not None and column.type.length <= _LENGTHS[-1]:
            return self.quoted(column.name)
        return None if index.unique else f"{self.quoted(column.name)}({_LENGTHS[0]})"


_INTEGERS: Final = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "integer": 32, "bigint": 64}
_OF_BITS: Final = {8: "tinyint", 16: "smallint", 32: "int", 64: "bigint"}
_KINDS: Final = {
    "float": Kind.FLOAT32,
    "double": Kind.FLOAT,
    "date": Kind.DATE,
    "json": Kind.JSON,
    "uuid": Kind.UUID,
    "year": Kind.INTEGER,
}
_STORED: Final = {
    Kind.BOOLEAN: "tinyint(1)",
    Kind.FLOAT: "double",
    Kind.FLOAT32: "float",
    Kind.DATE: "date",
    Kind.JSON: "json",
}


def _fits_decimal(facts: Facts | None) -> bool:
    """Whether all decimals that the survey met fit DECIMAL(65,30)."""
    return (
        facts is not None
        and not facts.distant
        and facts.whole <= _DECIMAL_DIGITS - _DECIMAL_SCALE
        and facts.fraction <= _DECIMAL_SCALE
    )


def _key_length(length: int | None, usage: Usage) -> int | None:
    """The characters of a column that is part of a key: its own, or as many as its values need."""
    if length is not None:
        return length
    needed = 0 if usage.facts is None else usage.facts.length
    return next((each for each in _LENGTHS if needed <= each), None)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
