"""Test what a server writes down of its requests, and what it doesn't."""

import json
from datetime import datetime
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from bench.serving import write_form
from tests.helpers.servers import started


def test_each_request_is_a_line_without_anything_of_its_photo(astronaut_png: bytes) -> None:
    body, kind = write_form(astronaut_png)
    body = body.replace(b'filename="photo"', b'filename="my-secret-name.png"')
    with started() as server:
        address = f"http://{server.netloc}"
        asked = Request(f"{address}/api/v1/analyze?secret-query", body, {"Content-Type": kind})
        with urlopen(asked, timeout=20) as answer:
            number = answer.headers["X-Request-ID"]
        with pytest.raises(HTTPError):
            urlopen(f"{address}/my-secret-name.png", timeout=20)
        urlopen(f"{address}/readyz", timeout=20).close()
        said = server.end()
    lines = [json.loads(line) for line in said if not line.startswith("Raut is at")]
    read, missed = [line for line in lines if line["message"] == "request"]
    assert read.keys() >= {"time", "milliseconds"}
    assert datetime.fromisoformat(read["time"]).tzinfo
    assert read["request_id"] == number
    assert (read["method"], read["route"], read["status"]) == ("POST", "/api/v1/analyze", 200)
    assert read["stages_ms"]["detect"] > 0
    assert (missed["status"], missed["code"], "route" in missed) == (404, "not_found", False)
    for secret in ["secret", "happy", "female", "127.0.0.1 "]:
        assert secret not in "".join(said)
