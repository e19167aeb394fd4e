"""Plans for PostgreSQL: SQLAlchemy's dialect for asyncpg, set up as if it had been connected."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

from sqlalchemy.dialects.postgresql.asyncpg import AsyncpgARRAY, PGCompiler_asyncpg, PGDialect_asyncpg
from sqlalchemy.sql import sqltypes
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BindParameter

from sillar.engines.connection import NATIVE_EVERYWHERE, PlannedShape
from sillar.query.plans import PlanCompiler
from sillar.query.plans.results import DecodeRow
from sillar.query.text import LexicalRules, StatementText

_JSON: Final = frozenset({114, 3802})
_JSON_ARRAYS: Final = frozenset({199, 3807})
_NUMERIC: Final = 1700


class _List(AsyncpgARRAY):
    """The values of an IN, as one parameter."""

    cache_ok = True

    def __init__(self, item_type: Any) -> None:
        super().__init__(item_type, dimensions=1)

    def bind_processor(self, dialect: Any) -> Callable[[Any], list[Any]]:
        item = self.item_type.dialect_impl(dialect).bind_processor(dialect)
        if item is None:
            return lambda values: list(values) if values else []
        return lambda values: [item(value) for value in values] if values else []


class PlanSQLCompiler(PGCompiler_asyncpg):
    """Writes ``IN`` with one parameter, which holds lists of any length: ``x = ANY ($1::INTEGER[])``.

    It means the same: PostgreSQL compares with ``= ANY`` as with ``IN``, NULL and the empty list included (PostgreSQL
    documentation, "Row and Array Comparisons").
    """

    def visit_in_op_binary(self, binary: Any, operator: Any, **options: Any) -> str:
        """``x IN (…)``."""
        if not _is_plain_list(binary.right, self.dialect) or options.get("literal_binds"):
            return str(self._generate_generic_binary(binary, " IN ", **options))
        left, right = self._sides(binary, options)
        return f"{left} = ANY ({right})"

    def visit_not_in_op_binary(self, binary: Any, operator: Any, **options: Any) -> str:
        """``x NOT IN (…)``."""
        if not _is_plain_list(binary.right, self.dialect) or options.get("literal_binds"):
            return str(super().visit_not_in_op_binary(binary, operator, **options))  # type: ignore[no-untyped-call]
        left, right = self._sides(binary, options)
        return f"({left} <> ALL ({right}))"

    def render_bind_cast(self, type_: Any, dbapi_type: Any, sqltext: str) -> str:
        """``$1::INTEGER``, and ``$1::INTEGER[]`` for a list."""
        if isinstance(type_, _List):
            item = type_.item_type
            impl = item._unwrapped_dialect_impl(self.dialect)
            if not impl.render_bind_cast:
                return sqltext  # the server takes the type of the other side
            return f"{self._cast(item, impl, sqltext)}[]"
        return self._cast(type_, dbapi_type, sqltext)

    def _cast(self, kind: Any, impl: Any, sqltext: str) -> str:
        return str(super().render_bind_cast(kind, impl, sqltext))  # type: ignore[no-untyped-call]

    def _sides(self, binary: Any, options: dict[str, Any]) -> tuple[str, str]:
        left = self.process(binary.left, **options)
        values = binary.right._clone(maintain_key=True)
        values.expanding, values.type = False, _List(binary.right.type)
        return left, self.process(values, **options)


def _is_plain_list(right: Any, dialect: Any) -> bool:
    """Whether the values of an IN can be one parameter."""
    if not isinstance(right, BindParameter) or not right.expanding or right.literal_execute:
        return False
    kind = right.type
    impl = kind.dialect_impl(dialect)
    return not (kind._is_tuple_type or kind._isnull or impl._has_bind_expression or isinstance(impl, sqltypes.ARRAY))


class PlanDialect(PGDialect_asyncpg):
    """asyncpg as SQLAlchemy has it, with lists as one parameter."""

    statement_compiler = PlanSQLCompiler
    supports_statement_cache = True


class PostgreSQLPlanCompiler(PlanCompiler):
    """Plans for PostgreSQL.

    Args:
        rules: for the scanner.
        version: of the server as it spells it; None before a probe, then what all versions take.
    """

    parameters_max: ClassVar = 32_767
    native: ClassVar = NATIVE_EVERYWHERE
    decimal_codes: ClassVar = frozenset({_NUMERIC})
    own_types: ClassVar = (_List,)

    def __init__(self, rules: LexicalRules, version: str | None = None) -> None:
        numbers = tuple(int(part) for part in (version or "10").split(".") if part.isdigit())
        dialect: Any = PlanDialect(dbapi=PlanDialect.import_dbapi())  # type: ignore[no-untyped-call]
        dialect.server_version_info = numbers
        dialect._backslash_escapes = False  # standard_conforming_strings, on since 9.1
        dialect._supports_jsonb_subscripting = numbers >= (14,)
        super().__init__(dialect, f"PostgreSQL {version}" if version else "PostgreSQL")
        self._rules = rules
        self._number = 0

    def scan(self, sql: str, count: int) -> StatementText:
        statement = StatementText(sql, self._rules)
        statement.as_it_stands()
        self._number += 1
        statement.key = f"{sql}\0{self._number}"  # its rows are decoded otherwise than those of the same text
        return statement

    def shape(
        self, columns: Sequence[str], native: frozenset[type], decimals: frozenset[str], decode: DecodeRow | None
    ) -> PlannedShape:
        return PlannedShape(columns, native, decimals, decode)

    def driver_decoder(self, code: Any) -> Callable[[Any], Any] | None:
        """json, which SQLAlchemy's own connections decode by codecs; ours leave it as text for each consumer."""
        if code in _JSON:
            return _decoded
        return _decoded_list if code in _JSON_ARRAYS else None

    def refusal(self, compiled: SQLCompiler) -> str | None:
        if compiled.post_compile_params:
            return "IN over values that are no plain parameters"
        return None


def _decoded(value: str | None) -> Any:
    return None if value is None else json.loads(value)


def _decoded_list(value: list[Any] | None) -> Any:
    if value is None:
        return None
    return [_decoded_list(item) if isinstance(item, list) else _decoded(item) for item in value]


__all__ = ["PostgreSQLPlanCompiler"]
