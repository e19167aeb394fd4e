"""Questions to the HTTP interfaces of servers: enough of HTTP/1.0 for Patroni and etcd."""

from __future__ import annotations

import asyncio
import json
from typing import Any


async def ask(
    host: str, port: int, path: str, *, body: dict[str, Any] | None = None, timeout_seconds: float = 1
) -> tuple[int, Any]:
    """GET a path, or POST a JSON body to it; returns the status and what was answered: JSON taken apart, or text.

    Raises:
        OSError: nobody answers (a ``TimeoutError`` after that time).
    """
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.0\r\nHost: {host}:{port}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    async with asyncio.timeout(timeout_seconds):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(head.encode() + content)
            answer = await reader.read()
        finally:
            writer.close()
    first, _, text = answer.partition(b"\r\n\r\n")
    words = first.split(None, 2)
    if len(words) < 2 or not words[1].isdigit():
        raise ConnectionError(f"no HTTP answer on port {port}: {first[:80]!r}")
    decoded = text.decode(errors="replace")
    try:
        return int(words[1]), json.loads(decoded)
    except json.JSONDecodeError:
        return int(words[1]), decoded
