"""Where a connection's handshake ends, seen from the bytes that pass by."""

from __future__ import annotations

import enum

_READY = b"Z\x00\x00\x00\x05I"
_POSTGRESQL_CODES = {0x0003_0000, 0x0003_0002, 80877102, 80877103, 80877104}  # versions 3, cancel, TLS, GSSAPI
_TLS_REQUEST_BYTES = 32


class Direction(enum.Enum):
    """Which way bytes travel through the proxy."""

    TO_SERVER = "to_server"
    TO_CLIENT = "to_client"


class Handshake:
    """Follows the first bytes of one connection.

    It is over, by protocol:

    - PostgreSQL: with the first ``ReadyForQuery`` of the server (a cancel request: when the connection closes);
    - MySQL and MariaDB: with the OK packet that ends the login;
    - either of them with TLS: when encryption begins, because what follows cannot be read;
    - anything else: with the first bytes of the server.

    Sources: PostgreSQL 55.2, "Message Flow"; MySQL internals, "Connection Phase".
    """

    def __init__(self) -> None:
        self.is_over = False
        self._first: Direction | None = None
        self._is_postgresql = self._is_answered = False
        self._buffer = bytearray()

    def saw(self, direction: Direction, data: bytes) -> None:
        """Take note of bytes that came in from one side."""
        if self.is_over or not data:
            return
        if self._first is None:
            self._first = direction
            self._is_postgresql = direction is Direction.TO_SERVER and _is_postgresql(data)
        if self._first is Direction.TO_CLIENT:
            # MySQL's server speaks first; a client that wants TLS answers with a short packet of fixed size.
            if direction is Direction.TO_SERVER:
                self.is_over = not self._is_answered and int.from_bytes(data[:3], "little") == _TLS_REQUEST_BYTES
                self._is_answered = True
            else:
                self._saw_packets(data)
        elif direction is Direction.TO_CLIENT:
            if self._is_postgresql:
                self._saw_messages(data)
            else:
                self.is_over = True

    def _saw_messages(self, data: bytes) -> None:
        if not self._buffer and data in (b"S", b"G"):
            self.is_over = True
            return
        self._buffer += data
        self.is_over = _READY in self._buffer
        # The last bytes may be the beginning of it.
        del self._buffer[: -len(_READY)]

    def _saw_packets(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 5:
            end = 4 + int.from_bytes(self._buffer[:3], "little")
            if len(self._buffer) < end:
                return
            number, kind = self._buffer[3], self._buffer[4]
            if number > 0 and kind == 0:
                self.is_over = True
                return
            del self._buffer[:end]


def _is_postgresql(data: bytes) -> bool:
    """Whether a client's first bytes are a start-up message or one of the requests in its place."""
    return len(data) >= 8 and int.from_bytes(data[4:8], "big") in _POSTGRESQL_CODES
