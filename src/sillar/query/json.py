"""Marks a parameter as JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from sillar.errors import ParameterError


class Json:
    """A parameter value to be stored as JSON, whatever its Python type.

    ``dict`` and ``list`` parameters are encoded by themselves for json columns; wrap anything else
    (``Json("text")``, ``Json(None)``, ``Json(3)``), and lists where the engine has array columns, too.
    """

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def text(self) -> str:
        """The value as JSON text."""
        return encode(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Json) and other.value == self.value

    def __hash__(self) -> int:
        return hash(self.text())

    def __repr__(self) -> str:
        return "Json(...)"


_encoder = msgspec.json.Encoder(decimal_format="string")
_decoder = msgspec.json.Decoder()


def encode(value: Any) -> str:
    """JSON text of a value; times in ISO 8601, decimals and uuids as strings.

    Raises:
        ParameterError: something in it has no form in JSON.
    """
    try:
        return _encoder.encode(value).decode()
    except (TypeError, ValueError, ArithmeticError, RecursionError, msgspec.MsgspecError) as error:
        raise ParameterError(f"a value cannot be written as JSON ({type(error).__name__})") from None


def decode(text: str | bytes) -> Any:
    """The value of a JSON text."""
    return _decoder.decode(text)
