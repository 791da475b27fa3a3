import io

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.settings import FORM_BYTES, Settings
from tests.helpers.pages import PAGES

pytestmark = pytest.mark.usefixtures("loaded_models")


def test_the_list_of_pages_is_complete(app: Flask, client: FlaskClient) -> None:
    rules = [each for each in app.url_map.iter_rules() if not (each.arguments or each.websocket)]
    answers = {
        rule.rule: client.get(rule.rule, buffered=True)
        for rule in rules
        if "GET" in (rule.methods or ())
    }
    shown = {path for path, answer in answers.items() if answer.status == "200 OK"}
    assert {path for path in shown if answers[path].mimetype == "text/html"} <= set(PAGES)


@pytest.mark.parametrize("path", [*PAGES, "/api/v1/models", "/nowhere"])
def test_every_answer_keeps_its_page_to_itself(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert headers["Permissions-Policy"].startswith("camera=(self)")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    # The photo page holds nothing of a photo before one is read, and Back should return to it.
    assert headers["Cache-Control"] == ("private, no-cache" if path == "/" else "no-store")


@pytest.mark.parametrize("path", ["/", "/steps", "/api/v1/analyze", "/language", "/models/choice"])
@pytest.mark.parametrize("origin", ["https://example.org", "null", "http://["])
def test_no_other_sites_page_can_post_here(client: FlaskClient, path: str, origin: str) -> None:
    answer = client.post(path, headers={"Origin": origin})
    assert (answer.status_code, answer.get_json()["code"]) == (403, "foreign_origin")


def test_our_own_pages_and_programs_can(client: FlaskClient) -> None:
    assert client.post("/language", headers={"Origin": "http://localhost"}).status_code == 303
    assert client.post("/language").status_code == 303


def test_browsers_are_bound_to_tls_only_where_they_came_by_it() -> None:
    client = create_app(Settings(trusted_proxies=1)).test_client()
    by_tls = client.get("/", headers={"X-Forwarded-Proto": "https"})
    assert by_tls.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert "Strict-Transport-Security" not in client.get("/").headers


@pytest.mark.parametrize("name", ["FLASK_DEBUG", "FLASK_ENV"])
def test_no_variable_turns_debugging_on(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "development" if name == "FLASK_ENV" else "1")
    assert not create_app(Settings()).debug


def test_only_hosts_that_are_named_are_answered() -> None:
    client = create_app(Settings(trusted_hosts=["raut.example.org"])).test_client()
    for accept in ["*/*", "text/html"]:
        refused = client.get("/", headers={"Host": "evil.example", "Accept": accept})
        assert refused.status_code == 400
    assert client.get("/", headers={"Host": "raut.example.org"}).status_code == 200


ELSEWHERE = {"REMOTE_ADDR": "192.0.2.1"}


def test_no_address_answers_a_name_that_was_rebound_to_this_machine(app: Flask) -> None:
    client = app.test_client()
    rules = [rule for rule in app.url_map.iter_rules() if not rule.websocket]
    assert {"/metrics", "/healthz", "/static/<path:filename>"} <= {rule.rule for rule in rules}
    for path in ["/nowhere", *(rule.rule for rule in rules)]:
        for method in ["GET", "POST"]:
            headers = {"Host": "evil.example:8000", "Origin": "http://evil.example:8000"}
            answer = client.open(path, method=method, headers=headers)
            assert (answer.status_code, answer.get_json()["code"]) == (400, "host_not_trusted")
            assert "RAUT_TRUSTED_HOSTS" in answer.get_json()["detail"]


OWN = ["localhost", "LOCALHOST:8000", "raut.localhost", "localhost.", "127.0.0.1:80", "[::1]:8000"]
ALIKE = ["localhost.evil.example", "evillocalhost", "127.0.0.1.evil", "1"]


@pytest.mark.parametrize("host", [*OWN, *ALIKE])
@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_this_machines_own_names_are_answered_and_names_that_look_so_are_not(
    client: FlaskClient, host: str, address: str
) -> None:
    answer = client.get("/about", headers={"Host": host}, environ_base={"REMOTE_ADDR": address})
    assert answer.status_code == (200 if host in OWN else 400)
    assert host in OWN or answer.get_json()["code"] == "host_not_trusted"


def test_names_are_answered_in_a_network_and_behind_proxies_and_where_they_are_named() -> None:
    host = {"Host": "raut.example.org"}
    open_one, proxied, named = (
        create_app(settings).test_client()
        for settings in [
            Settings(),
            Settings(trusted_proxies=1),
            Settings(trusted_hosts=["raut.example.org"]),
        ]
    )
    assert open_one.get("/about", headers=host, environ_base=ELSEWHERE).status_code == 200
    assert proxied.get("/about", headers=host).status_code == 200
    assert named.get("/about", headers=host).status_code == 200


class Unreadable(io.BytesIO):
    def read(self, *_: object) -> bytes:
        raise AssertionError("The body was read.")


@pytest.mark.parametrize("path", ["/language", "/models/choice", "/access", "/about", "/nowhere"])
def test_a_long_body_is_not_read_where_no_photo_is_expected(client: FlaskClient, path: str) -> None:
    answer = client.post(
        path,
        input_stream=Unreadable(),
        content_type="multipart/form-data",
        environ_overrides={"CONTENT_LENGTH": str(FORM_BYTES + 1)},
    )
    assert (answer.status_code, answer.get_json()["code"]) == (413, "request_too_large")


@pytest.mark.parametrize("elsewhere", ["https://example.org/", "//example.org", "/\\example.org"])
def test_the_language_switch_never_leaves_the_site(client: FlaskClient, elsewhere: str) -> None:
    answer = client.post("/language", data={"language": "id", "next": elsewhere})
    assert answer.location == "/"
