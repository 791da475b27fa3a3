"""Give a request to a thread only once all of it has arrived.

gunicorn's threaded worker lets a thread wait for its client: a few dozen clients that send one byte
a second, or nothing at all, would hold them all. Here the worker's event loop gathers requests, as
nginx would in front of it, and sends clients away that are slower than any connection in use.
"""

from __future__ import annotations

import re
import selectors
import socket
import time
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from types import FrameType

from flask import json
from gunicorn.workers.gthread import TConn, ThreadWorker

from app.errors import RautError
from app.settings import Settings
from app.web.server.admission import RETRY_SECONDS, AdmissionQueue, busy
from app.web.server.error_responses import PROBLEM_TYPE, find_status, list_headers, problem_details
from app.web.server.metrics import REFUSALS
from app.web.server.readiness import Readiness
from app.web.server.state import state_of

READ_BYTES = 1_000_000
MOST_HEAD_BYTES = 65_536  # gunicorn refuses a head long before.
# A phone with hardly any network sends more than this; slower is broken or means harm.
PATIENCE_SECONDS = 20.0
LEAST_BYTES_PER_SECOND = 16_000
# How many of the largest uploads may be under way in one worker, in memory.
MOST_LARGE_UPLOADS = 8
# Unread bytes would turn a close into a reset, and the client would never see its answer.
LINGER_SECONDS = 2.0

# How long a worker leaves a new connection to the others, for each connection that it holds: time
# enough to wake up. Left to the system, all sockets of a room could lie with one worker.
COURTESY_SECONDS = 0.001
MOST_BURDEN = 4
# A program's photo. A page's form is answered with a page, which takes the application.
API_PHOTO = b"POST /api/v1/analyze "

HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
CLOSES = re.compile(rb" HTTP/1\.0\r\n|\r\nconnection:[ \t]*close[ \t]*\r\n", re.IGNORECASE)
EXPECTS = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.IGNORECASE)
CHUNK_SIZE = re.compile(rb"[0-9a-f]{1,15}", re.IGNORECASE)


def _slow() -> RautError:
    """Refuse a request that comes in too slowly."""
    return RautError(
        "request_slow",
        f"The request came in more slowly than {LEAST_BYTES_PER_SECOND // 1000} kB/s and was given "
        "up. Send a smaller copy of the photo, or try a better connection.",
    )


def _full() -> RautError:
    """Refuse a request for which there is no room."""
    return RautError(
        "busy",
        "Too many uploads are under way. Wait a few seconds and try again.",
        retry_after=RETRY_SECONDS,
    )


class RequestBuffer:
    """Gather the bytes of one request, and tell when all have come.

    Only its end is looked for here; gunicorn reads and judges what it says.
    """

    def __init__(self, most_body_bytes: int) -> None:
        """Start without a byte; a body larger than the limit isn't waited for."""
        self.data = bytearray()
        self.whole = False
        self._most_body_bytes = most_body_bytes
        self._started = time.monotonic()
        self._body: int | None = None  # where it begins, once the head has come
        self._end: int | None = None  # where the request ends, unless it comes in chunks
        self._chunk = 0  # where the next chunk begins

    @property
    def expects_word(self) -> bool:
        """Return whether the client waits to be told that its body is wanted (RFC 9110, 10.1.1)."""
        return bool(self._body and not self.whole and EXPECTS.search(self.data, 0, self._body))

    @property
    def stays(self) -> bool:
        """Return whether the connection can serve another request, which hasn't begun yet."""
        if self._body is None or len(self.data) != self._end:
            return False
        return not CLOSES.search(self.data, 0, self._body)

    def take(self, data: bytes) -> None:
        """Add bytes, and see whether the request is whole."""
        searched = max(0, len(self.data) - len(HEAD_END))
        self.data += data
        if self._body is None:
            self._find_body(searched)
        if self._body is None:
            self.whole = len(self.data) > MOST_HEAD_BYTES
        elif self._end is not None:
            too_large = self._end - self._body > self._most_body_bytes
            self.whole = too_large or len(self.data) >= self._end
        else:
            too_large = len(self.data) - self._body > self._most_body_bytes
            self.whole = too_large or self._ends_in_chunks()

    def is_late(self, now: float) -> bool:
        """Return whether the client is too slow."""
        allowed = PATIENCE_SECONDS + len(self.data) / LEAST_BYTES_PER_SECOND
        return now - self._started > allowed

    def is_new(self, now: float) -> bool:
        """Return whether the request has begun, or may be on its way."""
        return bool(self.data) or now - self._started < LINGER_SECONDS

    def _find_body(self, searched: int) -> None:
        """Look for the head's end, and in the head for the body's length."""
        found = self.data.find(HEAD_END, searched)
        if found < 0:
            return
        self._body = self._chunk = found + len(HEAD_END)
        if not CHUNKED.search(self.data, 0, self._body):
            length = LENGTH.search(self.data, 0, self._body)
            self._end = self._body + (int(length[1]) if length else 0)

    def _ends_in_chunks(self) -> bool:
        """Go from chunk to chunk; what is no chunk ends the request, for gunicorn to refuse."""
        while (line := self.data.find(b"\r\n", self._chunk)) >= 0:
            size = CHUNK_SIZE.match(self.data, self._chunk, line)
            if size is None:
                return True
            if int(size[0], 16) == 0:
                trailers = self.data[line + 2 : line + 4]
                return trailers == b"\r\n" or self.data.find(HEAD_END, line) >= 0
            self._chunk = line + 2 + int(size[0], 16) + 2
        return len(self.data) - self._chunk > MOST_HEAD_BYTES


class BufferedSocket:
    """Stand in for the connection that gunicorn's parser reads: what has come, and then the end."""

    def __init__(self, data: bytearray) -> None:
        """Start at the request's first byte."""
        self._data = memoryview(data)
        self.ran_dry = False

    def recv(self, size: int) -> bytes:
        """Return the next bytes."""
        piece, self._data = bytes(self._data[:size]), self._data[size:]
        self.ran_dry = self.ran_dry or not piece
        return piece


class BufferingWorker(ThreadWorker):
    """Wait for clients in the event loop, where waiting costs no thread."""

    def init_process(self) -> None:
        """Start without connections, and run until told to end."""
        settings = Settings()
        self._most_body_bytes = settings.most_body_bytes
        self._drain_seconds = settings.drain_seconds
        self._ends: float | None = None  # when no more is taken, once told to end
        self._arrivals: dict[TConn, RequestBuffer] = {}
        self._leaving: dict[TConn, float] = {}  # until when each may go on sending
        super().init_process()

    @property
    def leaving(self) -> bool:
        """Return whether the worker was told to end."""
        return self._ends is not None or not self.alive

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take requests for the drain time still, each on a connection of its own, and then end."""
        if self.leaving or not self._drain_seconds:
            super().handle_exit(sig, frame)
            return
        self._ends = time.monotonic() + self._drain_seconds
        # A kept connection may be sent the next request just as it is closed.
        self.max_keepalived = 0

    def set_accept_enabled(self, enabled: bool) -> None:
        """Accept connections or not; at the end take those that wait, and let no more come.

        A connection that is refused goes elsewhere, where one that nobody accepts waits in vain.
        """
        super().set_accept_enabled(enabled)
        if not (enabled or self.alive):
            for listener in self.sockets:
                self._accept_waiting(listener)
                listener.close()
            self.sockets.clear()

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection, but let a worker that has less to do go first."""
        burden = min(self.nr_conns, MOST_BURDEN) + (MOST_BURDEN if self._admission.taken else 0)
        # Where photos are refused, the others have no less to do.
        time.sleep(0 if self._admission.full else burden * COURTESY_SECONDS)
        super().accept(listener)

    def enqueue_req(self, conn: TConn) -> None:
        """Gather the request that a new or kept connection begins."""
        conn.init()
        conn.sock.setblocking(False)
        arrival = RequestBuffer(self._most_body_bytes)
        arrival.take(conn.parser.unreader.take_buffered())
        self._arrivals[conn] = arrival
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._gather, conn))
        if arrival.whole:
            self._hand_over(conn)

    def handle(self, conn: TConn) -> bool:
        """Handle a whole request in a thread; return whether the connection serves another."""
        unreader = conn.parser.unreader
        kept = super().handle(conn)
        # A body that was longer than what had come: where the next request begins is unknown.
        if not kept or unreader.sock.ran_dry:
            return False
        # A client that sent its next request ahead.
        unreader.unread(unreader.take_buffered() + unreader.sock.recv(READ_BYTES))
        return True

    def finish_request(self, conn: TConn, future: Future[bool]) -> None:
        """Keep a connection, or take leave of it without anybody waiting."""
        if future.cancelled() or future.exception() or not future.result():
            self._take_leave(conn)
        else:
            super().finish_request(conn, future)

    def murder_pending(self) -> None:
        """Send away who is too slow, and end in time; gunicorn's loop calls this once a second."""
        now = time.monotonic()
        self._readiness.publish_load()
        if self._ends is not None and now > self._ends:
            self.alive = False
        for conn, arrival in list(self._arrivals.items()):
            if arrival.is_late(now) and arrival.data:
                self._refuse(conn, _slow())
            elif arrival.is_late(now) or not (self.alive or arrival.is_new(now)):
                self._forget(conn)
                self._close(conn)
        for conn, until in list(self._leaving.items()):
            if now > until:
                self._end_leave(conn)

    def _accept_waiting(self, listener: socket.socket) -> None:
        """Accept the connections that wait at a listener."""
        before = -1
        while self.nr_conns > before:
            before = self.nr_conns
            super().accept(listener)

    def _gather(self, conn: TConn, _sock: socket.socket) -> None:
        """Take in what has come."""
        data = _receive(conn)
        if data is None:
            return
        if not data:
            self._forget(conn)
            self._close(conn)
            return
        arrival = self._arrivals[conn]
        waited = arrival.expects_word
        arrival.take(data)
        if arrival.whole:
            self._hand_over(conn)
        elif sum(len(each.data) for each in self._arrivals.values()) > self._most_bytes:
            self._refuse(conn, _full())
        elif arrival.expects_word and not waited:
            _send(conn, b"HTTP/1.1 100 Continue\r\n\r\n")

    @property
    def _most_bytes(self) -> int:
        """Return what all requests under way may take of memory."""
        return MOST_LARGE_UPLOADS * self._most_body_bytes

    @property
    def _readiness(self) -> Readiness:
        """Return the application's readiness."""
        return state_of(self.wsgi).readiness

    @property
    def _admission(self) -> AdmissionQueue:
        """Return the application's admission queue."""
        return state_of(self.wsgi).admission

    def _hand_over(self, conn: TConn) -> None:
        """Let a thread answer a request, or refuse a photo at once that would be refused anyway.

        Under many times the load that can be served, it is the refusals that take the processors.
        """
        if self._admission.full and self._arrivals[conn].data.startswith(API_PHOTO):
            self._refuse(conn, busy())
            return
        arrival = self._forget(conn)
        conn.parser.unreader.sock = BufferedSocket(arrival.data)
        super().enqueue_req(conn)

    def _forget(self, conn: TConn) -> RequestBuffer:
        """Wait for nothing more of a request."""
        self.poller.unregister(conn.sock)
        return self._arrivals.pop(conn)

    def _refuse(self, conn: TConn, error: RautError) -> None:
        """Answer a request that will not be read; end the connection unless all of it has come."""
        stays = self._forget(conn).stays and len(self.keepalived_conns) < self.max_keepalived
        REFUSALS.labels(error.code).inc()
        _send(conn, _write_answer(error, stays))
        handled: Future[bool] = Future()
        handled.set_result(stays)
        self.finish_request(conn, handled)

    def _take_leave(self, conn: TConn) -> None:
        """Close our side, and read on for a while until the client has closed its own."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._leave, conn))
        except (OSError, ValueError):  # It is closed already.
            self._close(conn)
        else:
            self._leaving[conn] = time.monotonic() + LINGER_SECONDS

    def _leave(self, conn: TConn, _sock: socket.socket) -> None:
        """Drop what a client still sends."""
        if _receive(conn) == b"":
            self._end_leave(conn)

    def _end_leave(self, conn: TConn) -> None:
        """End a connection of which leave was taken."""
        del self._leaving[conn]
        self.poller.unregister(conn.sock)
        self._close(conn)

    def _close(self, conn: TConn) -> None:
        """Close a connection, and count it no more."""
        self.nr_conns -= 1
        conn.close()


def _receive(conn: TConn) -> bytes | None:
    """Return what has come: nothing once the client is gone, None where it only seemed so."""
    try:
        data: bytes = conn.sock.recv(READ_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""
    return data


def _send(conn: TConn, data: bytes) -> None:
    """Send a few bytes to a client that has read everything so far, or is gone."""
    with suppress(OSError):
        conn.sock.send(data)


def _write_answer(error: RautError, stays: bool) -> bytes:
    """Write a error as a whole HTTP answer, without the application."""
    body = json.dumps(problem_details(error)).encode()
    lines = [
        f"HTTP/1.1 {find_status(error)} {HTTPStatus(find_status(error)).phrase}",
        f"Content-Type: {PROBLEM_TYPE}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        f"Connection: {'keep-alive' if stays else 'close'}",
        *(f"{name}: {value}" for name, value in list_headers(error).items()),
    ]
    return "\r\n".join(lines).encode() + HEAD_END + body
