"""Test what the worker waits for before it gives a request to a thread."""

import time

import pytest

from app.web.server.worker import LEAST_BYTES_PER_SECOND, PATIENCE_SECONDS, RequestBuffer

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"


def arrive(*pieces: bytes) -> RequestBuffer:
    arrival = RequestBuffer(most_body_bytes=1000)
    for piece in pieces:
        assert not arrival.whole
        arrival.take(piece)
    return arrival


@pytest.mark.parametrize(
    ("request_", "whole"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", True),
        (HEAD + b"Content-Length: 3\r\n\r\nab", False),
        (HEAD + b"Content-Length: 3\r\n\r\nabc", True),
        (HEAD + b"Content-Length: 1001\r\n\r\n", True),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", False),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", False),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", True),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n", True),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nno size\r\n", True),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + bytes(1001), True),
        (HEAD + b"X: " + bytes(100_000), True),
    ],
)
def test_a_request_is_whole_when_all_of_it_has_come_or_it_is_too_large(
    request_: bytes, whole: bool
) -> None:
    assert arrive(request_).whole is whole


def test_an_end_is_found_however_the_bytes_come() -> None:
    request = (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"
    )
    assert arrive(*(bytes([each]) for each in request)).whole


def test_a_client_is_late_once_it_is_slower_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    arrival = RequestBuffer(most_body_bytes=10_000_000)
    arrival.take(HEAD + b"Content-Length: 5000000\r\n\r\n")
    assert not arrival.is_late(1000.0 + PATIENCE_SECONDS)
    assert arrival.is_late(1000.0 + PATIENCE_SECONDS + 1)
    arrival.take(bytes(10 * LEAST_BYTES_PER_SECOND))
    assert not arrival.is_late(1000.0 + PATIENCE_SECONDS + 10)
