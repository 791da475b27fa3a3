"""Test the files of deploy/ with real programs, and that the lock is that of the requirements."""

import json
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

import pytest
import skimage.data
from websockets.sync.client import connect as open_socket
from websockets.typing import Origin

from app.benchmarks.moving import encode_frame
from app.benchmarks.serving import write_form
from tests.app.servers import Server, started

PATIENCE = 20
ROOT = Path(__file__).resolve().parents[2]
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/opt/homebrew/bin") or ""

with_nginx = pytest.mark.skipif(
    not (NGINX and shutil.which("openssl")),
    reason="nginx and openssl are needed: install the packages nginx-light and openssl.",
)


class Front:
    """nginx before a server, as deploy/nginx.conf sets it up."""

    def __init__(self, port: int, plain_port: int, certificate: Path) -> None:
        self.port = port
        self.plain_port = plain_port
        self.trust = ssl.create_default_context(cafile=str(certificate))

    def connect(self) -> closing[HTTPSConnection]:
        return closing(
            HTTPSConnection("localhost", self.port, context=self.trust, timeout=PATIENCE)
        )

    def ask(self, method: str, path: str, body: bytes = b"", kind: str = "") -> tuple[int, bytes]:
        """Return the answer's status and body."""
        with self.connect() as connection:
            connection.request(method, path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def send(self, photo: bytes) -> tuple[int, bytes]:
        return self.ask("POST", "/api/v1/analyze", *write_form(photo))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with started() as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for localhost."""
    folder = tmp_path_factory.mktemp("nginx")
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subprocess.run(
        ["openssl", "req", "-x509", *key, *names, *files], check=True, capture_output=True
    )
    return folder


@pytest.fixture(scope="module")
def front(server: Server, folder: Path) -> Iterator[Front]:
    place = Front(free_port(), free_port(), folder / "certificate.pem")
    changes = {
        "/tmp/": f"{folder}/",
        "raut:8000": server.netloc,
        "listen 80;": f"listen 127.0.0.1:{place.plain_port};",
        "listen 443 ssl;": f"listen 127.0.0.1:{place.port} ssl;",
        "/etc/nginx/tls/": f"{folder}/",
        "/dev/stdout": f"{folder}/access.log",
        "/dev/stderr": f"{folder}/error.log",
    }
    text = (ROOT / "deploy/nginx.conf").read_text()
    for there, here in changes.items():
        assert there in text
        text = text.replace(there, here)
    configuration = folder / "nginx.conf"
    configuration.write_text(text)
    command = [NGINX, "-c", str(configuration), "-e", f"{folder}/error.log"]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    with running([*command, "-g", "daemon off;"], place.port):
        yield place


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    ends = time.monotonic() + PATIENCE
    try:
        while process.poll() is None and time.monotonic() < ends:
            try:
                socket.create_connection(("127.0.0.1", port), PATIENCE).close()
            except ConnectionRefusedError:
                continue
            break
        else:
            pytest.fail(f"nginx did not start: {process.communicate()[1]}")
        yield
    finally:
        process.terminate()
        process.communicate()


@with_nginx
def test_a_photo_goes_through_nginx_over_tls(front: Front, astronaut_png: bytes) -> None:
    status, body = front.send(astronaut_png)
    assert status == 200
    assert len(json.loads(body)["faces"]) == 1


@with_nginx
def test_plain_http_is_sent_to_tls(front: Front) -> None:
    with closing(HTTPConnection("127.0.0.1", front.plain_port, timeout=PATIENCE)) as connection:
        connection.request("GET", "/about", headers={"Host": "raut.example.org"})
        answer = connection.getresponse()
    assert (answer.status, answer.headers["Location"]) == (301, "https://raut.example.org/about")


@with_nginx
def test_the_live_socket_goes_through_nginx_from_our_own_page(front: Front) -> None:
    place = f"localhost:{front.port}"
    with open_socket(
        f"wss://{place}/api/v1/stream", ssl=front.trust, origin=Origin(f"https://{place}")
    ) as client:
        client.send(encode_frame(skimage.data.astronaut()))
        assert len(json.loads(client.recv(PATIENCE))["faces"]) == 1


@with_nginx
def test_a_large_photo_goes_through_without_a_file(front: Front, folder: Path) -> None:
    _, body = front.send(b"no picture" + bytes(15_000_000))
    assert json.loads(body)["code"] == "image_type"
    assert [path for path in (folder / "body").rglob("*") if path.is_file()] == []
    assert "temporary file" not in (folder / "error.log").read_text()


@with_nginx
def test_a_body_over_the_limit_is_refused_by_nginx(front: Front) -> None:
    with front.connect() as connection:
        connection.putrequest("POST", "/api/v1/analyze")
        connection.putheader("Content-Length", "30000000")
        connection.endheaders()
        assert connection.getresponse().status == 413


@with_nginx
def test_half_uploads_wait_in_nginx_and_hold_nobody_up(front: Front) -> None:
    with ExitStack() as opened:
        for _ in range(8):
            half = opened.enter_context(front.connect())
            half.putrequest("POST", "/api/v1/analyze")
            half.putheader("Content-Length", "1000000")
            half.endheaders(b"the beginning")
        assert front.ask("GET", "/readyz")[0] == 200


@with_nginx
def test_nginx_keeps_the_measurements_to_itself(front: Front) -> None:
    assert front.ask("GET", "/metrics")[0] == 404


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
    assert names >= {"wsgi.py", "gunicorn.conf.py", "app", "static", "templates", "models"}
    allowed = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.M))
    assert names <= allowed
