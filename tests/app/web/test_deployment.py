import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
from websockets.sync.client import connect as open_socket
from websockets.typing import Origin

from tests.helpers.forms import ASTRONAUT_PNG
from tests.helpers.nginx import ROOT, Front
from tests.helpers.servers import FRAME, PATIENCE, ask, started

HADOLINT = Path(sys.executable).with_name("hadolint")


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    front = Front(tmp_path_factory.mktemp("nginx"))
    with (
        started(RAUT_TRUSTED_PROXIES="1") as server,
        front.running("upstream.conf", {"raut": server.netloc}),
    ):
        yield front


def test_a_photo_goes_through_nginx_over_tls(front: Front) -> None:
    status, body = front.send(ASTRONAUT_PNG)
    assert status == 200
    assert len(json.loads(body)["faces"]) == 1


def test_plain_http_is_sent_to_tls(front: Front) -> None:
    with closing(HTTPConnection("127.0.0.1", front.plain_port, timeout=PATIENCE)) as connection:
        connection.request("GET", "/about", headers={"Host": "raut.example.org"})
        answer = connection.getresponse()
    assert (answer.status, answer.headers["Location"]) == (301, "https://raut.example.org/about")


def test_browsers_that_came_by_tls_are_bound_to_it_and_may_post_forms(front: Front) -> None:
    with front.connect() as connection:
        connection.request(
            "POST", "/language", headers={"Origin": f"https://localhost:{front.port}"}
        )
        answer = connection.getresponse()
    assert answer.status == 303
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_the_live_socket_goes_through_nginx_from_our_own_page(front: Front) -> None:
    with open_socket(
        f"wss://{front.netloc}/api/v1/stream",
        ssl=front.trust,
        origin=Origin(f"https://{front.netloc}"),
    ) as client:
        assert len(ask(client, FRAME)["faces"]) == 1


def test_a_large_photo_goes_through_without_a_file(front: Front) -> None:
    _, body = front.send(b"no picture" + bytes(15_000_000))
    assert json.loads(body)["code"] == "image_type"
    assert [path for path in (front.folder / "body").rglob("*") if path.is_file()] == []
    assert "temporary file" not in (front.folder / "error.log").read_text()


def test_a_body_over_the_limit_is_refused_by_nginx(front: Front) -> None:
    with front.connect() as connection:
        connection.putrequest("POST", "/api/v1/analyze")
        connection.putheader("Content-Length", "30000000")
        connection.endheaders()
        assert connection.getresponse().status == 413


def test_half_uploads_wait_in_nginx_and_hold_nobody_up(front: Front) -> None:
    with ExitStack() as opened:
        for _ in range(8):
            half = opened.enter_context(front.connect())
            half.putrequest("POST", "/api/v1/analyze")
            half.putheader("Content-Length", "1000000")
            half.endheaders(b"the beginning")
        assert front.ask("GET", "/readyz")[0] == 200


def test_nginx_keeps_the_measurements_to_itself(front: Front) -> None:
    assert front.ask("GET", "/metrics")[0] == 404


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint is there for Linux on x86-64 only.")
def test_the_dockerfile_keeps_to_good_practice() -> None:
    found = subprocess.run([HADOLINT, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize(("part", "least"), [("serve", 10), ("remote", 3)])
def test_every_requirement_of_serving_is_locked_in_its_version(part: str, least: int) -> None:
    requirements = ROOT / "requirements"
    pinned = re.findall(r"^([\w-]+==[\w.]+)$", (requirements / f"{part}.txt").read_text(), re.M)
    locked = re.findall(r"^([\w-]+==[\w.]+)", (requirements / f"{part}.lock").read_text(), re.M)
    assert len(pinned) >= least
    # The lock names packages as PyPI does (PEP 503).
    assert {name.lower().replace("_", "-") for name in pinned} <= set(locked)


def test_the_image_holds_what_serving_reads() -> None:
    copied = set(re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.M))
    names = {name for names in copied for name in names.split()}
    assert names >= {"wsgi.py", "gunicorn.conf.py", "CITATION.cff"}
    assert names >= {"app", "static", "templates", "models"}
    allowed = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.M))
    assert names <= allowed
