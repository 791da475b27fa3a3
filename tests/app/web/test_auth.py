import re
from collections.abc import Iterator
from html import unescape

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient
from websockets.sync.client import connect as open_socket
from werkzeug.test import TestResponse

from app import create_app
from app.__main__ import cli
from app.settings import Settings
from app.web.server.auth import hash_token
from tests.helpers.forms import ASTRONAUT_PNG, analyze, post
from tests.helpers.servers import ask, find_stream, goodbye, serving

pytestmark = pytest.mark.usefixtures("loaded_models")
TOKEN = "a long and random word"


@pytest.fixture(scope="module")
def guarded() -> Flask:
    return create_app(Settings(tokens={"lab": hash_token(TOKEN)}))


@pytest.fixture
def stranger(guarded: Flask) -> FlaskClient:
    return guarded.test_client()


def enter(client: FlaskClient, token: str, wanted: str = "/steps") -> TestResponse:
    return client.post("/access", data={"token": token, "next": wanted})


def test_a_program_without_a_token_is_told_to_send_one(stranger: FlaskClient) -> None:
    posts = ("analyze", "features", "heads")
    asked = [("POST", f"/api/v1/{name}") for name in posts]
    for method, path in [*asked, ("GET", "/api/v1/models")]:
        answer = stranger.open(path, method=method)
        assert (answer.status_code, answer.get_json()["code"]) == (401, "token_missing")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    answer = stranger.post("/api/v1/analyze", headers={"Authorization": f"Bearer {TOKEN}!"})
    assert (answer.status_code, answer.get_json()["code"]) == (401, "token_unknown")


def test_a_token_gets_a_photo_read(stranger: FlaskClient) -> None:
    stranger.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKEN}"
    assert len(analyze(stranger, ASTRONAUT_PNG).get_json()["faces"]) == 1


def test_a_person_enters_the_token_once(stranger: FlaskClient) -> None:
    asked = stranger.get("/steps")
    assert (asked.status_code, asked.location) == (303, "/access?next=/steps")
    assert b'name="token"' in stranger.get(asked.location).data
    entered = enter(stranger, TOKEN)
    assert (entered.status_code, entered.location) == (303, "/steps")
    assert {"HttpOnly", "SameSite=Strict"} <= set(entered.headers["Set-Cookie"].split("; "))
    assert stranger.get("/steps").status_code == 200
    assert b"happy" in post(stranger, "/", {"image": ASTRONAUT_PNG}).data


def test_entering_leads_to_the_very_page_that_was_wanted(stranger: FlaskClient) -> None:
    wanted = "/?models=gender&effort=fast"
    asked = stranger.get(stranger.get(wanted).location).text
    kept = [unescape(each) for each in re.findall('name="next" value="(.*?)"', asked)]
    assert wanted in kept
    assert enter(stranger, TOKEN, wanted).location == wanted
    assert enter(stranger, TOKEN, "//evil.example").location == "/"


def test_a_wrong_token_is_asked_for_again(stranger: FlaskClient) -> None:
    answer = enter(stranger, "a guess")
    assert answer.status_code == 401
    assert b"know that token" in answer.data
    assert "Set-Cookie" not in answer.headers


def guess(client: FlaskClient, address: str, token: str, by_form: bool) -> int:
    environ = {"REMOTE_ADDR": address}
    if by_form:
        return client.post("/access", data={"token": token}, environ_base=environ).status_code
    headers = {"Authorization": f"Bearer {token}"}
    return client.get("/api/v1/models", headers=headers, environ_base=environ).status_code


@pytest.mark.parametrize("rate_limit", ["", "600/minute"])
def test_whoever_guesses_tokens_is_heard_no_more_for_a_while(rate_limit: str) -> None:
    settings = Settings(tokens={"lab": hash_token(TOKEN)}, rate_limit=rate_limit)
    client = create_app(settings).test_client()
    guesses = [guess(client, "192.0.2.1", f"guess {n}", by_form=n % 2 == 0) for n in range(11)]
    assert guesses == [401] * 10 + [429]
    # Nor is the right one told apart from others then.
    assert guess(client, "::ffff:192.0.2.1", TOKEN, by_form=False) == 429
    assert guess(client, "192.0.2.1", TOKEN, by_form=True) == 429
    assert client.get("/about", environ_base={"REMOTE_ADDR": "192.0.2.1"}).status_code == 200
    assert guess(client, "192.0.2.2", TOKEN, by_form=True) == 303


def test_a_token_that_is_known_may_be_sent_as_often_as_it_is_needed() -> None:
    client = create_app(Settings(tokens={"lab": hash_token(TOKEN)})).test_client()
    assert {guess(client, "192.0.2.1", TOKEN, by_form=False) for _ in range(30)} == {200}


@pytest.mark.parametrize("path", ["/", "/steps", "/steps/stages.zip"])
def test_no_form_reads_a_photo_without_a_token(stranger: FlaskClient, path: str) -> None:
    assert post(stranger, path, {"image": ASTRONAUT_PNG}).status_code == 401


@pytest.mark.parametrize("path", ["/models", "/about", "/healthz", "/readyz"])
def test_what_reads_no_photo_stays_open(stranger: FlaskClient, path: str) -> None:
    assert stranger.get(path).status_code == 200


@pytest.fixture(scope="module")
def address(guarded: Flask) -> Iterator[str]:
    with serving(guarded) as server:
        yield find_stream(server)


def test_a_socket_closes_with_the_reason_unless_a_token_opens_it(address: str) -> None:
    for headers, reason in [({}, "token_missing"), ({"Cookie": "raut_access=x"}, "token_unknown")]:
        with open_socket(address, additional_headers=headers) as client:
            assert goodbye(client) == (1008, reason)
    with open_socket(address, additional_headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        assert "settings" in ask(client, '{"smoothing_seconds": 1}')


def test_the_command_makes_a_token_that_the_settings_take(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = CliRunner().invoke(cli, ["token", "lab"]).stdout
    token = printed.split("Token for lab: ")[1].split("\n")[0]
    monkeypatch.setenv("RAUT_TOKENS", printed.split("RAUT_TOKENS='")[1].split("'")[0])
    assert Settings().tokens == {"lab": hash_token(token)}
    assert len(token) >= 32
