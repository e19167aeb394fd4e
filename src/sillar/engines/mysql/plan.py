"""Plans for MySQL and MariaDB: SQLAlchemy's dialect for asyncmy, set up as if it had been connected to this server."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, ClassVar, Final
from uuid import UUID

from sqlalchemy.dialects.mysql.asyncmy import MySQLDialect_asyncmy
from sqlalchemy.schema import Column
from sqlalchemy.sql import operators, sqltypes
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BindParameter, UnaryExpression

from sillar.engines.connection import NATIVE_EVERYWHERE, PlannedShape
from sillar.engines.mysql.values import DECIMALS, encode_parameters
from sillar.errors import ParameterError
from sillar.query.plans import PlanCompiler, PlannedRows
from sillar.query.plans.results import DecodeRow
from sillar.query.text import LexicalRules, StatementText

_SCALARS: Final = frozenset(
    {type(None), bool, int, float, str, bytes, bytearray, memoryview, Decimal, datetime, date, time, timedelta} | {UUID}
)
_COMPARISONS: Final = frozenset(
    {operators.eq, operators.ne, operators.lt, operators.le, operators.gt, operators.ge, operators.like_op}
)
_DIRECTIONS: Final = frozenset({operators.asc_op, operators.desc_op})
_SAME_IN_BINARY: Final = (
    sqltypes.Integer,
    sqltypes.String,
    sqltypes.LargeBinary,
    sqltypes.Boolean,
    sqltypes.Numeric,
)
"""Columns of these types have the same values in both protocols; FLOAT is rounded in the text, and what is no date
comes as text there and as nothing in the other."""


_Compiler: Any = MySQLDialect_asyncmy.statement_compiler


class PlanSQLCompiler(_Compiler):  # type: ignore[misc]  # another class from one version of SQLAlchemy to the next
    """Notes which parameters stand directly beside a column, or give a limit."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.plain_binds: set[BindParameter[Any]] = set()
        super().__init__(*args, **kwargs)

    def visit_binary(self, binary: Any, *args: Any, **kwargs: Any) -> str:
        """``column = :value``, and everything else."""
        if binary.operator in _COMPARISONS and isinstance(binary.left, Column):
            self._note(binary.right)
        return str(super().visit_binary(binary, *args, **kwargs))

    def limit_clause(self, select: Any, **kwargs: Any) -> str:
        """``LIMIT :offset, :limit``."""
        self._note(select._limit_clause)
        self._note(select._offset_clause)
        return str(super().limit_clause(select, **kwargs))

    def visit_nulls_first_op_unary_modifier(self, element: Any, operator: Any, **kwargs: Any) -> str:
        """``ORDER BY column NULLS FIRST``, which neither has: by whether there is a value, then by the value."""
        return self._placed(element.element, "IS NOT NULL", **kwargs)

    def visit_nulls_last_op_unary_modifier(self, element: Any, operator: Any, **kwargs: Any) -> str:
        """``ORDER BY column NULLS LAST``."""
        return self._placed(element.element, "IS NULL", **kwargs)

    def _placed(self, key: Any, test: str, **kwargs: Any) -> str:
        value = key
        while isinstance(value, UnaryExpression) and value.modifier in _DIRECTIONS:
            value = value.element
        return f"{self.process(value.self_group(), **kwargs)} {test}, {self.process(key, **kwargs)}"

    def _note(self, element: Any) -> None:
        if isinstance(element, BindParameter) and not element.expanding:
            self.plain_binds.add(element)


class PlanDialect(MySQLDialect_asyncmy):
    """asyncmy as SQLAlchemy has it."""

    statement_compiler = PlanSQLCompiler
    supports_statement_cache = True


def dialect_for(version: str | None, *, is_mariadb: bool) -> Any:
    """The dialect as ``initialize`` of SQLAlchemy would leave it after it has looked at the server.

    Args:
        version: of the server; None: what all versions take.
        is_mariadb: which of the two it is.
    """
    dialect: Any = PlanDialect(dbapi=PlanDialect.import_dbapi())
    numbers = tuple(int(part) for part in (version or "5.7").split(".") if part.isdigit())
    dialect.server_version_info = numbers
    if is_mariadb:
        dialect._set_mariadb(True, numbers)
        dialect.supports_sequences = numbers >= (10, 3)
        dialect.delete_returning = numbers >= (10, 0, 5)
        dialect.insert_returning = numbers >= (10, 5)
        dialect.supports_native_uuid = numbers >= (10, 7)
        dialect._allows_uuid_binds = True
        _say(dialect, "_support_float_cast", numbers >= (10, 4, 5))
    else:
        dialect.supports_for_update_of = numbers >= (8,)
        dialect.use_mysql_for_share = numbers >= (8, 0, 1)
        dialect._requires_alias_for_on_duplicate_key = numbers >= (8, 0, 20)
        _say(dialect, "_support_default_function", numbers >= (8, 0, 13))
        _say(dialect, "_support_float_cast", numbers >= (8, 0, 17))
    return dialect


def _say(dialect: Any, name: str, value: bool) -> None:
    """Set what SQLAlchemy 2.1 keeps; 2.0 works it out from the version by itself."""
    if not isinstance(getattr(type(dialect), name, None), property):
        setattr(dialect, name, value)


class MySQLPlanCompiler(PlanCompiler):
    """Plans for MySQL and MariaDB.

    Most go as text with their values as literals, as SQLAlchemy sends them. Those for which it makes no difference are
    prepared on the server, which is faster: all columns are plain ones of a table with the same values in both
    protocols, and all parameters stand directly beside a column.

    Args:
        rules: for the scanner.
        version: of the server; None before a probe, then what all versions take.
        is_mariadb: which of the two it is.
    """

    parameters_max: ClassVar = 65_535
    native: ClassVar = NATIVE_EVERYWHERE
    decimal_codes: ClassVar = DECIMALS

    def __init__(self, rules: LexicalRules, version: str | None = None, *, is_mariadb: bool = False) -> None:
        name = "MariaDB" if is_mariadb else "MySQL"
        super().__init__(dialect_for(version, is_mariadb=is_mariadb), f"{name} {version}" if version else name)
        self._rules = rules
        self._number = 0

    def scan(self, sql: str, count: int) -> StatementText:
        if not count:
            sql = sql.replace("%%", "%")  # without values nothing is replaced
        statement = StatementText(sql, self._rules)
        statement.as_it_stands()
        self._number += 1
        statement.key = f"{sql}\0{self._number}"
        return statement

    def shape(
        self, columns: Sequence[str], native: frozenset[type], decimals: frozenset[str], decode: DecodeRow | None
    ) -> PlannedShape:
        return PlannedShape(columns, native, decimals, decode)

    def checked(self, args: Sequence[Any]) -> tuple[Any, ...]:
        for number, value in enumerate(args, 1):
            if type(value) not in _SCALARS:
                raise ParameterError(f"parameter {number} is a {type(value).__name__}, which no column takes")
            if type(value) is datetime and value.tzinfo is not None:  # SQLAlchemy sends the digits as they are
                args = [each.replace(tzinfo=None) if type(each) is datetime else each for each in args]
        return encode_parameters(args)

    def results(self, compiled: SQLCompiler) -> PlannedRows:
        results = super().results(compiled)
        results.prepared = not compiled.post_compile_params and _is_same_in_binary(compiled)
        return results


def _is_same_in_binary(compiled: Any) -> bool:
    for bind in compiled.bind_names:
        if bind not in compiled.plain_binds and not getattr(bind, "_is_crud", False):
            return False
    for entry in compiled._result_columns or ():
        if not entry.objects or not isinstance(entry.objects[0], Column):
            return False
        kind = entry.type
        if not isinstance(kind, _SAME_IN_BINARY) or isinstance(kind, (sqltypes.Float, sqltypes.Enum)):
            return False
        if not type(kind).__module__.startswith("sqlalchemy.sql."):
            return False
    return bool(compiled._result_columns) or compiled.isinsert or compiled.isupdate or compiled.isdelete
