import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.web.server import admission
from app.web.server.admission import FIRST_PHOTO_SECONDS, MOST_QUEUED, AdmissionQueue
from app.web.server.state import state_of
from tests.helpers.errors import refused
from tests.helpers.forms import ASTRONAUT_PNG, post


class Waiting:
    """Let threads ask for a slot one after another, and note in which order they get it."""

    def __init__(self, admission: AdmissionQueue) -> None:
        self.order: list[str] = []
        self._queue = admission
        self._threads: list[threading.Thread] = []

    def ask(self, name: str, slot: Callable[[], AbstractContextManager[None]]) -> None:
        thread = threading.Thread(target=self._take, args=(name, slot))
        waiting = self._waiting()
        thread.start()
        self._threads.append(thread)
        while self._waiting() == waiting:
            pass  # until the thread stands in its queue

    def finish(self) -> list[str]:
        for thread in self._threads:
            thread.join()
        return self.order

    def _take(self, name: str, slot: Callable[[], AbstractContextManager[None]]) -> None:
        with slot():
            self.order.append(name)

    def _waiting(self) -> int:
        return len(self._queue._photos) + len(self._queue._frames)


def test_photos_go_before_frames_but_one_frame_goes_between_two() -> None:
    queue = AdmissionQueue(at_once=1, queue_seconds=3)
    waiting = Waiting(queue)
    with queue.frame():
        waiting.ask("first frame", queue.frame)
        waiting.ask("second frame", queue.frame)
        waiting.ask("first photo", queue.photo)
        waiting.ask("second photo", queue.photo)
    assert waiting.finish() == ["first photo", "first frame", "second photo", "second frame"]


def test_a_photo_too_many_is_refused_and_those_before_it_are_not() -> None:
    queue = AdmissionQueue(at_once=1, queue_seconds=1.5 * FIRST_PHOTO_SECONDS)
    waiting = Waiting(queue)
    with queue.photo():
        waiting.ask("waiting", queue.photo)
        with refused("busy"), queue.photo():
            pass
    assert waiting.finish() == ["waiting"]


def test_the_slower_photos_are_the_fewer_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(admission.time, "monotonic", lambda: clock[0])
    for seconds, most in ((0.001, MOST_QUEUED), (1.0, 3), (10.0, 0)):
        queue = AdmissionQueue(at_once=1, queue_seconds=3)
        for _ in range(50):
            with queue.photo():
                clock[0] += seconds
        waiting = Waiting(queue)
        with queue.photo():
            for number in range(most):
                waiting.ask(str(number), queue.photo)
            assert queue.full
        assert len(waiting.finish()) == most


def test_a_slot_is_given_back_after_a_fault() -> None:
    queue = AdmissionQueue(at_once=1, queue_seconds=0)
    with pytest.raises(ZeroDivisionError), queue.photo():
        1 / 0  # noqa: B018
    with queue.photo():
        pass


@pytest.fixture
def busy(app: Flask, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    """An application all of whose slots are taken."""
    monkeypatch.setattr(state_of(app), "admission", AdmissionQueue(at_once=0, queue_seconds=0))
    return app.test_client()


@pytest.mark.parametrize(
    "address", ["/api/v1/analyze", "/api/v1/features", "/", "/steps", "/steps/stages.zip"]
)
def test_a_busy_server_says_when_to_try_again(busy: FlaskClient, address: str) -> None:
    answer = post(busy, address, {"image": ASTRONAUT_PNG})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    told = answer.get_json()["code"] if answer.is_json else answer.text
    assert told == "busy" or "The server is busy with other photos." in told


def test_pages_are_shown_by_a_busy_server(busy: FlaskClient) -> None:
    assert busy.get("/").status_code == busy.get("/readyz").status_code == 200
