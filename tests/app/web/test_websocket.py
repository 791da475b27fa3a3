"""Test the socket's own end of a conversation, over a connection without a server."""

import fcntl
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from app.web.api.websocket import Socket

HANDSHAKE = [
    (b"host", b"localhost"),
    (b"connection", b"Upgrade"),
    (b"upgrade", b"websocket"),
    (b"sec-websocket-key", b"AAAAAAAAAAAAAAAAAAAAAA=="),
    (b"sec-websocket-version", b"13"),
]
MASK = b"\0\0\0\0"
PING = b"\x89\x80" + MASK
HELLO = b"\x81\x85" + MASK + b"hello"
# What select() can wait for ends here.
MANY_FILES = 1024
PATIENCE = 20


@pytest.fixture
def many_files() -> Iterator[None]:
    """Allow more open files than most systems do by default."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard <= 2 * MANY_FILES:
        pytest.skip("This system allows no more open files.")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * MANY_FILES, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_a_server_with_many_open_files_hears_its_sockets() -> None:
    with ExitStack() as opened:
        near, far = map(opened.enter_context, socket.socketpair())
        descriptor = fcntl.fcntl(near.fileno(), fcntl.F_DUPFD, MANY_FILES + 1)
        high = opened.enter_context(socket.socket(fileno=descriptor))
        ours = Socket.accept(high, HANDSHAKE, "/", 1000)
        assert ours.receive(0) is None
        far.sendall(HELLO)
        assert ours.receive(PATIENCE) == "hello"


def test_nothing_but_pings_is_no_message_however_many_come() -> None:
    near, far = socket.socketpair()

    def flood() -> None:
        with suppress(OSError):
            while True:
                far.sendall(PING * 100)

    def drain() -> None:
        with suppress(OSError):
            while far.recv(65_536):
                pass

    with near, far:
        ours = Socket.accept(near, HANDSHAKE, "/", 1000)
        heard = threading.Thread(target=ours.receive, args=(0.2,), daemon=True)
        threads = [threading.Thread(target=flood), threading.Thread(target=drain), heard]
        for thread in threads:
            thread.start()
        heard.join(PATIENCE)
        returned = not heard.is_alive()
        far.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
    assert returned
