"""Send what is no frame, or half of one, to the live socket: others are answered all the same."""

import json
import random
import struct
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
import skimage.data
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as open_socket

from bench.moving import encode_frame

PATIENCE = 20
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
def client(live_server: str) -> Iterator[ClientConnection]:
    with open_socket(f"{live_server.replace('http', 'ws')}/api/v1/stream") as opened:
        yield opened


@pytest.fixture
def answers_others(live_server: str) -> Iterator[None]:
    """Another client that is answered before and after."""
    frame = encode_frame(skimage.data.astronaut())
    with open_socket(f"{live_server.replace('http', 'ws')}/api/v1/stream") as other:
        for number in (1, 2):
            other.send(frame)
            assert json.loads(other.recv(PATIENCE))["frame"] == number
            if number == 1:
                yield


def goodbye(client: ClientConnection) -> int:
    """Wait for the server to close; return its code."""
    with pytest.raises(ConnectionClosed) as caught:
        client.recv(PATIENCE)
    assert caught.value.rcvd, "The server closed without a reason."
    return caught.value.rcvd.code


@pytest.mark.usefixtures("answers_others")
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_frame_closes_its_socket_with_a_reason(
    client: ClientConnection, name: str
) -> None:
    client.socket.sendall(BROKEN[name])
    assert goodbye(client) in (1002, 1007, 1009)


@pytest.mark.usefixtures("answers_others")
@pytest.mark.parametrize(
    "half", [b"\x82", b"\x82\xfe\xff", b"\x82\xfe\xff\xff" + MASK + bytes(100)]
)
def test_a_client_that_leaves_in_the_middle_of_a_frame_disturbs_nobody(
    client: ClientConnection, half: bytes
) -> None:
    client.socket.sendall(half)
    with closing(client.socket):
        pass


def test_noise_of_any_kind_disturbs_nobody(
    client: ClientConnection, live_server: str, fuzz_count: int
) -> None:
    frame = encode_frame(skimage.data.astronaut())
    for number in range(fuzz_count // 50):
        noise = random.Random(number).randbytes(random.Random(number).choice([1, 2, 14, 3000]))
        with (
            suppress(OSError, ConnectionClosed),
            open_socket(
                f"{live_server.replace('http', 'ws')}/api/v1/stream", close_timeout=1
            ) as noisy,
        ):
            noisy.socket.sendall(noise)
            noisy.socket.close()
        client.send(frame)
        assert json.loads(client.recv(PATIENCE))["frame"] == number + 1
