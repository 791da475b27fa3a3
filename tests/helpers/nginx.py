"""nginx in front of servers, as deploy/ sets it up, with a certificate for localhost."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from bench.serving import find_free_port, write_form
from tests.helpers.servers import PATIENCE, wait_until_open

ROOT = Path(__file__).resolve().parents[2]
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/opt/homebrew/bin") or ""


class Front:
    """nginx in front of one or several servers; its logs are in `folder`."""

    def __init__(self, folder: Path) -> None:
        if not (NGINX and shutil.which("openssl")):
            pytest.skip("nginx and openssl are needed: install nginx-light and openssl.")
        self.port = find_free_port()
        self.plain_port = find_free_port()
        self.folder = folder
        self._certify()
        self.trust = ssl.create_default_context(cafile=str(folder / "certificate.pem"))

    @property
    def netloc(self) -> str:
        return f"localhost:{self.port}"

    def connect(self) -> closing[HTTPSConnection]:
        return closing(
            HTTPSConnection("localhost", self.port, context=self.trust, timeout=PATIENCE)
        )

    def ask(self, method: str, path: str, body: bytes = b"", kind: str = "") -> tuple[int, bytes]:
        """Return the response's status and body."""
        with self.connect() as connection:
            connection.request(method, path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def send(self, photo: bytes) -> tuple[int, bytes]:
        return self.ask("POST", "/api/v1/analyze", *write_form(photo))

    @contextmanager
    def running(self, upstream: str, servers: Mapping[str, str]) -> Iterator[None]:
        """Run nginx with a file of deploy/ and the addresses of the servers that it names."""
        changes = {
            "/tmp/": f"{self.folder}/",
            "listen 80;": f"listen 127.0.0.1:{self.plain_port};",
            "listen 443 ssl;": f"listen 127.0.0.1:{self.port} ssl;",
            "/etc/nginx/tls/": f"{self.folder}/",
            "/dev/stdout": f"{self.folder}/access.log",
            "/dev/stderr": f"{self.folder}/error.log",
        }
        self._copy("nginx.conf", "nginx.conf", changes)
        self._copy(upstream, "upstream.conf", {f"{name}:8000": servers[name] for name in servers})
        command = [NGINX, "-c", f"{self.folder}/nginx.conf", "-e", f"{self.folder}/error.log"]
        checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        process = subprocess.Popen([*command, "-g", "daemon off;"], stderr=subprocess.PIPE)
        try:
            wait_until_open(self.port, process)
            yield
        finally:
            process.terminate()
            process.communicate()

    def _copy(self, name: str, to: str, changes: Mapping[str, str]) -> None:
        text = (ROOT / "deploy" / name).read_text()
        for there, here in changes.items():
            assert there in text
            text = text.replace(there, here)
        (self.folder / to).write_text(text)

    def _certify(self) -> None:
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        files = ["-keyout", f"{self.folder}/key.pem", "-out", f"{self.folder}/certificate.pem"]
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        subprocess.run(
            ["openssl", "req", "-x509", *key, *names, *files], check=True, capture_output=True
        )
