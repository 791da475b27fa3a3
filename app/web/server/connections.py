"""Accept the connections of one worker, and end those that hold it up.

An ASGI server on asyncio leaves three things open: a connection that sends no complete request head
stays for good, one that doesn't read its answer stays in the transport's buffer, and a worker
accepts all that wait even while another one is idle. They are settled here between the event loop
and the server's protocol, on the public interfaces of asyncio.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, cast

# From the connection, or from the last answer on it, to the end of the next request's head. It is
# also the time that a closed connection has to take the rest of its answer.
HEAD_SECONDS = 10.0
# Connections of one worker; beyond, the one whose client has been waited for longest is closed.
MOST_CONNECTIONS = 1000
# How long a worker leaves a new connection to the others, for each connection that it has, and for
# as many more while it reads a photo. Left to the system, all could lie with one worker.
COURTESY_SECONDS = 0.002
MOST_BURDEN = 4
# After so many connections in a row, each with its pause, twice as many are accepted each time.
POLITE_STREAK = 16
MOST_DOUBLINGS = 6
RETRY_SECONDS = 0.1  # where no descriptor is left
TICK_SECONDS = 1.0  # between two searches for connections whose time is over

_current: ContextVar[Connection] = ContextVar("connection")


def current_connection() -> Connection:
    """Return the connection whose request is served in this task.

    Raises `LookupError` where the connection wasn't accepted by a `Listener`.
    """
    return _current.get()


class Connections:
    """Hold the connections of one worker; those that wait for their client in order."""

    def __init__(self) -> None:
        self.open: set[Connection] = set()
        self._waiting: dict[Connection, float] = {}  # to the time at which each is aborted

    def add(self, connection: Connection) -> None:
        """Add a new connection, in place of the one that has waited longest where it is full."""
        self.open.add(connection)
        if len(self.open) > MOST_CONNECTIONS:
            next(iter(self._waiting), connection).abort()

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is lost."""
        self.open.discard(connection)
        self.work(connection)

    def wait(self, connection: Connection, until: float) -> None:
        """Wait for a client until a time of the event loop, from now on."""
        self._waiting.pop(connection, None)
        self._waiting[connection] = until

    def work(self, connection: Connection) -> None:
        """Wait for a client no more."""
        self._waiting.pop(connection, None)

    def abort_late(self, now: float) -> None:
        """Abort the connections whose time is over; to be called now and then."""
        for connection in [each for each, until in self._waiting.items() if until < now]:
            connection.abort()


class Connection(asyncio.Protocol):
    """Stand before the server's protocol, and know whether its client is waited for."""

    def __init__(self, protocol: asyncio.Protocol, connections: Connections) -> None:
        self._protocol = protocol
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reads = True
        self._held = b""  # of what came while the client didn't read

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)
        self._wait(HEAD_SECONDS)
        # The tasks that the server starts for this connection inherit the variable.
        token = _current.set(self)
        self._protocol.connection_made(transport)
        _current.reset(token)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on, unless the client doesn't read: each of its pings would be answered."""
        if self._reads:
            self._protocol.data_received(data)
        elif self._transport:
            self._held += data
            self._transport.pause_reading()

    def eof_received(self) -> bool | None:
        """Pass on that the client sends no more."""
        return self._protocol.eof_received()

    def pause_writing(self) -> None:
        """Notice that the client doesn't read."""
        self._reads = False
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Go on, as the client has read."""
        self._reads = True
        self._protocol.resume_writing()
        if self._held and self._transport:
            self._transport.resume_reading()
            held, self._held = self._held, b""
            self.data_received(held)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._transport = None
        self._connections.remove(self)
        self._protocol.connection_lost(exc)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Exchange a request and its answer in the `with` block, whose deadlines apply there."""
        self._wait(math.inf)
        try:
            yield
        finally:
            self._wait(HEAD_SECONDS)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Keep the connection during the `with` block, however many others come."""
        self._connections.work(self)
        try:
            yield
        finally:
            self._wait(math.inf)

    def abort(self) -> None:
        """End the connection at once, whatever is unsent."""
        if self._transport:
            self._connections.work(self)
            self._transport.abort()

    def abort_within(self, seconds: float) -> None:
        """End the connection after that time, unless its client does."""
        self._loop.call_later(seconds, self.abort)

    def answer_and_close(self, answer: bytes) -> None:
        """Write an answer past the server's protocol, as the last on this connection."""
        if self._transport:
            self._transport.write(answer)
            self._transport.close()

    def _wait(self, seconds: float) -> None:
        if self._transport:
            self._connections.wait(self, self._loop.time() + seconds)


class Listener:
    """Accept connections at a socket that several workers share.

    The more connections it has, and while `is_busy()`, the longer another worker may go first.
    """

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        connections: Connections,
        is_busy: Callable[[], bool],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = listener
        self._make_protocol = make_protocol
        self._connections = connections
        self._is_busy = is_busy
        self._tasks: set[asyncio.Task[Any]] = set()
        self._streak = 0  # times in a row that there were as many connections as were accepted
        listener.setblocking(False)
        self._loop.add_reader(listener, self._notice)
        self._abort_late()

    def close(self) -> None:
        """Accept what waits already, and nothing more: elsewhere it would wait in vain."""
        if self.is_serving():
            self._loop.remove_reader(self._socket)
            with suppress(OSError):
                self._accept(MOST_CONNECTIONS)
            self._socket.close()

    async def wait_closed(self) -> None:
        """Return once the accepted connections have their protocols."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def is_serving(self) -> bool:
        """Return whether connections are accepted."""
        return self._socket.fileno() >= 0

    def _abort_late(self) -> None:
        self._connections.abort_late(self._loop.time())
        if self.is_serving():
            self._loop.call_later(TICK_SECONDS, self._abort_late)

    def _notice(self) -> None:
        held = len(self._connections.open) + len(self._tasks)
        burden = min(held, MOST_BURDEN) + MOST_BURDEN * self._is_busy()
        self._loop.remove_reader(self._socket)
        self._loop.call_later(burden * COURTESY_SECONDS, self._resume)

    def _resume(self) -> None:
        """Accept a connection; of a flood that goes on, more and more at once."""
        if self.is_serving():
            try:
                most = 2 ** min(max(0, self._streak - POLITE_STREAK), MOST_DOUBLINGS)
                self._streak = self._streak + 1 if self._accept(most) else 0
            except OSError:  # No descriptor is left.
                self._loop.call_later(RETRY_SECONDS, self._resume)
            else:
                self._loop.add_reader(self._socket, self._notice)

    def _accept(self, most: int) -> bool:
        """Accept up to `most` connections; return whether there were so many."""
        for _ in range(most):
            try:
                accepted, _address = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return False  # another worker was faster, or the client left
            accepted.setblocking(False)
            task = self._loop.create_task(self._join(accepted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return True

    async def _join(self, accepted: socket.socket) -> None:
        with suppress(OSError):
            await self._loop.connect_accepted_socket(
                lambda: Connection(self._make_protocol(), self._connections), accepted
            )
