import json
import os
import subprocess
import sys
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import skimage.data
from playwright.sync_api import Page, expect

from bench.moving import encode_frame
from bench.serving import find_free_port, write_form


@pytest.fixture(scope="module", params=["waitress", "gunicorn"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    command = [sys.executable, "-m", "app", "serve", "--server", request.param]
    environment = {**os.environ, "PORT": str(find_free_port()), "WEB_CONCURRENCY": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        said = process.stdout.readline()
        assert said.startswith("Raut is at http://127.0.0.1:")
        yield said.split()[-1]
        process.terminate()


def ask(address: str, path: str, photo: bytes | None = None) -> tuple[int, bytes]:
    body, kind = write_form(photo) if photo else (None, "text/plain")
    try:
        with urlopen(Request(f"{address}{path}", body, {"Content-Type": kind})) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.mark.parametrize("path", ["/", "/steps", "/realtime", "/static/css/raut.css", "/readyz"])
def test_pages_and_health_are_served(address: str, path: str) -> None:
    assert ask(address, path)[0] == 200


def test_the_api_is_served(address: str) -> None:
    status, body = ask(address, "/api/v1/analyze", encode_frame(skimage.data.astronaut()))
    assert (status, len(json.loads(body)["faces"])) == (200, 1)
    # Larger than waitress keeps in memory by default, and than Raut accepts.
    status, body = ask(address, "/api/v1/analyze", bytes(30_000_000))
    assert (status, json.loads(body)["code"]) == (413, "image_too_large")


@pytest.mark.parametrize("address", ["waitress"], indirect=True)
def test_the_live_page_sends_photos_where_there_is_no_socket(address: str, page: Page) -> None:
    page.goto(f"{address}/realtime")
    with page.expect_response("**/api/v1/analyze", timeout=30_000) as answered:
        page.click("#start")
    assert answered.value.ok
    expect(page.locator("#state")).to_have_text("LIVE")
