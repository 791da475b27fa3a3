import pytest
from flask import Flask, abort
from flask.testing import FlaskClient

from app import create_app
from app.settings import Settings

pytestmark = pytest.mark.usefixtures("loaded_models")

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def test_a_browser_gets_a_page_in_the_readers_language(client: FlaskClient) -> None:
    answer = client.get("/nowhere", headers=BROWSER)
    assert (answer.status_code, answer.mimetype) == (404, "text/html")
    assert b"There is nothing at this address." in answer.data
    assert answer.headers["X-Request-ID"].encode() in answer.data
    indonesian = client.get("/nowhere", headers={**BROWSER, "Accept-Language": "id"})
    assert "Tidak ada apa-apa di alamat ini." in indonesian.text


def test_a_program_gets_a_problem_document(client: FlaskClient) -> None:
    for path, headers in [("/nowhere", {"Accept": "*/*"}), ("/api/v1/nowhere", BROWSER)]:
        answer = client.get(path, headers=headers)
        assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")
        assert answer.get_json()["code"] == "not_found"


def test_an_address_that_only_takes_forms_says_so(client: FlaskClient) -> None:
    answer = client.get("/language", headers=BROWSER)
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == {"OPTIONS", "POST"}
    assert b"accepts submitted forms only" in answer.data


@pytest.fixture(scope="module")
def broken() -> Flask:
    """An application with a fault of ours."""
    app = create_app(Settings())

    def fail() -> str:
        raise RuntimeError("the inside of the program")

    app.add_url_rule("/broken", view_func=fail)
    return app


@pytest.mark.parametrize("headers", [BROWSER, {"Accept": "*/*"}])
def test_a_fault_is_logged_under_the_number_that_the_answer_names(
    broken: Flask, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    broken.logger.propagate = True
    answer = broken.test_client().get("/broken", headers=headers)
    assert answer.status_code == 500
    number = answer.headers["X-Request-ID"]
    assert number in answer.text
    assert "inside" not in answer.text
    (record,) = [each for each in caplog.records if each.levelname == "ERROR"]
    assert record.request_id == number  # type: ignore[attr-defined]
    assert "the inside of the program" in caplog.text


def test_a_status_without_a_code_of_its_own_is_kept() -> None:
    app = create_app(Settings())
    app.add_url_rule("/gone", "gone", lambda: abort(410))
    client = app.test_client()
    problem = client.get("/gone", headers={"Accept": "*/*"})
    assert (problem.status_code, problem.get_json()["status"]) == (410, 410)
    assert problem.get_json()["code"] == "refused"
    assert client.get("/gone", headers=BROWSER).status_code == 410
