"""Values on their way to and from BSON.

BSON has its own types for strings, numbers up to 64 bits, binary data, UUIDs, times, decimals of 34 digits, arrays and
documents. What it lacks is stored as on the engines without a native type: dates and times of day as ISO 8601 text,
durations in seconds. Times have milliseconds: what is finer is cut off. A naive time counts as UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

import bson
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, TypeDecoder, TypeRegistry
from bson.json_util import CANONICAL_JSON_OPTIONS, RELAXED_JSON_OPTIONS, JSONOptions, dumps, loads

from sillar.engines.connection import DocumentShape
from sillar.errors import ParameterError
from sillar.query.json import Json

_NATIVE: Final[frozenset[type]] = frozenset(
    {int, float, str, bytes, bool, UUID, list, dict}
    | {Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp}
)


class _DecimalDecoder(TypeDecoder):
    bson_type = Decimal128

    def transform_bson(self, value: Decimal128) -> Decimal:
        return value.to_decimal()


def _decimal(value: Decimal) -> Decimal128:
    try:
        return Decimal128(value)
    except ArithmeticError:
        raise ParameterError(
            "a Decimal does not fit MongoDB's 34 digits and exponents from -6176 to 6111; round it first"
        ) from None


_ENCODERS: Final[dict[type, Callable[[Any], Any]]] = {
    Decimal: _decimal,
    date: date.isoformat,
    time: time.isoformat,
    timedelta: timedelta.total_seconds,
    bytearray: bytes,
    memoryview: bytes,
}


def encode(value: Any) -> Any:
    """What BSON has no form for by itself; the driver asks here for everything it does not know.

    Raises:
        ParameterError: there is no form for it.
    """
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Json):
        return value.value
    if isinstance(value, int):
        raise ParameterError("an integer needs more than the 64 bits that MongoDB has; send it as text or Decimal")
    for known, encoder in _ENCODERS.items():
        if isinstance(value, known):
            return encoder(value)
    raise ParameterError(
        f"MongoDB has no form for a value of type {type(value).__name__}; it takes None, bool, int, float, str, bytes,"
        " Decimal, UUID, datetime, date, time, timedelta, Enum, dict, list, Json(…) and the types of the bson package"
    )


CODEC: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    tz_aware=True,
    tzinfo=UTC,
    uuid_representation=UuidRepresentation.STANDARD,
    type_registry=TypeRegistry([_DecimalDecoder()], fallback_encoder=encode),
)
"""How documents are encoded and decoded: aware UTC times, standard UUIDs, ``Decimal``."""


_READ_BACK: Final = JSONOptions(
    json_mode=CANONICAL_JSON_OPTIONS.json_mode,
    tz_aware=True,
    tzinfo=UTC,
    uuid_representation=UuidRepresentation.STANDARD,
)


def extended_json(value: Any, *, relaxed: bool = False) -> str:
    """A value in MongoDB's Extended JSON, which keeps every type of BSON.

    Source: MongoDB specifications, "Extended JSON" version 2.

    Args:
        value: anything that a document takes.
        relaxed: as people read it; numbers lose their widths.
    """
    plain = bson.decode(bson.encode({"value": value}, codec_options=CODEC))["value"]
    return dumps(plain, json_options=RELAXED_JSON_OPTIONS if relaxed else CANONICAL_JSON_OPTIONS)


def is_stored_alike(one: Any, other: Any) -> bool:
    """Whether two values are the same to the server: to Python, 1, 1.0, True and Decimal(1) are equal."""
    first, second = (bson.encode({"value": each}, codec_options=CODEC) for each in (one, other))
    return first == second


def from_extended_json(text: str) -> Any:
    """What :func:`extended_json` wrote."""
    return loads(text, json_options=_READ_BACK)


def object_id(data: bytes) -> ObjectId:
    """The ``ObjectId`` of 12 bytes."""
    return ObjectId(data)


def document_shape() -> DocumentShape:
    """A shape for documents; one per database, since it keeps the constructors compiled for it."""
    return DocumentShape(_NATIVE, {str: _text})


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, ObjectId) else value
