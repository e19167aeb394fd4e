"""The process that analyses files: reads jobs from standard input, writes answers to standard output.

Started by :mod:`codeatlas.workers` as ``python -m codeatlas.worker``. Each message is a length (4 bytes, big endian)
and a MessagePack body. The process ends when its input does, so none is left behind when the parent dies.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
from pathlib import Path
from typing import BinaryIO

import msgspec

from codeatlas.analysis import (
    MESSAGE_LENGTH_MAX,
    Failure,
    FileAnalysis,
    analyse,
    failed_analysis,
    sha256_hex,
    storable,
)

LENGTH = struct.Struct(">I")


class Job(msgspec.Struct, frozen=True):
    """A file to look at.

    Attributes:
        number: given back with the answer.
        path, location: as in :class:`codeatlas.discovery.SourceFile`.
        sha256: the hash of the version that is analysed already; empty if there is none.
    """

    number: int
    path: str
    location: bytes
    sha256: str


class Same(msgspec.Struct, frozen=True, tag="same"):
    """The file has the content that is analysed already; only its time differs."""


class Answer(msgspec.Struct, frozen=True):
    """What became of a job."""

    number: int
    result: FileAnalysis | Same


def unread_analysis(path: str, reason: str) -> FileAnalysis:
    """For a file that could not be looked at. Without a hash, so that the next run tries again."""
    return failed_analysis(path, b"", Failure(0, reason), sha256="")


def answer(job: Job) -> Answer:
    """Do one job. An error that is the analyser's own fault is recorded with the file, too: one file never stops a
    run."""
    try:
        source = Path(os.fsdecode(job.location)).read_bytes()
    except OSError as error:
        return Answer(job.number, unread_analysis(job.path, f"cannot be read: {error.strerror}"))
    if job.sha256 and sha256_hex(source) == job.sha256:
        return Answer(job.number, Same())
    try:
        return Answer(job.number, analyse(job.path, source))
    except Exception as error:
        message = storable(f"the analyser failed: {type(error).__name__}: {error}", MESSAGE_LENGTH_MAX)
        return Answer(job.number, failed_analysis(job.path, source, Failure(0, message)))


def serve(jobs: BinaryIO, answers: BinaryIO) -> None:
    """Answer jobs in order until there are no more. An empty message first says that the process has started well."""
    answers.write(LENGTH.pack(0))
    answers.flush()
    decoder, encoder = msgspec.msgpack.Decoder(Job), msgspec.msgpack.Encoder()
    while head := jobs.read(LENGTH.size):
        body = jobs.read(LENGTH.unpack(head)[0])
        reply = encoder.encode(answer(decoder.decode(body)))
        answers.write(LENGTH.pack(len(reply)) + reply)
        answers.flush()


if __name__ == "__main__":
    # Ctrl-C reaches the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(sys.stdin.buffer, sys.stdout.buffer)
