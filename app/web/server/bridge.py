"""Answer HTTP requests by Flask, a WSGI application, behind an ASGI server.

The event loop receives a whole request before a thread takes it, and sends the answer after the
thread is free, so that a client costs no thread for as long as it takes to send or to read.
"""

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

from flask import Flask, json
from werkzeug.exceptions import HTTPException

from app.errors import RautError
from app.vision.budget import Budget
from app.web.server.admission import busy
from app.web.server.auth import most_body_bytes
from app.web.server.connections import Connection, current_connection
from app.web.server.error_responses import PROBLEM_TYPE, find_status, list_headers, problem_details
from app.web.server.metrics import REFUSALS
from app.web.server.state import state_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Environ = dict[str, Any]

# Keys of the environment: what ends the request's work, and what is learned from a WebSocket's
# handshake, which the application sees as a plain request.
BUDGET = "raut.budget"
HANDSHAKE = "raut.handshake"
# Endpoints whose photos wait for a slot, if there is room.
QUEUED = ("api.analyze", "api.features")
THREADS = 24  # more than photos that wait (`admission.MOST_QUEUED`)
# Requests that are whole and wait for a thread; a page takes milliseconds.
MOST_WAITING = 200
# A phone with hardly any network is faster than this, whether it sends or reads.
PATIENCE_SECONDS = 20.0
LEAST_BYTES_PER_SECOND = 16_000
# The bytes of requests and answers in memory, in largest uploads and in all.
MOST_LARGE_UPLOADS = 8
MOST_ANSWER_BYTES = 64_000_000
# Chunks cost processor time each, however small; no client divides a photo into such.
MOST_CHUNKS = 1000
LEAST_CHUNK_BYTES = 64
# How long a client may go on sending that was answered before the end of its request, or told that
# its stream is closed: unread bytes would turn the close into a reset, and it would never see why.
LINGER_SECONDS = 2.0
SEND_BYTES = 65_536


class ClientLeft(Exception):  # noqa: N818 - nobody's error
    """Report that the client closed the connection."""


@dataclass(frozen=True)
class Answer:
    """Hold an answer as the application gave it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class WSGIBridge:
    """Answer requests by an application in a bounded pool of threads.

    A body over the bound of its address reaches the application without its content, for it to
    refuse.
    """

    def __init__(self, app: Flask) -> None:
        self._wsgi: Callable[[Environ, Callable[..., Any]], Iterable[bytes]] = app.wsgi_app
        self._urls = app.url_map.bind("localhost")
        self._state = state_of(app)
        self._most_bytes = MOST_LARGE_UPLOADS * self._state.settings.most_body_bytes
        self._pool = ThreadPoolExecutor(THREADS, "request")
        self._jobs: dict[Future[Answer], float] = {}  # to the time of the loop at which each began
        self._held_bytes = 0
        self._sending: dict[Connection, int] = {}  # to the bytes of each answer, oldest first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        connection = current_connection()
        with connection.request(), suppress(ClientLeft):
            try:
                answer, whole = await self._answer(connection, scope, receive)
                await self._send(connection, answer, send)
            except TimeoutError:  # The client doesn't read.
                connection.abort()
                await asyncio.Event().wait()  # for the server to notice, and to cancel this
            else:
                if not whole:
                    await _discard(receive)

    async def call(self, scope: Scope, extra: Environ, body: bytes = b"") -> Answer:
        """Call the application in a thread; `extra` is added to its environment.

        The environment has a `Budget` as `raut.budget`, which is cancelled where the client leaves.
        """
        loop = asyncio.get_running_loop()
        budget = Budget(self._state.settings.analysis_timeout)
        environ = {**build_environ(scope, body), BUDGET: budget, **extra}
        job = self._pool.submit(self._run_wsgi, environ)
        self._jobs[job] = loop.time()

        def forget(_: Future[Answer]) -> None:
            with suppress(RuntimeError):  # The loop is closed.
                loop.call_soon_threadsafe(self._forget, job, len(body))

        self._held_bytes += len(body)
        job.add_done_callback(forget)
        try:
            return await asyncio.wrap_future(job)
        except asyncio.CancelledError:
            budget.cancel()
            raise

    def longest_running(self, now: float) -> float:
        """Return for how many seconds the oldest job has been running or waiting for a thread."""
        return now - min(self._jobs.values(), default=now)

    def shut_down(self) -> None:
        """Take no more requests."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _answer(
        self, connection: Connection, scope: Scope, receive: Receive
    ) -> tuple[Answer, bool]:
        """Return the answer, and whether the request was received to its end or given up."""
        endpoint = self._find_endpoint(scope)
        most = most_body_bytes(endpoint, self._state.settings)
        lengths = (int(value) for name, value in scope["headers"] if name == b"content-length")
        declared = next(lengths, 0)
        try:
            body, whole = b"", declared <= most
            if whole:
                body, whole = await self._receive_body(receive, most)
        except RautError as refusal:
            # Who is slow sends little more, and tiny chunks would go on to cost.
            return _problem(refusal), refusal.code != "busy"
        if not whole:
            too_many = {"CONTENT_LENGTH": str(max(declared, most + 1))}
            with connection.working():
                return await self.call(scope, too_many), False
        # Under many times the load that can be served, it is the refusals that take the processors:
        # a photo that a thread would refuse is refused here.
        refused = endpoint in QUEUED and self._state.admission.full
        if refused or len(self._jobs) >= MOST_WAITING:
            return _problem(busy()), True
        with connection.working():
            return await self.call(scope, {}, body), True

    def _find_endpoint(self, scope: Scope) -> str:
        try:
            return str(self._urls.match(scope["path"], scope["method"])[0])
        except HTTPException:
            return ""

    async def _receive_body(self, receive: Receive, most: int) -> tuple[bytes, bool]:
        """Return the body, and whether it is whole; one over `most` bytes isn't.

        Raises `RautError` for a request that is slow, or for which there is no room.
        """
        body = bytearray()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS) as patience:
                ends = patience.when() or 0.0
                chunks, more = 0, True
                while more and len(body) <= most:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientLeft
                    chunk, more = message.get("body", b""), message.get("more_body", False)
                    body += chunk
                    chunks += 1
                    self._held_bytes += len(chunk)
                    if more and self._held_bytes > self._most_bytes:
                        raise busy()
                    if chunks > MOST_CHUNKS + len(body) // LEAST_CHUNK_BYTES:
                        raise RautError(
                            "body_fragmented",
                            f"The body came in chunks of fewer than {LEAST_CHUNK_BYTES} bytes. "
                            "Send it with a Content-Length, or in larger chunks.",
                        )
                    patience.reschedule(ends + len(body) / LEAST_BYTES_PER_SECOND)
        except TimeoutError:
            raise RautError(
                "request_slow",
                f"The request came in more slowly than {LEAST_BYTES_PER_SECOND // 1000} kB/s and "
                "was given up. Send a smaller copy of the photo, or try a better connection.",
            ) from None
        finally:
            self._held_bytes -= len(body)
        return bytes(body), len(body) <= most

    def _run_wsgi(self, environ: Environ) -> Answer:
        """Return what the application answers, whole."""
        status, headers = 500, []

        def start_response(line: str, pairs: list[tuple[str, str]], _: Any = None) -> None:
            nonlocal status, headers
            status, headers = int(line[:3]), pairs

        chunks = self._wsgi(environ, start_response)
        try:
            body = b"".join(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        return Answer(status, headers, body)

    def _forget(self, job: Future[Answer], size: int) -> None:
        del self._jobs[job]
        self._held_bytes -= size

    async def _send(self, connection: Connection, answer: Answer, send: Send) -> None:
        """Send an answer. Raises `TimeoutError` where the client doesn't read it."""
        seconds = PATIENCE_SECONDS + len(answer.body) / LEAST_BYTES_PER_SECOND
        headers = [
            (name.lower().encode(), value.encode("latin-1")) for name, value in answer.headers
        ]
        self._sending[connection] = len(answer.body)
        if sum(self._sending.values()) > MOST_ANSWER_BYTES:
            next(iter(self._sending)).abort()
        try:
            async with asyncio.timeout(seconds):
                await send(
                    {"type": "http.response.start", "status": answer.status, "headers": headers}
                )
                # In pieces, as the server's own buffer has no other bound.
                for start in range(0, max(1, len(answer.body)), SEND_BYTES):
                    piece = answer.body[start : start + SEND_BYTES]
                    more = start + SEND_BYTES < len(answer.body)
                    await send({"type": "http.response.body", "body": piece, "more_body": more})
        finally:
            del self._sending[connection]


def build_environ(scope: Scope, body: bytes) -> Environ:
    """Return the WSGI environment (PEP 3333) of an ASGI request with a whole body."""
    server, client = scope.get("server") or ("", 0), scope.get("client") or ("", 0)
    query = scope["query_string"].decode("latin-1")
    path = scope["raw_path"].decode("latin-1")
    if not path.startswith("/"):  # the absolute form (RFC 9112, section 3.2.2)
        path = "/" + path.partition("://")[2].partition("/")[2]
    environ: Environ = {
        "REQUEST_METHOD": scope.get("method", "GET"),
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "REQUEST_URI": f"{path}?{query}" if query else path,
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"]),
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for header, content in scope["headers"]:
        name, value = header.decode("latin-1").upper().replace("-", "_"), content.decode("latin-1")
        key = name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"
        if key in environ:
            value = ("; " if name == "COOKIE" else ",").join((environ[key], value))
        environ[key] = value
    environ["CONTENT_LENGTH"] = str(len(body))
    return environ


def write_http(answer: Answer) -> bytes:
    """Return an answer as HTTP/1.1 has it, for a connection that ends with it."""
    status = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"
    headers = [f"{name}: {value}" for name, value in answer.headers]
    head = "\r\n".join([status, *headers, "Connection: close", "", ""])
    return head.encode("latin-1") + answer.body


async def _discard(receive: Receive) -> None:
    """Read on for a while."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while (message := await receive())["type"] != "http.disconnect":
                if not message.get("more_body"):
                    break


def _problem(error: RautError) -> Answer:
    """Return a refusal, made without the application."""
    REFUSALS.labels(error.code).inc()
    body = json.dumps(problem_details(error)).encode()
    headers = {
        "Content-Type": PROBLEM_TYPE,
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        **list_headers(error),
    }
    return Answer(find_status(error), list(headers.items()), body)
