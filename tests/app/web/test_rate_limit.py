import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from websockets.sync.client import connect as open_socket
from werkzeug.test import TestResponse

from app import create_app
from app.settings import Settings
from app.web.server.addresses import name_network
from bench.serving import find_free_port
from tests.helpers.servers import (
    all_started,
    count_statuses,
    fail_to_start,
    find_stream,
    goodbye,
    serving,
    started,
    wait_until_open,
)
from tests.helpers.servers import ask as send

pytestmark = pytest.mark.usefixtures("loaded_models")


def limited(**settings: Any) -> FlaskClient:
    return create_app(Settings(rate_limit="2/minute", **settings)).test_client()


def ask(client: FlaskClient, address: str = "192.0.2.1", through: str = "") -> TestResponse:
    """Ask for no photo at all: it counts as one."""
    return client.post(
        "/api/v1/analyze",
        environ_base={"REMOTE_ADDR": address},
        headers={"X-Forwarded-For": through} if through else {},
    )


def test_a_client_over_the_limit_by_api_or_form_is_told_when_to_come_again() -> None:
    client = limited()
    assert {client.get("/").status_code for _ in range(5)} == {200}  # pages are not counted
    send_form = partial(client.post, "/", environ_base={"REMOTE_ADDR": "192.0.2.1"})
    assert [send_form().status_code, ask(client).status_code] == [400, 400]
    refused = ask(client)
    assert refused.status_code == send_form().status_code == 429
    assert refused.get_json()["code"] == "rate_limited"
    assert 1 <= int(refused.headers["Retry-After"]) == refused.get_json()["retry_after"] <= 60


OTHERS = [f"203.0.113.{number}" for number in range(3)]


@pytest.mark.parametrize(
    ("proxies", "addresses", "claims", "last"),
    [
        (0, ["192.0.2.1", "192.0.2.1", "192.0.2.2"], [""] * 3, 400),
        (0, ["192.0.2.1"] * 3, OTHERS, 429),
        (1, ["192.0.2.1"] * 3, OTHERS, 400),
        (1, ["192.0.2.1"] * 3, ["198.51.100.1"] * 3, 429),
        # The proxy puts the address that it saw behind whatever the client claimed.
        (1, ["192.0.2.1"] * 3, [f"{other}, 198.51.100.1" for other in OTHERS], 429),
    ],
    ids=["another client", "a claim", "a proxy's word", "one client", "a claim to a proxy"],
)
def test_a_client_is_known_by_its_address_or_by_its_proxys_word(
    proxies: int, addresses: list[str], claims: list[str], last: int
) -> None:
    client = limited(trusted_proxies=proxies)
    statuses = [ask(client, *sender).status_code for sender in zip(addresses, claims, strict=True)]
    assert statuses == [400, 400, last]


def test_all_addresses_of_a_network_of_ipv6_are_one_client() -> None:
    assert name_network("2001:db8::1") == name_network("2001:db8::ffff:1") == "2001:db8::/64"
    assert name_network("2001:db8:0:1::1") != name_network("2001:db8::1")
    assert name_network("192.0.2.1") == name_network("::ffff:192.0.2.1") == "192.0.2.1"
    assert name_network("::ffff:192.0.2.2") == "192.0.2.2"


def test_live_sockets_count_as_well() -> None:
    with serving(create_app(Settings(rate_limit="1/minute"))) as address:
        stream = find_stream(address)
        with open_socket(stream) as first, open_socket(stream) as second:
            assert goodbye(second) == (1013, "rate_limited")
            assert "settings" in send(first, "{}")


def test_a_clock_set_back_locks_nobody_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    client = limited(rate_limit_storage=f"shared://{tmp_path}/limits.sqlite")
    assert [ask(client).status_code for _ in range(3)][-1] == 429
    monkeypatch.setattr("app.web.server.sqlite_storage.time.time", lambda: 0.0)
    assert 1 <= int(ask(client).headers["Retry-After"]) <= 60


def test_photos_are_read_on_when_they_can_not_be_counted(tmp_path: Path) -> None:
    file = tmp_path / "limits.sqlite"
    client = limited(rate_limit_storage=f"shared://{file}")
    assert [ask(client).status_code for _ in range(3)][-1] == 429
    file.write_bytes(b"no database" * 1000)
    assert ask(client).status_code == 400


def test_workers_count_together() -> None:
    # Room for all, so that none is refused before it is counted.
    limit = {"RAUT_RATE_LIMIT": "10/minute", "RAUT_QUEUE_SECONDS": "30"}
    with started(WEB_CONCURRENCY="2", **limit) as server:
        assert count_statuses(server) == {415: 10, 429: 20}


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
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder)]
        self._process = subprocess.Popen(
            [REDIS, *options, "--save", "", "--appendonly", "no"], stdout=subprocess.DEVNULL
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
    client = limited(rate_limit_storage=redis.address)
    assert [ask(client).status_code for _ in range(3)] == [400, 400, 429]
    redis.stop()
    assert {ask(client).status_code for _ in range(5)} == {400}
    redis.start()
    assert [ask(client).status_code for _ in range(3)] == [400, 400, 429]
    told = [each.message for each in caplog.records if each.message.startswith("photos")]
    assert told == ["photos are not counted", "photos are counted again"]


def test_a_redis_that_hangs_is_not_asked_for_each_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.web.server.rate_limit.REST_SECONDS", 60.0)
    with ExitStack() as opened:
        silent = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        silent.setblocking(False)
        client = limited(rate_limit_storage=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        assert {ask(client).status_code for _ in range(5)} == {400}
        opened.enter_context(silent.accept()[0])
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_a_redis_out_of_reach_ends_the_start_with_a_sentence() -> None:
    netloc = f"127.0.0.1:{find_free_port()}"
    reason = f"can't start: RAUT_RATE_LIMIT_STORAGE is redis://:@{netloc}/0, where nothing answers."
    storage = f"redis://:secret@{netloc}/0"
    fail_to_start(reason, RAUT_RATE_LIMIT="9/minute", RAUT_RATE_LIMIT_STORAGE=storage)


def test_a_missing_package_ends_the_start_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "redis.py").write_text("raise ImportError")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    storage = "redis://127.0.0.1/0"
    reason = f"Raut can't start: RAUT_RATE_LIMIT_STORAGE is {storage}, and the Python package"
    settings = {"RAUT_RATE_LIMIT": "9/minute", "RAUT_RATE_LIMIT_STORAGE": storage}
    fail_to_start(reason, PYTHONPATH=path, **settings)
