"""BSON values as text and back: canonical MongoDB Extended JSON, version 2.

Source: MongoDB specifications, "Extended JSON", canonical mode: every type of BSON has a form of its own there.
"""

from __future__ import annotations

from typing import Any

import bson
from bson.errors import BSONError
from bson.json_util import CANONICAL_JSON_OPTIONS, RELAXED_JSON_OPTIONS, JSONOptions, dumps, loads

from sillar.engines.mongodb.values import CODEC


def to_text(value: Any, *, relaxed: bool = False) -> str:
    """A value that the engine has read, or takes, as text.

    Args:
        value: anything that a document can hold.
        relaxed: numbers as numbers of JSON, where the type is not to be kept.
    """
    plain = bson.decode(bson.encode({"value": value}, codec_options=CODEC))["value"]
    return dumps(plain, json_options=RELAXED_JSON_OPTIONS if relaxed else CANONICAL_JSON_OPTIONS)


def from_text(text: str) -> Any:
    """From :func:`to_text`.

    Raises:
        ValueError: it is no extended JSON.
    """
    try:
        return loads(text, json_options=_READ)
    except (BSONError, TypeError, KeyError) as error:
        raise ValueError(f"this is no extended JSON ({type(error).__name__})") from None


_READ = JSONOptions(tz_aware=True, uuid_representation=CODEC.uuid_representation)
