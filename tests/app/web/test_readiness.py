import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection

import pytest
from flask import Flask
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as open_socket

from app.web.server.admission import AdmissionQueue
from app.web.server.readiness import Readiness
from app.web.server.state import state_of
from bench.serving import list_children, write_form
from tests.helpers.forms import ASTRONAUT_PNG
from tests.helpers.servers import FRAME, GRACE_SECONDS, PATIENCE, Server, ask, goodbye, started


class Instance:
    """An application with one turn and no waiting room, whose seconds pass when it is told."""

    def __init__(self, app: Flask, admission: AdmissionQueue) -> None:
        self._client = app.test_client()
        self._queue = admission
        self.now = 1000.0

    def ready(self) -> str:
        """Return `ready`, or the code why not."""
        answer = self._client.get("/readyz").get_json()
        return str(answer.get("code", answer["status"]))

    @contextmanager
    def full(self, seconds: float) -> Iterator[None]:
        with self._queue.photo():
            self.now += seconds
            yield

    def rest(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def instance(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Instance:
    admission = AdmissionQueue(at_once=1, queue_seconds=0)
    instance = Instance(app, admission)
    monkeypatch.setattr(state_of(app), "admission", admission)
    monkeypatch.setattr(state_of(app), "readiness", Readiness(admission, workers=1))
    monkeypatch.setattr("app.web.server.admission.time.monotonic", lambda: instance.now)
    admission._load._noted = instance.now
    return instance


def test_a_server_is_ready_while_it_is_full_for_a_moment(instance: Instance) -> None:
    with instance.full(1):
        assert instance.ready() == "ready"


def test_a_server_that_stays_full_is_not_ready_until_it_has_had_rest(instance: Instance) -> None:
    with instance.full(3):
        assert instance.ready() == "overloaded"
    assert instance.ready() == "overloaded"
    instance.rest(10)
    assert instance.ready() == "ready"


def test_readiness_does_not_come_and_go_with_each_photo(instance: Instance) -> None:
    answers = []
    for _ in range(200):  # 20 seconds, full for six tenths of each photo's time
        with instance.full(0.06):
            answers.append(instance.ready())
        instance.rest(0.04)
        answers.append(instance.ready())
    changes = [i for i in range(1, len(answers)) if answers[i] != answers[i - 1]]
    assert (answers[0], answers[-1], len(changes)) == ("ready", "overloaded", 1)


def test_a_server_that_reads_most_photos_stays_ready(instance: Instance) -> None:
    for _ in range(200):
        with instance.full(0.04):
            assert instance.ready() == "ready"
        instance.rest(0.06)


def test_one_worker_with_room_keeps_its_server_ready(
    app: Flask, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_of(app), "readiness", Readiness(state_of(app).admission, workers=2))
    with instance.full(3):
        assert instance.ready() == "ready"


def wait_until_not_ready(server: Server) -> tuple[int, str]:
    ends = time.monotonic() + PATIENCE
    while (answer := server.ask("/readyz"))[0] == 200:
        assert time.monotonic() < ends
    return answer


def test_a_server_that_drains_answers_and_sends_new_ones_elsewhere() -> None:
    with started(RAUT_DRAIN_SECONDS="60") as server:
        with open_socket(server.stream) as live:
            assert ask(live, FRAME)["frame"] == 1
            server.process.send_signal(signal.SIGTERM)
            assert wait_until_not_ready(server) == (503, "draining")
            assert goodbye(live) == (1001, "server_stops")
        with closing(HTTPConnection(*server.address, timeout=PATIENCE)) as kept:
            kept.request("GET", "/healthz")
            answer = kept.getresponse()
            answer.read()
            assert (answer.status, answer.headers["Connection"]) == (200, "close")
        assert server.ask("/api/v1/analyze", *write_form(ASTRONAUT_PNG)) == (200, "")
        with pytest.raises(InvalidStatus) as refused:
            open_socket(server.stream)
        assert refused.value.response.status_code == 503
        # Told again, it ends at once.
        for worker in list_children(server.process.pid):
            os.kill(worker, signal.SIGTERM)
        assert server.process.wait(GRACE_SECONDS) == 0
