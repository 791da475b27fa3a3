import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from app import create_app
from app.settings import Settings
from bench.serving import find_free_port
from tests.helpers.servers import all_started, count_statuses, fail_to_start, wait_until_open

pytestmark = pytest.mark.usefixtures("loaded_models")

REDIS = shutil.which("redis-server") or ""

with_redis = pytest.mark.skipif(
    not REDIS, reason="redis-server is needed: install the package redis-server."
)


class Redis:
    """A Redis that keeps nothing, and can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.port = find_free_port()
        self._folder = folder
        self.start()

    @property
    def address(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        place = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder)]
        self._process = subprocess.Popen(
            [REDIS, *place, "--save", "", "--appendonly", "no"], stdout=subprocess.DEVNULL
        )
        wait_until_open(self.port, self._process)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    running = Redis(tmp_path)
    yield running
    running.stop()


def limited(address: str) -> FlaskClient:
    return create_app(Settings(rate_limit="2/minute", rate_limit_storage=address)).test_client()


def ask(client: FlaskClient) -> int:
    """Ask for no photo at all: it counts as one."""
    return client.post("/api/v1/analyze").status_code


@with_redis
def test_two_servers_count_together(redis: Redis) -> None:
    # Room for all, so that none is refused before it is counted.
    settings = {"RAUT_RATE_LIMIT": "10/minute", "RAUT_RATE_LIMIT_STORAGE": redis.address}
    with all_started(*[{**settings, "RAUT_QUEUE_SECONDS": "30"}] * 2) as servers:
        assert count_statuses(*servers) == {415: 10, 429: 20}


@with_redis
def test_a_lost_redis_is_told_once_and_photos_are_counted_again_when_it_is_back(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.web.server.rate_limit.REST_SECONDS", 0.0)
    client = limited(redis.address)
    assert [ask(client) for _ in range(3)] == [400, 400, 429]
    redis.stop()
    assert {ask(client) for _ in range(5)} == {400}
    redis.start()
    assert [ask(client) for _ in range(3)] == [400, 400, 429]
    told = [each.message for each in caplog.records if each.message.startswith("photos")]
    assert told == ["photos are not counted", "photos are counted again"]


def test_a_redis_that_hangs_is_not_asked_for_each_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.web.server.rate_limit.REST_SECONDS", 60.0)
    with ExitStack() as opened:
        silent = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        silent.setblocking(False)
        client = limited(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        assert {ask(client) for _ in range(5)} == {400}
        opened.enter_context(silent.accept()[0])
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_a_redis_out_of_reach_ends_the_start_with_a_sentence() -> None:
    place = f"127.0.0.1:{find_free_port()}"
    reason = f"can't start: RAUT_RATE_LIMIT_STORAGE is redis://:@{place}/0, where nothing answers."
    storage = f"redis://:secret@{place}/0"
    fail_to_start(reason, RAUT_RATE_LIMIT="9/minute", RAUT_RATE_LIMIT_STORAGE=storage)


def test_a_missing_package_ends_the_start_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "redis.py").write_text("raise ImportError")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    storage = "redis://127.0.0.1/0"
    reason = f"Raut can't start: RAUT_RATE_LIMIT_STORAGE is {storage}, and the Python package"
    settings = {"RAUT_RATE_LIMIT": "9/minute", "RAUT_RATE_LIMIT_STORAGE": storage}
    fail_to_start(reason, PYTHONPATH=path, **settings)
