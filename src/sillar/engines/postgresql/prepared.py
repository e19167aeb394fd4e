"""A statement kept prepared on one connection."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sillar.engines.connection import RowShape
from sillar.engines.postgresql import session
from sillar.engines.postgresql.values import parameter_encoder, row_decoder

_NUMERIC: Final = 1700  # oid of numeric, which sum(bigint) and avg(int) give, too
_NATIVE: Final[frozenset[type]] = frozenset(
    {int, float, str, bytes, bool, Decimal, UUID, datetime, date, time, timedelta, list, dict}
)


class PreparedStatement:
    """A statement kept prepared on one connection, with what its types need."""

    __slots__ = ("decode", "encode", "raw", "shape", "state")

    def __init__(self, raw: Any, results: Any = None) -> None:
        self.raw = raw
        self.state = session.state(raw)
        attributes = raw.get_attributes()
        self.shape: RowShape
        if results is not None:  # a plan: SQLAlchemy's processors make the values
            shape = results.described(tuple([(attribute.name, attribute.type.oid) for attribute in attributes]))
            self.shape, self.decode, self.encode = shape, shape.decode, None
            return
        decimals = frozenset(attribute.name for attribute in attributes if attribute.type.oid == _NUMERIC)
        self.shape = RowShape([attribute.name for attribute in attributes], _NATIVE, decimals)
        self.decode = row_decoder([attribute.type.oid for attribute in attributes])
        self.encode = parameter_encoder([parameter.oid for parameter in raw.get_parameters()])
