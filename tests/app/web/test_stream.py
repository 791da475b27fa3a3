import json
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np
import pytest
import skimage.data
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as open_socket
from websockets.typing import Origin

from app import create_app
from app.settings import Settings
from app.web.api import stream
from app.web.server.state import state_of
from app.web.server.worker import MOST_MESSAGE_BYTES
from bench.live import measure_streams, write_table
from bench.moving import encode_frame, move_picture
from tests.helpers.forms import ASTRONAUT, encode
from tests.helpers.servers import FRAME, PATIENCE, ask, find_stream, goodbye, serving

pytestmark = pytest.mark.usefixtures("loaded_models")

Connect = Callable[..., ClientConnection]


@pytest.fixture
def connect(live_server: str) -> Iterator[Connect]:
    with ExitStack() as opened:

        def open_one(server: str = live_server, **options: Any) -> ClientConnection:
            url = find_stream(server)
            return opened.enter_context(open_socket(url, max_size=None, **options))

        yield open_one


@pytest.fixture(scope="module")
def one_place() -> Iterator[str]:
    with serving(create_app(Settings(max_streams=1))) as server:
        yield server


def test_a_moving_face_keeps_its_number_and_its_word(connect: Connect) -> None:
    client = connect()
    answers = [ask(client, encode_frame(moved)) for moved in move_picture(ASTRONAUT, 20)]
    assert [answer["frame"] for answer in answers] == list(range(1, 21))
    for answer in answers:
        face = answer["faces"][0]
        assert face["track"] == 1
        assert face["expression"]["label"] == "happy"
        assert sum(face["expression"]["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert answers[-1]["image"] == {"width": 640, "height": 480, "complete": True}
    assert set(answers[-1]["models"]) == {"expression", "gender"}


def test_of_frames_sent_ahead_the_newest_is_read_and_others_are_counted(connect: Connect) -> None:
    client = connect()
    for _ in range(8):
        client.send(FRAME)
    answers = [json.loads(client.recv(PATIENCE))]
    while answers[-1]["frame"] < 8:
        answers.append(json.loads(client.recv(PATIENCE)))
    assert answers[-1]["dropped"] == 8 - len(answers) > 0
    assert ask(client, FRAME)["frame"] == 9


def test_a_large_frame_is_read_at_a_smaller_scale(connect: Connect) -> None:
    large = Image.fromarray(skimage.data.astronaut()).resize((2048, 2048))
    answer = ask(connect(), encode(large, "JPEG"))
    assert max(answer["image"].values()) < 1300
    assert len(answer["faces"]) == 1


SMALL = encode(np.zeros((16, 16), np.uint8), "JPEG")


def pack_size(side: int) -> bytes:
    return struct.pack(">HH", side, side)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", "frame_empty"),
        (b"no picture at all", "image_type"),
        (encode_frame(np.zeros((99, 99, 3), np.uint8))[:400], "image_unreadable"),
        (encode(np.zeros((16, 16), np.uint8), "PNG"), "image_type"),
        (SMALL.replace(pack_size(16), pack_size(20_000), 1), "image_dimensions"),
    ],
    ids=["empty", "text", "broken", "PNG", "claims 20000x20000"],
)
def test_after_a_bad_frame_the_stream_goes_on(connect: Connect, message: bytes, code: str) -> None:
    client = connect()
    answer = ask(client, message)
    assert (answer["frame"], answer["problem"]["code"]) == (1, code)
    assert answer["problem"].get("accepted", ["JPEG"]) == ["JPEG"]
    assert len(ask(client, FRAME)["faces"]) == 1


def test_a_client_that_sends_only_nonsense_is_sent_away(connect: Connect) -> None:
    client = connect()
    for _ in range(stream.MOST_FAULTS):
        ask(client, b"nonsense")
    assert goodbye(client) == (1008, "too_many_faults")


def test_the_models_and_labels_are_set_by_a_text_message(connect: Connect) -> None:
    client = connect()
    settings = {"smoothing_seconds": 0.2, "models": "expression", "label_set": "original"}
    before = ask(client, FRAME)
    assert ask(client, json.dumps(settings)) == {"settings": settings}
    answer = ask(client, FRAME)
    assert answer["faces"][0]["track"] == before["faces"][0]["track"] == 1
    assert list(answer["models"]) == ["expression"]
    assert "gender" not in answer["faces"][0]
    assert list(answer["faces"][0]["expression"]["probabilities"])[-1] == "surprise"
    ask(client, '{"smoothing_seconds": 0.2}')
    assert list(ask(client, FRAME)["models"]) == ["expression", "gender"]


@pytest.mark.parametrize(
    ("choice", "code", "known"),
    [
        ({"models": "age"}, "unknown_model", "gender"),
        ({"label_set": "new"}, "unknown_labels", "ferplus"),
    ],
)
def test_models_and_labels_that_are_not_loaded_are_refused_with_the_choices(
    connect: Connect, choice: dict[str, str], code: str, known: str
) -> None:
    client = connect()
    problem = ask(client, json.dumps({"smoothing_seconds": 1, **choice}))["problem"]
    assert problem["code"] == code
    assert known in problem["choices"]
    assert len(ask(client, FRAME)["faces"]) == 1


def at(seconds: float, frame: bytes) -> bytes:
    return struct.pack(">d", seconds) + frame


def begin_film(client: ClientConnection) -> None:
    assert ask(client, '{"clock": "media"}') == {"settings": {"clock": "media"}}


def test_each_frame_of_a_film_is_read_in_its_turn(connect: Connect) -> None:
    client = connect()
    client.send('{"clock": "media"}')
    for number in range(8):
        client.send(at(number / 5, FRAME))
    answers = [json.loads(client.recv(PATIENCE)) for _ in range(9)][1:]
    assert [answer["frame"] for answer in answers] == list(range(1, 9))
    assert {answer["dropped"] for answer in answers} == {0}


def test_tracks_age_by_the_time_in_the_film(connect: Connect) -> None:
    empty = encode_frame(np.zeros((512, 512, 3), np.uint8))

    def number_after(seconds: float) -> int:
        client = connect()
        begin_film(client)
        ask(client, at(0, FRAME))
        assert ask(client, at(1, empty))["faces"] == []
        track: int = ask(client, at(1 + seconds, FRAME))["faces"][0]["track"]
        return track

    assert (number_after(1.5), number_after(600)) == (1, 2)


@pytest.mark.parametrize("time", [b"", b"1234", struct.pack(">d", 0.5), struct.pack(">d", np.nan)])
def test_a_film_s_frame_without_a_later_time_is_refused(connect: Connect, time: bytes) -> None:
    client = connect()
    begin_film(client)
    ask(client, at(1, FRAME))

    answer = ask(client, time + FRAME if len(time) == 8 else time)
    assert answer["problem"]["code"] == "frame_time_invalid"
    assert len(ask(client, at(1, FRAME))["faces"]) == 1


def test_a_camera_can_t_become_a_film(connect: Connect) -> None:
    client = connect()
    ask(client, FRAME)
    assert ask(client, '{"clock": "media"}')["problem"]["code"] == "settings_invalid"


NO_SETTINGS = ["hello", "[]", '{"clock": "wall"}', '{"smoothing_seconds": 9}', '{"x": 1}']


@pytest.mark.parametrize("message", [*NO_SETTINGS, '{"smoothing_seconds": "1"}'])
def test_other_text_is_refused_with_the_limits(connect: Connect, message: str) -> None:
    client = connect()
    problem = ask(client, message)["problem"]
    assert (problem["code"], problem["status"]) == ("settings_invalid", 400)
    assert "smoothing_seconds is from 0 to 2" in problem["detail"]
    assert ask(client, FRAME)["frame"] == 1


def test_a_message_over_the_limit_closes_the_socket_with_the_reason(connect: Connect) -> None:
    client = connect()
    client.send(bytes(MOST_MESSAGE_BYTES + 1))
    assert goodbye(client)[0] == 1009


@pytest.mark.parametrize("origin", ["https://example.org", "http://["])
def test_a_page_of_another_site_is_sent_away_whatever_it_sends(
    connect: Connect, live_server: str, origin: str
) -> None:
    assert ask(connect(origin=Origin(live_server)), FRAME)["frame"] == 1
    client = connect(origin=Origin(origin))
    with suppress(ConnectionClosed):
        client.send(bytes(1_500_000))
    assert goodbye(client) == (1008, "foreign_origin")


def test_a_socket_too_many_is_sent_away_until_one_is_free(connect: Connect, one_place: str) -> None:
    first = connect(one_place)
    ask(first, FRAME)
    assert goodbye(connect(one_place)) == (1013, "too_many_streams")
    with urlopen(f"{one_place}/readyz", timeout=PATIENCE) as answer:
        assert answer.status == 200
    first.close()
    assert ask(connect(one_place), FRAME)["frame"] == 1


def test_a_silent_socket_is_closed(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SILENCE_SECONDS", 0.05)
    monkeypatch.setattr(stream, "TICK_SECONDS", 0.1)
    assert goodbye(connect()) == (1008, "silent")


def test_a_socket_that_sends_settings_and_no_frames_is_silent(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "SILENCE_SECONDS", 0.3)
    monkeypatch.setattr(stream, "TICK_SECONDS", 0.05)
    client = connect()
    with suppress(ConnectionClosed):
        while True:
            ask(client, '{"smoothing_seconds": 0.5}')
    assert client.close_reason == "silent"


def test_one_client_cannot_hold_all_places(connect: Connect) -> None:
    with serving(create_app(Settings(max_streams=4, max_streams_per_client=2))) as server:
        clients = [connect(server) for _ in range(3)]
        assert goodbye(clients[2]) == (1013, "too_many_streams")
        assert ask(clients[1], FRAME)["frame"] == 1


def test_a_stopping_server_says_goodbye(
    connect: Connect, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect()
    ask(client, FRAME)
    monkeypatch.setattr(state_of(app).readiness, "is_running", lambda: False)
    assert goodbye(client) == (1001, "server_stops")


def test_two_clients_share_nothing(connect: Connect) -> None:
    one, other = connect(), connect()
    assert ask(one, FRAME)["faces"][0]["track"] == 1
    black = encode_frame(np.zeros((480, 640, 3), np.uint8))
    assert ask(other, black)["faces"] == []
    assert ask(other, FRAME)["frame"] == 2


def test_bytes_that_are_no_websocket_frame_end_that_socket_only(connect: Connect) -> None:
    client = connect()
    client.socket.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
    assert goodbye(client)[0] == 1002
    assert ask(connect(), FRAME)["frame"] == 1


def test_pieces_are_joined_pings_answered_and_no_compression_agreed_on(connect: Connect) -> None:
    client = connect()
    client.send([FRAME[:1000], FRAME[1000:2000], FRAME[2000:]])
    assert len(json.loads(client.recv(PATIENCE))["faces"]) == 1
    assert client.ping().wait(PATIENCE)
    assert client.request
    assert "permessage-deflate" in client.request.headers["Sec-WebSocket-Extensions"]
    assert client.response
    assert "Sec-WebSocket-Extensions" not in client.response.headers


def test_plain_requests_and_servers_without_sockets_are_refused(client: FlaskClient) -> None:
    answer = client.get("/api/v1/stream")
    assert (answer.status_code, answer.content_type) == (400, "application/problem+json")
    answer = client.get("/api/v1/stream", headers={"Connection": "Upgrade", "Upgrade": "websocket"})
    assert (answer.status_code, answer.get_json()["code"]) == (501, "sockets_unsupported")


def test_another_version_of_the_protocol_is_refused(live_server: str) -> None:
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version": "8",
    }
    host = urlsplit(live_server).netloc
    with closing(HTTPConnection(host, timeout=PATIENCE)) as connection:
        connection.request("GET", "/api/v1/stream", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 426
        assert answer.headers["Sec-WebSocket-Version"] == "13"


@pytest.mark.parametrize(
    ("sockets", "workers", "share"), [(16, 2, 8), (5, 2, 2), (1, 4, 1), (16, 1, 16)]
)
def test_the_workers_share_the_sockets(
    monkeypatch: pytest.MonkeyPatch, sockets: int, workers: int, share: int
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", str(workers))
    assert Settings(max_streams=sockets).streams_per_worker == share


def test_the_benchmark_measures_each_client_and_the_plain_requests(
    live_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.live.FRAMES", 15)
    picture = tmp_path / "face.png"
    Image.fromarray(skimage.data.astronaut()).save(picture)
    figures = measure_streams(picture, clients=2, seconds=1.5, rate=30, url=live_server)
    assert [client["closed"] for client in figures["clients"]] == ["", ""]
    assert all(client["frames_per_second"] > 0 for client in figures["clients"])
    assert figures["photos"]["answered"] == figures["photos"]["sent"] > 0
    assert len(write_table(figures).splitlines()) == 2 + 2 + 1
