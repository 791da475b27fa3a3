"""Speak WebSocket (RFC 6455) over a connection, one message at a time.

On wsproto, which does the protocol, and without threads: what the other side sends ahead waits in
the system's own buffers, where TCP bounds it, until `receive` reads it. No compression is agreed
on: JPEG doesn't shrink, and a few kilobytes could unfold into gigabytes.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Request,
    TextMessage,
)
from wsproto.utilities import RemoteProtocolError

NORMAL = 1000
GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
LOST = 1006
POLICY = 1008
TOO_LARGE = 1009
TRY_LATER = 1013

READ_BYTES = 65_536
# A client that doesn't read its answers is given up after this long.
SEND_SECONDS = 10.0
# Unread bytes would turn our goodbye into a reset, which the client sees instead of the reason.
LINGER_SECONDS = 1.0

Headers = list[tuple[bytes, bytes]]


class SocketClosed(Exception):  # noqa: N818 - mostly an ordinary goodbye
    """Report that a socket is closed, with the close code and the reason given."""

    def __init__(self, code: int, reason: str = "") -> None:
        """Keep the code (RFC 6455, section 7.4) and the reason."""
        super().__init__(f"{code} {reason}".strip())
        self.code = code
        self.reason = reason


class Socket:
    """Exchange messages with the other side; for use by one thread."""

    def __init__(
        self, connection: socket.socket, protocol: WSConnection, most_bytes: int | None
    ) -> None:
        """Join an open connection and its protocol; a message may hold `most_bytes`."""
        self._connection = connection
        self._protocol = protocol
        self._most_bytes = most_bytes
        self._partial = bytearray()
        self._complete: deque[bytes | str] = deque()
        connection.settimeout(SEND_SECONDS)

    @classmethod
    def accept(
        cls, connection: socket.socket, headers: Headers, path: str, most_bytes: int
    ) -> Socket:
        """Answer a client's handshake, whose request the web server has read.

        Raises `SocketClosed` where it is none.
        """
        protocol = WSConnection(ConnectionType.SERVER)
        accepted = cls(connection, protocol, most_bytes)
        try:
            protocol.initiate_upgrade_connection(headers, path)
        except (RemoteProtocolError, UnicodeError) as error:
            raise SocketClosed(PROTOCOL_ERROR, str(error)) from error
        accepted._write(protocol.send(AcceptConnection()))
        return accepted

    @classmethod
    def connect(cls, url: str) -> Socket:
        """Open a socket to `ws://host:port/path`. Raises `SocketClosed` where that fails."""
        place = urlsplit(url)
        try:
            connection = socket.create_connection((place.hostname, place.port or 80), SEND_SECONDS)
        except OSError as error:
            raise SocketClosed(LOST, str(error)) from error
        protocol = WSConnection(ConnectionType.CLIENT)
        opened = cls(connection, protocol, None)
        opened._write(protocol.send(Request(host=place.netloc, target=place.path)))
        while protocol.state is ConnectionState.CONNECTING:
            opened._read()
        if protocol.state is not ConnectionState.OPEN:
            raise SocketClosed(LOST, "The server answered with no socket.")
        return opened

    def receive(self, timeout: float | None) -> bytes | str | None:
        """Wait for the next message, at most `timeout` seconds; None where none came.

        Raises `SocketClosed` when the other side closes, breaks off or breaks the protocol, or
        sends a message that is too large.
        """
        ends = None if timeout is None else time.monotonic() + timeout
        left = timeout
        # Pings and parts of messages keep nobody here for longer.
        while not self._complete and (left is None or left >= 0):
            if not self._wait(left):
                return None
            self._read()
            left = None if ends is None else ends - time.monotonic()
        return self._complete.popleft() if self._complete else None

    def send(self, message: bytes | str) -> None:
        """Send one message. Raises `SocketClosed` where the other side is gone."""
        event = TextMessage(message) if isinstance(message, str) else BytesMessage(message)
        self._write(self._protocol.send(event))

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Say goodbye with a code and a reason where nobody has yet, and end the connection."""
        try:
            if self._protocol.state is ConnectionState.OPEN:
                self._write(self._protocol.send(CloseConnection(code, reason)))
            # Read on until the other side has closed, too.
            self._connection.shutdown(socket.SHUT_WR)
            self._connection.settimeout(LINGER_SECONDS)
            ends = time.monotonic() + LINGER_SECONDS
            while self._connection.recv(READ_BYTES) and time.monotonic() < ends:
                pass
        except (OSError, SocketClosed):
            pass  # It is gone already.
        finally:
            if self._protocol.client:  # A server's connection belongs to the web server.
                self._connection.close()

    def _wait(self, timeout: float | None) -> bool:
        """Wait until something has arrived, at most `timeout` seconds; tell whether it has."""
        with selectors.PollSelector() as waiting:  # select() knows 1024 descriptors only
            waiting.register(self._connection, selectors.EVENT_READ)
            return bool(waiting.select(timeout))

    def _read(self) -> None:
        """Take in what has arrived."""
        try:
            data = self._connection.recv(READ_BYTES)
        except OSError as error:
            raise SocketClosed(LOST) from error
        if not data:
            raise SocketClosed(LOST)
        try:
            self._protocol.receive_data(data)
            for event in self._protocol.events():
                if isinstance(event, TextMessage | BytesMessage):
                    self._gather(event)
                elif isinstance(event, Ping):
                    self._write(self._protocol.send(event.response()))
                elif isinstance(event, CloseConnection):
                    self._hear_goodbye(event)
        except RemoteProtocolError as error:
            self.close(PROTOCOL_ERROR, "protocol_error")
            raise SocketClosed(PROTOCOL_ERROR, str(error)) from error

    def _hear_goodbye(self, event: CloseConnection) -> None:
        """Answer a close frame, or what wsproto makes of bytes that are no frame at all."""
        if self._protocol.state is ConnectionState.REMOTE_CLOSING:
            self._write(self._protocol.send(event.response()))
        else:
            self.close(event.code, "protocol_error")
        raise SocketClosed(event.code, event.reason or "")

    def _gather(self, event: TextMessage | BytesMessage) -> None:
        """Put a message together from its parts."""
        is_text = isinstance(event, TextMessage)
        self._partial += event.data.encode() if isinstance(event, TextMessage) else event.data
        if self._most_bytes and len(self._partial) > self._most_bytes:
            self.close(TOO_LARGE, "message_too_large")
            raise SocketClosed(TOO_LARGE, "message_too_large")
        if event.message_finished:
            whole = bytes(self._partial)
            self._partial.clear()
            self._complete.append(whole.decode() if is_text else whole)

    def _write(self, data: bytes) -> None:
        """Send bytes."""
        try:
            self._connection.sendall(data)
        except OSError as error:
            raise SocketClosed(LOST) from error
