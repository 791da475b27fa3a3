import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from bench.serving import find_free_port, write_form
from tests.helpers.servers import FRAME, fetch


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


@pytest.mark.parametrize("path", ["/", "/steps", "/realtime", "/static/css/raut.css", "/readyz"])
def test_pages_and_health_are_served(address: str, path: str) -> None:
    assert fetch(f"{address}{path}")[0] == 200


def test_the_api_is_served(address: str) -> None:
    service = f"{address}/api/v1/analyze"
    status, body = fetch(service, *write_form(FRAME))
    assert (status, len(json.loads(body)["faces"])) == (200, 1)
    # Larger than waitress keeps in memory by default, and than Raut accepts.
    status, body = fetch(service, *write_form(bytes(30_000_000)))
    assert (status, json.loads(body)["code"]) == (413, "image_too_large")


@pytest.mark.parametrize("address", ["waitress"], indirect=True)
def test_the_live_page_sends_photos_where_there_is_no_socket(address: str, page: Page) -> None:
    page.goto(f"{address}/realtime")
    with page.expect_response("**/api/v1/analyze", timeout=30_000) as answered:
        page.click("#start")
    assert answered.value.ok
    expect(page.locator("#state")).to_have_text("LIVE")
