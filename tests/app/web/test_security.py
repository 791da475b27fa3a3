"""Test what every answer says to browsers, and whom the application believes."""

import pytest
from flask.testing import FlaskClient

from app import create_app
from app.settings import Settings

PLACES = ["/", "/realtime", "/steps", "/models", "/about", "/api/v1/models", "/nowhere"]


@pytest.mark.parametrize("place", PLACES)
def test_every_answer_keeps_its_page_to_itself(client: FlaskClient, place: str) -> None:
    headers = client.get(place).headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert headers["Permissions-Policy"].startswith("camera=(self)")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"


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


def test_a_proxy_that_the_settings_do_not_name_is_not_believed(client: FlaskClient) -> None:
    answer = client.get("/", headers={"X-Forwarded-Proto": "https"})
    assert "Strict-Transport-Security" not in answer.headers


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
