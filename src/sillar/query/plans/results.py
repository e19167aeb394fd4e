"""From the driver's rows to the values that SQLAlchemy would give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from sqlalchemy.engine import Dialect
from sqlalchemy.sql import sqltypes
from sqlalchemy.types import TypeEngine

from sillar.errors import ResultError

DecodeRow: TypeAlias = Callable[[Any], tuple[Any, ...]]
Processor: TypeAlias = Callable[[Any], Any]
_KEPT_MAX: Final = 8
"""Descriptions of one plan's result: there are several only where tables change under it."""
_EVERYWHERE: Final[frozenset[type]] = frozenset({int, float, str, bytes})
_NUMERIC: Final[Any] = getattr(sqltypes, "NumericCommon", sqltypes.Numeric)


class ResultColumn(NamedTuple):
    """A column that a compiled statement expects in its result."""

    name: str
    type: TypeEngine[Any]


class MakeShape(Protocol):
    """Makes an engine's row shape."""

    def __call__(
        self, columns: Sequence[str], native: frozenset[type], decimals: frozenset[str], decode: DecodeRow | None
    ) -> Any: ...


class PlannedRows:
    """What becomes of the rows of one plan.

    The columns are matched with those of the driver as SQLAlchemy does it (``CursorResultMetaData``): by position, or
    by name where the statement has textual columns.

    Args:
        columns: what the compiled statement expects; empty for plain text.
        by_position: whether they stand in the order of the result.
        names_from_driver: whether the result is named as the driver says (textual statements).
        dialect: of the processors.
        make_shape: makes the shapes.
        driver_decoder: for a type code of the driver, what SQLAlchemy's own connections decode below the processors.
        native: Python types that the engine gives for columns of no known type.
        decimal_codes: type codes of the driver whose values are ``Decimal``.
    """

    __slots__ = ("_by_position", "_columns", "_decimal_codes", "_dialect", "_driver_decoder", "_make_shape",
                 "_names_from_driver", "_native", "_shapes", "prepared", "shape")  # fmt: skip

    def __init__(
        self,
        columns: Sequence[ResultColumn],
        *,
        by_position: bool,
        names_from_driver: bool,
        dialect: Dialect,
        make_shape: MakeShape,
        driver_decoder: Callable[[Any], Callable[[Any], Any] | None],
        native: frozenset[type],
        decimal_codes: frozenset[Any],
    ) -> None:
        self._columns = tuple(columns)
        self._by_position, self._names_from_driver = by_position, names_from_driver
        self._dialect = dialect
        self._make_shape = make_shape
        self._driver_decoder = driver_decoder
        self._native, self._decimal_codes = native, decimal_codes
        self._shapes: dict[tuple[tuple[str, Any], ...], Any] = {}
        self.prepared = True
        """Whether it may be prepared on the server, where an engine has a choice."""
        self.shape: Any = None
        """The shape of the last result, None before the first."""

    def described(self, description: tuple[tuple[str, Any], ...]) -> Any:
        """The shape for a result as the driver describes it: names and type codes in order."""
        shape = self._shapes.get(description)
        if shape is None:
            if len(self._shapes) >= _KEPT_MAX:
                self._shapes.clear()
            shape = self._shapes[description] = self._shape(description)
        self.shape = shape
        return shape

    def _shape(self, description: tuple[tuple[str, Any], ...]) -> Any:
        columns = self._matched(description)
        pairs = [(column, code) for column, (_, code) in zip(columns, description, strict=True)]
        decode = row_decoder(columns, [self._processors(column.type, code) for column, code in pairs])
        known = all(not column.type._isnull for column in columns)
        native = _EVERYWHERE.union(*(_given(column.type) for column in columns)) if known else self._native
        decimals = frozenset(
            column.name for column, code in pairs if _gives_decimals(column.type, code in self._decimal_codes)
        )
        return self._make_shape([column.name for column in columns], native, decimals, decode)

    def _matched(self, description: tuple[tuple[str, Any], ...]) -> list[ResultColumn]:
        expected = self._columns
        if self._by_position and not self._names_from_driver and len(expected) == len(description):
            return list(expected)
        if self._names_from_driver and self._by_position:
            types = [column.type for column in expected]
            types += [sqltypes.NULLTYPE] * (len(description) - len(types))
            return [ResultColumn(name, kind) for (name, _), kind in zip(description, types, strict=False)]
        by_name: dict[str, TypeEngine[Any]] = {}
        for column in expected:
            by_name.setdefault(column.name, column.type)
        return [ResultColumn(name, by_name.get(name, sqltypes.NULLTYPE)) for name, _ in description]

    def _processors(self, kind: TypeEngine[Any], code: Any) -> list[Processor]:
        process = kind._cached_result_processor(self._dialect, code)
        return [each for each in (self._driver_decoder(code), process) if each is not None]


def _given(kind: TypeEngine[Any]) -> set[type]:
    """The Python types that SQLAlchemy's processors give for a column: a field of another one is converted."""
    if isinstance(kind, sqltypes.JSON):
        return {dict, list}
    try:
        return {kind.python_type}
    except NotImplementedError:
        return set()


def row_decoder(columns: Sequence[ResultColumn], processors: Sequence[Sequence[Processor]]) -> DecodeRow | None:
    """One function for a whole row; None where no column has anything to be done."""
    if not any(processors):
        return None
    names: dict[str, Any] = {"misfit": lambda row: _misfit(row, columns, processors)}
    parts = []
    for index, functions in enumerate(processors):
        part = f"row[{index}]"
        for number, function in enumerate(functions):
            names[f"f{index}_{number}"] = function
            part = f"f{index}_{number}({part})"
        parts.append(part)
    source = f"""
def decode(row):
    try:
        return ({", ".join(parts)},)
    except Exception:
        found = misfit(row)
        if found is None:
            raise
        raise found from None
"""
    exec(source, names)  # noqa: S102 - nothing of it from outside
    decode: DecodeRow = names["decode"]
    return decode


def _misfit(row: Any, columns: Sequence[ResultColumn], processors: Sequence[Sequence[Processor]]) -> ResultError | None:
    """Which value its type does not take, without the value itself."""
    for column, functions, value in zip(columns, processors, row, strict=True):
        try:
            for function in functions:
                value = function(value)
        except Exception as error:
            return ResultError(
                f"a value of the column {column.name} cannot be made into what {column.type!r} says"
                f" ({type(error).__name__})"
            )
    return None


def _gives_decimals(kind: TypeEngine[Any], decimal_code: bool) -> bool:
    if kind._isnull:
        return decimal_code
    return isinstance(kind, _NUMERIC) and bool(kind.asdecimal)
