"""Values on their way to and from PostgreSQL: what asyncpg does not do by itself.

json and jsonb stay text on the wire, so that every consumer of a shared connection can decode for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Final, TypeAlias

from sillar.query.json import Json, decode, encode

_JSON_OIDS: Final = frozenset({114, 3802})
_JSON_ARRAY_OIDS: Final = frozenset({199, 3807})

Converter: TypeAlias = Callable[[Any], Any]


def _json_parameter(value: Any) -> Any:
    if isinstance(value, Json):
        return value.text()
    return encode(value) if isinstance(value, (dict, list)) else value


def _json_list_parameter(value: Any) -> Any:
    return [_json_parameter(item) for item in value] if isinstance(value, list) else value


def _decoded(value: str | None) -> Any:
    return None if value is None else decode(value)


def _decoded_list(value: list[Any] | None) -> Any:
    return None if value is None else [_decoded(item) for item in value]


def _by_type(oids: Sequence[int], scalar: Converter, array: Converter) -> tuple[tuple[int, Converter], ...]:
    return tuple(
        (index, scalar if oid in _JSON_OIDS else array)
        for index, oid in enumerate(oids)
        if oid in _JSON_OIDS or oid in _JSON_ARRAY_OIDS
    )


def _applied(converters: tuple[tuple[int, Converter], ...]) -> Callable[[Sequence[Any]], Sequence[Any]] | None:
    if not converters:
        return None

    def apply(values: Sequence[Any]) -> list[Any]:
        converted = list(values)
        for index, convert in converters:
            if index < len(converted):
                converted[index] = convert(converted[index])
        return converted

    return apply


def parameter_encoder(oids: Sequence[int]) -> Callable[[Sequence[Any]], Sequence[Any]] | None:
    """Encodes json parameters; None where the statement has none."""
    return _applied(_by_type(oids, _json_parameter, _json_list_parameter))


def row_decoder(oids: Sequence[int]) -> Callable[[Sequence[Any]], Sequence[Any]] | None:
    """Decodes json columns; None where the result has none."""
    return _applied(_by_type(oids, _decoded, _decoded_list))


def plain_parameters(args: Sequence[Any]) -> list[Any] | None:
    """The values with enums and :class:`Json` unwrapped, or None if there are none."""
    plain = [
        value.value if isinstance(value, Enum) else value.text() if isinstance(value, Json) else value for value in args
    ]
    return plain if any(new is not old for new, old in zip(plain, args, strict=True)) else None


def literal(text: str) -> str:
    """A string as an SQL literal, for the statements that take no parameters."""
    quoted = text.replace("'", "''")
    if "\\" in quoted:
        escaped = quoted.replace("\\", "\\\\")
        return f" E'{escaped}'"
    return f"'{quoted}'"


def identifier(name: str) -> str:
    """A quoted identifier."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
