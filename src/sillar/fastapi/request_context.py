"""What travels with a request: its correlation id, its deadline, and word that the client has left."""

from __future__ import annotations

import asyncio
import math
import re
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sillar.causal_tokens import CausalTokens
from sillar.consistency import causal_context
from sillar.context import correlation, deadline
from sillar.errors import DatabaseError, UsageError
from sillar.fastapi.problems import problem_response

_log = structlog.get_logger("sillar.fastapi")

CORRELATION_HEADERS: Final = ("x-request-id", "x-correlation-id")
"""Where a correlation id may come from, in this order; then the trace id of ``traceparent``."""

_CORRELATION_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
# W3C Trace Context, section 3.2: version, trace id, parent id, flags; later versions may append fields.
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_SECONDS: Final = re.compile(r"\d{1,9}(?:\.\d{1,9})?")
_WATCH_AFTER_SECONDS: Final = 0.1


class RequestContextMiddleware:
    """Runs every request under a correlation id and a deadline, and ends it when its client leaves.

    The correlation id comes from ``X-Request-ID``, ``X-Correlation-ID`` or the trace id of ``traceparent``, if it has
    at most 128 letters, digits and ``._:-``; otherwise it is a new one. The response carries it as ``X-Request-ID``.
    The deadline bounds every statement and every wait for a connection, not the Python code between them. WebSockets
    get an id and no deadline.

    When the client of an HTTP request leaves before its response is complete, the request is cancelled: the running
    statement is cancelled on the server, an open transaction rolled back, the connection given back. A COMMIT in flight
    comes to its end.

    Args:
        app: the application inside.
        accept_correlation_id: take the id of a client; False makes a new one for each request.
        deadline_seconds: for requests that do not ask for one; None is none.
        deadline_header: the header in which a client asks for a deadline, in seconds; None is none.
        deadline_max_seconds: the longest deadline that a client gets.
        cancel_on_disconnect: end a request whose client has left; it is noticed from about 0.1 s after the start on.
        causal_tokens: carry what a request has written to the client, and from there to the next request, here or in
            another service that has the same key.
        causal_header: the header that carries it, in both directions.

    Raises:
        UsageError: the deadlines are not positive.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        accept_correlation_id: bool = True,
        deadline_seconds: float | None = None,
        deadline_header: str | None = "X-Request-Timeout",
        deadline_max_seconds: float = 60.0,
        cancel_on_disconnect: bool = True,
        causal_tokens: CausalTokens | None = None,
        causal_header: str = "X-Causal-Token",
    ) -> None:
        for name, value in (("deadline_seconds", deadline_seconds), ("deadline_max_seconds", deadline_max_seconds)):
            if value is not None and not (0 < value < math.inf):
                raise UsageError(f"{name} is a positive number of seconds, not {value}")
        self._app = app
        self._accept_correlation_id = accept_correlation_id
        self._deadline_seconds = deadline_seconds
        self._deadline_header = deadline_header
        self._deadline_max_seconds = deadline_max_seconds
        self._cancel_on_disconnect = cancel_on_disconnect
        self._causal_tokens = causal_tokens
        self._causal_header = causal_header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = correlation_id_of(headers) if self._accept_correlation_id else None
        with ExitStack() as stack:
            correlation_id = stack.enter_context(correlation(given))
            stack.enter_context(causal_context())  # tasks that the request starts belong to it
            send = _with_header(send, correlation_id)
            if self._causal_tokens is not None:
                try:
                    if (token := headers.get(self._causal_header)) is not None:
                        self._causal_tokens.accept(token)
                except UsageError as error:
                    await self._refuse(
                        "causal-token", "The causal token is not valid", str(error), scope, receive, send
                    )
                    return
                send = _with_causal_token(send, self._causal_tokens, self._causal_header)
            if scope["type"] == "http":
                try:
                    seconds = self._seconds(headers)
                except ValueError as error:
                    await self._refuse("deadline", "The deadline is not valid", str(error), scope, receive, send)
                    return
                if seconds is not None:
                    stack.enter_context(deadline(seconds))
                if self._cancel_on_disconnect:
                    await _until_client_leaves(self._app, scope, receive, send)
                    return
            await self._app(scope, receive, send)

    def _seconds(self, headers: Headers) -> float | None:
        asked = headers.get(self._deadline_header) if self._deadline_header else None
        if asked is None:
            return self._deadline_seconds
        if not _SECONDS.fullmatch(asked.strip()) or float(asked) <= 0:
            raise ValueError(f"{self._deadline_header} is a positive number of seconds, such as 2.5")
        return min(float(asked), self._deadline_max_seconds)

    async def _refuse(self, what: str, title: str, detail: str, scope: Scope, receive: Receive, send: Send) -> None:
        response = problem_response(scope["path"], name=f"invalid-{what}", status=400, title=title, detail=detail)
        await response(scope, receive, send)


def correlation_id_of(headers: Headers) -> str | None:
    """The correlation id that a client sent, or None where there is none that can be used."""
    for name in CORRELATION_HEADERS:
        value = headers.get(name)
        if value is not None and _CORRELATION_ID.fullmatch(value):
            return value
    trace = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    return trace[1] if trace else None


def _with_header(send: Send, correlation_id: str) -> Send:
    async def send_with_header(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.accept"):
            message.setdefault("headers", [])
            MutableHeaders(scope=message)["X-Request-ID"] = correlation_id
        await send(message)

    return send_with_header


def _with_causal_token(send: Send, tokens: CausalTokens, header: str) -> Send:
    async def send_with_token(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.accept"):
            try:
                token = await tokens.issue()
            except (
                DatabaseError,
                TimeoutError,
            ) as error:  # what was written is written; only its position is not known
                _log.warning("no causal token could be issued", error=str(error) or type(error).__name__)
                token = None
            if token is not None:
                message.setdefault("headers", [])
                MutableHeaders(scope=message)[header] = token
        await send(message)

    return send_with_token


async def _until_client_leaves(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    task = asyncio.current_task()
    assert task is not None  # ASGI servers run applications in tasks
    client = _Client(receive, send, task.cancel)
    try:
        await app(scope, client.receive, client.send)
    except asyncio.CancelledError:
        if not client.has_left or task.uncancel() > 0:
            raise  # somebody else wants this task to end
        _log.info("the client has left; its request was cancelled", path=scope["path"])
    else:
        if client.has_left:
            task.uncancel()
    finally:
        client.stop_watching()


class _Client:
    """Both directions of a request, watched for the end that the client makes.

    Servers tell it by ``receive``, so this one reads ahead: at most one part of the body, and then the message that the
    client has left. It begins a moment after the start, so that short requests cost a timer and no task. An application
    that waits in ``receive`` itself hears of it there, and is not cancelled.

    Args:
        receive, send: of the server.
        cancel: ends the request.
    """

    def __init__(self, receive: Receive, send: Send, cancel: Callable[[], Any]) -> None:
        self.has_left = False
        self._receive, self._send, self._cancel = receive, send, cancel
        self._read: deque[Message] = deque()
        self._reading: asyncio.Task[Message] | None = None
        self._waiting = 0  # how many calls of the application wait in receive
        self._over = False
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._watch_later()

    async def receive(self) -> Message:
        """The next message, for the application. One that hears of the end here decides itself what follows."""
        message = await self._next()
        if message["type"] == "http.disconnect":
            self.stop_watching()
        return message

    async def _next(self) -> Message:
        self._waiting += 1
        try:
            while not self._read:
                if self._reading is None:
                    return await self._receive()
                await asyncio.wait({self._reading})
            return self._read.popleft()
        finally:
            self._waiting -= 1

    async def send(self, message: Message) -> None:
        """To the server. After the last part of the response nobody is cancelled any more: background tasks run on."""
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.stop_watching()
        await self._send(message)

    def stop_watching(self) -> None:
        """From now on the client may leave."""
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._reading is not None and not self._waiting:
            self._reading.cancel()

    def _watch_later(self) -> None:
        if not self._over:
            self._timer = self._loop.call_later(_WATCH_AFTER_SECONDS, self._watch)

    def _watch(self) -> None:
        unread_body = bool(self._read) and self._read[-1].get("more_body", False)
        if self._waiting or unread_body:
            self._watch_later()  # the application reads by itself, or has to read first: no body is hoarded here
            return
        self._reading = self._loop.create_task(self._received())
        self._reading.add_done_callback(self._has_read)

    async def _received(self) -> Message:
        return await self._receive()  # called within the task: one that is cancelled before it begins leaves nothing

    def _has_read(self, reading: asyncio.Task[Message]) -> None:
        self._reading = None
        if reading.cancelled() or reading.exception() is not None:
            return  # the application meets the same fault when it reads
        message = reading.result()
        self._read.append(message)
        if self._over:
            return
        if message["type"] != "http.disconnect":
            self._watch()
        elif not self._waiting:
            self.has_left = True
            self._cancel()
