"""Messages of the MongoDB wire protocol: OP_MSG, and OP_QUERY as far as an old-style ``hello`` needs it.

Source: the MongoDB manual, "MongoDB Wire Protocol".
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument

MESSAGE_BYTES_MAX = 48_000_000
_OP_REPLY, _OP_QUERY, _OP_MSG = 1, 2004, 2013
_CHECKSUM_PRESENT, _MORE_TO_COME = 1, 2
_REQUIRED_FLAGS = 0xFFFF
_HEADER = struct.Struct("<iiii")


class ProtocolError(Exception):
    """The peer sent something that is not a message this gateway understands; the connection is closed."""


@dataclass(frozen=True, slots=True)
class Request:
    """One command as it came in.

    Attributes:
        command: its fields in order; the values of documents stay raw BSON.
        documents: the BSON documents of a document sequence section, one behind the other.
        sequence: the field whose place the document sequence takes, such as ``documents``.
        more_to_come: the client expects no reply.
    """

    request_id: int
    opcode: int
    command: dict[str, Any]
    documents: bytes | None = None
    sequence: str | None = None
    more_to_come: bool = False


async def read_request(reader: asyncio.StreamReader) -> Request:
    """Read one message. Raises ``IncompleteReadError`` at the end of the stream, ``ProtocolError`` for nonsense."""
    length, request_id, _, opcode = _HEADER.unpack(await reader.readexactly(_HEADER.size))
    if not _HEADER.size < length <= MESSAGE_BYTES_MAX:
        raise ProtocolError(f"a message of {length} bytes; {MESSAGE_BYTES_MAX} are the limit")
    body = await reader.readexactly(length - _HEADER.size)
    try:
        if opcode == _OP_MSG:
            return _message(request_id, body)
        if opcode == _OP_QUERY:
            return _query(request_id, body)
    except (struct.error, ValueError, IndexError, bson.errors.InvalidBSON) as error:
        raise ProtocolError(f"a malformed message with opcode {opcode}: {error}") from error
    raise ProtocolError(f"opcode {opcode} is not supported")


def encode_reply(request: Request, reply_id: int, document: bytes) -> bytes:
    """The bytes of the reply to ``request`` that carries one BSON document."""
    if request.opcode == _OP_QUERY:
        head = _HEADER.pack(36 + len(document), reply_id, request.request_id, _OP_REPLY)
        return head + struct.pack("<iqii", 8, 0, 0, 1) + document
    head = _HEADER.pack(21 + len(document), reply_id, request.request_id, _OP_MSG)
    return head + b"\0\0\0\0\0" + document


def split_documents(sequence: bytes) -> list[RawBSONDocument]:
    """The documents of a document sequence."""
    documents, offset = [], 0
    while offset < len(sequence):
        (size,) = struct.unpack_from("<i", sequence, offset)
        documents.append(RawBSONDocument(sequence[offset : offset + size]))
        offset += size
    return documents


def _message(request_id: int, body: bytes) -> Request:
    (flags,) = struct.unpack_from("<I", body)
    if flags & _REQUIRED_FLAGS & ~(_CHECKSUM_PRESENT | _MORE_TO_COME):
        raise ProtocolError(f"unknown required flags {flags:#x}")
    command: dict[str, Any] | None = None
    documents, sequence, offset = None, None, 4
    end = len(body) - (4 if flags & _CHECKSUM_PRESENT else 0)
    while offset < end:
        kind = body[offset]
        (size,) = struct.unpack_from("<i", body, offset + 1)
        section = body[offset + 1 : offset + 1 + size]
        if kind == 0:
            command = dict(RawBSONDocument(section))
        elif kind == 1:
            name_end = section.index(b"\0", 4)
            sequence, documents = section[4:name_end].decode(), section[name_end + 1 :]
        else:
            raise ProtocolError(f"unknown section kind {kind}")
        offset += 1 + size
    if not command:
        raise ProtocolError("a message without a command")
    return Request(request_id, _OP_MSG, command, documents, sequence, bool(flags & _MORE_TO_COME))


def _query(request_id: int, body: bytes) -> Request:
    name_end = body.index(b"\0", 4)
    command = dict(RawBSONDocument(body[name_end + 9 :]))
    return Request(request_id, _OP_QUERY, {**command, "$db": body[4:name_end].decode().partition(".")[0]})
