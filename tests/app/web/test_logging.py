import io
import json
import logging
import logging.config
import socket
from contextlib import suppress
from datetime import datetime
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from app.web.server.logging import LOGGING
from bench.serving import write_form
from tests.helpers.forms import ASTRONAUT_PNG
from tests.helpers.servers import started


def test_each_request_is_a_line_without_anything_of_its_photo() -> None:
    body, kind = write_form(ASTRONAUT_PNG)
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


SECRET = b"my-secret-word"
CUT = b"\r\n\r\n"
LOCAL = b" HTTP/1.1\r\nHost: localhost\r\n"
STREAM = LOCAL + b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
BROKEN = {
    "line": SECRET + CUT,
    "method": SECRET + b" /" + LOCAL + CUT,
    "version": b"GET /" + SECRET + b" HTTP/9.9\r\nHost: localhost" + CUT,
    "header without a colon": b"GET /" + LOCAL + SECRET + CUT,
    "header's name": b"GET /" + LOCAL + SECRET + b" : a" + CUT,
    "header's bytes": b"GET /" + LOCAL + b"X-\xff" + SECRET + b": \xfe" + CUT,
    "length": b"GET /" + LOCAL + b"Content-Length: " + SECRET + CUT,
    "coding": b"GET /" + LOCAL + b"Transfer-Encoding: " + SECRET + CUT,
    "chunk": b"POST /" + LOCAL + b"Transfer-Encoding: chunked" + CUT + SECRET + CUT,
    "field too long": b"GET /" + LOCAL + b"X: " + 1000 * SECRET + CUT,
    "too many fields": b"GET /" + LOCAL + 200 * (b"X: " + SECRET + b"\r\n") + CUT,
    "host": b"GET / HTTP/1.1\r\nHost: [" + SECRET + CUT,
    "path": b"GET /%ff" + SECRET + b"?%ff" + LOCAL + b"Cookie: \xff" + SECRET + CUT,
    "origin": b"POST /language" + LOCAL + b"Origin: http://[" + SECRET + CUT,
    "token": b"GET /" + LOCAL + b"Authorization: Bearer " + SECRET + CUT,
    "forwarded": b"GET /" + LOCAL + b"X-Forwarded-For: " + SECRET + CUT,
    "handshake": b"GET /api/v1/stream" + STREAM + b"Sec-WebSocket-Key: " + SECRET + CUT,
    "HTTP/2": b"PRI * HTTP/2.0" + CUT + b"SM" + CUT + SECRET,
    "proxy protocol": b"PROXY TCP4 " + SECRET + b" 192.0.2.1 1 2\r\nGET /" + LOCAL + CUT,
}


def test_no_line_quotes_a_broken_request_or_its_client() -> None:
    with started() as server:
        ports = []
        for request in BROKEN.values():
            with socket.create_connection(server.address, 20) as client:
                ports.append(client.getsockname()[1])
                with suppress(ConnectionError):
                    client.sendall(request)
                    client.recv(1000)
        said = "".join(server.end())
    assert SECRET.decode() not in said
    assert "192.0.2.1" not in said
    assert [port for port in ports if f"127.0.0.1:{port}" in said or f", {port})" in said] == []


def test_a_fault_is_logged_without_what_it_quotes() -> None:
    secret, stream = SECRET.decode(), io.StringIO()
    handlers = {"lines": {**LOGGING["handlers"]["lines"], "stream": stream}}
    before = logging.root.level, logging.root.handlers[:]
    try:
        logging.config.dictConfig({**LOGGING, "handlers": handlers, "loggers": {}})
        try:
            try:
                int(secret)
            except ValueError as error:
                raise LookupError(secret) from error
        except LookupError as error:
            logging.getLogger("asyncio").exception("failed: %s", error)
    finally:
        logging.root.setLevel(before[0])
        logging.root.handlers[:] = before[1]
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert line["message"] == "failed: LookupError"
    first, *_, last = line["exc_info"].splitlines()
    assert first.endswith("int(secret)")
    assert "builtins.ValueError" in line["exc_info"]
    assert last == "builtins.LookupError"
    assert secret not in stream.getvalue()
