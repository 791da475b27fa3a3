import random
import struct
from collections.abc import Iterator
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as open_socket

from tests.helpers.servers import FRAME, ask, find_stream, goodbye

MASK = b"\0\0\0\0"
# First byte: 0x80 final, then the kind: 0 continued, 1 text, 2 binary, 8 close, 9 ping.
BROKEN = {
    "a reserved bit": b"\xf2\x80" + MASK,
    "an unknown kind": b"\x83\x80" + MASK,
    "a frame without a mask": b"\x82\x03abc",
    "a length of 2 to the 63rd": b"\x82\xff" + struct.pack(">Q", 2**63) + MASK,
    "a continuation of nothing": b"\x80\x80" + MASK,
    "a ping in pieces": b"\x09\x80" + MASK,
    "a ping too long": b"\x89\xfe" + struct.pack(">H", 200) + MASK + bytes(200),
    "text that is no UTF-8": b"\x81\x82" + MASK + b"\xff\xff",
    "a goodbye of one byte": b"\x88\x81" + MASK + b"\0",
    "a new message inside another": b"\x02\x81" + MASK + b"a" + b"\x82\x81" + MASK + b"b",
}


@pytest.fixture
def address(live_server: str) -> str:
    return find_stream(live_server)


@pytest.fixture
def client(address: str) -> Iterator[ClientConnection]:
    with open_socket(address) as opened:
        yield opened


@pytest.fixture
def answers_others(address: str) -> Iterator[None]:
    """Check another client before and after."""
    with open_socket(address) as other:
        assert ask(other, FRAME)["frame"] == 1
        yield
        assert ask(other, FRAME)["frame"] == 2


@pytest.mark.usefixtures("answers_others")
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_frame_closes_its_socket_with_reason(client: ClientConnection, name: str) -> None:
    client.socket.sendall(BROKEN[name])
    assert goodbye(client)[0] in (1002, 1007, 1009)


@pytest.mark.usefixtures("answers_others")
@pytest.mark.parametrize(
    "half", [b"\x82", b"\x82\xfe\xff", b"\x82\xfe\xff\xff" + MASK + bytes(100)]
)
def test_leaving_within_a_frame_affects_no_other(client: ClientConnection, half: bytes) -> None:
    client.socket.sendall(half)
    client.socket.close()


def test_random_bytes_on_a_socket_affect_no_other(
    client: ClientConnection, address: str, fuzz_count: int
) -> None:
    for number in range(fuzz_count // 50):
        noise = random.Random(number).randbytes(random.Random(number).choice([1, 2, 14, 3000]))
        with suppress(OSError, ConnectionClosed), open_socket(address, close_timeout=1) as noisy:
            noisy.socket.sendall(noise)
            noisy.socket.close()
        assert ask(client, FRAME)["frame"] == number + 1
