import re
from importlib.metadata import version
from pathlib import Path

from flask.testing import FlaskClient

from tests.helpers.forms import ASTRONAUT_PNG, post


def test_the_page_names_the_cited_version_installed_licences_and_no_test(
    client: FlaskClient,
) -> None:
    page = client.get("/about").text
    assert "test_" not in page
    cited = re.search(r"^version: (.+)$", Path("CITATION.cff").read_text(encoding="utf-8"), re.M)
    assert cited
    assert f"To cite version {cited[1]}, " in page
    row = re.search(r'<th scope="row">Flask</th><td>(.*?)</td><td>(.*?)</td>', page)
    assert row
    assert row.groups() == (version("Flask"), "BSD-3-Clause")


def test_no_answer_may_be_kept_on_the_way(client: FlaskClient) -> None:
    for address in ("/", "/steps", "/steps/stages.zip", "/api/v1/analyze"):
        answer = post(client, address, {"image": ASTRONAUT_PNG})
        assert answer.headers["Cache-Control"] == "no-store", address


def test_cookies_hold_choices_only(client: FlaskClient) -> None:
    post(client, "/", {"image": ASTRONAUT_PNG})
    post(client, "/steps", {"image": ASTRONAUT_PNG})
    for address in ("/", "/realtime", "/steps", "/models", "/models/gender", "/about"):
        client.get(address)
    assert client.get_cookie("raut_language") is None
    assert client._cookies == {}
    client.post("/language", data={"language": "id"})
    client.post("/models", data={"task-expression": "expression:ferplus"})
    assert {key[2] for key in client._cookies} == {"raut_language", "raut_models"}
