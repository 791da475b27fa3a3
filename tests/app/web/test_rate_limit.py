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
from tests.helpers.servers import ask as send
from tests.helpers.servers import count_statuses, find_stream, goodbye, serving, started

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
