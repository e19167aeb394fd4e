"""Whether a value fits where it is going: the checks that several engines share.

Each check takes a value in the form of its kind and returns it, or raises :class:`UnfitError`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import reduce
from typing import Any, Final

from sillar.migrations.copying.model import ColumnType, Kind
from sillar.migrations.copying.values import (
    Convert,
    UnfitError,
    decimal,
    parsed_json,
    plain_date,
    plain_moment,
    plain_time,
)

_LONG_NUMBER: Final = re.compile(r"[\d.]{16,}|\d[eE]")
_DOUBTFUL: Final = re.compile(
    r"\\u0000|\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F]", re.DOTALL
)
"""The escape of a NUL character, or of half a surrogate pair without the other."""
_NUL: Final = "correct the value in the source, or map the column to bytes there"


def chained(*steps: Convert | None) -> Convert | None:
    """The steps one after the other; None where there is none."""
    left = [step for step in steps if step is not None]
    if not left:
        return None
    if len(left) == 1:
        return left[0]
    first, second, *rest = left
    if not rest:
        return lambda value: second(first(value))
    return lambda value: reduce(lambda found, step: step(found), left, value)


def within(agreed: ColumnType, stored: ColumnType, *, trusted: bool) -> Convert | None:
    """The check against the length, range and digits of a column; None where the source's column is as narrow.

    Args:
        agreed: what the values are.
        stored: the column that takes them.
        trusted: the source has enforced its own type.
    """
    if stored.kind in (Kind.TEXT, Kind.BYTES) and stored.length is not None:
        if trusted and agreed.length is not None and agreed.length <= stored.length:
            return None
        return _length(stored.length)
    if stored.kind is Kind.INTEGER:
        if trusted and agreed.kind is Kind.INTEGER and _range(stored)[0] <= _range(agreed)[0] and (
            _range(agreed)[1] <= _range(stored)[1]
        ):  # fmt: skip
            return None
        return _in_range(*_range(stored))
    if stored.kind is Kind.DECIMAL and stored.precision is not None:
        same = agreed.kind is Kind.DECIMAL and (agreed.precision, agreed.scale) == (stored.precision, stored.scale)
        return None if trusted and same else _digits(stored.precision, stored.scale or 0)
    if stored.kind is Kind.ENUM and stored.values:
        return _one_of(stored)  # always: MySQL's own columns may have the empty text of a value that was refused once
    return None


def _range(kind: ColumnType) -> tuple[int, int]:
    return (0, 2**kind.bits - 1) if kind.unsigned else (-(2 ** (kind.bits - 1)), 2 ** (kind.bits - 1) - 1)


def _length(limit: int) -> Convert:
    def check(value: Any) -> Any:
        if len(value) > limit:
            raise UnfitError(f"is longer than the {limit} characters or bytes of its column", "widen the column")
        return value

    return check


def _in_range(low: int, high: int) -> Convert:
    def check(value: Any) -> Any:
        if not low <= value <= high:
            raise UnfitError("is beyond the range of its column", "widen the column in the target")
        return value

    return check


def _digits(precision: int, scale: int) -> Convert:
    whole = precision - scale

    def check(value: Decimal) -> Decimal:
        if not value.is_finite():
            return value
        exponent = value.as_tuple().exponent
        if isinstance(exponent, int) and exponent < -scale and value != round(value, scale):
            raise UnfitError(f"has more than the {scale} digits after the point of its column", "widen the column")
        if value and value.adjusted() >= whole:
            raise UnfitError(f"has more than the {whole} digits before the point of its column", "widen the column")
        return value

    return check


def _one_of(stored: ColumnType) -> Convert:
    known = frozenset(stored.values)

    def check(value: str) -> str:
        if value not in known:
            raise UnfitError("is none of the values of its column", "add it to the enum of the target")
        return value

    return check


# --- what an engine has no value for ----------------------------------------------------------------------------------


def without_nul(value: str) -> str:
    """No NUL character, and no lone surrogate."""
    if "\0" in value:
        raise UnfitError("has a NUL character, which this engine's text cannot hold", _NUL)
    return well_formed(value)


def json_without_nul(value: str) -> str:
    """No NUL and no lone surrogate in a JSON text, escaped ones included."""
    if has_doubtful_escape(value):
        for inner in _strings(parsed_json(value)):
            without_nul(inner)
    return without_nul(value)


def has_doubtful_escape(value: str) -> bool:
    """Whether texts in a JSON text may have a NUL character or a lone surrogate by an escape."""
    return "\\u" in value and ("\\\\" in value or _DOUBTFUL.search(value) is not None)


def valid_json(value: str) -> str:
    """JSON."""
    parsed_json(value)
    return value


def json_of_doubles(value: str) -> str:
    """No number in a JSON text that is neither an integer of 64 bits nor exactly a double's shortest form."""
    if _LONG_NUMBER.search(value):
        try:
            _parse_doubles(value)
        except UnfitError:
            raise UnfitError(
                "has a number in its JSON that this engine's JSON, which keeps doubles, would round",
                "store that number as text in the source",
            ) from None
        except (ValueError, RecursionError):
            parsed_json(value)  # says what is wrong
    return value


def _double(text: str) -> float:
    number = float(text)
    if repr(number) != text and (number - number != 0 or Decimal(repr(number)) != decimal(text)):
        raise UnfitError("would be rounded", "")
    return number


def _integer(text: str) -> int:
    number = int(text)
    if not -(2**63) <= number < 2**64:
        try:
            exact = Decimal(repr(float(number))) == number
        except OverflowError:
            exact = False
        if not exact:
            raise UnfitError("would be rounded", "")
    return number


_parse_doubles: Final = json.JSONDecoder(parse_float=_double, parse_int=_integer).decode


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def well_formed(value: str) -> str:
    """No lone surrogate."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UnfitError("is text with lone surrogates, which is no Unicode", "correct it in the source") from None
    return value


def finite(value: Any) -> Any:
    """No NaN and no infinity, of floats."""
    if value - value != 0:
        raise UnfitError("is NaN or infinite, which this engine has no value for", "store NULL in the source")
    return value


def not_nan(value: Any) -> Any:
    """No NaN."""
    if value != value:
        raise UnfitError("is NaN, which this engine has no value for", "store NULL in the source")
    return value


def finite_decimal(value: Decimal) -> Decimal:
    """No NaN and no infinity, of decimals."""
    if not value.is_finite():
        raise UnfitError("is NaN or infinite, which this engine has no value for", "store NULL in the source")
    return value


def _checked(is_fit: Callable[[str], bool], what: str) -> Convert:
    def check(value: str) -> str:
        if not is_fit(value):
            raise UnfitError(what, "correct it in the source, or copy to an engine that has it")
        return value

    return check


common_date: Final = _checked(plain_date, "is infinite, zero, or beyond the years 1 to 9999")
common_moment: Final = _checked(plain_moment, "is infinite, zero, or beyond the years 1 to 9999")
common_time: Final = _checked(plain_time, "is no time of day below 24:00, as a negative or long duration")
"""Dates and times that every engine has."""


def seconds_of(precision: int | None) -> Convert | None:
    """No more digits of the second than a column has; None: it has six, which all have."""
    if precision is None or precision >= 6:
        return None

    def check(value: str) -> str:
        if len(value.partition(".")[2]) > precision:
            raise UnfitError(f"has more than {precision} digits after the second", "widen the column in the target")
        return value

    return check
