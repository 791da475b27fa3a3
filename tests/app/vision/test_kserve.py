import dataclasses
import gc
import gzip
import json
import logging
import os
import signal
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import skimage.data
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient
from websockets.sync.client import connect as open_socket
from werkzeug.test import TestResponse

from app import create_app
from app.__main__ import cli
from app.errors import RautError
from app.settings import Settings
from app.vision.detection.detector import DETECTOR_FOLDERS
from app.vision.loading import load_analyzer
from app.vision.models.cards import ModelError
from app.vision.models.kserve.tensors import read_response
from app.web.api.stream import MOST_FAULTS
from bench.serving import list_children
from tests.helpers.cards import read_card
from tests.helpers.forms import ASTRONAUT, ASTRONAUT_PNG, analyze, encode, post
from tests.helpers.inference import Answer, FakeServer, Handler, write_logits
from tests.helpers.servers import FRAME, GRACE_SECONDS, PATIENCE, fail_to_start, started
from tests.helpers.servers import ask as send_frame

FOLDERS = Path("models/expression"), Path("models/gender")
SERVED = [
    path.parent
    for path in Path("models").glob("*/model.onnx")
    if path.parent.name not in DETECTOR_FOLDERS
]
NOWHERE = "http://127.0.0.1:9"  # the port of the discard protocol: nobody listens
NO_FACE = encode(skimage.data.rocket())


@pytest.fixture(scope="module")
def running() -> Iterator[FakeServer]:
    with FakeServer(*SERVED) as server:
        yield server


@pytest.fixture(scope="module")
def remote_app(running: FakeServer) -> Flask:
    # The failures of all tests together.
    return create_app(settings_for(running.url, breaker_threshold=1000))


@pytest.fixture
def server(running: FakeServer) -> FakeServer:
    running.reset()
    return running


@pytest.fixture
def remote(server: FakeServer, remote_app: Flask) -> FlaskClient:
    client = remote_app.test_client()
    assert client.get("/readyz").status_code == 200
    return client


def start_client(url: str, **settings: Any) -> FlaskClient:
    return create_app(settings_for(url, **settings)).test_client()


def settings_for(url: str, **settings: Any) -> Settings:
    # The default timeout is too short for a busy machine.
    return Settings(
        runtime="remote", inference_url=url, **{"inference_timeout": PATIENCE, **settings}
    )


def ask(client: FlaskClient, photo: bytes = ASTRONAUT_PNG, **form: str) -> TestResponse:
    return analyze(client, photo, **form)


def changed_model(folder: Path) -> onnxruntime.InferenceSession:
    """The same network with one layer's weights a tenth larger."""
    model = onnx.load(folder / "model.onnx")
    weights = max(model.graph.initializer, key=lambda each: len(each.raw_data))
    values = onnx.numpy_helper.to_array(weights) * np.float32(1.1)
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    return onnxruntime.InferenceSession(model.SerializeToString())


def answers_with(status: int) -> Any:
    return lambda handler: Answer(status)


def on_batches(fault: Any) -> Any:
    return lambda handler: fault(handler) if handler.path.endswith("/infer") else handler.answer()


def is_unavailable(answer: TestResponse) -> bool:
    problem = answer.get_json(force=True)
    return (
        answer.status_code == 503
        and problem["code"] == "inference_unavailable"
        and int(answer.headers["Retry-After"]) == problem["retry_after"] >= 1
    )


@pytest.mark.parametrize("binary", [True, False], ids=["binary tensors", "numbers only"])
def test_a_server_s_answers_are_those_of_the_exact_local_models(binary: bool) -> None:
    with FakeServer(*SERVED, binary=binary) as server:
        answer = ask(start_client(server.url)).get_json()
    exact = create_app(Settings(runtime="onnx")).test_client()
    local = ask(exact).get_json()
    (face,), (expected,) = answer.pop("faces"), local.pop("faces")
    for task in ("expression", "gender"):
        found, wanted = face.pop(task), expected.pop(task)
        assert found.pop("probabilities") == pytest.approx(wanted.pop("probabilities"), abs=1e-4)
        assert found.pop("probability") == pytest.approx(wanted.pop("probability"), abs=1e-4)
        assert found == wanted
    assert face == expected
    assert answer["models"] == local["models"]
    assert answer["image"] == local["image"]


def test_all_faces_are_one_request_for_each_model(server: FakeServer, remote: FlaskClient) -> None:
    before = server.batches
    photo = encode(np.hstack([ASTRONAUT, ASTRONAUT]))
    assert len(ask(remote, photo).get_json()["faces"]) == 2
    assert server.batches == before + 2
    known = 1
    # Expressions are read from mirror images, too.
    assert [len(crops) for crops in server.crops[-2:]] == [known + 2 * 2, known + 2]


def test_only_crops_of_faces_go_to_the_server(server: FakeServer, remote: FlaskClient) -> None:
    before = len(server.paths)
    server.fault = answers_with(404)  # and none is needed for a photo without a face
    assert ask(remote, NO_FACE).get_json()["faces"] == []
    assert len(server.paths) == before
    server.fault = None
    ask(remote)
    assert server.paths[before:] == ["/v2/models/expression/infer", "/v2/models/gender/infer"]
    for crops, folder in zip(server.crops[-2:], FOLDERS, strict=True):
        card = read_card(folder)
        # The known crop and the face; the body holds no more than these and their description.
        count = 2 + card["mirror_averaging"]
        assert crops.shape == (count, card["size"], card["size"], card["channels"])
    for body, crops in zip(server.bodies[-2:], server.crops[-2:], strict=True):
        assert body.endswith(crops.tobytes())
        described = json.loads(body[: -crops.nbytes])
        assert set(described) == {"inputs", "outputs"}
        assert [set(each) for each in described["inputs"]] == [
            {"name", "shape", "datatype", "parameters"}
        ]


def test_another_model_under_the_same_name_ends_the_start(server: FakeServer) -> None:
    server.models["gender"] = changed_model(FOLDERS[1])
    with pytest.raises(ModelError, match=r"gender isn't the file that the card"):
        create_app(settings_for(server.url))


@pytest.mark.parametrize("wrapped", [False, True], ids=["in its metadata", "in Triton's way"])
def test_a_hash_that_the_server_tells_must_be_in_the_card(
    server: FakeServer, models: Path, wrapped: bool
) -> None:
    def tell(told: str) -> None:
        if wrapped:
            server.config = {"parameters": {"sha256": {"string_value": told}}}
        else:
            server.parameters = {"sha256": told}

    tell("0" * 64)
    with pytest.raises(ModelError, match=r"expression has the SHA-256 '0000.*which its card lacks"):
        create_app(settings_for(server.url, models=models))
    del server.models["gender"]
    tell(read_card(FOLDERS[0])["files"]["model.onnx"])
    with pytest.raises(ModelError, match=r"models/gender/ready answered with status 404"):
        load_analyzer(settings_for(server.url, models=models))


def test_a_model_that_changes_later_answers_nothing_until_it_is_back(
    server: FakeServer, remote: FlaskClient
) -> None:
    right, server.models["expression"] = server.models["expression"], changed_model(FOLDERS[0])
    assert is_unavailable(ask(remote))
    assert is_unavailable(remote.get("/readyz"))
    server.models["expression"] = right
    assert remote.get("/readyz").status_code == 200
    assert ask(remote).status_code == 200


def test_a_server_that_comes_back_is_checked_again(server: FakeServer, remote: FlaskClient) -> None:
    server.fault = answers_with(500)
    assert is_unavailable(ask(remote))
    server.fault = None
    server.parameters = {"sha256": "0" * 64}
    assert is_unavailable(ask(remote))
    server.parameters = {}
    assert ask(remote).status_code == 200


def test_no_proxy_of_the_environment_sees_a_crop(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, NOWHERE)
    assert ask(start_client(server.url)).status_code == 200


def test_without_its_server_no_photo_is_read_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(ASTRONAUT_PNG)
    environment = {"RAUT_RUNTIME": "remote", "RAUT_INFERENCE_URL": NOWHERE}
    result = CliRunner().invoke(cli, ["analyze", str(tmp_path)], env=environment)
    assert result.exit_code == 1
    assert f"The inference server at {NOWHERE}" in result.stderr
    assert "/v2/health/ready can't be reached" in result.stderr


def test_a_server_is_not_started_without_its_inference_server() -> None:
    reason = f"Raut can't start: The inference server at {NOWHERE}"
    fail_to_start(reason, RAUT_RUNTIME="remote", RAUT_INFERENCE_URL=NOWHERE)


def test_an_application_may_be_there_before_its_server(server: FakeServer) -> None:
    server.fault = answers_with(404)
    remote = start_client(server.url)
    assert is_unavailable(remote.get("/readyz"))
    assert remote.get("/healthz").status_code == 200
    assert is_unavailable(ask(remote))
    server.fault = None
    assert remote.get("/readyz").get_json()["status"] == "ready"
    assert ask(remote).status_code == 200


def test_a_killed_worker_comes_back_without_the_inference_server(server: FakeServer) -> None:
    environment = {
        "RAUT_RUNTIME": "remote",
        "RAUT_INFERENCE_URL": server.url,
        "RAUT_INFERENCE_TIMEOUT": str(PATIENCE),
        "RAUT_BREAKER_RESET": "0.001",
    }
    with started(**environment) as running:
        assert running.ask("/readyz") == (200, "")
        server.fault = answers_with(500)
        os.kill(list_children(running.process.pid)[0], signal.SIGKILL)
        running.wait_for(r"Photos are refused until it answers")
        assert running.ask("/readyz") == (503, "inference_unavailable")
        with open_socket(running.stream) as live:
            # More than a client at fault would be allowed.
            for _ in range(MOST_FAULTS + 2):
                answer = send_frame(live, FRAME)
                assert answer["problem"]["code"] == "inference_unavailable"
                assert answer["problem"]["retry_after"] >= 1
            server.fault = None
            while "problem" in answer:
                answer = send_frame(live, FRAME)
            assert answer["faces"][0]["expression"]["label"] == "happy"
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(GRACE_SECONDS) == 0


@pytest.mark.parametrize(
    ("faults", "status", "batches"),
    # Each model needs one more batch; the first model gets the faults.
    [([502, 503, 504, None], 200, 4 + 2), ([500], 503, 1)],
    ids=["passing", "others"],
)
def test_only_passing_faults_are_retried(
    server: FakeServer, remote: FlaskClient, faults: list[int | None], status: int, batches: int
) -> None:
    answers = [fault and Answer(fault) for fault in faults]
    server.fault = on_batches(lambda handler: answers.pop() if answers else handler.answer())
    before = server.batches
    answer = ask(remote)
    assert answer.status_code == status
    assert status == 200 or is_unavailable(answer)
    assert server.batches == before + batches


def never(handler: Handler) -> None:
    """Answer nothing until the client has gone."""
    handler.connection.recv(1)


def drip(handler: Handler, start: bytes, drop: bytes) -> None:
    """Answer a drop every now and then until the client has gone."""
    handler.wfile.write(start)
    handler.connection.settimeout(0.02)
    while True:
        handler.wfile.write(drop)
        with suppress(TimeoutError):
            if not handler.connection.recv(1):
                return


OK = b"HTTP/1.1 200 OK\r\n"
SLOW = {
    "nothing": never,
    "a body in drops": partial(drip, start=OK + b"Content-Length: 1000000\r\n\r\n", drop=b" "),
    "a head in drops": partial(drip, start=OK + b"X-Long: ", drop=b"a"),
    "go on": partial(drip, start=b"", drop=b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("fault", SLOW.values(), ids=SLOW.keys())
def test_a_server_that_takes_too_long_is_not_waited_for(server: FakeServer, fault: Any) -> None:
    remote = start_client(server.url, inference_timeout=0.3)
    server.fault = fault
    started = time.monotonic()
    assert is_unavailable(ask(remote))
    assert time.monotonic() - started < PATIENCE
    assert is_unavailable(remote.get("/readyz"))


# Of the known crop, of a face and of its mirror image.
LOGITS = {"original": np.zeros((3, 7), np.float32), "ferplus": np.zeros((3, 8), np.float32)}
SOUND = write_logits(LOGITS, binary=True)
LENGTH = "Inference-Header-Content-Length"
NONSENSE = {
    "no JSON": Answer(200, b"\xff\xfe{"),
    "a compressed answer": Answer(200, gzip.compress(SOUND.body), {"Content-Encoding": "gzip"}),
    "logits of another photo": SOUND,
    "too much": Answer(200, bytes(2_000_000)),
    "a redirect": Answer(307, b"", {"Location": "/elsewhere"}),
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_is_no_answer(server: FakeServer, remote: FlaskClient, nonsense: Answer) -> None:
    server.fault = on_batches(lambda handler: nonsense)
    assert is_unavailable(ask(remote))
    assert "/elsewhere" not in server.paths


def tell(**fields: Any) -> Answer:
    """Answer sound logits, the first head's with other fields."""
    answer = json.loads(write_logits(LOGITS, binary=False).body)
    answer["outputs"][0] |= fields
    return Answer(body=json.dumps(answer).encode())


LIES = {
    "nothing": Answer(200, b""),
    "another JSON": Answer(200, b"[1, 2]"),
    "no tensors": Answer(200, b'{"outputs": []}'),
    "lists in lists": Answer(200, b"[" * 900_000),
    "other shapes": write_logits({name: logits[:1] for name, logits in LOGITS.items()}, True),
    "not finite": write_logits({name: logits + np.nan for name, logits in LOGITS.items()}, True),
    "cut short": dataclasses.replace(SOUND, body=SOUND.body[:-1]),
    "a length beyond its end": dataclasses.replace(SOUND, headers={LENGTH: "99999"}),
    "a length that is none": dataclasses.replace(SOUND, headers={LENGTH: "many"}),
    "data of another kind": tell(data=[{}]),
    "words for numbers": tell(data=["1"] * 21),
    "an infinity as JSON has it": Answer(body=tell(data=[0.5] * 21).body.replace(b"0.5", b"1e999")),
    "a number beyond any float": tell(data=[10**400] * 21),
    "a shape beyond any memory": tell(shape=[10**30, 7]),
    "a negative shape": tell(shape=[-3, -7]),
    "a negative length": tell(parameters={"binary_data_size": -5}),
    "an infinite length": tell(parameters={"binary_data_size": float("inf")}),
    "a head twice": tell(name="ferplus", shape=[3, 8], data=[0.5] * 24),
}


def read(answer: Answer) -> dict[str, np.ndarray]:
    heads = {name: logits.shape[1] for name, logits in LOGITS.items()}
    return read_response(answer.body, answer.headers.get(LENGTH), 3, heads)


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_tensors_of_other_kinds_are_no_logits(lie: Answer) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(lie)


@pytest.mark.parametrize("sound", [SOUND, tell()], ids=["binary", "numbers"])
def test_sound_tensors_are_logits(sound: Answer) -> None:
    assert read(sound).keys() == LOGITS.keys()


def test_after_some_failures_the_server_is_left_alone(server: FakeServer, models: Path) -> None:
    remote = start_client(server.url, models=models, breaker_threshold=2, breaker_reset=60)
    server.fault = answers_with(500)
    for _ in range(2):
        assert is_unavailable(ask(remote))
    server.fault = None
    before = len(server.paths)
    answer = ask(remote)
    assert is_unavailable(answer)
    assert answer.get_json(force=True)["retry_after"] > 50
    assert is_unavailable(remote.get("/readyz"))
    assert len(server.paths) == before


def test_another_model_s_answers_do_not_make_up_for_failures(server: FakeServer) -> None:
    remote = start_client(server.url, breaker_threshold=2, breaker_reset=60)
    server.fault = lambda handler: Answer(500) if "gender" in handler.path else handler.answer()
    for _ in range(3):
        assert is_unavailable(ask(remote))
    assert server.paths.count("/v2/models/gender/infer") == 2
    assert ask(remote, models="expression").status_code == 200


def test_after_the_pause_the_first_answer_ends_it(server: FakeServer) -> None:
    remote = start_client(server.url, breaker_threshold=2, breaker_reset=0.001)
    server.fault = answers_with(500)
    for _ in range(3):
        assert is_unavailable(ask(remote))
    server.fault = None
    while is_unavailable(remote.get("/readyz")):
        pass
    assert ask(remote).status_code == 200


def test_what_is_logged_and_remembered_of_a_failure_is_no_picture(
    server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    analyzer = load_analyzer(settings_for(server.url))
    network = analyzer.classifiers["gender"].network
    crops = np.full((1, 64, 64, 3), 0x51, np.uint8)  # QQQ
    kept = weakref.ref(crops)
    # A server that answers what it was sent.
    server.fault = on_batches(lambda handler: Answer(200, handler.body))
    with caplog.at_level(logging.WARNING), suppress(RautError):
        network.logits(crops)
    assert "aren't the logits of gender" in caplog.text
    assert "QQQ" not in caplog.text
    del crops
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize(
    ("language", "sentence"),
    [("en", "does not respond at the moment"), ("id", "sedang tidak merespons")],
)
def test_the_pages_say_that_the_server_is_away(
    server: FakeServer, remote: FlaskClient, language: str, sentence: str
) -> None:
    remote.post("/language", data={"language": language})
    server.fault = answers_with(500)
    for address in ("/", "/steps"):
        answer = post(remote, address, {"image": ASTRONAUT_PNG})
        assert answer.status_code == 503
        assert sentence in answer.text


def test_the_steps_are_shown_as_without_a_server(
    server: FakeServer, remote: FlaskClient, client: FlaskClient
) -> None:
    before = server.batches
    pages = [post(each, "/steps", {"image": ASTRONAUT_PNG}).text for each in (remote, client)]
    assert pages[0].count('class="step"') == pages[1].count('class="step"') > 5
    # Both models' readings, and the crop covered at 49 positions beside itself and the known one.
    assert server.batches == before + 3
    assert [len(crops) for crops in server.crops[-3:]] == [3, 2, 51]


@pytest.mark.parametrize("address", ["/", "/realtime", "/about"])
def test_the_pages_say_where_crops_go(
    remote: FlaskClient, client: FlaskClient, address: str
) -> None:
    sentence = "sent to the inference server that this server's operator chose"
    assert sentence in remote.get(address).text
    assert sentence not in client.get(address).text
    assert "nothing goes elsewhere" not in remote.get(address).text


def test_a_path_in_the_address_stands_before_the_protocol_s(server: FakeServer) -> None:
    with pytest.raises(ModelError, match="status 404"):
        load_analyzer(settings_for(f"{server.url}/team/models/"))
    assert server.paths == ["/team/models/v2/health/ready"]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tenacity", None)
    monkeypatch.delitem(sys.modules, "app.vision.models.kserve.client", raising=False)
    monkeypatch.delitem(sys.modules, "app.vision.models.kserve.network", raising=False)
    with pytest.raises(ModelError, match=r"needs tenacity.* Install requirements/remote\.lock"):
        load_analyzer(settings_for(NOWHERE))
