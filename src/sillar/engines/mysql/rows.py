"""Many rows in one INSERT."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from sillar.errors import ParameterError

_CHUNK_BYTES: Final = 1 << 20
_PACKET_RESERVE_BYTES: Final = 1024
_INSERT: Final = re.compile(
    r"(\s*(?:INSERT|REPLACE)\b[^;]*?\bVALUES?\s*)(\(\s*%s(?:\s*,\s*%s)*\s*\))(\s*(?:ON\s+DUPLICATE\s+KEY\s+UPDATE\b[^%;]*)?);?\s*\Z",
    re.IGNORECASE,
)


def multi_row_insert(sql: str) -> tuple[str, str, str] | None:
    """What stands before, in and after the VALUES of an INSERT that can take many rows; None for any other statement.

    Only the plainest form counts: every value a placeholder, and no other placeholder or per cent sign around.
    """
    match = _INSERT.fullmatch(sql)
    if match is None or "%" in match[1]:
        return None
    return match[1], match[2], match[3]


def insert_chunks(
    raw: Any, prefix: str, values: str, suffix: str, rows: Iterable[Sequence[Any]], packet_max: int
) -> Iterator[str]:
    """INSERT statements of about a MiB each, and never beyond what the server takes in one packet.

    Args:
        raw: the driver's connection, which escapes.
        prefix: up to VALUES.
        values: the placeholders of one row in parentheses.
        suffix: what follows the rows.
        rows: encoded values.
        packet_max: the server's ``max_allowed_packet`` in bytes.

    Raises:
        ParameterError: one row alone is too long.
    """
    limit = packet_max - _PACKET_RESERVE_BYTES - len(prefix.encode()) - len(suffix.encode())
    target = min(_CHUNK_BYTES, limit)
    parts: list[str] = []
    length = 0
    literal = raw.literal
    for number, row in enumerate(rows, 1):
        part = values % tuple([str(value) if type(value) is int else literal(value) for value in row])
        size = len(part) if part.isascii() else len(part.encode("utf-8", "surrogateescape"))
        if size > limit:
            raise ParameterError(
                f"row {number} takes {size} bytes, and the server accepts {limit}; raise its max_allowed_packet"
            )
        if parts and length + size + 1 > target:
            yield f"{prefix}{','.join(parts)}{suffix}"
            parts, length = [], 0
        parts.append(part)
        length += size + 1
    if parts:
        yield f"{prefix}{','.join(parts)}{suffix}"
